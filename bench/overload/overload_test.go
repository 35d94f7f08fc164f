package overload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"hither/bench/load"
)

// A model is a server and its clients in arithmetic: it answers up to a rate, and keeps so much of that when it is asked for more.
type model struct {
	capacity, kept float64
	client         float64 // the most that its clients send
	closed         float64 // what a closed loop gets
	batches        float64 // by how much more it answers at the most, the more wait for it
	dies           int     // at the call of this number; 0 = never
	calls          int
	asked          []string
}

func (*model) PID() int { return os.Getpid() }

func (m *model) Alive() error {
	if m.dies > 0 && m.calls >= m.dies {
		return errors.New("peers: model ended while it was measured")
	}
	return nil
}

func (m *model) run(kind string) client {
	return func(_ context.Context, rate float64, d time.Duration) (load.Run, error) {
		m.calls++
		m.asked = append(m.asked, fmt.Sprintf("%s %.0f", kind, rate))
		if m.Alive() != nil {
			return load.Run{}, errors.New("load: receive: connection refused")
		}
		offered := min(rate, m.client)
		if rate == 0 {
			offered = m.closed
		}
		answered := offered
		if offered > m.capacity {
			answered = min(m.capacity+0.2*(offered-m.capacity), m.capacity*(1+m.batches))
			if offered > 1.4*m.capacity {
				answered *= m.kept
			}
		}
		n := int64(answered * d.Seconds())
		return load.Run{
			Client: kind, Asked: rate, Sent: int64(offered * d.Seconds()), Answered: n, InTime: n, Lost: int64(offered*d.Seconds()) - n, Elapsed: d,
			Rcodes: map[string]int64{"NOERROR": n},
		}, nil
	}
}

func (m *model) plan() Plan {
	return Plan{Server: m, Rounds: 2, For: 3 * time.Second, Clients: Clients{
		Closed: m.run("closed"), Open: m.run("open"), Drops: func() (int64, error) { return 0, nil },
	}}
}

func TestMeasure(t *testing.T) {
	m := &model{capacity: 100_000, kept: 0.95, client: 1e6, closed: 80_000}
	p := m.plan()
	var steps []string
	p.Step = func(round int, what string) { steps = append(steps, fmt.Sprint(round, " ", what)) }
	r, err := p.Measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) != p.Steps() {
		t.Errorf("%d steps told of, of %d: %q", len(steps), p.Steps(), steps)
	}
	for _, round := range r.Rounds {
		if round.Best != 100_000 || !round.Saturated {
			t.Errorf("a server that answers 100000 a second: found %+v", round)
		}
	}
	if want := []string{"closed 90000", "open 90000", "open 150000"}; !slices.Equal(m.asked[len(m.asked)-3:], want) {
		t.Errorf("asked at the end %q, want %q", m.asked, want)
	}
	for _, v := range r.Verdicts() {
		if strings.Contains(v.Claim, "memory") {
			continue // of this test's own process
		}
		if !v.Holds {
			t.Errorf("does not hold: %+v", v)
		}
	}
}

// TestBatches measures a server that answers more the deeper the overload, up to a quarter: what it can do is found before 1.5 x
// is asked, which must not find more.
func TestBatches(t *testing.T) {
	m := &model{capacity: 100_000, kept: 1, client: 1e6, closed: 80_000, batches: 0.25}
	r, err := m.plan().Measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, round := range r.Rounds {
		if round.Best < 125_000*0.99 || !round.Saturated {
			t.Errorf("a server that answers 125000 a second at its best: found %+v", round)
		}
	}
}

// TestCollapse measures a server that does worse the more it is asked, and one that its clients cannot fill.
func TestCollapse(t *testing.T) {
	for _, c := range []struct {
		name   string
		server model
		broken string
		why    string
	}{
		{"collapse", model{capacity: 100_000, kept: 0.5, client: 1e6, closed: 80_000}, "at 1.5 x", ""},
		{"slow clients", model{capacity: 100_000, kept: 1, client: 90_000, closed: 80_000}, "at 1.5 x", "no client could ask for more"},
		{"clients that reach 1.4", model{capacity: 100_000, kept: 1, client: 140_000, closed: 80_000}, "at 1.5 x", "the client sent 140000 a second of 150000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := c.server.plan().Measure(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range r.Verdicts() {
				if strings.Contains(v.Claim, c.broken) && (v.Holds || !strings.Contains(v.Why, c.why)) {
					t.Errorf("%+v; must not hold because %q", v, c.why)
				}
			}
		})
	}
}

func TestServerDies(t *testing.T) {
	for _, at := range []int{1, 2, 4, 9} {
		m := &model{capacity: 100_000, kept: 1, client: 1e6, closed: 80_000, dies: at}
		if _, err := m.plan().Measure(t.Context()); err == nil || !strings.Contains(err.Error(), "ended while it was measured") {
			t.Errorf("server ends at call %d: error %v", at, err)
		}
		if m.calls != at {
			t.Errorf("server ended at call %d, and %d were made", at, m.calls)
		}
	}
}
