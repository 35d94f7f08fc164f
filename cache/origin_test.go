package cache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hither/cache"
	"hither/cache/store"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// A clock stands still until it is told to go on.
type clock struct{ nanos atomic.Int64 }

func (c *clock) now() time.Time          { return noon.Add(time.Duration(c.nanos.Load())) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

// A table is the smallest Store: a map.
type table struct {
	max int64

	mu sync.Mutex
	m  map[cache.Key]*cache.Object
}

func newTable(max int64) *table { return &table{max: max, m: make(map[cache.Key]*cache.Object)} }

func (s *table) Get(k cache.Key) *cache.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.m[k]; o != nil && !o.Dead() {
		return o
	}
	return nil
}

func (s *table) Put(o *cache.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.m[o.Key]; old != nil && old != o {
		old.Kill()
		defer old.Drop()
		delete(s.m, o.Key)
	}
	if o.Size() <= s.max && o.Keep() {
		s.m[o.Key] = o
	}
}

func (s *table) Delete(k cache.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.m[k]
	if o == nil {
		return false
	}
	o.Kill()
	delete(s.m, k)
	o.Drop()
	return true
}

func (s *table) Each(yield func(*cache.Object) bool) {
	s.mu.Lock()
	list := slices.Collect(maps.Values(s.m))
	s.mu.Unlock()
	for _, o := range list {
		if !o.Dead() && !yield(o) {
			return
		}
	}
}

func (s *table) MaxObject() int64 { return s.max }

// eachStore runs a test over a map and over the real memory store.
func eachStore(t *testing.T, test func(t *testing.T, s cache.Store)) {
	t.Run("table", func(t *testing.T) { test(t, newTable(8<<20)) })
	t.Run("memory", func(t *testing.T) {
		m, err := store.NewMemory(64 << 20)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		test(t, m)
	})
}

// An origin is a Fetch whose every answer the test gives.
type origin struct {
	t     *testing.T
	now   func() time.Time
	asked atomic.Int64
	calls chan *call
}

func newOrigin(t *testing.T, now func() time.Time) *origin {
	return &origin{t: t, now: now, calls: make(chan *call, 64)}
}

// A call is one request to the origin.
type call struct {
	t          *testing.T
	now        func() time.Time
	ctx        context.Context
	validators http.Header
	early      func(int, http.Header)
	answer     chan func() (*http.Response, error)
	body       *content
}

func (o *origin) fetch(ctx context.Context, validators http.Header, early func(int, http.Header)) (*http.Response, error) {
	o.asked.Add(1)
	c := &call{t: o.t, now: o.now, ctx: ctx, validators: validators, early: early, answer: make(chan func() (*http.Response, error))}
	o.calls <- c
	select {
	case answer := <-c.answer:
		return answer()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// next waits for the next request.
func (o *origin) next() *call { return <-o.calls }

// count fails the test unless the origin was asked n times so far.
func (o *origin) count(n int64) {
	o.t.Helper()
	if got := o.asked.Load(); got != n {
		o.t.Errorf("the origin was asked %d times, want %d", got, n)
	}
}

// head answers with a field section; length -1 is an unknown one. The body is written
// by write and ended by end.
func (c *call) head(status int, length int64, pairs ...string) {
	h := http.Header{"Date": {c.now().Format(http.TimeFormat)}}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	c.body = newContent(c.ctx)
	c.answer <- func() (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: h, ContentLength: length, Body: c.body}, nil
	}
}

func (c *call) write(p []byte) {
	if _, err := c.body.w.Write(p); err != nil {
		c.t.Errorf("origin: write: %v", err)
	}
}

func (c *call) end() { c.body.w.Close() }

// cut breaks the body off.
func (c *call) cut() { c.body.w.CloseWithError(errReset) }

// fresh answers 200 with a lifetime of a minute, whole.
func (c *call) fresh(body string, pairs ...string) {
	c.head(200, int64(len(body)), append([]string{"Cache-Control", "max-age=60"}, pairs...)...)
	c.write([]byte(body))
	c.end()
}

// fail answers with an error.
func (c *call) fail(err error) {
	c.answer <- func() (*http.Response, error) { return nil, err }
}

var errReset = errors.New("origin: reset")

// content is a body that counts how often it is closed, and that ends with its context.
type content struct {
	r      *io.PipeReader
	w      *io.PipeWriter
	stop   func() bool
	read   atomic.Int64
	closed atomic.Int32
	gone   chan struct{} // closed by the first Close
}

func newContent(ctx context.Context) *content {
	r, w := io.Pipe()
	b := &content{r: r, w: w, gone: make(chan struct{})}
	b.stop = context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	return b
}

func (b *content) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.read.Add(int64(n))
	return n, err
}

func (b *content) Close() error {
	b.stop()
	if b.closed.Add(1) == 1 {
		close(b.gone)
	}
	return b.r.Close()
}

// A bed is a cache with everything around it.
type bed struct {
	*cache.Cache
	t      *testing.T
	clock  *clock
	origin *origin
	policy cache.Policy
}

func newBed(t *testing.T, s cache.Store) *bed {
	b := &bed{t: t, clock: new(clock)}
	b.origin = newOrigin(t, b.clock.now)
	b.Cache = cache.New(cache.Config{Store: s, Now: b.clock.now, Filling: 16 << 20})
	return b
}

func key(path string) cache.Key {
	return cache.Key{Site: "www", Class: cache.ClassGet, Scheme: "https", Path: path}
}

func (b *bed) look(path string, pairs ...string) cache.Look {
	return b.Look(key(path), request(pairs), b.clock.now())
}

func request(pairs []string) http.Header {
	h := make(http.Header)
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func (b *bed) want(path string, pairs ...string) cache.Want {
	return cache.Want{Look: b.look(path, pairs...), Request: request(pairs), Policy: b.policy, Fetch: b.origin.fetch}
}

// join joins or leads, and expects that nothing came in between.
func (b *bed) join(path string, pairs ...string) *cache.Reader {
	b.t.Helper()
	r := b.Join(b.t.Context(), b.want(path, pairs...))
	if r == nil {
		b.t.Fatal("Join says: look again")
	}
	return r
}

// fill stores body under path.
func (b *bed) fill(path, body string, pairs ...string) {
	b.t.Helper()
	r := b.join(path)
	c := b.origin.next()
	go c.fresh(body, pairs...)
	if got, err := read(b.t, r); err != nil || got != body {
		b.t.Fatalf("filled with %q, %v", got, err)
	}
	r.Close()
}

// idle fails the test unless all fills have left no trace.
func (b *bed) idle() {
	b.t.Helper()
	if !b.Idle() {
		b.t.Errorf("a fill or its %d bytes are still accounted", b.Held())
	}
}

func head(t *testing.T, r *cache.Reader) cache.Head {
	t.Helper()
	h, err := r.Head(t.Context(), nil)
	if err != nil {
		t.Fatalf("Head: %v", err)
	}
	return h
}

// state waits for the field section and expects what it came to.
func state(t *testing.T, r *cache.Reader, want cache.State) cache.Head {
	t.Helper()
	h := head(t, r)
	if h.State != want {
		t.Fatalf("state %d (reason %q, error %v), want %d", h.State, h.Reason, h.Err, want)
	}
	return h
}

// read reads a Streaming fill to its end.
func read(t *testing.T, r *cache.Reader) (string, error) {
	h, err := r.Head(t.Context(), nil)
	if err != nil {
		return "", err
	}
	if h.State != cache.Streaming {
		return "", fmt.Errorf("state %d: %v", h.State, h.Err)
	}
	var all []byte
	for {
		p, err := r.Next(t.Context(), -1)
		all = append(all, p...)
		if err == io.EOF {
			return string(all), nil
		}
		if err != nil {
			return string(all), err
		}
	}
}

// stored is the body a look finds; "" where there is none.
func (b *bed) stored(path string, pairs ...string) string {
	l := b.look(path, pairs...)
	if l.Object == nil {
		return ""
	}
	var all []byte
	l.Object.Body.Range(0, l.Object.Body.Len(), func(p []byte) bool { all = append(all, p...); return true })
	return string(all)
}
