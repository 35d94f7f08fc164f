// Package steer measures how DNS steers clients by what edges measure, in a lab: how fast a PoP that is near on the map and far in time loses
// its clients, what a PoP with too many sends on, and how often clients move.
package steer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"hither/bench/lab"
)

// Options say what to measure.
type Options struct {
	Clients int           // each in a /24 of its own; at most lab.Clients
	Every   time.Duration // each opens a connection and makes a request so often
	Keep    time.Duration // for how long they are watched when nothing should change any more
	Only    string        // "far" or "load": the other part is left out. "" = both

	Program string // the path of `hither`
	Dir     string // an empty folder for the state of networks

	// Step is told what is done next; there are Steps of them. nil = nobody wants to know.
	Step func(what string)
}

// Steps is how often Step is called.
func (o Options) Steps() int {
	if o.Only != "" {
		return 2
	}
	return 4
}

// Times of the lab's network.
const (
	ttl    = 5 * time.Second  // of an answer
	period = 15 * time.Second // a step of shedding takes the TTL and 10 s: see dns/server
)

// Bounds of what is waited for.
const (
	lostLimit  = 3*ttl + 10*time.Second
	lostWait   = 2 * time.Minute
	settleWait = 5 * time.Minute
)

// Overload is how many times its capacity a PoP is given.
const Overload = 1.4

// Bounds of the load between which nothing changes: dns/steer has them as Shedding.
const (
	loadLeast = 0.7
	loadMost  = 0.9
)

// Measure makes a lab for each part, with a fleet in it, measures, and ends all that again. Its error is a [lab.ErrUnavailable] where a lab
// cannot be made.
func Measure(ctx context.Context, o Options) (r *Result, err error) {
	r = &Result{Options: o}
	if o.Only != "load" {
		// Near on the map alone. The second is so much nearer in time that nobody explores the others.
		s := &scene{o: o, name: "far", ways: map[lab.Place]time.Duration{lab.Edge: 150 * time.Millisecond, lab.Second: 20 * time.Millisecond, lab.Third: 160 * time.Millisecond}}
		if r.Far, err = play(ctx, s, s.far); err != nil {
			return nil, err
		}
	}
	if o.Only != "far" {
		// So far apart that what a busy machine adds to a round trip decides nothing: it is the load that is to.
		s := &scene{o: o, name: "load", ways: map[lab.Place]time.Duration{lab.Edge: 10 * time.Millisecond, lab.Second: 80 * time.Millisecond, lab.Third: 160 * time.Millisecond}}
		s.capacity = max(int(float64(o.Clients)/o.Every.Seconds()/Overload), 1)
		if r.Load, err = play(ctx, s, s.load); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// A scene is a lab with a fleet in it, and clients.
type scene struct {
	o        Options
	name     string
	ways     map[lab.Place]time.Duration // of clients to edges
	capacity int

	lab   *lab.Lab
	net   *lab.Network
	crowd *crowd
}

func (s *scene) step(format string, args ...any) {
	if s.o.Step != nil {
		s.o.Step(fmt.Sprintf(format, args...))
	}
}

// play makes a scene, has its clients come, and measures.
func play[T any](ctx context.Context, s *scene, measure func(context.Context) (T, error)) (out T, err error) {
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.start(ctx); err != nil {
		return out, err
	}
	return measure(ctx)
}

// start makes the lab and starts the fleet, until the DNS server has heard of every PoP.
func (s *scene) start(ctx context.Context) (err error) {
	const inner = 20 * time.Millisecond // between all that is not a client
	segments := map[lab.Segment]lab.Conditions{
		lab.Between(lab.Client, lab.DNS): {Distance: 10 * time.Millisecond},
		lab.Between(lab.Origin, lab.DNS): {Distance: inner},
	}
	for p, distance := range s.ways {
		segments[lab.Between(lab.Client, p)] = lab.Conditions{Distance: distance}
		segments[lab.Between(lab.Origin, p)] = lab.Conditions{Distance: inner}
		segments[lab.Between(lab.DNS, p)] = lab.Conditions{Distance: inner}
	}
	if s.lab, err = lab.Start(lab.Options{Segments: segments, Fleet: true}); err != nil {
		return err
	}
	s.step("start the fleet")
	s.net, err = s.lab.StartNetwork(ctx, lab.NetworkOptions{Program: s.o.Program, Dir: filepath.Join(s.o.Dir, s.name), Capacity: s.capacity})
	if err != nil {
		return err
	}
	if err := s.reported(ctx); err != nil {
		return err
	}
	roots, err := s.net.Roots()
	if err != nil {
		return err
	}
	s.crowd = newCrowd(s.lab.At(lab.Client), roots, s.o.Clients, s.o.Every)
	return nil
}

// far has clients come to a PoP that is far in time, and watches them go.
func (s *scene) far(ctx context.Context) (*Far, error) {
	s.step("%d clients of a PoP that is near on the map and far in time", s.o.Clients)
	s.crowd.start(ctx)
	if err := s.crowd.wait(ctx, lostWait, func() bool {
		n := s.crowd.at()
		return n[lab.Edge] == 0 && n[nowhere] == 0
	}); err != nil {
		return nil, err
	}
	if err := pause(ctx, s.o.Keep); err != nil {
		return nil, err
	}
	f := &Far{Counts: s.crowd.counts()}
	f.Lost = s.crowd.lost(lab.Edge)
	var err error
	f.Explored, err = s.explored(ctx)
	return f, err
}

// load has more clients come to a PoP than it is made for, and watches some go.
func (s *scene) load(ctx context.Context) (*Load, error) {
	s.step("%d clients of a PoP that is made for %d requests a second, and gets %.0f", s.o.Clients, s.capacity, float64(s.o.Clients)/s.o.Every.Seconds())
	s.crowd.start(ctx)
	l := &Load{Capacity: s.capacity}
	begin, below := time.Now(), time.Time{}
	deadline := begin.Add(settleWait)
	for {
		load, err := s.loaded(ctx)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		l.Most = max(l.Most, load)
		switch {
		case load > loadMost || l.Most <= 1:
			below = time.Time{} // it is yet to fill, or to shed more
		case below.IsZero():
			below = now
		}
		if !below.IsZero() && now.Sub(below) > 2*period {
			l.Settled = below.Sub(begin)
			break
		}
		if now.After(deadline) {
			l.Settled = now.Sub(begin) // and the load says the rest
			break
		}
		if err := pause(ctx, time.Second); err != nil {
			return nil, err
		}
	}
	before := s.crowd.counts().Moves
	sum, n := 0.0, 0
	for end := time.Now().Add(s.o.Keep); time.Now().Before(end); n++ {
		load, err := s.loaded(ctx)
		if err != nil {
			return nil, err
		}
		sum += load
		if err := pause(ctx, time.Second); err != nil {
			return nil, err
		}
	}
	l.Kept = sum / float64(max(n, 1))
	l.Counts = s.crowd.counts()
	l.Late = l.Moves - before
	var err error
	l.Explored, err = s.explored(ctx)
	return l, err
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close ends all that was started.
func (s *scene) close() error {
	var all []error
	if s.crowd != nil {
		s.crowd.stop()
	}
	if s.net != nil {
		all = append(all, s.net.Close())
	}
	if s.lab != nil {
		all = append(all, s.lab.Close())
	}
	return errors.Join(all...)
}

// placeOf is where an address of a PoP is.
func placeOf(a netip.Addr) (lab.Place, bool) {
	for _, p := range lab.Edges() {
		if p.Addr() == a {
			return p, true
		}
	}
	return nowhere, false
}
