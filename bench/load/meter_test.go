package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestStopped gives what was measured until then.
func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	var n atomic.Int64
	l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 20 {
			cancel(enough)
		}
		page(w)
	})
	l.For = time.Hour
	for _, rate := range []float64{0, 1000} {
		n.Store(0)
		l.Rate = rate
		run, err := l.Load(ctx)
		if rate == 0 && (!errors.Is(err, enough) || run == nil || run.Answered < 10 || run.Elapsed >= time.Hour) {
			t.Errorf("%+v, %v", run, err)
		}
		if rate > 0 && !errors.Is(err, enough) {
			t.Errorf("stopped before it began: %v", err)
		}
	}
}

// TestServerProcessEnds tells so, and stops.
func TestServerProcessEnds(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 20 {
			cmd.Process.Kill()
			cmd.Wait()
		}
		page(w)
	})
	l.For, l.PIDs = time.Hour, []int{cmd.Process.Pid}
	run, err := l.Load(t.Context())
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("of process %d: no process of that number runs any more: it ended under load", cmd.Process.Pid)) ||
		run == nil || run.Answered < 10 || run.Server.RSSAfter != 0 || run.Server.CPU != 0 {
		t.Errorf("%+v, %v", run, err)
	}
}

// TestProgress has a report for each second that has passed, by a clock that the test turns.
func TestProgress(t *testing.T) {
	l := HTTPLoad{WarmUp: 2 * time.Second, For: 3 * time.Second}
	loop := &httpLoop{HTTPLoad: &l, from: l.WarmUp}
	var got []HTTPProgress
	l.Progress = func(p HTTPProgress) { got = append(got, p) }
	loop.sheets[0].ends = 1000 // before it began
	report := (&meter{loop: loop}).tell(100 * time.Millisecond)
	var want []HTTPProgress
	for tick := 1; tick <= 45; tick++ {
		now := time.Duration(tick+1) * 100 * time.Millisecond
		s := &loop.sheets[tick%len(loop.sheets)]
		s.ends += 20
		if now >= loop.from {
			s.answered += 19
			s.errors = map[ErrorKind]int64{ErrStatus: s.errors[ErrStatus] + 1}
		}
		if err := report(now); err != nil {
			t.Fatal(err)
		}
		if tick%10 == 0 {
			measured := max(int64(tick)-18, 0) // ticks, the first at 2 s
			want = append(want, HTTPProgress{Since: now, WarmUp: now < 2*time.Second, Rate: 200, Answered: 19 * measured, Errors: measured})
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("told %+v, want %+v", got, want)
	}
}

// TestProgressOfALoad is told of one that runs, in its warm-up and behind that.
func TestProgressOfALoad(t *testing.T) {
	l := serve(t, func(w http.ResponseWriter, r *http.Request) { page(w) })
	for _, warm := range []bool{true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		l.For, l.WarmUp = time.Hour, 0
		if warm {
			l.WarmUp = time.Hour
		}
		l.Progress = func(p HTTPProgress) {
			if p.WarmUp != warm || warm && p.Answered != 0 || p.Errors != 0 || p.Since < time.Second {
				t.Errorf("warm-up %t: told %+v", warm, p)
			}
			if warm || p.Answered > 0 && p.Rate > 0 {
				cancel()
			}
		}
		if _, err := l.Load(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}
