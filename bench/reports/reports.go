// Package reports measures what being one of a fleet costs an edge under full load: its processor time for a request with a hub to which it
// reports, and without one, in turns.
package reports

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"sync"
	"time"

	"hither/bench/load"
	"hither/bench/peers"
	"hither/bench/upstream"
)

// A Case is a load.
type Case struct {
	Name string
	load load.HTTPLoad
}

// networks is from how many prefixes clients come where that counts: as many as one message of round trips holds.
const networks = 1000

// Cases lists them all. In each the edge's core is full.
func Cases() []Case {
	return []Case{
		{"hits", load.HTTPLoad{Protocol: "h2", Connections: 8, Streams: 8, Networks: networks}},
		{"handshakes", load.HTTPLoad{Protocol: "h1", Connections: 32, NewConnections: true, Networks: networks}},
	}
}

// Options say what to measure.
type Options struct {
	Pairs int           // of each case
	For   time.Duration // of each measurement: reports come every two seconds
	Idle  time.Duration // for how long both are watched before that, with nothing to do but to report

	// Profile is for how long the edge that reports is profiled at the end under each load. Of 100 samples a second a
	// hundredth has to be told.
	Profile time.Duration

	// Step is told what is done next; there are Steps of them. nil = nobody wants to know.
	Step func(what string)
}

// Steps is how often Step is called.
func (o Options) Steps() int { return 1 + (o.Pairs+1)*len(Cases()) }

// Both are the two edges, each alone on the same core when it is its turn.
type Both struct {
	Reports, Alone *peers.WebServer
	Roots          *x509.CertPool
}

// A Pair is what both spent on a request, one after the other.
type Pair struct {
	Reports, Alone Spent
}

// Spent is one measurement.
type Spent struct {
	CPU      time.Duration // of the edge, for an answer
	Answered int64
	Busy     float64 // share of its core that it had
}

// warmUp comes before each measurement; the edge fetches its objects in it, and makes the connections that stay.
const warmUp = time.Second

// Measure measures both edges in turns: every other time the one that reports goes first.
func Measure(ctx context.Context, o Options, b Both) (*Result, error) {
	r := &Result{Options: o, Pairs: make(map[string][]Pair), Shares: make(map[string]Share)}
	if o.Step != nil {
		o.Step("nothing to do")
	}
	var err error
	if r.Idle, err = idle(ctx, o.Idle, b); err != nil {
		return nil, err
	}
	for n := range o.Pairs {
		for _, c := range Cases() {
			if o.Step != nil {
				o.Step(fmt.Sprintf("%s, pair %d of %d", c.Name, n+1, o.Pairs))
			}
			var p Pair
			turns := []struct {
				s  *peers.WebServer
				to *Spent
			}{{b.Reports, &p.Reports}, {b.Alone, &p.Alone}}
			if n%2 == 1 {
				turns[0], turns[1] = turns[1], turns[0]
			}
			for _, t := range turns {
				var err error
				if *t.to, err = measure(ctx, c, t.s, b.Roots, o.For); err != nil {
					return nil, err
				}
			}
			r.Pairs[c.Name] = append(r.Pairs[c.Name], p)
		}
	}
	for _, c := range Cases() {
		if o.Step != nil {
			o.Step(c.Name + ", a profile")
		}
		if r.Shares[c.Name], err = shareOf(ctx, c, b, o.Profile); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// shareOf profiles the edge that reports for d, with a load on it that begins before and lasts longer.
func shareOf(ctx context.Context, c Case, b Both, d time.Duration) (share Share, err error) {
	var wrong error
	var both sync.WaitGroup
	both.Go(func() {
		select {
		case <-time.After(2 * warmUp):
			share, wrong = profiled(ctx, b.Reports, d)
		case <-ctx.Done():
		}
	})
	_, err = measure(ctx, c, b.Reports, b.Roots, d+3*warmUp)
	both.Wait()
	if err == nil {
		err = wrong
	}
	return share, err
}

// idle watches both at the same time.
func idle(ctx context.Context, d time.Duration, b Both) (out Idle, err error) {
	var before, after [2]load.Tree
	read := func(to *[2]load.Tree) {
		for i, s := range []*peers.WebServer{b.Reports, b.Alone} {
			if err == nil {
				to[i], err = load.ReadTrees(s.PIDs())
			}
		}
	}
	start := time.Now()
	read(&before)
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return out, context.Cause(ctx)
	}
	read(&after)
	took := time.Since(start).Seconds()
	if err != nil {
		return out, fmt.Errorf("reports: watch the edges: %w", err)
	}
	return Idle{(after[0].CPU - before[0].CPU).Seconds() / took, (after[1].CPU - before[1].CPU).Seconds() / took}, nil
}

// measure puts the load on one.
func measure(ctx context.Context, c Case, s *peers.WebServer, roots *x509.CertPool, d time.Duration) (Spent, error) {
	l := c.load
	l.To, l.TLS, l.For, l.WarmUp, l.PIDs = s.Addr, &tls.Config{RootCAs: roots}, d, warmUp, s.PIDs()
	size := upstream.Sizes()[0]
	for i := range 100 {
		u, err := url.Parse("https://" + peers.WebAuthority + size.Path(i, true))
		if err != nil {
			return Spent{}, err
		}
		l.URLs = append(l.URLs, u)
	}
	run, err := l.Load(ctx)
	switch {
	case err != nil:
		return Spent{}, fmt.Errorf("reports: %s: %w", c.Name, err)
	case run.Failed() > 0:
		return Spent{}, fmt.Errorf("reports: %s: %d of %d requests failed: %w", c.Name, run.Failed(), run.Requests, run.First)
	case run.Server.CPU == 0:
		return Spent{}, fmt.Errorf("reports: %s: the edge ended", c.Name)
	}
	return Spent{run.PerRequest(run.Server.CPU), run.InTime, run.Server.CPU.Seconds() / run.Elapsed.Seconds()}, nil
}
