// Package pairs is measurements of servers in turns, ours and a peer, and the ratios between the two of each pair: what else the
// machine does changes slowly, and meets both.
package pairs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hither/bench/load"
)

// A Server is what is measured.
type Server struct {
	Name    string
	Process interface {
		PID() int
		Alive() error // nil while it runs
	}

	// Load puts the load of a case on it for so long.
	Load func(ctx context.Context, c string, d time.Duration) (load.Run, error)
}

// A Plan is what is measured, and how often.
type Plan struct {
	Ours  Server
	Peers []Server
	Cases []string
	Pairs int           // of each case and peer
	For   time.Duration // of each measurement

	// Step is called before each measurement; pair 0 is the warm-up. Optional.
	Step func(pair int, c, peer, server string)
}

// A Row is one measurement.
type Row struct {
	Case string
	Pair int    // from 1
	Peer string // of the pair
	Ours bool   // it is our server that was measured, else the peer
	load.Run
	PerAnswer time.Duration // the server's processor time; the kernel counts it in hundredths of a second
	Busy      float64       // share of its core that the server had
	Others    float64       // cores that neither server nor client had, but somebody
	RSS       int64         // the server's at the end, in bytes
}

// A Result is all rows of whole pairs.
type Result struct {
	Rows   []Row
	Failed map[string]error // by the name of a peer: why it was measured no more
}

// warmUp comes first for each server and case: by then it has the memory it works with.
const warmUp = time.Second

// Measure runs the plan. A peer that fails is out, and the others go on. The error is that of our server, or of ctx.
func (p Plan) Measure(ctx context.Context) (Result, error) {
	res := Result{Failed: make(map[string]error)}
	for _, c := range p.Cases {
		p.step(0, c, "", p.Ours.Name)
		if _, err := measure(ctx, &p.Ours, c, warmUp); err != nil {
			return res, err
		}
		for i := range p.Peers {
			peer := &p.Peers[i]
			if res.Failed[peer.Name] != nil {
				continue
			}
			p.step(0, c, peer.Name, peer.Name)
			switch _, err := measure(ctx, peer, c, warmUp); {
			case ctx.Err() != nil:
				return res, ctx.Err()
			case err != nil:
				res.Failed[peer.Name] = err
			}
		}
	}
	for pair := 1; pair <= p.Pairs; pair++ {
		for _, c := range p.Cases {
			for i := range p.Peers {
				if res.Failed[p.Peers[i].Name] != nil {
					continue
				}
				if err := p.pair(ctx, pair, c, &p.Peers[i], &res); err != nil {
					return res, err
				}
			}
		}
	}
	return res, ctx.Err()
}

// pair measures both servers, every other time ours first. Its error is not the peer's: that is noted in res.
func (p Plan) pair(ctx context.Context, n int, c string, peer *Server, res *Result) error {
	both := [2]*Server{&p.Ours, peer}
	if n%2 == 0 {
		both[0], both[1] = both[1], both[0]
	}
	var rows []Row
	for _, s := range both {
		p.step(n, c, peer.Name, s.Name)
		row, err := measure(ctx, s, c, p.For)
		switch {
		case err == nil:
		case s == peer && ctx.Err() == nil:
			res.Failed[peer.Name] = err
			return nil
		default:
			return err
		}
		row.Case, row.Pair, row.Peer, row.Ours = c, n, peer.Name, s == &p.Ours
		rows = append(rows, row)
	}
	res.Rows = append(res.Rows, rows...)
	return nil
}

func (p Plan) step(pair int, c, peer, server string) {
	if p.Step != nil {
		p.Step(pair, c, peer, server)
	}
}

// Steps is how often Step is called where no peer fails.
func (p Plan) Steps() int {
	return len(p.Cases) * (1 + len(p.Peers) + 2*p.Pairs*len(p.Peers))
}

// measure makes one measurement. A server that does not answer properly was not measured.
func measure(ctx context.Context, s *Server, c string, d time.Duration) (Row, error) {
	before, err := load.ReadUsage(s.Process.PID())
	if err != nil {
		return Row{}, blame(s, err)
	}
	machine, err := load.MachineCPU()
	if err != nil {
		return Row{}, err
	}
	began := time.Now()
	run, err := s.Load(ctx, c, d)
	if err != nil {
		return Row{}, blame(s, err)
	}
	took := time.Since(began)
	after, err1 := load.ReadUsage(s.Process.PID())
	machineAfter, err2 := load.MachineCPU()
	if err := errors.Join(s.Process.Alive(), err1, err2); err != nil {
		return Row{}, blame(s, err)
	}
	if run.Answered == 0 {
		return Row{}, fmt.Errorf("pairs: %s answered none of %d questions", s.Name, run.Sent)
	}
	for code, n := range run.Rcodes {
		if code != "NOERROR" {
			return Row{}, fmt.Errorf("pairs: %s answered %d questions with %s", s.Name, n, code)
		}
	}
	cpu := after.CPU - before.CPU
	return Row{
		Run: run, PerAnswer: cpu / time.Duration(run.Answered), Busy: cpu.Seconds() / max(run.Elapsed, time.Millisecond).Seconds(),
		Others: max((machineAfter-machine-cpu-run.CPU).Seconds()/took.Seconds(), 0), RSS: after.RSS,
	}, nil
}

// blame prefers how the server ended to what its client saw of that.
func blame(s *Server, err error) error {
	if dead := s.Process.Alive(); dead != nil {
		return dead
	}
	return fmt.Errorf("pairs: measure %s: %w", s.Name, err)
}
