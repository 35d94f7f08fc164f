package lab

import (
	"fmt"
	"slices"
	"time"
)

// A Question asks a recording what a client waited for.
type Question struct {
	Start time.Time // when the client began: before its first packet
	At    time.Time // when it had what it waited for: its first byte, say

	// Port is the client's own, by which other connections of the client are left aside; 0 = there are none.
	Port uint16
}

// A Path is the packets that a client waited for one after another, from its own first one to the one that brought what
// it waited for: each was sent because the one before had arrived.
type Path []Packet

// Path finds what the client waited for. It goes back from the last packet with data that came to the client: what made
// its sender send it is the packet that had come to the sender last before, and so on, as far back as to a packet that
// the client sent by itself. The DNS server's packets are left aside, those with which it probes the edge as well.
//
// TCP's acknowledgements without data are asked last: one explains what its own connection sent if what else could was
// there for longer than the acknowledgement was under way. So a window that had to open is found, and one that crosses
// the answer to a request is not taken for its cause.
//
// This holds as long as places answer at once what they can answer: an edge that waits for the origin sends its answer
// right after the origin's has come. [Path.Elsewhere] tells whether it did.
//
// The recording must begin before Start, and the lab be settled then (see [Lab.Settle]).
func (r *Recording) Path(q Question) (Path, error) {
	if r.Missed > 0 {
		return nil, fmt.Errorf("lab: the recording lacks %d packets", r.Missed)
	}
	last, ok := r.last(q, Client, q.At, func(p Packet) bool { return !p.acknowledges() })
	if !ok {
		return nil, fmt.Errorf("lab: nothing came to the client in the %v since the start", q.At.Sub(q.Start))
	}
	path := Path{last}
	for {
		p, ok := r.cause(q, last)
		if !ok && last.From == Client {
			slices.Reverse(path)
			return path, nil
		}
		if !ok {
			return nil, fmt.Errorf("lab: nothing came to the %v that explains what it sent %v after the start", last.From, last.Sent.Sub(q.Start))
		}
		path = append(path, p)
		last = p
	}
}

// last is the packet sent since the start that came to a place last before an instant, of those that count.
func (r *Recording) last(q Question, to Place, before time.Time, counts func(Packet) bool) (last Packet, ok bool) {
	for _, p := range r.Packets {
		switch {
		case p.To != to, p.From == DNS, p.Lost, p.Arrived.IsZero(), p.Sent.Before(q.Start), p.Arrived.After(before):
		case p.To == Client && q.Port != 0 && p.Flow.To != q.Port:
		case !counts(p):
		case !ok || !p.Arrived.Before(last.Arrived):
			last, ok = p, true
		}
	}
	return last, ok
}

// acknowledges reports whether this is an acknowledgement of TCP alone.
func (p Packet) acknowledges() bool {
	return p.Flow.Protocol == protocolTCP && p.Payload == 0 && !p.Opens
}

// cause is what made the sender of a packet send it.
func (r *Recording) cause(q Question, effect Packet) (Packet, bool) {
	earlier := func(p Packet) bool { return p.Sent.Before(effect.Sent) } // without distance all may be at one instant
	back := Flow{effect.Flow.Protocol, effect.Flow.To, effect.Flow.From}
	word, said := r.last(q, effect.From, effect.Sent, func(p Packet) bool {
		// What opens a connection is answered on it.
		return earlier(p) && !p.acknowledges() && (p.Payload > 0 || p.Flow == back)
	})
	ack, acked := r.last(q, effect.From, effect.Sent, func(p Packet) bool { return earlier(p) && p.acknowledges() && p.Flow == back })
	if acked && (!said || ack.Arrived.Sub(word.Arrived) > ack.Arrived.Sub(ack.Sent)) {
		return ack, true
	}
	return word, said
}

// RoundTrips is how often the client waited for the way over a segment and back.
func (p Path) RoundTrips(s Segment) int {
	ways := 0
	for _, x := range p {
		if x.Segment() == s {
			ways++
		}
	}
	// A path leads from the client to the client, and no two segments lead around another way: what went over a
	// segment came back over it.
	return ways / 2
}

// UnderWay is how long packets of the path were under way in all: how much of the time was distance.
func (p Path) UnderWay() time.Duration {
	var sum time.Duration
	for _, x := range p {
		sum += x.Arrived.Sub(x.Sent)
	}
	return sum
}

// Elsewhere is how long the longest time was for which a place that had what it needed sent nothing: its own work, or
// the sign that the path is not what the client waited for (a timer, a lost packet sent again).
func (p Path) Elsewhere() time.Duration {
	var longest time.Duration
	for i := 1; i < len(p); i++ {
		longest = max(longest, p[i].Sent.Sub(p[i-1].Arrived))
	}
	return longest
}
