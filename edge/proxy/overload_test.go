package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"testing"
	"time"

	"hither/cache"
)

// A crowded origin turns requests away while it is full, and notes which of them nobody waits for.
type crowded struct {
	http.RoundTripper
	after time.Duration

	mu   sync.Mutex
	full bool
	held chan struct{} // closed when one that is turned away may be told so; nil = at once
	came chan struct{} // gets one for each request that is turned away
	idle []bool        // of each request: nobody waits for it
}

type idleKey struct{}

func (c *crowded) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.idle = append(c.idle, r.Context().Value(idleKey{}) != nil)
	full, held := c.full, c.held
	c.mu.Unlock()
	if !full {
		return c.RoundTripper.RoundTrip(r)
	}
	if held != nil {
		httptrace.ContextClientTrace(r.Context()).Got1xxResponse(http.StatusEarlyHints, textproto.MIMEHeader{"Link": {"</x>"}})
		c.came <- struct{}{}
		<-held
	}
	return nil, noPlace(c.after)
}

// set lets requests in or turns them away, and returns which of those until now nobody waits for.
func (c *crowded) set(full bool) (idle []bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.full, idle, c.idle = full, c.idle, nil
	return idle
}

type noPlace time.Duration

func (noPlace) Error() string               { return "no place" }
func (noPlace) Status() int                 { return http.StatusServiceUnavailable }
func (noPlace) ProxyStatus() string         { return "connection_limit_reached" }
func (noPlace) Reason() string              { return "origin-overload" }
func (noPlace) Retryable() bool             { return true }
func (e noPlace) RetryAfter() time.Duration { return time.Duration(e) }

// crowd puts a crowded origin behind the house's site.
func crowd(h *house, after time.Duration) *crowded {
	c := &crowded{RoundTripper: h.site.Transport, after: after}
	h.site.Transport = c
	h.proxy.cfg.Background = func(ctx context.Context) context.Context { return context.WithValue(ctx, idleKey{}, true) }
	return c
}

func expectIdle(t *testing.T, c *crowded, full bool, want ...bool) {
	t.Helper()
	got := c.set(full)
	if len(got) != len(want) {
		t.Fatalf("%d requests went to the origin, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("request %d of %d: nobody waits for it: %v, want %v", i+1, len(got), got[i], want[i])
		}
	}
}

// What finds no place at the origin is 503 with Retry-After (RFC 9110 section 10.2.3), past the cache as well, in whole
// seconds and at least one.
func TestTurnedAway(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		c := crowd(h, 1500*time.Millisecond)
		h.origin("/a", says(200, "one", "Cache-Control", "max-age=60"))
		c.set(true)
		h.get("/a", 503, "503 Service Unavailable: the origin gave no answer\n").said(t, cache.Failed, "origin-overload").fields(t,
			"Retry-After", "2", "Proxy-Status", "fra; error=connection_limit_reached", "Cache-Status", "fra; fwd=uri-miss", "Cache-Control", "no-store")
		h.do("POST", "/a").said(t, cache.Failed, "origin-overload").fields(t, "Retry-After", "2")
		c.after = 0
		h.do("POST", "/a").said(t, cache.Failed, "origin-overload").fields(t, "Retry-After", "1")
		expectIdle(t, c, false, false, false, false)
		// Nothing of it is remembered.
		h.get("/a", 200, "one").said(t, cache.Miss, "").fields(t, "Retry-After", "-")
		// A fault that is none of the origin's capacity says nothing of when.
		h.origin("/broken", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		h.do("GET", "/broken").said(t, cache.Failed, "origin-error").fields(t, "Retry-After", "-")
	})
}

// A client for which something stale may stand in has it at once, and takes nobody's place at the origin.
func TestTurnedAwayStale(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		c := crowd(h, time.Second)
		h.origin("/a", says(200, "one", "Cache-Control", "max-age=60, stale-if-error=600"))
		h.origin("/b", says(200, "one", "Cache-Control", "max-age=60, stale-while-revalidate=600"))
		h.origin("/c", says(200, "one", "Cache-Control", "max-age=60", "Etag", `"1"`))
		for _, path := range []string{"/a", "/b", "/c"} {
			h.get(path, 200, "one")
		}
		expectIdle(t, c, true, false, false, false)
		h.clock.advance(61 * time.Second)
		h.get("/a", 200, "one").said(t, cache.Stale, "origin-overload").fields(t,
			"Age", "61", "Proxy-Status", "fra; error=connection_limit_reached", "Retry-After", "-", "Cache-Status", "fra; fwd=stale; ttl=-1; detail=origin-overload")
		expectIdle(t, c, true, true)
		h.get("/c", 503, "503 Service Unavailable: the origin gave no answer\n").said(t, cache.Failed, "origin-overload").fields(t, "Retry-After", "1")
		expectIdle(t, c, true, false)
		c.held, c.came = make(chan struct{}), make(chan struct{})
		h.get("/b", 200, "one").said(t, cache.Updating, "")
		<-c.came
		close(c.held)
		expectIdle(t, c, false, true)
		h.get("/a", 200, "one").said(t, cache.Expired, "")
	})
}

// A client that has nothing stale, and joined a request which would not wait for a place, asks again and may wait.
func TestTurnedAwayTogether(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		c := crowd(h, time.Second)
		h.site.HonourRequests = true
		h.origin("/a", says(200, "one", "Cache-Control", "max-age=60, stale-while-revalidate=600"))
		h.get("/a", 200, "one")
		expectIdle(t, c, true, false)
		h.clock.advance(61 * time.Second)
		c.held, c.came = make(chan struct{}), make(chan struct{})
		h.get("/a", 200, "one").said(t, cache.Updating, "")
		<-c.came
		// The hint of what is to come tells that the request waits for the same answer.
		joined, told := make(chan struct{}), make(chan answer)
		r := h.request("GET", "/a", nil, "Cache-Control", "no-cache")
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(int, textproto.MIMEHeader) error { close(joined); return nil },
		}))
		go func() {
			resp, err := h.client.Do(r)
			if err != nil {
				resp = new(http.Response)
			} else {
				resp.Body.Close()
			}
			told <- answer{Response: resp, err: err, record: h.over()}
		}()
		<-joined
		c.mu.Lock()
		c.full = false
		c.mu.Unlock()
		close(c.held)
		a := <-told
		if a.err != nil || a.StatusCode != 200 || a.record.verdict != cache.Expired {
			t.Errorf("%d, %v, %v; want the origin's answer", a.StatusCode, a.err, a.record.verdict)
		}
		expectIdle(t, c, false, true, false)
	})
}

// Without a mark nothing changes.
func TestTurnedAwayUnmarked(t *testing.T) {
	h := newHouse(t, "h2")
	c := crowd(h, time.Second)
	h.proxy.cfg.Background = nil
	h.origin("/a", says(200, "one", "Cache-Control", "max-age=60, stale-if-error=600"))
	h.get("/a", 200, "one")
	h.clock.advance(61 * time.Second)
	c.set(true)
	h.get("/a", 200, "one").said(t, cache.Stale, "origin-overload")
	expectIdle(t, c, false, false)
	if err := errors.Unwrap(unhurried{noPlace(1)}); err != noPlace(1) {
		t.Errorf("what is below: %v", err)
	}
}
