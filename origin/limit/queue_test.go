package limit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// visitor is one request as its client sees it.
type visitor struct {
	from   time.Time
	waited time.Duration
	pass   *Pass
	err    error
	done   chan struct{}
}

// come sends a request that stays for hold once it is in; negative = for ever.
func come(ctx context.Context, l *Limiter, hold time.Duration) *visitor {
	v := &visitor{from: time.Now(), done: make(chan struct{})}
	go func() {
		v.pass, v.err = l.Enter(ctx, Foreground)
		v.waited = time.Since(v.from)
		if v.pass != nil && hold >= 0 {
			time.AfterFunc(hold, func() { v.pass.Leave(Sample{FirstByte: hold, Good: true}) })
		}
		close(v.done)
	}()
	synctest.Wait()
	return v
}

func (v *visitor) refusal() *Refusal {
	var r *Refusal
	errors.As(v.err, &r)
	return r
}

func settled(v *visitor) bool {
	select {
	case <-v.done:
		return true
	default:
		return false
	}
}

func TestQueueFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Concurrent: 1, Waiting: 10})
		var order []*visitor
		for range 6 {
			order = append(order, come(t.Context(), l, 2*time.Millisecond))
		}
		for i, v := range order {
			<-v.done
			if v.err != nil || v.waited != time.Duration(i)*2*time.Millisecond {
				t.Errorf("request %d waited %v, error %v", i, v.waited, v.err)
			}
		}
	})
}

// Twice as many come as can be served: every place is used, who is served was served soon, who is refused was told soon,
// two clients get the same, and all is as before when it is over.
func TestQueueOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Concurrent: 10, Waiting: 100})
		const hold = 100 * time.Millisecond // so 100 requests a second
		r := rand.New(rand.NewPCG(1, 2))
		around := func(mean time.Duration) time.Duration { return time.Duration(r.Float64() * 2 * float64(mean)) }
		clients := [2][]*visitor{}
		begun := time.Now()
		for i := 0; time.Since(begun) < 30*time.Second; i++ {
			clients[i%2] = append(clients[i%2], come(t.Context(), l, around(hold)))
			time.Sleep(around(5 * time.Millisecond))
		}
		var served [2]int
		var waits, refusals []time.Duration
		for c := range clients {
			for _, v := range clients[c] {
				<-v.done
				if v.from.Sub(begun) < 2*time.Second {
					continue
				}
				if v.err == nil {
					served[c]++
					waits = append(waits, v.waited)
				} else if v.refusal() == nil {
					t.Fatal(v.err)
				} else {
					refusals = append(refusals, v.waited)
				}
			}
		}
		slices.Sort(waits)
		slices.Sort(refusals)
		if n := served[0] + served[1]; n < 2700 {
			t.Errorf("%d served in 28 s, of 2,800 that were possible", n)
		}
		if p99 := waits[len(waits)*99/100]; p99 > 50*time.Millisecond {
			t.Errorf("one of a hundred that were served waited more than %v", p99)
		}
		if p99 := refusals[len(refusals)*99/100]; p99 > 150*time.Millisecond {
			t.Errorf("one of a hundred that were refused was told after %v", p99)
		}
		if a, b := served[0], served[1]; max(a, b)*10 > min(a, b)*11 {
			t.Errorf("two clients that ask the same got %d and %d", a, b)
		}
		t.Logf("served %v, waits %v, refusals %v, %v", served, waits[len(waits)-1], refusals[len(refusals)-1], l.Status())

		time.Sleep(time.Second)
		for range 100 {
			v := come(t.Context(), l, hold)
			if <-v.done; v.err != nil || v.waited != 0 {
				t.Fatalf("after the overload: %v after %v", v.err, v.waited)
			}
			time.Sleep(20 * time.Millisecond)
		}
		if l.Status().Standing {
			t.Error("the queue still stands")
		}
	})
}

// A burst that drains is no overload: all are served, in their order.
func TestQueueBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Concurrent: 10, Waiting: 100})
		for range 20 {
			var all []*visitor
			for range 40 {
				all = append(all, come(t.Context(), l, 10*time.Millisecond))
			}
			last := time.Duration(0)
			for _, v := range all {
				if <-v.done; v.err != nil || v.waited < last {
					t.Fatalf("of a burst: %v after %v, the one before waited %v", v.err, v.waited, last)
				}
				last = v.waited
			}
			time.Sleep(200 * time.Millisecond)
		}
	})
}

// Old ones are refused for the sake of fresh ones, so where none is fresh they get what is free.
func TestQueueOldOnesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Concurrent: 1, Waiting: 10})
		come(t.Context(), l, 10*time.Millisecond)
		time.Sleep(10 * time.Millisecond)
		come(t.Context(), l, 500*time.Millisecond)
		a, b := come(t.Context(), l, time.Millisecond), come(t.Context(), l, time.Millisecond)
		<-a.done
		<-b.done
		if a.err != nil || b.err != nil {
			t.Errorf("nobody else came, and those who waited got %v and %v", a.err, b.err)
		}
	})
}

func TestQueueBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Concurrent: 1, Waiting: 2, Wait: 700 * time.Millisecond})
		come(t.Context(), l, -1)
		a, b := come(t.Context(), l, 0), come(t.Context(), l, 0)
		c := come(t.Context(), l, 0)
		if !settled(a) || a.refusal() == nil || a.refusal().Why != "full" {
			t.Errorf("the queue is full and one more came: the oldest got %v", a.err)
		}
		if settled(b) || settled(c) {
			t.Error("the others do not wait")
		}
		<-b.done
		<-c.done
		for _, v := range []*visitor{b, c} {
			if v.waited != 700*time.Millisecond || v.refusal() == nil || v.refusal().Why != "late" {
				t.Errorf("nothing moved: waited %v, got %v", v.waited, v.err)
			}
		}
		time.Sleep(time.Millisecond)
		if d := come(t.Context(), l, 0); !settled(d) || d.waited != 0 || d.refusal() == nil || d.refusal().Why != "late" {
			t.Errorf("nothing moved for as long as it may wait, and one who comes now waited %v, got %v", d.waited, d.err)
		}
		wide := New(Config{Concurrent: 3, Waiting: 10})
		for range 3 {
			come(t.Context(), wide, -1)
		}
		time.Sleep(2*time.Second + 1)
		if v := come(t.Context(), wide, 0); !settled(v) || v.refusal() == nil || v.refusal().Why != "late" {
			t.Errorf("three hang for more than anybody may wait, and one who comes now got %v", v.err)
		}
		want := map[string]uint64{"full": 1, "late": 3, "background": 0}
		if s := l.Status(); fmt.Sprint(s.RefusedTotal) != fmt.Sprint(want) || s.Waiting != 0 || s.In != 1 {
			t.Errorf("status %+v, want refusals %v", s, want)
		}
		if none := New(Config{Concurrent: 1}); come(t.Context(), none, -1).err != nil || come(t.Context(), none, 0).refusal().Why != "full" {
			t.Error("without places to wait in somebody waited")
		}
	})
}

func TestQueueDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Concurrent: 1, Waiting: 10})
		cause := errors.New("client went away")
		ended, end := context.WithCancelCause(t.Context())
		end(cause)
		if _, err := l.Enter(ended, Foreground); !errors.Is(err, cause) {
			t.Errorf("context that ended: %v", err)
		}
		come(t.Context(), l, 400*time.Millisecond) // hold is known from here
		time.Sleep(400 * time.Millisecond)
		come(t.Context(), l, -1)
		short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if v := come(short, l, 0); !settled(v) || v.refusal() == nil || v.refusal().Why != "late" {
			t.Errorf("a place is free after 400 ms as a rule, the deadline is in 300: got %v", v.err)
		}
		long, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		v := come(long, l, 0)
		if <-v.done; v.waited != time.Second {
			t.Errorf("waited %v with a deadline of 1s", v.waited)
		}
		gone, leave := context.WithCancelCause(t.Context())
		l = New(Config{Concurrent: 1, Waiting: 10})
		first := come(t.Context(), l, -1)
		v = come(gone, l, 0)
		leave(cause)
		if <-v.done; !errors.Is(v.err, cause) || l.Status().Waiting != 0 {
			t.Errorf("client that went away: %v, %d wait", v.err, l.Status().Waiting)
		}
		first.pass.Leave(Sample{})
		first.pass.Leave(Sample{})
		if in := l.Status().In; in != 0 {
			t.Errorf("%d in after one left twice", in)
		}
	})
}

// Who goes away at the moment in which it is let in leaves no place taken.
func TestQueueGoneWhenLetIn(t *testing.T) {
	l := New(Config{Concurrent: 1, Waiting: 1})
	first, err := l.Enter(t.Context(), Foreground)
	if err != nil {
		t.Fatal(err)
	}
	w, err := l.enter(t.Context(), Foreground)
	if err != nil {
		t.Fatal(err)
	}
	first.Leave(Sample{})
	l.leave(w, nil) // what Enter does when it sees the context's end first
	if in := l.Status().In; in != 0 {
		t.Errorf("%d in, though everybody left", in)
	}
}

func TestQueueBackgroundNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Concurrent: 2, Waiting: 10})
		p, err := l.Enter(t.Context(), Background)
		if err != nil {
			t.Fatal(err)
		}
		come(t.Context(), l, -1)
		waits := come(t.Context(), l, 0)
		begun := time.Now()
		_, err = l.Enter(t.Context(), Background)
		var r *Refusal
		if !errors.As(err, &r) || r.Why != "background" || time.Since(begun) != 0 {
			t.Errorf("no place free: %v after %v", err, time.Since(begun))
		}
		p.Leave(Sample{})
		if synctest.Wait(); !settled(waits) || waits.err != nil {
			t.Error("who waits did not get the place that was left")
		}
	})
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Concurrent: 2, Waiting: 10, Wait: time.Minute})
		l.hold = 2 * time.Second
		come(t.Context(), l, -1)
		come(t.Context(), l, -1)
		for range 10 {
			come(t.Context(), l, -1)
		}
		seen := map[time.Duration]bool{}
		for range 200 {
			l.mu.Lock()
			after := l.refuse(full).After
			l.mu.Unlock()
			seen[after] = true
			if after < 10*time.Second || after > 20*time.Second || after%time.Second != 0 {
				t.Fatalf("ten wait, two places are held for two seconds each: Retry-After %v, want 10 to 20", after)
			}
		}
		if len(seen) < 8 {
			t.Errorf("only %d different ones of 11", len(seen))
		}
		l.hold = time.Hour
		l.mu.Lock()
		defer l.mu.Unlock()
		if r := l.refuse(late); r.After > time.Minute || r.After < 30*time.Second {
			t.Errorf("Retry-After %v", r.After)
		}
		if r := l.refuse(late); r.Status() != 503 || r.ProxyStatus() != "connection_limit_reached" || r.Reason() != "origin-overload" || !r.Retryable() || r.RetryAfter() != r.After {
			t.Errorf("refusal %+v", r)
		}
		for l.queue.len() > 0 {
			l.refuseOldest(late)
		}
	})
}

func TestChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Concurrent: 1, Waiting: 10})
		come(t.Context(), l, -1)
		var all []*visitor
		for range 6 {
			all = append(all, come(t.Context(), l, -1))
		}
		l.Change(Config{Concurrent: 3, Waiting: 2})
		synctest.Wait()
		got := ""
		for _, v := range all {
			switch {
			case !settled(v):
				got += "waits "
			case v.err == nil:
				got += "in "
			default:
				got += v.refusal().Why + " "
			}
		}
		if want := "in in full full waits waits "; got != want {
			t.Errorf("two more places and two that may wait: %s, want %s", got, want)
		}
		l.Change(Config{Waiting: 2})
		synctest.Wait()
		if s := l.Status(); !s.Adaptive || s.Limit != 8 || s.In != 5 || s.Waiting != 0 {
			t.Errorf("adaptive from three on: %+v", s)
		}
	})
}

// Whatever comes in whatever order: never more in than the limit when one is let in, everybody is answered within its
// time, and nothing is left at the end.
func TestLimiterProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := Config{
			Concurrent: rapid.IntRange(1, 5).Draw(rt, "concurrent"),
			Waiting:    rapid.IntRange(0, 6).Draw(rt, "waiting"),
			Wait:       time.Duration(rapid.IntRange(1, 300).Draw(rt, "wait")) * time.Millisecond,
		}
		type move struct{ pause, hold, deadline int }
		moves := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) move {
			return move{rapid.IntRange(0, 60).Draw(rt, "pause"), rapid.IntRange(0, 400).Draw(rt, "hold"), rapid.IntRange(-1, 500).Draw(rt, "deadline")}
		}), 1, 60).Draw(rt, "requests")
		wrong := ""
		synctest.Test(t, func(t *testing.T) {
			l := New(cfg)
			var all []*visitor
			for i, m := range moves {
				time.Sleep(time.Duration(m.pause) * time.Millisecond)
				ctx := t.Context()
				most := cfg.Wait
				if m.deadline >= 0 {
					c, cancel := context.WithTimeout(ctx, time.Duration(m.deadline)*time.Millisecond)
					defer cancel()
					ctx, most = c, min(most, time.Duration(m.deadline)*time.Millisecond)
				}
				v := come(ctx, l, time.Duration(m.hold)*time.Millisecond)
				all = append(all, v)
				if s := l.Status(); s.In > cfg.Concurrent || s.Waiting > cfg.Waiting || s.Waiting > 0 && s.In < cfg.Concurrent {
					wrong = fmt.Sprintf("after request %d: %+v", i, s)
				}
				go func() {
					if <-v.done; v.waited > most {
						wrong = fmt.Sprintf("request %d waited %v of at most %v", i, v.waited, most)
					}
				}()
			}
			time.Sleep(time.Minute)
			var let, refused uint64
			for i, v := range all {
				switch {
				case !settled(v):
					wrong = fmt.Sprintf("request %d is not answered", i)
				case v.err == nil:
					let++
				case v.refusal() != nil:
					refused++
				}
			}
			s := l.Status()
			if sum := s.RefusedTotal["full"] + s.RefusedTotal["late"]; s.In != 0 || s.Waiting != 0 || sum < refused {
				wrong = fmt.Sprintf("at the end: %+v, %d let in, %d refused", s, let, refused)
			}
		})
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}
