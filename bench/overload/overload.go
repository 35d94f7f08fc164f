// Package overload finds the rate at which a DNS server saturates, and measures what it does a little below and far above
// that rate.
package overload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hither/bench/load"
)

// A Server is what is measured.
type Server interface {
	PID() int
	Alive() error // nil while it runs
}

// A client sends so many questions a second; 0 is as many as are answered.
type client = func(ctx context.Context, rate float64, d time.Duration) (load.Run, error)

// Clients put load on the server. Drops is how many questions the server's sockets had no room for so far.
type Clients struct {
	Closed client // waits for answers, so many at once
	Open   client // asks whatever comes back; its rate is never 0
	Drops  func() (int64, error)
}

// A Plan is what is measured, and how often.
type Plan struct {
	Server  Server
	Clients Clients
	Rounds  int
	For     time.Duration // of each measurement; of the steps of the search a third of it

	// Step is called before each measurement, and before the whole search; round 0 is the warm-up. Optional.
	Step func(round int, what string)
}

// The phases of a round, in order.
const (
	PhaseClosed = "closed loop"
	PhaseSearch = "search"
	PhaseBelow  = "0.9 x saturation"
	PhaseAbove  = "1.5 x saturation"
)

// Rates as parts of the one where the server saturates, which is the highest rate at which it answered in the round.
const (
	below = 0.9
	above = 1.5
)

// The search begins below what a closed loop got and goes up by steps, until the server is full for sure: answers stay so far
// behind questions, twice in a row, as one step may have met a moment when others had the machine. A client that cannot send as asked, and no more than at the step before, ends it as well.
const (
	searchFrom = 0.7
	searchStep = 1.15
	searchEnd  = 5.0
	full       = 0.9
	asAsked    = 0.97
	better     = 1.05
	grows      = 1.01 // less is noise
)

// A Row is one measurement.
type Row struct {
	Round int
	Phase string
	load.Run
	Server Account
}

// An Account is what the kernel says of the server and of the machine during a run.
type Account struct {
	PerAnswer time.Duration // the server's processor time per answer
	Busy      float64       // share of its core that the server had while it was asked
	Others    float64       // cores that neither server nor client had, but somebody, until the client ended
	Dropped   int64         // questions that its sockets had no room for
	RSSBefore int64         // bytes
	RSSMost   int64         // bytes, seen ten times a second
}

// A Result is all rows, with what each round found.
type Result struct {
	Rows   []Row
	Rounds []Round
}

// A Round is what one round found. Rates are per second.
type Round struct {
	Best      float64 // the highest at which it answered
	Saturated bool    // answers fell behind questions; if not, the clients could not ask for more than it answers
}

// warmUp comes before the first round: by then the server has the memory it works with.
const warmUp = 2 * time.Second

// Measure runs the plan. Its error is one of the clients, or tells that the server is no more.
func (p Plan) Measure(ctx context.Context) (Result, error) {
	var res Result
	p.step(0, "warm-up")
	if _, err := p.row(ctx, 0, "warm-up", p.Clients.Closed, 0, warmUp); err != nil {
		return res, err
	}
	for round := 1; round <= p.Rounds; round++ {
		if err := p.round(ctx, round, &res); err != nil {
			return res, err
		}
	}
	return res, nil
}

func (p Plan) round(ctx context.Context, round int, res *Result) error {
	best := 0.0
	measure := func(phase string, c client, rate float64, d time.Duration) (Row, error) {
		row, err := p.row(ctx, round, phase, c, rate, d)
		if err == nil {
			res.Rows = append(res.Rows, row)
		}
		return row, err
	}
	p.step(round, PhaseClosed)
	closed, err := measure(PhaseClosed, p.Clients.Closed, 0, p.For)
	if err != nil {
		return err
	}
	best = closed.Rate()
	p.step(round, PhaseSearch)
	inFull, sent := 0, 0.0
	for part := searchFrom; part <= searchEnd && inFull < 2; part *= searchStep {
		row, err := measure(PhaseSearch, p.Clients.Open, part*closed.Rate(), max(p.For/3, time.Second))
		if err != nil {
			return err
		}
		// A server that takes questions in batches answers more the more wait for it: it is not full while that grows.
		if inFull++; row.Rate() >= full*row.Offered() || row.Rate() > best*grows {
			inFull = 0
		}
		best = max(best, row.Rate())
		if !offeredAsAsked(row) && row.Offered() < sent*better {
			break
		}
		sent = row.Offered()
	}
	res.Rounds = append(res.Rounds, Round{Best: best, Saturated: inFull == 2})
	for _, m := range []struct {
		phase, with string
		client      client
		part        float64
	}{
		{PhaseBelow, "waiting for answers", p.Clients.Closed, below},
		{PhaseBelow, "whatever comes back", p.Clients.Open, below},
		{PhaseAbove, "whatever comes back", p.Clients.Open, above},
	} {
		p.step(round, m.phase+", "+m.with)
		if _, err := measure(m.phase, m.client, m.part*best, p.For); err != nil {
			return err
		}
	}
	return nil
}

func (p Plan) step(round int, what string) {
	if p.Step != nil {
		p.Step(round, what)
	}
}

// Steps is how often Step is called.
func (p Plan) Steps() int { return 1 + p.Rounds*5 }

// row makes one measurement.
func (p Plan) row(ctx context.Context, round int, phase string, c client, rate float64, d time.Duration) (Row, error) {
	drops, err := p.Clients.Drops()
	if err != nil {
		return Row{}, p.blame(err)
	}
	before, err := load.ReadUsage(p.Server.PID())
	if err != nil {
		return Row{}, p.blame(err)
	}
	machine, err := load.MachineCPU()
	if err != nil {
		return Row{}, err
	}
	began := time.Now()
	most := watch(p.Server.PID())
	run, err := c(ctx, rate, d)
	peak := most()
	if err != nil {
		return Row{}, p.blame(err)
	}
	took := time.Since(began)
	after, err1 := load.ReadUsage(p.Server.PID())
	machineAfter, err2 := load.MachineCPU()
	dropsAfter, err3 := p.Clients.Drops()
	if err := errors.Join(p.Server.Alive(), err1, err2, err3); err != nil {
		return Row{}, p.blame(err)
	}
	cpu := after.CPU - before.CPU
	row := Row{Round: round, Phase: phase, Run: run, Server: Account{
		Busy: cpu.Seconds() / max(run.Elapsed, time.Millisecond).Seconds(), Others: max((machineAfter-machine-cpu-run.CPU).Seconds()/took.Seconds(), 0),
		Dropped: dropsAfter - drops, RSSBefore: before.RSS, RSSMost: max(peak, after.RSS),
	}}
	if run.Answered > 0 {
		row.Server.PerAnswer = cpu / time.Duration(run.Answered)
	}
	return row, nil
}

// blame prefers how the server ended to what its client saw of that.
func (p Plan) blame(err error) error {
	if dead := p.Server.Alive(); dead != nil {
		return dead
	}
	return fmt.Errorf("overload: %w", err)
}

// watch looks at a process's memory until the function it returns is called, which tells the most it saw.
func watch(pid int) func() int64 {
	stop, most := make(chan struct{}), make(chan int64, 1)
	go func() {
		look := time.NewTicker(100 * time.Millisecond)
		defer look.Stop()
		var seen int64
		for {
			select {
			case <-look.C:
				if u, err := load.ReadUsage(pid); err == nil {
					seen = max(seen, u.RSS)
				}
			case <-stop:
				most <- seen
				return
			}
		}
	}()
	return func() int64 { close(stop); return <-most }
}
