// Package lab is a network with distance on one machine: a client, an edge, an origin and a DNS server in network
// namespaces of their own, joined by TUN devices between which packets take their time, get lost, and queue.
//
// Packets are delayed, not connections relayed: handshakes, windows and acknowledgements go the whole way, so what a
// client sees, and how many round trips it takes, is what it would be over that distance.
package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"
)

// Options say what a lab is like.
type Options struct {
	// Segments are the conditions between places. Of a segment that is not named: the DNS server stands at the edge,
	// so it is as far from the client and the origin as the edge is, and next to the edge; others have no distance.
	Segments map[Segment]Conditions

	// Fleet makes places for two more edges, [Second] and [Third], and a network with three PoPs. Their segments have no distance
	// unless they are named.
	Fleet bool

	// Seed decides which packets get lost, and the jitter of each: with the same seed, of the packets of one
	// direction the same ones. 0 takes a seed by chance.
	Seed uint64
}

// Distances are the conditions of a lab where only the distances matter, each a round trip.
func Distances(clientEdge, edgeOrigin, clientOrigin time.Duration) map[Segment]Conditions {
	return map[Segment]Conditions{
		Between(Client, Edge):   {Distance: clientEdge},
		Between(Edge, Origin):   {Distance: edgeOrigin},
		Between(Client, Origin): {Distance: clientOrigin},
	}
}

// complete adds the segments that were not named.
func (o Options) complete() (map[Segment]Conditions, error) {
	all := maps.Clone(o.Segments)
	if all == nil {
		all = make(map[Segment]Conditions)
	}
	for s, like := range map[Segment]Segment{
		Between(Client, DNS): Between(Client, Edge),
		Between(Origin, DNS): Between(Edge, Origin),
	} {
		if _, named := all[s]; !named {
			all[s] = all[like]
		}
	}
	for s, c := range all {
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("lab: %v: %w", s, err)
		}
	}
	return all, nil
}

// A Lab is a running lab. Its methods may be called at the same time, but for Close.
type Lab struct {
	seed    uint64
	fleet   bool
	nodes   [places]*Node // nil: the lab has no such place
	forward *forwarder
	names   []string // files that Name made
}

// Start makes a lab. It needs root, or a user namespace as [Enter] makes it; where the machine does not let it be made
// the error is an [ErrUnavailable], and says what to do.
//
// A lab is gone with its process, however that ends, once the processes inside it are too.
func Start(o Options) (*Lab, error) {
	conditions, err := o.complete()
	if err != nil {
		return nil, err
	}
	l := &Lab{seed: o.Seed, fleet: o.Fleet}
	for l.seed == 0 {
		l.seed = rand.Uint64()
	}
	var devices [places]int
	for p := range Place(places) {
		if devices[p] = -1; !l.has(p) {
			continue
		}
		n, err := newNamespace(p)
		if err != nil {
			l.Close()
			return nil, unavailable(err)
		}
		l.nodes[p] = &Node{Place: p, n: n}
		devices[p] = n.device
	}
	if l.forward, err = newForwarder(devices, conditions, l.seed); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Seed is the seed in use.
func (l *Lab) Seed() uint64 { return l.seed }

// has reports whether the lab has a place.
func (l *Lab) has(p Place) bool { return int(p) < common || l.fleet }

// At is a place, to run things in; nil where the lab has none such.
func (l *Lab) At(p Place) *Node { return l.nodes[p] }

// Set changes the conditions of a segment. Packets under way keep theirs, and are not overtaken.
func (l *Lab) Set(s Segment, c Conditions) error {
	if err := c.check(); err != nil {
		return fmt.Errorf("lab: %v: %w", s, err)
	}
	l.forward.set(s, c)
	return nil
}

// Count is what came of the packets sent from one place to another since the start.
func (l *Lab) Count(from, to Place) Count { return l.forward.count(from, to) }

// Record begins a recording of all packets, in the place of one that is under way.
func (l *Lab) Record() {
	l.forward.mu.Lock()
	defer l.forward.mu.Unlock()
	l.forward.recording = new(Recording)
}

// Stop ends the recording and returns it. Packets under way have no Arrived in it. Without a recording it is empty.
func (l *Lab) Stop() *Recording {
	l.forward.mu.Lock()
	defer l.forward.mu.Unlock()
	r := l.forward.recording
	l.forward.recording = nil
	if r == nil {
		r = new(Recording)
	}
	return r
}

// Settle waits until no packet has been sent or has arrived for so long, so that what comes next is not mixed with what
// was before: a connection's last acknowledgements, say.
func (l *Lab) Settle(ctx context.Context, quiet time.Duration) error {
	for {
		idle, err := l.forward.idle()
		if err != nil {
			return fmt.Errorf("lab: %w", err)
		}
		if idle >= quiet {
			return nil
		}
		select {
		case <-time.After(max(quiet-idle, time.Millisecond)):
		case <-ctx.Done():
			return fmt.Errorf("lab: wait for silence: %w", context.Cause(ctx))
		}
	}
}

// Close ends the lab. Processes that were started in it must have ended before: those that have not are cut off, and
// the kernel ends the ones that [Node.Start] started. The error says what ended the lab before.
func (l *Lab) Close() error {
	err := l.unname()
	if l.forward != nil {
		err = errors.Join(err, l.forward.close())
	}
	for _, n := range l.nodes {
		if n != nil {
			n.n.close()
		}
	}
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}
