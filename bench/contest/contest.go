// Package contest is ours and a peer's web server in turns under the same load, and what each of them spent on it.
package contest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"hither/bench/load"
	"hither/bench/peers"
	"hither/bench/upstream"
)

// An Entrant is a server that can be started again and again.
type Entrant struct {
	Name          string
	HTTP3, Stores bool
	Start         func(context.Context) (*peers.WebServer, error)
}

// A Contest is between two servers. In each pair of runs both do the same one right after the other, so that what else the
// machine does is the same for both; who begins alternates.
type Contest struct {
	Ours, Peer Entrant
	Upstream   *peers.WebServer
	Clients    *Clients
	Cases      []Case // those that do not suit the peer are left out
	Pairs      int
	For        time.Duration // of each run
	Idle       int           // connections
	Settle     time.Duration // that they are left alone before memory is read

	// Step is called before each case. Optional.
	Step func(Case)

	objects *upstream.Objects
	http    *http.Client
	ours    *peers.WebServer
	peer    *peers.WebServer
	warm    map[string]bool // by server and size
	nonce   int             // of the last load: no two ask for the same misses
}

// A Row is what came of a case. Ours and Peer have as many runs, in pairs.
type Row struct {
	Case       Case
	Ours, Peer []Run
	Err        error // why there are no runs, or no more: it names the server
}

// IdlePairs is how many pairs of idle servers are measured at most: each run starts a server anew, and memory varies less than time.
const IdlePairs = 3

// Suited lists the cases that are measured.
func (c *Contest) Suited() (suited []Case) {
	for _, one := range c.Cases {
		if one.Suits(c.Ours.HTTP3 && c.Peer.HTTP3, c.Ours.Stores && c.Peer.Stores) {
			suited = append(suited, one)
		}
	}
	return suited
}

// Measure measures all cases. A case that is not what it says, or in which a server dies, has an error in its row, and the rest goes
// on. The error is of a server that does not start, a [StartError], or of the upstream; rows until then are returned with it.
func (c *Contest) Measure(ctx context.Context) (rows []Row, err error) {
	c.objects, c.http, c.warm = upstream.NewObjects(), &http.Client{Transport: &http.Transport{}}, make(map[string]bool)
	defer c.http.CloseIdleConnections()
	stop := func() {
		var both sync.WaitGroup
		for _, s := range []*peers.WebServer{c.ours, c.peer} {
			if s != nil {
				both.Go(s.Stop)
			}
		}
		both.Wait()
		c.ours, c.peer = nil, nil
		clear(c.warm)
	}
	defer stop()
	for _, one := range c.Suited() {
		if c.Step != nil {
			c.Step(one)
		}
		if one.Kind == Idle {
			stop() // its servers have the core to themselves
		} else if c.ours == nil {
			if err := c.start(ctx); err != nil {
				return rows, err
			}
		}
		row := Row{Case: one}
		row.Err = c.row(ctx, &row)
		if ctx.Err() != nil {
			return rows, context.Cause(ctx)
		}
		if dead := c.dead(row.Err != nil); dead != nil {
			row.Err = dead
			stop() // both are started anew for the next
		}
		rows = append(rows, row)
		if dead := c.Upstream.Alive(); dead != nil {
			return rows, dead
		}
	}
	return rows, nil
}

// start starts both servers at once: nothing is measured yet.
func (c *Contest) start(ctx context.Context) error {
	var ours, peer error
	var both sync.WaitGroup
	both.Go(func() { c.ours, ours = c.Ours.Start(ctx) })
	both.Go(func() { c.peer, peer = c.Peer.Start(ctx) })
	both.Wait()
	if ours != nil {
		c.ours = nil
		return &StartError{c.Ours.Name, ours}
	}
	if peer != nil {
		c.peer = nil
		return &StartError{c.Peer.Name, peer}
	}
	return nil
}

// dead says which of the servers has died, after something failed or nothing did.
func (c *Contest) dead(failed bool) error {
	for _, s := range []*peers.WebServer{c.ours, c.peer, c.Upstream} {
		if s == nil {
			continue
		}
		look := s.Alive
		if failed {
			look = s.Dead
		}
		if err := look(); err != nil {
			return err
		}
	}
	return nil
}

// A StartError is of a server that does not start.
type StartError struct {
	Server string
	Err    error
}

func (e *StartError) Error() string { return e.Err.Error() }

// Unwrap is the cause.
func (e *StartError) Unwrap() error { return e.Err }

// row makes the runs of a case.
func (c *Contest) row(ctx context.Context, row *Row) error {
	one, pairs := row.Case, c.Pairs
	if one.Kind == Idle {
		pairs = min(pairs, IdlePairs)
	} else {
		for _, s := range []*peers.WebServer{c.ours, c.peer} {
			if err := c.prepare(ctx, s, one); err != nil {
				return err
			}
		}
	}
	for i := range pairs {
		var ours, peer Run
		var err error
		runOurs := func() { ours, err = c.run(ctx, c.Ours, c.ours, one) }
		runPeer := func() { peer, err = c.run(ctx, c.Peer, c.peer, one) }
		first, second := runOurs, runPeer
		if i%2 == 1 {
			first, second = second, first
		}
		if first(); err == nil {
			second()
		}
		if err != nil {
			return err
		}
		row.Ours, row.Peer = append(row.Ours, ours), append(row.Peer, peer)
	}
	return nil
}

// prepare has a server store what it is to serve, and finds out whether it does what the case says.
func (c *Contest) prepare(ctx context.Context, s *peers.WebServer, one Case) error {
	if key := s.Name + " " + one.Size.Name; one.stored() && !c.warm[key] {
		if err := c.fill(ctx, s, one.Size); err != nil {
			return fmt.Errorf("contest: fill %s with objects of %s: %w", s.Name, one.Size.Name, err)
		}
		c.warm[key] = true
	}
	if err := c.check(ctx, s, one); err != nil {
		return fmt.Errorf("contest: %s is not ready for %v: %w", s.Name, one, err)
	}
	return nil
}

// run is one of a pair.
func (c *Contest) run(ctx context.Context, e Entrant, s *peers.WebServer, one Case) (Run, error) {
	c.nonce++
	var run Run
	var err error
	if one.Kind == Idle {
		run, err = c.idle(ctx, e, one)
	} else {
		run, err = c.load(ctx, s, one)
	}
	if err != nil {
		return run, fmt.Errorf("contest: %s, %v: %w", e.Name, one, err)
	}
	return run, nil
}

// A Run is what a server spent in one.
type Run struct {
	PerRequest time.Duration // the server's processor time, all its processes together
	Helper     time.Duration // the same of what it needs beside it, and is not measured as its own
	Rate       float64       // answers a second
	P50        time.Duration // of answers, as the client saw them; 0 is not measured
	P99, P999  time.Duration
	RSS        int64 // bytes, at the end
	Answered   int64 // requests
	Asked      int64 // by the server at its upstream
	Failed     int64

	PerConnection int64   // bytes of RSS that each idle connection added; 0 is not measured
	Busy          float64 // share of its core that the server had
	Others        float64 // cores that neither the server, nor the client, nor what stands behind had
}

// A usage is what all that takes part has been accounted.
type usage struct {
	server, helper, behind time.Duration
	self, machine          time.Duration
	rss                    int64
}

func (c *Contest) usage(s *peers.WebServer) (u usage, err error) {
	sum := func(pids []int) (cpu time.Duration, rss int64) {
		for _, pid := range pids {
			tree, wrong := load.ReadTree(pid)
			err = errors.Join(err, wrong)
			cpu, rss = cpu+tree.CPU, rss+tree.RSS
		}
		return cpu, rss
	}
	u.server, u.rss = sum(s.PIDs())
	u.helper, _ = sum(s.HelperPIDs())
	u.behind, _ = sum(c.Upstream.HelperPIDs())
	machine, wrong := load.MachineCPU()
	u.machine, u.self = machine, load.SelfCPU()
	return u, errors.Join(err, wrong)
}
