package upstream

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hither/origin/balance"
	"hither/origin/limit"
	"hither/origin/pool"
)

// after is an instance that takes its time, or is canceled in it. The clock is the test's.
func after(d time.Duration, then func(int, *http.Request) (*http.Response, error)) func(int, *http.Request) (*http.Response, error) {
	return func(n int, req *http.Request) (*http.Response, error) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return then(n, req)
		case <-req.Context().Done():
			return fails(pool.KindCanceled, false)
		}
	}
}

func TestHedge(t *testing.T) {
	slow, quick := 300*time.Millisecond, 10*time.Millisecond
	for _, c := range []struct {
		name   string
		method string
		a, b   func(int, *http.Request) (*http.Response, error)
		want   string
		took   time.Duration
		sent   string
	}{
		{"fast enough", "GET", after(quick, says(200, "a")), says(200, "b"), "200 a", quick, ""},
		{"the other is faster", "GET", after(slow, says(200, "a")), after(quick, says(200, "b")), "200 b", 110 * time.Millisecond, "hedge 1"},
		{"it hangs", "GET", after(time.Hour, says(200, "a")), after(quick, says(200, "b")), "200 b", 110 * time.Millisecond, "hedge 1"},
		{"it answers when it is canceled", "GET", func(_ int, req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return answers(500, "canceled")
		}, after(quick, says(200, "b")), "200 b", 110 * time.Millisecond, "hedge 1"},
		{"it is faster after all", "GET", after(slow, says(200, "a")), after(time.Hour, says(200, "b")), "200 a", slow, "hedge 1"},
		{"the other is bad", "GET", after(slow, says(200, "a")), after(quick, says(502, "b")), "200 a", slow, "hedge 1"},
		{"the other fails", "GET", after(slow, says(200, "a")), func(int, *http.Request) (*http.Response, error) {
			return fails(pool.KindRefused, true)
		}, "200 a", slow, "hedge 1"},
		{"both are bad", "GET", after(slow, says(502, "a")), says(503, "b", "Retry-After: 1"), "503 b", slow, "hedge 1"},
		{"not safe", "PUT", after(slow, says(200, "a")), says(200, "b"), "200 a", slow, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			u := over(t, answer{"a": c.a, "b": c.b}, func(cfg *Config) {
				cfg.Retry.Hedge = 100 * time.Millisecond
				cfg.Limit = &limit.Config{Concurrent: 10}
			})
			began := time.Now()
			got := said(fetch(u, request(t, c.method, "/", nil)))
			if took := time.Since(began); got != c.want || took != c.took {
				t.Errorf("%s: %s after %v, want %s after %v", c.name, got, took, c.want, c.took)
			}
			if got := retries(u.Upstream); got != c.sent {
				t.Errorf("%s: sent again %q, want %q", c.name, got, c.sent)
			}
			synctest.Wait()
			for _, f := range u.fakes {
				if n := f.under.Load(); n != 0 {
					t.Errorf("%s: %d requests at %s were not canceled", c.name, n, f.id)
				}
			}
			// Who was canceled has said nothing.
			judged := uint64(0)
			for _, i := range u.Status().Balance.Instances {
				judged += i.OutcomesTotal["good"] + i.OutcomesTotal["bad"]
			}
			if bad := strings.Contains(c.name, "bad") || strings.Contains(c.name, "fails"); judged != 1 && !bad || judged != 2 && bad {
				t.Errorf("%s: %d answers were judged", c.name, judged)
			}
		})
	}
}

// A hedge takes a free place or none, and what the budget has.
func TestHedgeIsBounded(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*Config)
		hedges  uint64
		refused uint64
	}{
		{"no place", func(cfg *Config) { cfg.Limit = &limit.Config{Concurrent: 1} }, 0, 0},
		{"the budget", func(cfg *Config) { cfg.Retry.Percent = 10 }, 10, 10},
		{"no budget", func(cfg *Config) { cfg.Retry.Percent = -1 }, 0, 20},
		{"alone", func(cfg *Config) { cfg.Instances = []Instance{instance("a")} }, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			u := over(t, answer{"a": after(time.Second/4, says(200, "")), "b": after(time.Second/4, says(200, ""))}, func(cfg *Config) {
				cfg.Retry.Hedge = 100 * time.Millisecond
				c.change(cfg)
			})
			for range 20 {
				get(t, u)
			}
			if s := u.Status(); s.RetriesTotal["hedge"] != c.hedges || s.RetriesRefusedTotal != c.refused {
				t.Errorf("%s: %d hedges and %d refused, want %d and %d", c.name, s.RetriesTotal["hedge"], s.RetriesRefusedTotal, c.hedges, c.refused)
			}
		})
	}
}

// Who tries an instance that was ejected waits for it: what another one answers faster would say nothing of it.
func TestTrialIsNotHedged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := true
		u := over(t, answer{"a": func(n int, req *http.Request) (*http.Response, error) {
			if bad {
				return answers(500, "")
			}
			return after(time.Second, says(200, "a"))(n, req)
		}, "b": says(200, "b")}, func(cfg *Config) {
			cfg.Retry.Hedge = 100 * time.Millisecond
			cfg.Balance.Eject = balance.Eject{Consecutive: 5, MaxPercent: 50}
		})
		for range 10 {
			get(t, u)
		}
		bad = false
		time.Sleep(15 * time.Second)
		if got := get(t, u); got != "200 a" || retries(u.Upstream) != "" {
			t.Errorf("%s, sent again: %s", got, retries(u.Upstream))
		}
	})
}
