package cache_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hither/cache"
	"hither/cache/store"
)

// Everything at once: whoever reads gets a whole body of the right path and variant or an
// error, and in the end nothing is left.
func TestStorm(t *testing.T) {
	t.Run("table", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { testStorm(t, newTable(64<<10)) })
	})
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m, err := store.NewMemory(512 << 10)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			testStorm(t, m)
		})
	})
}

func testStorm(t *testing.T, s cache.Store) {
	clk := new(clock)
	c := cache.New(cache.Config{Store: s, Now: clk.now, Filling: 256 << 10})
	var served, asked, open atomic.Int64
	const workers, rounds = 16, 100
	var wg sync.WaitGroup
	for i := range workers {
		rnd := rand.New(rand.NewPCG(1, uint64(i)))
		wg.Go(func() {
			for range rounds {
				path, accept := fmt.Sprintf("/%d", rnd.IntN(8)), fmt.Sprint(rnd.IntN(2))
				seed := rnd.Uint64()
				ctx, cancel := context.WithCancel(t.Context())
				req := http.Header{"Accept": {accept}}
				switch rnd.IntN(12) {
				case 0:
					c.Invalidate(key(path))
				case 1:
					clk.advance(time.Second)
				}
				look := c.Look(key(path), req, clk.now())
				want := cache.Want{Look: look, Request: req, Solo: rnd.IntN(10) == 0, Fetch: func(context.Context, http.Header, func(int, http.Header)) (*http.Response, error) {
					asked.Add(1)
					return stormy(rand.New(rand.NewPCG(2, seed)), path, accept, &open)
				}}
				if r := c.Join(ctx, want); r != nil {
					leave := rnd.IntN(4) == 0
					if leave {
						cancel()
					}
					if storm(ctx, t, r, path, accept) {
						served.Add(1)
					}
					r.Close()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	synctest.Wait() // fills without readers come to their end by themselves
	if !c.Idle() || open.Load() != 0 {
		t.Errorf("idle %v, %d bytes held, %d bodies left open", c.Idle(), c.Held(), open.Load())
	}
	if served.Load() == 0 || asked.Load() == 0 {
		t.Errorf("served %d, asked %d", served.Load(), asked.Load())
	}
}

// stormy is an origin in a bad mood. Its bodies say for whom they are.
func stormy(rnd *rand.Rand, path, accept string, open *atomic.Int64) (*http.Response, error) {
	if rnd.IntN(10) == 0 {
		return nil, errReset
	}
	text := path + " " + accept + "\n"
	n := rnd.IntN(16 << 10)
	if rnd.IntN(4) == 0 {
		n += 80 << 10
	}
	body := &stormyBody{left: []byte(strings.Repeat(text, n/len(text))), rnd: rnd, open: open}
	open.Add(1)
	resp := &http.Response{StatusCode: 200, ContentLength: int64(len(body.left)), Header: http.Header{"Cache-Control": {"max-age=1"}, "Vary": {"Accept"}}, Body: body}
	switch rnd.IntN(6) {
	case 0:
		resp.ContentLength = -1
	case 1:
		resp.Header.Set("Cache-Control", "private")
	case 2:
		body.cut = true
	}
	return resp, nil
}

type stormyBody struct {
	left []byte
	cut  bool
	rnd  *rand.Rand
	open *atomic.Int64
}

func (b *stormyBody) Read(p []byte) (int, error) {
	switch {
	case len(b.left) > 0:
		n := copy(p, b.left[:min(len(b.left), 1+b.rnd.IntN(32<<10))])
		b.left = b.left[n:]
		return n, nil
	case b.cut:
		return 0, errReset
	}
	return 0, io.EOF
}

func (b *stormyBody) Close() error { b.open.Add(-1); return nil }

// storm reads a fill to its end and reports whether it got a whole answer.
func storm(ctx context.Context, t *testing.T, r *cache.Reader, path, accept string) bool {
	h, err := r.Head(ctx, nil)
	if err != nil {
		return false
	}
	check := func(body []byte) bool {
		text := path + " " + accept + "\n"
		if string(body) != strings.Repeat(text, len(body)/len(text)) {
			t.Errorf("%d bytes, not a whole answer for %q", len(body), text)
			return false
		}
		return true
	}
	switch h.State {
	case cache.Alone:
		if h.Response == nil {
			return false
		}
		body, err := io.ReadAll(h.Response.Body)
		return err == nil && check(body)
	case cache.Streaming:
		var body []byte
		for {
			p, err := r.Next(ctx, -1)
			body = append(body, p...)
			if err == io.EOF {
				return check(body)
			}
			if err != nil {
				return false
			}
		}
	}
	return false
}
