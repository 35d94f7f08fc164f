package lab

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// mtu is the size of the largest packet, in bytes.
const mtu = 1500

// Conditions are what a segment does to packets, in each of its directions alike. The zero Conditions are a wire without
// length that loses nothing.
type Conditions struct {
	// Distance is the round trip over the segment; each direction takes half of it.
	Distance time.Duration

	// Jitter is the most that is added to a packet's way, by even chance between nothing and that. Packets of one
	// direction never overtake one another: queues make jitter, and queues keep order.
	Jitter time.Duration

	// Loss is the share of packets that get lost, from 0 to 1, each by a chance of its own.
	Loss float64

	// Rate is how many bits per second go in; 0 is no limit. In front of a limit there is a queue of one
	// bandwidth-delay product (Rate x Distance, but at least two full packets); what finds it full is dropped.
	Rate int64
}

// maxDistance bounds a segment, so that a mistyped unit does not look like a hung program.
const maxDistance = 10 * time.Second

func (c Conditions) check() error {
	switch {
	case c.Distance < 0 || c.Distance > maxDistance:
		return fmt.Errorf("distance %v: want 0 to %v", c.Distance, maxDistance)
	case c.Jitter < 0 || c.Jitter > maxDistance:
		return fmt.Errorf("jitter %v: want 0 to %v", c.Jitter, maxDistance)
	case !(c.Loss >= 0 && c.Loss <= 1):
		return fmt.Errorf("loss %v: want 0 to 1", c.Loss)
	case c.Rate < 0 || c.Rate > 0 && c.Rate < 8*mtu:
		return fmt.Errorf("rate %d: want 0 (no limit) or at least %d bits per second, a packet each second", c.Rate, 8*mtu)
	}
	return nil
}

// queueBytes is the room in front of the rate limit.
func (c Conditions) queueBytes() int64 {
	return max(int64(float64(c.Rate)/8*c.Distance.Seconds()), 2*mtu)
}

// maxUnderWay bounds the bytes that one direction holds where no rate does: a sender that waits for nobody would fill
// the memory. It is the product of 1 Gbit/s and half a second.
const maxUnderWay = 64 << 20

// A fate is what becomes of a packet.
type fate int

const (
	carried fate = iota
	lost         // by chance
	dropped      // the queue was full
)

// A pipe is one direction of a segment. Its time is what callers say it is.
type pipe struct {
	c    Conditions
	dice *rand.Rand

	free time.Duration // when the last packet accepted has gone in
	last time.Duration // when it arrives: no later one is earlier
	way  []parcel      // under way, in order of arrival
	held int64         // their bytes
	n    Count
}

// A parcel is a packet under way.
type parcel struct {
	due  time.Duration
	data []byte
	note note
}

// Count is what came of the packets of one direction.
type Count struct {
	Packets, Bytes int64         // sent, whatever became of them
	Payload        int64         // of Packets, those with data above their transport: an acknowledgement of TCP alone has none
	Lost           int64         // by chance
	Dropped        int64         // for want of room in the queue
	Refused        int64         // by the place where they arrived
	Backlog        int64         // bytes in the queue when it was fullest
	Late           time.Duration // by how much the latest one came after it was due
}

func newPipe(c Conditions, seed, direction uint64) *pipe {
	return &pipe{c: c, dice: rand.New(rand.NewPCG(seed, direction))}
}

// admit decides what becomes of a packet of some bytes that is sent now, and when it arrives.
func (p *pipe) admit(now time.Duration, bytes int) (arrives time.Duration, f fate) {
	// The chances are drawn first and for every packet: which ones get lost is then a matter of their number and the
	// seed alone, whatever the queue does.
	unlucky := p.c.Loss > 0 && p.dice.Float64() < p.c.Loss
	var jitter time.Duration
	if p.c.Jitter > 0 {
		jitter = time.Duration(p.dice.Int64N(int64(p.c.Jitter) + 1))
	}
	p.n.Packets++
	p.n.Bytes += int64(bytes)
	start := now
	if p.c.Rate > 0 {
		start = max(now, p.free)
		backlog := int64(float64(start-now) / float64(time.Second) * float64(p.c.Rate) / 8)
		if backlog+int64(bytes) > p.c.queueBytes() {
			p.n.Dropped++
			return 0, dropped
		}
		p.n.Backlog = max(p.n.Backlog, backlog+int64(bytes))
		start += time.Duration(float64(bytes) * 8 / float64(p.c.Rate) * float64(time.Second))
		p.free = start
	} else if p.held+int64(bytes) > maxUnderWay {
		p.n.Dropped++
		return 0, dropped
	}
	// Lost packets have used the way all the same.
	if unlucky {
		p.n.Lost++
		return 0, lost
	}
	p.last = max(p.last, start+p.c.Distance/2+jitter)
	return p.last, carried
}

func (p *pipe) push(x parcel) {
	p.way = append(p.way, x)
	p.held += int64(len(x.data))
}

// next is when the first packet arrives.
func (p *pipe) next() (due time.Duration, any bool) {
	if len(p.way) == 0 {
		return 0, false
	}
	return p.way[0].due, true
}

func (p *pipe) pop() parcel {
	x := p.way[0]
	p.way[0] = parcel{}
	p.way = p.way[1:]
	p.held -= int64(len(x.data))
	return x
}
