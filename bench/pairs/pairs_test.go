package pairs

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

// A model is a server and its client in arithmetic. It stands for this process, whose usage can be read.
type model struct {
	name   string
	rate   float64
	dies   int    // at the call of this number; 0 = never
	rcode  string // of its answers; "" = NOERROR
	silent bool
	calls  int
	log    *[]string
}

func (*model) PID() int { return os.Getpid() }

func (m *model) Alive() error {
	if m.dies > 0 && m.calls >= m.dies {
		return fmt.Errorf("peers: %s ended while it was measured: out of memory", m.name)
	}
	return nil
}

func (m *model) server() Server {
	return Server{Name: m.name, Process: m, Load: func(ctx context.Context, c string, d time.Duration) (load.Run, error) {
		m.calls++
		*m.log = append(*m.log, m.name+" "+c)
		if m.Alive() != nil {
			return load.Run{}, errors.New("load: receive: connection refused")
		}
		n := int64(m.rate * d.Seconds())
		run := load.Run{Sent: n, Answered: n, InTime: n, Elapsed: d, Rcodes: map[string]int64{"NOERROR": n}}
		switch {
		case m.silent:
			run.Answered, run.InTime, run.Lost, run.Rcodes = 0, 0, n, nil
		case m.rcode != "":
			run.Rcodes = map[string]int64{"NOERROR": n - 2, m.rcode: 2}
		}
		return run, ctx.Err()
	}}
}

func plan(ours *model, peers ...*model) (Plan, *[]string) {
	log := new([]string)
	ours.log = log
	p := Plan{Ours: ours.server(), Cases: []string{"many", "one"}, Pairs: 3, For: 2 * time.Second}
	for _, m := range peers {
		m.log = log
		p.Peers = append(p.Peers, m.server())
	}
	return p, log
}

// TestTurns holds the plan to its order: ours and each peer side by side, and every other time ours first.
func TestTurns(t *testing.T) {
	p, log := plan(&model{name: "ours", rate: 1000}, &model{name: "a", rate: 500}, &model{name: "b", rate: 2000})
	steps := 0
	p.Step = func(int, string, string, string) { steps++ }
	res, err := p.Measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := "ours many, a many, b many, ours one, a one, b one" +
		", ours many, a many, ours many, b many, ours one, a one, ours one, b one" +
		", a many, ours many, b many, ours many, a one, ours one, b one, ours one" +
		", ours many, a many, ours many, b many, ours one, a one, ours one, b one"
	if got := strings.Join(*log, ", "); got != want {
		t.Errorf("measured\n%s, want\n%s", got, want)
	}
	if steps != p.Steps() || steps != len(*log) {
		t.Errorf("%d steps, said %d", steps, p.Steps())
	}
	rate := func(r Row) float64 { return r.Rate() }
	for peer, ratio := range map[string]float64{"a": 2, "b": 0.5} {
		if got := res.Ratios("one", peer, rate); !slices.Equal(got, []float64{ratio, ratio, ratio}) {
			t.Errorf("ratios to %s: %v", peer, got)
		}
	}
	if got := res.Figures("many", "", rate); len(got) != 6 || got[0] != 1000 {
		t.Errorf("ours in all pairs: %v", got)
	}
	if got := res.Figures("many", "b", rate); len(got) != 3 || got[0] != 2000 {
		t.Errorf("b: %v", got)
	}
	if got := res.Ratios("none", "a", rate); got != nil {
		t.Errorf("ratios of what was not measured: %v", got)
	}
}

// TestPeerFails has peers fail in each way; the others are measured to the end, and the pairs before stay.
func TestPeerFails(t *testing.T) {
	good := &model{name: "good", rate: 100}
	p, log := plan(&model{name: "ours", rate: 100}, good, &model{name: "dies", rate: 100, dies: 5},
		&model{name: "refuses", rate: 100, rcode: "REFUSED"}, &model{name: "silent", rate: 100, silent: true})
	res, err := p.Measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, why := range map[string]string{
		"dies": "dies ended while it was measured: out of memory", "refuses": "answered 2 questions with REFUSED", "silent": "answered none of 100",
	} {
		if err := res.Failed[name]; err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", name, err)
		}
	}
	rate := func(r Row) float64 { return r.Rate() }
	if good, dead := res.Ratios("many", "good", rate), res.Ratios("many", "dies", rate); len(good) != 3 || len(dead) != 1 || len(res.Failed) != 3 {
		t.Errorf("%v pairs of the good one, %v of the one that died in its second; failed: %v", good, dead, res.Failed)
	}
	asked := 0
	for _, line := range *log {
		if strings.HasPrefix(line, "silent") {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("a peer that is out was asked %d times", asked)
	}
}

// TestOursFails ends at once: there is nothing to compare with.
func TestOursFails(t *testing.T) {
	for _, dies := range []int{1, 4} {
		p, _ := plan(&model{name: "ours", rate: 100, dies: dies}, &model{name: "a", rate: 100})
		if _, err := p.Measure(t.Context()); err == nil || !strings.Contains(err.Error(), "ours ended") {
			t.Errorf("died at %d: %v", dies, err)
		}
	}
}

// TestStopped is no fault of any peer.
func TestStopped(t *testing.T) {
	for at := 1; at <= 6; at++ {
		ctx, cancel := context.WithCancel(t.Context())
		p, log := plan(&model{name: "ours", rate: 100}, &model{name: "a", rate: 100})
		p.Step = func(int, string, string, string) {
			if len(*log) == at {
				cancel()
			}
		}
		res, err := p.Measure(ctx)
		if !errors.Is(err, context.Canceled) || len(res.Failed) > 0 || len(*log) != at+1 {
			t.Errorf("stopped at %d: %v, failed %v, measured %v", at, err, res.Failed, *log)
		}
		cancel()
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want Spread
	}{
		{nil, Spread{}}, {[]float64{3}, Spread{3, 3, 3}}, {[]float64{4, 1, 2}, Spread{2, 1, 4}}, {[]float64{4, 1, 2, 3}, Spread{2.5, 1, 4}},
	} {
		if got := NewSpread(c.of); got != c.want {
			t.Errorf("%v: %+v", c.of, got)
		}
	}
}
