package lab

import "time"

// A Packet is what a recording keeps of one packet. Instants have a monotonic clock reading, so they can be compared
// with those that a client takes by time.Now.
type Packet struct {
	From, To Place
	Flow     Flow
	Bytes    int  // with its IP header
	Payload  int  // above its transport's header
	Opens    bool // it opens a TCP connection or accepts it (SYN)

	Sent    time.Time // when the lab took it from its sender
	Arrived time.Time // when it came to its receiver; zero if it did not (yet)
	Lost    bool      // by chance, or dropped for want of room
}

// Segment is the way that the packet took.
func (p Packet) Segment() Segment { return Between(p.From, p.To) }

// A Recording is the packets that the lab carried from [Lab.Record] until [Lab.Stop], in the order in which they were
// sent.
type Recording struct {
	Packets []Packet

	// Missed is how many more there were than a recording keeps.
	Missed int
}

// maxRecorded bounds a recording, to some 128 MiB: 1 GiB in full packets with an acknowledgement for every other one.
const maxRecorded = 1 << 20

// A note is a packet's place in a recording. The zero note is in none.
type note struct {
	in *Recording
	at int
}

// sent notes a packet. A nil Recording notes nothing.
func (r *Recording) sent(h header, bytes int, at time.Time, f fate) note {
	if r == nil {
		return note{}
	}
	if len(r.Packets) == maxRecorded {
		r.Missed++
		return note{}
	}
	r.Packets = append(r.Packets, Packet{From: h.from, To: h.to, Flow: h.flow, Bytes: bytes, Payload: h.payload, Opens: h.opens, Sent: at, Lost: f != carried})
	return note{r, len(r.Packets) - 1}
}

// arrived notes that a packet came to its receiver. What was sent in an earlier recording is not of this one.
func (r *Recording) arrived(n note, at time.Time) {
	if r != nil && n.in == r {
		r.Packets[n.at].Arrived = at
	}
}

// On is the packets on a segment, in both directions.
func (r *Recording) On(s Segment) []Packet {
	var on []Packet
	for _, p := range r.Packets {
		if p.Segment() == s {
			on = append(on, p)
		}
	}
	return on
}
