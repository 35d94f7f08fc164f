package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"hither/cache"
	"hither/cache/store"
)

// An edge is the cache of an edge: the real store and the rules before it, made as edge/node makes them, and asked as
// edge/proxy asks. Its clock is the trace's. It belongs to one goroutine.
type edge struct {
	t      *Trace
	memory *store.Memory
	cache  *cache.Cache
	now    time.Time
	origin http.Header
	size   int64
	most   int64 // bytes stored at any time
	large  int   // requests for objects that were too large to store,
	marked int   // of which a marker sent past the store
}

// newEdge makes an empty one.
func newEdge(t *Trace, size int64) (*edge, error) {
	memory, err := store.NewMemory(size)
	if err != nil {
		return nil, err
	}
	// An instant of no meaning: the time of a trace counts from its first request.
	e := &edge{t: t, memory: memory, size: size, now: time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)}
	e.cache = cache.New(cache.Config{Store: memory, Filling: size + size/7 + 1, Loose: size / 4, Now: func() time.Time { return e.now }})
	// What an origin says of a file that it has no other word about; it stays fresh for longer than any trace.
	e.origin = http.Header{
		"Cache-Control": {fmt.Sprintf("max-age=%d", int64(1)<<31)}, "Content-Type": {"application/octet-stream"},
		"Etag": {`"0123456789abcdef"`}, "Last-Modified": {"Thu, 01 Jan 2026 00:00:00 GMT"}, "Date": {"Thu, 01 Jan 2026 00:00:00 GMT"},
	}
	return e, nil
}

func (e *edge) close() { e.memory.Close() }

// noFields is the field section of a trace's requests.
var noFields = http.Header{}

// ask answers the request with number n: from the store, or by a fill that is read to its end.
func (e *edge) ask(ctx context.Context, n int) (hit bool, err error) {
	object := e.t.objects[n]
	e.now = e.now.Add(e.t.at[n] - e.t.at[max(n-1, 0)])
	key := cache.Key{Site: "trace", Class: cache.ClassGet, Scheme: "https", Path: "/" + e.t.keys[object]}
	if e.cache.Look(key, noFields, e.now).Fresh() { // proxy.Hit
		e.memory.Wait()
		return true, nil
	}
	look := e.cache.Look(key, noFields, e.now) // proxy.fill looks again
	if look.Pass {
		e.large++
		e.marked++
		return false, nil
	}
	if err := e.fill(ctx, look, e.t.sizes[object]); err != nil {
		return false, err
	}
	// The front applies late what it is told. At the pace of a trace it is done long before the next request.
	e.memory.Wait()
	return false, e.audit()
}

// fill asks the origin for a body of so many bytes, and reads what comes.
func (e *edge) fill(ctx context.Context, look cache.Look, size int64) error {
	fetch := func(context.Context, http.Header, func(int, http.Header)) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK, ProtoMajor: 2, Header: e.origin, ContentLength: size, Body: io.NopCloser(&zeros{size}),
		}, nil
	}
	r := e.cache.Join(ctx, cache.Want{Look: look, Request: noFields, Fetch: fetch})
	if r == nil {
		return errors.New("the store has what it had not a moment ago")
	}
	defer r.Close()
	head, err := r.Head(ctx, nil)
	if err != nil {
		return err
	}
	switch {
	case head.State == cache.Alone && head.Reason == cache.ReasonTooLarge:
		e.large++ // an edge passes it on, and has marked the key by now
		return nil
	case head.State != cache.Streaming || !head.Stored && head.Reason != cache.ReasonTooLarge:
		return fmt.Errorf("a fill came to state %d (%s): %w", head.State, head.Reason, head.Err)
	}
	// The last piece comes before the object is stored, io.EOF after.
	for {
		_, err := r.Next(ctx, -1)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// audit holds the store to its size.
func (e *edge) audit() error {
	s := e.memory.Stats()
	used := s.Bytes[store.Front] + s.Bytes[store.Queue]
	e.most = max(e.most, used)
	if used > e.size {
		return fmt.Errorf("the store has %d bytes, and was made for %d", used, e.size)
	}
	return nil
}

// zeros is the body of an object.
type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), z.left))
	clear(p[:n])
	z.left -= int64(n)
	return n, nil
}
