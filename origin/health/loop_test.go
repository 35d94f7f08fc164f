package health

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// clinic is a checker whose probes are answered by the test.
type clinic struct {
	*Checker
	mu      sync.Mutex
	errors  map[string]error
	alive   map[string]bool
	takes   time.Duration
	at      map[string][]time.Time
	now     int // probes under way
	most    int
	reports []string
}

var errRefused = errors.New("refused")

func newClinic(t *testing.T, check Check) *clinic {
	t.Helper()
	k := &clinic{errors: map[string]error{}, alive: map[string]bool{}, at: map[string][]time.Time{}}
	c, err := New(check, Options{
		Report: func(id string, up bool, why string) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.reports = append(k.reports, strings.TrimSpace(fmt.Sprint(id, " ", up, " ", why)))
		},
		Alive: func(id string) bool { k.mu.Lock(); defer k.mu.Unlock(); return k.alive[id] },
	})
	if err != nil {
		t.Fatal(err)
	}
	k.Checker = c
	c.probe = func(ctx context.Context, in *instance) error {
		k.mu.Lock()
		k.at[in.ID] = append(k.at[in.ID], time.Now())
		k.now++
		k.most = max(k.most, k.now)
		err, takes := k.errors[in.ID], k.takes
		k.mu.Unlock()
		defer func() { k.mu.Lock(); k.now--; k.mu.Unlock() }()
		if errors.Is(err, context.DeadlineExceeded) {
			<-ctx.Done()
			return ctx.Err()
		}
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return ctx.Err()
		}
		return err
	}
	return k
}

func (k *clinic) set(id string, err error) { k.mu.Lock(); defer k.mu.Unlock(); k.errors[id] = err }

func (k *clinic) got() string {
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	s := strings.Join(k.reports, "; ")
	k.reports = nil
	return s
}

func (k *clinic) probes(id string) []time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.at[id])
}

func targets(ids ...string) (all []Target) {
	for _, id := range ids {
		all = append(all, Target{ID: id, URL: &url.URL{Scheme: "http", Host: id}})
	}
	return all
}

func TestHysteresis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newClinic(t, Check{})
		k.Set(targets("a", "b"))
		go k.Run(t.Context())
		if time.Sleep(time.Minute); k.got() != "" {
			t.Error("a report though all passed")
		}
		for range 20 { // two of three failures in a row
			k.set("a", errRefused)
			for n := len(k.probes("a")); len(k.probes("a")) < n+2; {
				time.Sleep(100 * time.Millisecond)
			}
			k.set("a", nil)
			time.Sleep(12 * time.Second)
		}
		if g := k.got(); g != "" {
			t.Errorf("two failures in a row reported %q", g)
		}
		k.set("a", errRefused)
		if time.Sleep(5500*time.Millisecond + 2*1100*time.Millisecond + 1); k.got() != "a false refused" {
			t.Error("not down after an interval and two short ones")
		}
		n := len(k.probes("a"))
		time.Sleep(time.Minute)
		if n = len(k.probes("a")) - n; n < 10 || n > 14 {
			t.Errorf("%d checks in a minute of an instance that is down, want one in 5 s", n)
		}
		if s := k.Status(); s[0].Up || s[0].Why != "refused" || !s[1].Up || s[1].PassTotal < 40 {
			t.Errorf("status %+v", s)
		}
		k.set("a", nil)
		if time.Sleep(5500*time.Millisecond + 1100*time.Millisecond + 1); k.got() != "a true" {
			t.Error("not up after an interval and a short one")
		}
		if s := k.Status()[0]; !s.Up || s.Why != "" {
			t.Errorf("status %+v", s)
		}
		// A pass and a failure in turn change nothing when it is down.
		k.set("a", errRefused)
		time.Sleep(20 * time.Second)
		k.got()
		for range 40 {
			n := len(k.probes("a"))
			k.set("a", nil)
			for len(k.probes("a")) == n {
				time.Sleep(10 * time.Millisecond)
			}
			k.set("a", errRefused)
			for len(k.probes("a")) == n+1 {
				time.Sleep(10 * time.Millisecond)
			}
		}
		if g := k.got(); g != "" {
			t.Errorf("a pass and a failure in turn reported %q", g)
		}
	})
}

// A slow instance whose requests are answered is not down because checks queue behind them; one that answers nothing is.
func TestSlowIsNotDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newClinic(t, Check{})
		k.set("a", context.DeadlineExceeded)
		k.alive["a"] = true
		k.Set(targets("a"))
		go k.Run(t.Context())
		time.Sleep(5 * time.Minute)
		if g := k.got(); g != "" {
			t.Errorf("requests are answered, checks time out: reported %q", g)
		}
		if s := k.Status()[0]; s.ExcusedTotal < 30 || s.ExcusedTotal != s.TimeoutTotal || s.ExcusedTotal > 60 {
			t.Errorf("status %+v", s)
		}
		k.set("a", errRefused) // that is how an instance says that it will leave
		time.Sleep(12 * time.Second)
		if g := k.got(); g != "a false refused" {
			t.Errorf("requests are answered, checks fail: reported %q", g)
		}
		k.set("a", nil)
		time.Sleep(12 * time.Second)
		k.mu.Lock()
		k.alive["a"] = false
		k.errors["a"] = context.DeadlineExceeded
		k.reports = nil
		k.mu.Unlock()
		time.Sleep(20 * time.Second)
		if g := k.got(); g != "a false timeout" {
			t.Errorf("nothing is answered: reported %q", g)
		}
	})
}

// Checks of many, started together, are spread over the interval, are few at once, and one at a time for each.
func TestSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var checkers []*clinic
		begun := time.Now()
		var seconds [15]int
		for range 200 { // nodes with one instance each
			k := newClinic(t, Check{})
			k.Set(targets("a"))
			go k.Run(t.Context())
			checkers = append(checkers, k)
		}
		time.Sleep(15 * time.Second)
		for _, k := range checkers {
			for _, at := range k.probes("a") {
				if s := int(at.Sub(begun).Seconds()); s < len(seconds) {
					seconds[s]++
				}
			}
		}
		if lo, hi := slices.Min(seconds[:]), slices.Max(seconds[:]); lo < 15 || hi > 75 {
			t.Errorf("checks of 200 nodes by the second: %v, want about 40 in each", seconds)
		}

		k := newClinic(t, Check{Timeout: 3 * time.Second})
		var ids []string
		for i := range 100 {
			ids = append(ids, fmt.Sprint(i))
		}
		k.takes = 2 * time.Second
		k.Set(targets(ids...))
		go k.Run(t.Context())
		time.Sleep(2 * time.Minute)
		k.mu.Lock()
		most := k.most
		k.mu.Unlock()
		if most != together {
			t.Errorf("%d checks at once, want %d", most, together)
		}
		for _, id := range ids {
			if at := k.probes(id); len(at) < 5 {
				t.Errorf("instance %s was asked %d times in two minutes", id, len(at))
			}
		}
		if g := k.got(); g != "" {
			t.Errorf("waiting for a place counted as a failure: %q", g)
		}
	})
}

func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newClinic(t, Check{})
		k.set("a", errRefused)
		k.set("b", errRefused)
		k.Set(targets("a", "b", "c"))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { k.Run(ctx); close(ended) }()
		time.Sleep(20 * time.Second)
		k.got()
		k.Set(append(targets("a", "d"), Target{ID: "b", URL: &url.URL{Scheme: "http", Host: "elsewhere"}}))
		n := len(k.probes("c"))
		k.set("a", nil)
		k.set("c", errRefused)
		time.Sleep(30 * time.Second)
		if g := k.got(); g != "a true" {
			t.Errorf("one came back and one that is gone fails: %q", g)
		}
		if m := len(k.probes("c")); m != n {
			t.Errorf("one that is gone was asked %d times", m-n)
		}
		if len(k.probes("d")) < 4 {
			t.Error("one that is new was not asked")
		}
		if s := k.Status(); len(s) != 3 || s[1].ID != "b" || s[1].Up || s[1].FailTotal < 8 {
			t.Errorf("one that moved lost what was known of it: %+v", s)
		}
		stop()
		<-ended
		n = len(k.probes("d"))
		k.Set(targets("d", "e"))
		if time.Sleep(time.Minute); len(k.probes("d")) != n || len(k.probes("e")) != 0 {
			t.Error("asked after the end")
		}
	})
}

// A check that ended while its instance was taken away reports nothing.
func TestGoneIsNotReported(t *testing.T) {
	k := newClinic(t, Check{Fall: 1})
	k.Set(targets("a"))
	in := k.instances["a"]
	k.Set(nil)
	k.judge(in, errRefused)
	if len(k.reports) != 0 {
		t.Errorf("reported %q", k.reports)
	}
}

// Whatever results come, up changes exactly after Fall failures or Rise passes in a row.
func TestHysteresisProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		check := Check{Fall: rapid.IntRange(1, 4).Draw(rt, "fall"), Rise: rapid.IntRange(1, 4).Draw(rt, "rise")}
		c, err := New(check, Options{Alive: func(string) bool { return true }})
		if err != nil {
			rt.Fatal(err)
		}
		c.Set(targets("a"))
		in := c.instances["a"]
		var row []bool // results that count
		up := true
		for _, kind := range rapid.SliceOf(rapid.IntRange(0, 2)).Draw(rt, "results") {
			c.judge(in, []error{nil, errRefused, context.DeadlineExceeded}[kind])
			if kind < 2 {
				row = append(row, kind == 0)
			}
			last := func(n int, pass bool) bool {
				return len(row) >= n && !slices.Contains(row[len(row)-n:], !pass)
			}
			if up && last(check.Fall, false) {
				up = false
			} else if !up && last(check.Rise, true) {
				up = true
			}
			if in.status.Up != up {
				rt.Fatalf("after %v up is %v", row, in.status.Up)
			}
		}
	})
}

func TestNewChecks(t *testing.T) {
	for _, c := range []struct {
		check Check
		want  string
	}{
		{Check{Type: "icmp"}, "none of"},
		{Check{Path: "health"}, "no path"},
		{Check{Path: "/%zz"}, "no path"},
		{Check{Status: 100}, "no final response"},
		{Check{Interval: time.Second, Timeout: 2 * time.Second}, "not within"},
		{Check{Fall: -1}, "not both positive"},
	} {
		if _, err := New(c.check, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.check, err, c.want)
		}
	}
	c, err := New(Check{Interval: time.Second}, Options{})
	if err != nil || c.check.Timeout != time.Second || c.check.Fall != 3 || c.check.Rise != 2 || c.check.Path != "/" {
		t.Errorf("defaults %+v, %v", c.check, err)
	}
}
