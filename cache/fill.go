package cache

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A Fetch asks the origin. validators, where not nil, are the conditional fields to
// send instead of the client's own; early is to be called with the fields of each
// interim response. The response's fields are the end-to-end ones (RFC 9111 section
// 3.1). Its body is closed by whoever receives it.
type Fetch func(ctx context.Context, validators http.Header, early func(status int, h http.Header)) (*http.Response, error)

// A Want is what a request would have filled.
type Want struct {
	Look    Look
	Request http.Header // read for Vary, Authorization and Cache-Control
	Policy  Policy
	Fetch   Fetch
	Solo    bool // neither join another request's fill nor let others join
}

// Errors of a fill that are not the origin connection's own.
var (
	// ErrNotModified: the origin answered 304 to a request without conditions.
	ErrNotModified = errors.New("cache: origin sent 304 to an unconditional request")
	// ErrLength: the body was not as long as its Content-Length said.
	ErrLength = errors.New("cache: body length differs from content-length")
)

// State is how far a fill has come.
type State uint8

const (
	waiting State = iota
	// Streaming: the field section is here; the body arrives or has arrived.
	Streaming
	// Refreshed: the stored object was confirmed by a 304.
	Refreshed
	// Alone: the response is for the leader alone; others ask for themselves.
	Alone
	// Erred: the origin gave no response that could be passed on.
	Erred
	// Elsewhere: the response is another variant than this request's; look again.
	Elsewhere
)

// window is how far the origin may be ahead of the slowest reader of a body that is
// not being kept: enough for a reader on a far network to stay busy.
const window = 1 << 20

// A Fill is one request to the origin whose response many requests read. All fields
// from mu on are guarded by it.
type Fill struct {
	c      *Cache
	want   Want
	cancel context.CancelFunc

	key   Key // guarded by Cache.mu: where flights has it
	gone  bool
	start time.Time

	mu       sync.Mutex
	wake     chan struct{} // closed and replaced when something below changed
	interim  []interim
	state    State
	object   *Object        // Streaming: without body; Refreshed: whole
	signpost *Object        // where the object varies
	response *http.Response // Alone: for the leader, until it takes it
	reason   Reason         // why it is Alone, or not kept
	err      error          // Erred, or the body broke off
	wait     time.Duration  // from the request to the field section

	keep    bool // all chunks stay, to be stored at the end
	held    int64
	length  int64 // Content-Length; -1 = unknown
	size    int64 // bytes so far
	done    bool
	chunks  []chunk
	readers map[*Reader]struct{}
}

type interim struct {
	status int
	fields http.Header
}

// A chunk is a piece of the body. Bytes below len(data) never change.
type chunk struct {
	start int64
	data  []byte
}

// Join returns a reader of the fill for want's key, starting the fill where there is
// none. It returns nil when a response has come into the store since want.Look: look
// again. Every Reader must be closed.
func (c *Cache) Join(ctx context.Context, want Want) *Reader {
	key := want.Look.Key
	if want.Solo {
		f := c.newFill(ctx, want)
		return f.reader(want.Request, true)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[key]; f != nil {
		return f.reader(want.Request, false)
	}
	// Between the look and the lock a fill may have ended: its object is put before
	// its flight is removed, so one of the two is seen.
	if o := c.store.Get(key); o != nil && o != want.Look.Object && !(o.Kind == Pass && o.currentAge(c.now()) >= o.Lifetime) {
		return nil
	}
	f := c.newFill(ctx, want)
	c.flights[key] = f
	return f.reader(want.Request, true)
}

func (c *Cache) newFill(ctx context.Context, want Want) *Fill {
	f := &Fill{c: c, want: want, key: want.Look.Key, wake: make(chan struct{}), keep: true, length: -1, readers: make(map[*Reader]struct{})}
	// The leader may leave while others read: its context gives values, not an end.
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go f.run(ctx)
	return f
}

// run is the fill's own goroutine: ask, judge the field section, take the body.
func (f *Fill) run(ctx context.Context) {
	defer func() {
		if v := recover(); v != nil {
			f.fail(fmt.Errorf("cache: fill panicked: %v", v))
		}
	}()
	f.start = f.c.now()
	resp, err := f.ask(ctx)
	if err != nil {
		f.fail(err)
		return
	}
	if resp == nil { // refreshed
		return
	}
	defer func() {
		if resp != nil {
			resp.Body.Close()
		}
	}()
	received := f.c.now()
	if l := f.want.Look; resp.StatusCode >= 500 && l.IfErrorAt(received) {
		f.fail(statusError(resp.StatusCode))
		return
	}
	o, why := f.want.Policy.admit(f.want.Look.Key, f.want.Request, resp.StatusCode, resp.Header, f.start, received)
	if o != nil && f.tooLarge(o, resp.ContentLength) {
		why = ReasonTooLarge
	}
	// An error of the origin is not stored, but it answers all who wait for it, as long
	// as it says the same to each.
	if why != "" && (why != ReasonOriginError || len(o.Vary) > 0) {
		f.alone(resp, why, received)
		resp = nil
		return
	}
	f.stream(o, resp, why, received)
	f.finish(f.copyBody(ctx, resp.Body))
}

// statusError is an origin's 5xx answer for which a stored response stands in.
type statusError int

func (e statusError) Error() string  { return fmt.Sprintf("cache: origin answered %d", int(e)) }
func (e statusError) Reason() string { return string(ReasonOriginError) }

// ask sends the request. A 304 refreshes the stored object and ask returns neither
// response nor error; where the 304 speaks of something else it asks again for the whole.
func (f *Fill) ask(ctx context.Context) (*http.Response, error) {
	var validators http.Header
	stale := f.want.Look.Object
	if stale != nil {
		validators = stale.Validators()
	}
	for {
		resp, err := f.want.Fetch(ctx, validators, f.early)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusNotModified {
			return resp, nil
		}
		resp.Body.Close()
		if validators == nil {
			return nil, ErrNotModified
		}
		received := f.c.now()
		if o := f.want.Policy.refresh(stale, resp.Header, f.start, received); o != nil {
			f.refreshed(o, received)
			return nil, nil
		}
		validators = nil
	}
}

// tooLarge reports whether a body of this length is above the limits; an unknown
// length is judged as it grows.
func (f *Fill) tooLarge(o *Object, length int64) bool {
	return o.Size()+length > f.c.store.MaxObject() || f.want.Policy.MaxObject > 0 && length > f.want.Policy.MaxObject
}

// early hands an interim response to the readers that are here.
func (f *Fill) early(status int, h http.Header) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.interim = append(f.interim, interim{status, h})
	f.broadcast()
}

// stream makes the field section known. why is set where the response may be shared by
// those who wait but is not to be stored.
func (f *Fill) stream(o *Object, resp *http.Response, why Reason, received time.Time) {
	if why == "" && len(o.Vary) > 0 {
		f.plantSignpost(o)
	} else {
		o.Key = o.Key.Primary()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.object, f.reason, f.wait = Streaming, o, why, received.Sub(f.start)
	f.length = resp.ContentLength
	f.broadcast()
}

// plantSignpost gives o the key of its variant and moves the flight there, so that
// requests which look from now on find the signpost and then the flight.
func (f *Fill) plantSignpost(o *Object) {
	c, primary := f.c, o.Key.Primary()
	c.mu.Lock()
	defer c.mu.Unlock()
	post := c.store.Get(primary)
	if post == nil || post.Kind != Signpost || !slices.Equal(post.Vary, o.Vary) {
		post = &Object{Key: primary, Kind: Signpost, Vary: o.Vary, Epoch: c.epochs.Add(1)}
		if !f.gone && !f.want.Solo {
			c.store.Put(post)
		}
	}
	o.Key = primary
	o.Key.Vary = variant(post, f.want.Request)
	o.Vary = nil
	f.mu.Lock()
	f.signpost = post
	f.mu.Unlock()
	if c.flights[f.key] == f {
		delete(c.flights, f.key)
		if _, taken := c.flights[o.Key]; !taken {
			f.key = o.Key
			c.flights[f.key] = f
		}
	}
}

// refreshed settles the fill with a confirmed object.
func (f *Fill) refreshed(o *Object, received time.Time) {
	f.land(o)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.object, f.wait, f.done = Refreshed, o, received.Sub(f.start), true
	f.chunks, f.size, f.length = bodyChunks(o.Body), o.Body.Len(), o.Body.Len()
	f.broadcast()
}

// alone hands the response to the leader; those who wait, and for a while those who
// come, ask for themselves.
func (f *Fill) alone(resp *http.Response, why Reason, received time.Time) {
	if f.want.Solo {
		f.land(nil) // it says nothing of what others would get
	} else {
		f.land(&Object{Key: f.want.Look.Key.Primary(), Kind: Pass, Received: received, Lifetime: passLifetime})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.reason, f.wait, f.done = Alone, why, received.Sub(f.start), true
	f.response = resp
	for r := range f.readers {
		if r.leader {
			f.broadcast()
			return
		}
	}
	resp.Body.Close() // the leader has left
	f.cancel()
	f.broadcast()
}

// passLifetime is how long requests for a key whose response could not be reused go
// past one another: short, because one response may have been an exception.
const passLifetime = 5 * time.Second

// fail ends the fill without a whole response.
func (f *Fill) fail(err error) {
	f.land(nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == waiting {
		f.state = Erred
		f.wait = f.c.now().Sub(f.start)
	}
	f.err, f.done = err, true
	f.release()
	f.broadcast()
	f.cancel()
}

// finish ends the body: stored when it came whole.
func (f *Fill) finish(err error) {
	if err != nil {
		f.fail(err)
		return
	}
	f.mu.Lock()
	keep := f.keep && f.reason == ""
	var o *Object
	if keep {
		o = f.object.whole(f.chunks, f.size)
	}
	f.mu.Unlock()
	f.land(o)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = true
	f.release()
	f.broadcast()
	f.cancel()
}

// land puts o, where there is one to put, and then removes the flight: a request that
// comes between finds either.
func (f *Fill) land(o *Object) {
	c := f.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if o != nil && !f.gone && o.Size() <= c.store.MaxObject() {
		c.store.Put(o)
	}
	if c.flights[f.key] == f {
		delete(c.flights, f.key)
	}
}

// forget keeps the fill from being stored. Cache.mu is held.
func (f *Fill) forget() { f.gone = true }

// release gives back the budget. f.mu is held.
func (f *Fill) release() {
	f.c.held.Add(-f.held)
	f.held = 0
}

// broadcast wakes all who wait. f.mu is held.
func (f *Fill) broadcast() {
	close(f.wake)
	f.wake = make(chan struct{})
}

// IfErrorAt is Look.IfError at a later moment.
func (l Look) IfErrorAt(now time.Time) bool {
	if l.Object == nil {
		return false
	}
	l.TTL = l.Object.Lifetime - l.Object.currentAge(now)
	return l.IfError()
}

// whole returns the object with its body, in chunks that waste little.
func (o *Object) whole(chunks []chunk, size int64) *Object {
	body := Body{chunks: make([][]byte, len(chunks)), size: size}
	for i, c := range chunks {
		body.chunks[i] = c.data
	}
	if n := len(chunks); n > 0 {
		if last := chunks[n-1].data; cap(last)-len(last) > int(size/32) {
			body.chunks[n-1] = append(make([]byte, 0, len(last)), last...)
		}
	}
	return &Object{
		Key: o.Key, Status: o.Status, Fields: o.Fields, Body: body, Request: o.Request, Received: o.Received,
		Age: o.Age, Lifetime: o.Lifetime, NoCache: o.NoCache, WhileRevalidate: o.WhileRevalidate, IfError: o.IfError,
	}
}

func bodyChunks(b Body) []chunk {
	chunks, at := make([]chunk, 0, len(b.chunks)), int64(0)
	for _, data := range b.chunks {
		chunks = append(chunks, chunk{at, data})
		at += int64(len(data))
	}
	return chunks
}
