package upstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hither/origin/balance"
	"hither/origin/limit"
	"hither/origin/pool"
)

// ledger is what instances saw of each request, and what must hold of it.
type ledger struct {
	mu   sync.Mutex
	seen map[string]*entry
}

type entry struct {
	method   string
	content  int // bytes
	attempts int
	done     int // times that an application has worked on it
	wrong    []string
}

// instance is one that misbehaves by chance. A lie is a request that was worked on and is said not to have been.
func (l *ledger) instance(seed uint64, lies bool) func(int, *http.Request) (*http.Response, error) {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 1))
	draw := func(n int) int { mu.Lock(); defer mu.Unlock(); return r.IntN(n) }
	return func(_ int, req *http.Request) (*http.Response, error) {
		time.Sleep(time.Duration(draw(30)) * time.Millisecond) // the clock is the test's
		l.mu.Lock()
		e := l.seen[req.Header.Get("Id")]
		e.attempts++
		l.mu.Unlock()
		part := io.Reader(http.NoBody)
		if req.Body != nil {
			part = req.Body
		}
		works := func() {
			c, err := io.ReadAll(part)
			l.mu.Lock()
			defer l.mu.Unlock()
			if e.done++; err == nil && (len(c) != e.content || len(bytes.Trim(c, "x")) > 0) {
				e.wrong = append(e.wrong, fmt.Sprintf("an instance has got %d bytes of %d", len(c), e.content))
			}
		}
		switch n := draw(100); {
		case req.Context().Err() != nil:
			return fails(pool.KindCanceled, false)
		case n < 5:
			return fails(pool.KindRefused, true)
		case n < 10:
			io.CopyN(io.Discard, part, int64(draw(e.content+1)))
			if lies {
				part = bytes.NewReader(nil)
				l.mu.Lock()
				e.done++
				l.mu.Unlock()
			}
			return fails(pool.KindGoAway, true)
		case n < 15:
			return fails(pool.KindStreamRefused, true)
		case n < 20:
			works()
			return fails(pool.KindTerminated, false)
		case n < 23:
			works()
			return fails(pool.KindFirstByte, false)
		case n < 30:
			works()
			return answers(502, "")
		case n < 35:
			works()
			return answers(503, "", "Retry-After: 1")
		case n < 40:
			works()
			return answers(200, "")
		case n < 42:
			works()
			return cut(pool.KindTerminated, "con")(0, req)
		}
		works()
		return answers(200, "content")
	}
}

// check says what went wrong.
func (l *ledger) check(u *Upstream) (wrong []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sent := 0
	for id, e := range l.seen {
		wrong = append(wrong, e.wrong...)
		if e.done > 1 && (!idempotent(e.method) || e.content > 0) {
			wrong = append(wrong, fmt.Sprintf("%s %s with %d bytes was worked on %d times", e.method, id, e.content, e.done))
		}
		if most := 1 + 2 + 3; e.attempts > most { // each attempt may be hedged
			wrong = append(wrong, fmt.Sprintf("%s %s was sent %d times", e.method, id, e.attempts))
		}
		sent += e.attempts
	}
	s, retried := u.Status(), 0
	for _, n := range s.RetriesTotal {
		retried += int(n)
	}
	if want := int(s.RequestsTotal) + retried; sent != want {
		wrong = append(wrong, fmt.Sprintf("%d attempts were sent, and %d counted", sent, want))
	}
	if s.Limit.In != 0 || s.Limit.Waiting != 0 {
		wrong = append(wrong, fmt.Sprintf("%d places are taken", s.Limit.In))
	}
	return wrong
}

// play sends requests of all sorts, some of which are given up.
func play(t *testing.T, seed uint64, lies bool) (wrong []string) {
	l := &ledger{seen: map[string]*entry{}}
	a := answer{}
	for n, id := range []string{"a", "b", "c", "d"} {
		a[id] = l.instance(seed*10+uint64(n), lies)
	}
	r := rand.New(rand.NewPCG(seed, 0))
	u := over(t, a, func(cfg *Config) {
		cfg.Balance = balance.Config{Expect: balance.Expect{MinBytes: 1}, Seed: seed + 1, Eject: balance.Eject{Consecutive: 5, MaxPercent: 50, PanicPercent: 30}}
		cfg.Retry.Percent = 100
		cfg.Limit = &limit.Config{Concurrent: 1000}
		if seed%2 == 0 {
			cfg.Retry.Hedge = 20 * time.Millisecond
		}
	})
	var work sync.WaitGroup
	for n := range 200 {
		e := &entry{method: []string{"GET", "HEAD", "PUT", "DELETE", "POST", "PATCH"}[r.IntN(6)]}
		if e.method[0] == 'P' && r.IntN(3) > 0 {
			e.content = 1 + r.IntN(2*keep)
		}
		id := strconv.Itoa(n)
		l.mu.Lock()
		l.seen[id] = e
		l.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		if r.IntN(20) == 0 {
			ctx, cancel = context.WithTimeout(t.Context(), time.Duration(1+r.IntN(30))*time.Millisecond)
		}
		req := (&http.Request{Method: e.method, URL: &url.URL{Scheme: "https", Host: "www.hither.test", Path: "/"}, Header: http.Header{"Id": {id}}}).WithContext(ctx)
		if e.content > 0 {
			req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(bytes.Repeat([]byte("x"), e.content))), int64(e.content)
		}
		work.Go(func() {
			defer cancel()
			fetch(u, req)
		})
		time.Sleep(time.Millisecond)
	}
	work.Wait()
	time.Sleep(time.Second) // for those that have lost
	synctest.Wait()
	return l.check(u.Upstream)
}

// Whatever instances do, no request that may not be sent twice is worked on twice, all of its content arrives, and all that
// was sent is counted. A sender that lies is found out.
func TestModel(t *testing.T) {
	found := false
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			for _, w := range play(t, seed, false) {
				t.Errorf("seed %d: %s", seed, w)
			}
		})
		synctest.Test(t, func(t *testing.T) { found = len(play(t, seed, true)) > 0 || found })
	}
	if !found {
		t.Error("the checker finds no lie")
	}
}
