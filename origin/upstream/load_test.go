package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hither/origin/balance"
)

// load asks from 64 clients at once until it is ended, and counts.
type load struct {
	t     *testing.T
	u     *Upstream
	ok    atomic.Int64
	cut   atomic.Int64 // in the middle of the content
	bad   sync.Map     // of words to *atomic.Int64
	ended atomic.Bool
	work  sync.WaitGroup
	every chan struct{} // gets one at each hundredth answer, if somebody waits
}

func under(t *testing.T, u *Upstream, request func(n int) *http.Request) *load {
	l := &load{t: t, u: u, every: make(chan struct{})}
	for c := range 64 {
		l.work.Go(func() {
			for n := c; !l.ended.Load(); n++ {
				status, c, err := fetch(u, request(n))
				if status != 0 && err != nil {
					l.cut.Add(1) // after its header: nobody can make up for that
					continue
				}
				if got := said(status, c, err); got == "200 content" {
					if l.ok.Add(1)%100 == 0 {
						select {
						case l.every <- struct{}{}:
						default:
						}
					}
				} else {
					n, _ := l.bad.LoadOrStore(got, new(atomic.Int64))
					n.(*atomic.Int64).Add(1)
				}
			}
		})
	}
	return l
}

// more waits for some hundred further good answers.
func (l *load) more(hundreds int) {
	l.t.Helper()
	timeout := time.After(limitOfTests)
	for range hundreds {
		select {
		case <-l.every:
		case <-timeout:
			l.t.Fatal("no more answers: ", l.ok.Load(), l.failed())
		}
	}
}

func (l *load) failed() (all []string) {
	l.bad.Range(func(word, n any) bool {
		all = append(all, fmt.Sprintf("%d x %s", n.(*atomic.Int64).Load(), word))
		return true
	})
	return all
}

// end ends it and says what failed.
func (l *load) end() {
	l.t.Helper()
	l.ended.Store(true)
	l.work.Wait()
	if bad := l.failed(); bad != nil {
		l.t.Errorf("%d answers were good, and not so: %v; sent again: %s, refused %d", l.ok.Load(), bad, retries(l.u), l.u.Status().RetriesRefusedTotal)
	} else {
		l.t.Logf("%d answers, all good, but for %d that were cut off; sent again: %s", l.ok.Load(), l.cut.Load(), retries(l.u))
	}
}

// content is an instance that takes a little time for "content".
func content(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	io.WriteString(w, "content")
}

func gets(t *testing.T) func(int) *http.Request {
	ctx, cancel := context.WithTimeout(t.Context(), 3*limitOfTests)
	t.Cleanup(cancel)
	return func(int) *http.Request {
		r, _ := http.NewRequestWithContext(ctx, "GET", "https://www.hither.test/", nil)
		return r
	}
}

// gives makes requests with and without content, every other one of which cannot be sent twice.
func gives(t *testing.T) func(int) *http.Request {
	ctx, cancel := context.WithTimeout(t.Context(), 3*limitOfTests)
	t.Cleanup(cancel)
	return func(n int) *http.Request {
		if n%2 == 0 {
			r, _ := http.NewRequestWithContext(ctx, "GET", "https://www.hither.test/", nil)
			return r
		}
		r, _ := http.NewRequestWithContext(ctx, "POST", "https://www.hither.test/", strings.NewReader("something"))
		r.GetBody = nil
		return r
	}
}

// An instance that is killed with requests under way, and comes back, costs no idempotent request.
func TestKilled(t *testing.T) {
	a, b, c, d := newServer(t, content), newServer(t, content), newServer(t, content), newServer(t, content)
	u := overPools(t, nil, a, b, c, d)
	l := under(t, u, gets(t))
	l.more(20)
	for _, s := range []*server{a, c} {
		s.kill()
		l.more(10)
		s.start()
		l.more(10)
	}
	l.end()
	if retries(u) == "" {
		t.Error("nothing was sent again: nobody was killed")
	}
}

// The same with each of two, in turns: a half is more than a share of the budget for as long as the other one takes all.
func TestKilledOfTwo(t *testing.T) {
	a, b := newServer(t, content), newServer(t, content)
	u := overPools(t, nil, a, b)
	l := under(t, u, gets(t))
	l.more(20)
	a.kill()
	l.more(20)
	l.end()
}

// A rolling restart costs nothing at all, of requests that cannot be sent twice either: the instances say GOAWAY.
func TestRollingRestart(t *testing.T) {
	all := []*server{newServer(t, content), newServer(t, content), newServer(t, content), newServer(t, content)}
	u := overPools(t, nil, all...)
	l := under(t, u, gives(t))
	for _, s := range all {
		l.more(5)
		s.stop()
		l.more(5)
		s.start()
	}
	l.end()
	if n := l.cut.Load(); n != 0 {
		t.Errorf("%d answers were cut off", n)
	}
}

// Over HTTP/1.1 there is no GOAWAY: connections end in between, and requests go elsewhere.
func TestPlainRestart(t *testing.T) {
	for _, end := range []func(*server){(*server).stop, (*server).kill} {
		var all []*server
		for range 4 {
			all = append(all, newServerOf(t, content, true))
		}
		if s, err := pools(all[0].instance()); err != nil {
			t.Fatal(err)
		} else {
			s.Close()
		}
		u := overPools(t, nil, all...)
		l := under(t, u, gets(t))
		for _, s := range all {
			l.more(5)
			end(s)
			l.more(5)
			s.start()
		}
		l.end()
	}
}

// Instances that join, leave, and change weight and group under load cost nothing.
func TestSetUnderLoad(t *testing.T) {
	a, b, c := newServer(t, content), newServer(t, content), newServer(t, content)
	u := overPools(t, func(cfg *Config) { cfg.Balance.Algorithm = "round-robin" }, a, b)
	l := under(t, u, gives(t))
	heavy, far, drained := a.instance(), b.instance(), c.instance()
	heavy.Weight, far.Group, drained.Weight = 5, 1, 0
	for range 5 {
		for _, list := range [][]Instance{
			{a.instance(), b.instance(), c.instance()}, {c.instance()}, {heavy, far, drained}, {drained, b.instance()}, {a.instance()},
		} {
			if err := u.Set(list); err != nil {
				t.Error(err)
			}
			l.more(1)
		}
	}
	l.end()
	if got := retries(u); got != "" {
		t.Errorf("nothing should have been sent again, but %s", got)
	}
}

// One that answers in no time with nothing, and one that fails in no time, do not win.
func TestFastFail(t *testing.T) {
	good := func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(5 * time.Millisecond)
		defer timer.Stop()
		<-timer.C
		content(w, r)
	}
	fails, empty := newServer(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }), newServer(t, func(http.ResponseWriter, *http.Request) {})
	u := overPools(t, func(cfg *Config) { cfg.Balance.Expect = balance.Expect{MinBytes: 1} }, newServer(t, good), newServer(t, good), fails, empty)
	l := under(t, u, gets(t))
	l.more(50)
	l.ended.Store(true)
	l.work.Wait()
	for _, i := range u.Status().Balance.Instances {
		if bad := i.ID == fails.addr || i.ID == empty.addr; bad && i.PicksTotal*20 > uint64(l.ok.Load()) {
			t.Errorf("%s is %s and had %d requests", i.ID, i.State, i.PicksTotal)
		}
	}
	t.Logf("%d good, else %v", l.ok.Load(), l.failed())
}

// Nor does one that closes each connection under its second request: that looks like an idle one that was closed meanwhile.
func TestFastClose(t *testing.T) {
	good := func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(5 * time.Millisecond)
		defer timer.Stop()
		<-timer.C
		content(w, r)
	}
	var conns sync.Map // by the client's address
	closes := newServerOf(t, func(w http.ResponseWriter, r *http.Request) {
		if _, second := conns.LoadOrStore(r.RemoteAddr, true); second {
			conns.Delete(r.RemoteAddr)
			panic(http.ErrAbortHandler)
		}
		good(w, r)
	}, true)
	u := overPools(t, nil, newServerOf(t, good, true), newServerOf(t, good, true), newServerOf(t, good, true), closes)
	l := under(t, u, gives(t))
	l.more(50)
	l.ended.Store(true)
	l.work.Wait()
	for _, i := range u.Status().Balance.Instances {
		if i.ID == closes.addr && i.PicksTotal*8 > uint64(l.ok.Load()) { // a half of a fair share
			t.Errorf("it is %s and had %d requests", i.State, i.PicksTotal)
		}
	}
	t.Logf("%d good, else %v; sent again: %s", l.ok.Load(), l.failed(), retries(u))
}
