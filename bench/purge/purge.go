// Package purge measures how long a purge takes until no look-up finds its object any more, at three PoPs far from the hub, in a lab.
package purge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hither/bench/lab"
)

// Options say what to measure.
type Options struct {
	Distance time.Duration // round trip between the hub and each PoP
	Purges   int           // of one object each, one after the other

	Program string // the path of `hither`
	Dir     string // an empty folder for the network's state

	// Step is told what is done next; there are Steps of them. nil = nobody wants to know.
	Step func(what string)
}

// Steps is how often Step is called.
func (o Options) Steps() int { return 3 }

// waitTime bounds a purge and the search for its effect, with much to spare.
const waitTime = 30 * time.Second

// Measure makes a lab with a fleet in it, measures, and ends all that again. Its error is a [lab.ErrUnavailable] where a lab cannot be made.
func Measure(ctx context.Context, o Options) (r *Result, err error) {
	m := &measurer{o: o}
	defer func() { err = errors.Join(err, m.close()) }()
	if err := m.start(ctx); err != nil {
		return nil, err
	}
	m.step("fetch %d objects into %d PoPs", o.Purges, len(lab.Edges()))
	if err := m.fill(ctx); err != nil {
		return nil, err
	}
	m.step("%d purges", o.Purges)
	r = &Result{Options: o}
	for i := range o.Purges {
		p, err := m.purge(ctx, target(i))
		if err != nil {
			return nil, err
		}
		r.Purges = append(r.Purges, p)
	}
	return r, nil
}

// target is the path of an object.
func target(i int) string { return fmt.Sprintf("/1KiB.bin?%d", i) }

// A measurer is a lab with a fleet in it.
type measurer struct {
	o    Options
	lab  *lab.Lab
	net  *lab.Network
	pops []*pop
	hub  *hub
}

func (m *measurer) step(format string, args ...any) {
	if m.o.Step != nil {
		m.o.Step(fmt.Sprintf(format, args...))
	}
}

// start makes the lab and starts what runs in it, until a purge reaches every PoP.
func (m *measurer) start(ctx context.Context) (err error) {
	segments := make(map[lab.Segment]lab.Conditions)
	for _, p := range lab.Edges() {
		segments[lab.Between(p, lab.Origin)] = lab.Conditions{Distance: m.o.Distance}
	}
	segments[lab.Between(lab.DNS, lab.Origin)] = lab.Conditions{}
	if m.lab, err = lab.Start(lab.Options{Segments: segments, Fleet: true}); err != nil {
		return err
	}
	m.step("start the fleet")
	if m.net, err = m.lab.StartNetwork(ctx, lab.NetworkOptions{Program: m.o.Program, Dir: m.o.Dir}); err != nil {
		return err
	}
	roots, err := m.net.Roots()
	if err != nil {
		return err
	}
	for _, p := range lab.Edges() {
		m.pops = append(m.pops, newPoP(m.lab.At(p), roots))
	}
	token, err := m.token(ctx)
	if err != nil {
		return err
	}
	m.hub = newHub(m.lab.At(lab.Origin), token)
	// A PoP that is not at the hub yet is told what it missed when it comes.
	_, err = m.hub.purge(ctx, target(-1))
	return err
}

// token lets in who purges over HTTP. The hub has just been started.
func (m *measurer) token(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, waitTime)
	defer cancel()
	for {
		token, err := m.net.Command(ctx, lab.Origin, "fleet", "token", "add", "bench")
		if err == nil {
			return token, nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return "", err
		}
	}
}

// fill fetches every object into every PoP.
func (m *measurer) fill(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	const atOnce = 16
	wait := make(chan error)
	for _, p := range m.pops {
		next := make(chan int, m.o.Purges)
		for i := range m.o.Purges {
			next <- i
		}
		close(next)
		for range atOnce {
			go func() {
				for i := range next {
					if err := p.fetch(ctx, target(i)); err != nil {
						wait <- err
						return
					}
				}
				wait <- nil
			}()
		}
	}
	var all error
	for range atOnce * len(m.pops) {
		if err := <-wait; err != nil && all == nil {
			all = err
			cancel()
		}
	}
	return all
}

// purge has an object purged and finds out when each PoP has it no more.
func (m *measurer) purge(ctx context.Context, path string) (p Purge, err error) {
	ctx, cancel := context.WithTimeout(ctx, waitTime)
	defer cancel()
	type found struct {
		at  time.Time
		err error
	}
	for _, x := range m.pops {
		if has, err := x.has(ctx, path); err != nil || !has {
			return p, fmt.Errorf("purge: %s is not at the %v before it is purged: %w", path, x.place, err)
		}
	}
	asked := time.Now()
	gone := make([]chan found, len(m.pops))
	for i, x := range m.pops {
		gone[i] = make(chan found, 1)
		go func() {
			at, err := x.gone(ctx, path, asked.Add(m.o.Distance/2-early))
			gone[i] <- found{at, err}
		}()
	}
	answer, err := m.hub.purge(ctx, path)
	if err != nil {
		cancel()
	}
	p.Receipt = time.Since(asked)
	p.Told = answer
	// The receipts are here: from now on nothing may be found.
	for _, x := range m.pops {
		has, wrong := x.has(ctx, path)
		if err == nil {
			err = wrong
		}
		if has {
			p.Found++
		}
	}
	for i := range gone {
		f := <-gone[i]
		if err == nil {
			err = f.err
		}
		p.Gone = append(p.Gone, f.at.Sub(asked))
	}
	return p, err
}

// early is for how long before its message can come a PoP is asked: without pause all along that would be work for the machine.
const early = 20 * time.Millisecond

// close ends all that was started.
func (m *measurer) close() error {
	var all []error
	for _, p := range m.pops {
		p.http.CloseIdleConnections()
	}
	if m.hub != nil {
		m.hub.http.CloseIdleConnections()
	}
	if m.net != nil {
		all = append(all, m.net.Close())
	}
	if m.lab != nil {
		all = append(all, m.lab.Close())
	}
	return errors.Join(all...)
}
