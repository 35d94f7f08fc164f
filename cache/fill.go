package cache

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// A Fetch asks the origin. validators, where not nil, are the conditional fields, and
// Range, to send instead of the client's own; early is to be called with the fields of each
// interim response, before Fetch returns. The response's fields are the end-to-end ones
// (RFC 9111 section 3.1). Its body is closed by whoever receives it. A Fetch ends when
// ctx does, and so does the reading of the body.
type Fetch func(ctx context.Context, validators http.Header, early func(status int, h http.Header)) (*http.Response, error)

// A Want is what a request would have filled.
type Want struct {
	Look    Look
	Request FieldReader // read for Vary, Authorization and Cache-Control, also after the request has ended
	Policy  Policy
	Fetch   Fetch
	// Solo: neither join another request's fill nor let others join. What comes is
	// stored like any, but a response that cannot be is no word about the key.
	Solo bool
	// Ranged asks for the slice of the response that holds byte From, where the policy has slices and the response can be
	// divided into some. Look has no object then, or a Manifest.
	Ranged bool
	From   int64
	part   *part // what is wanted is this slice
	// Sent is when the request went to the origin that Fetch does not send; zero where it does.
	// Look is then from before that (see [Cache.Blank]): where there was a purge meanwhile, of
	// whatever, what comes is not stored.
	Sent time.Time
}

// Errors of a fill that are not the origin connection's own.
var (
	// ErrNotModified: the origin answered 304 to a request without conditions.
	ErrNotModified = errors.New("cache: origin sent 304 to an unconditional request")
	// ErrLength: the body was not as long as its Content-Length said.
	ErrLength = errors.New("cache: body length differs from content-length")
	// ErrBehind: a reader was so slow that it held up the others of a body that is not
	// kept for it, or held memory that others needed.
	ErrBehind = errors.New("cache: reader is too far behind")

	errExit = errors.New("cache: fill ended without a result")
)

// A StatusError is an origin's error status for which a stored response may stand in
// (RFC 5861 section 4).
type StatusError int

func (e StatusError) Error() string { return fmt.Sprintf("cache: origin answered %d", int(e)) }

// Reason returns the word for the log.
func (e StatusError) Reason() string { return string(ReasonOriginError) }

// A PanicError is a panic in a fill's own goroutine, where it would have ended the
// process. Those who wait get it as the fill's error.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("cache: fill panicked: %v", e.Value) }

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
	// Sliced: the response lies in slices, and the one that the fill began with arrives or has arrived: see [Cache.Walk].
	Sliced
	// Unsliced: the origin gave no slice, though a part was asked for; ask for what the client wants, past the cache.
	Unsliced
)

// A Fill is one request to the origin whose response many requests read. Its fields from
// mu on change under it; object, keep, length, size, chunks and reason are changed by the fill's own goroutine alone
// while it runs, which may therefore read them without.
type Fill struct {
	c      *Cache
	want   Want
	cancel context.CancelFunc
	start  time.Time // the fill's goroutine's own

	key  Key  // guarded by Cache.mu: where flights has it
	gone bool // guarded by Cache.mu: not to be stored any more

	sequence uint64   // of the newest purge when it began
	head     *Object  // guarded by Cache.mu: what came, before its body has; nil until then, and where it was a 304
	orders   []*order // guarded by Cache.mu: purges by tag since it began, until head is known

	mu       sync.Mutex
	wake     chan struct{} // closed and replaced when something below changed
	interim  []interim
	state    State
	object   *Object        // Streaming: without body; Refreshed: whole
	mine     *Object        // the same for the leader, with the fields that are for it alone
	signpost *Object        // where the object varies
	response *http.Response // Alone: the leader's, until it closes
	reason   Reason         // why it is Alone, or not kept
	err      error          // Erred, or the body broke off
	wait     time.Duration  // from the request to the field section

	part     *part // what its body is a slice of; nil where it is a whole
	upstream int   // the origin's status, where it is a slice

	keep    bool  // all chunks stay, to be stored at the end
	held    int64 // bytes of chunks that are reserved in Cache.held
	length  int64 // Content-Length; -1 = unknown
	size    int64 // bytes so far
	done    bool  // nothing comes any more
	chunks  []chunk
	rest    *content // once done, in the place of chunks, unless those are few
	readers map[*Reader]struct{}
	waited  time.Duration // for which readers waited for slower ones
}

type interim struct {
	status int
	fields http.Header
}

// mostInterim bounds the interim responses that a fill keeps for its readers; further
// ones are dropped. More than a 102 and a few 103 have no use.
const mostInterim = 8

// Join returns a reader of the fill for want's key, starting the fill where there is
// none. It returns nil when a response has come into the store since want.Look: look
// again. Every Reader must be closed.
func (c *Cache) Join(ctx context.Context, want Want) *Reader {
	// A store that keeps nothing keeps no Pass either: everybody would wait for a
	// leader in vain, time and again.
	if c.store.MaxObject() == 0 {
		want.Solo = true
	}
	key := want.Look.Key
	c.mu.Lock()
	defer c.mu.Unlock()
	if !want.Solo {
		if f := c.flights[key]; f != nil {
			return f.reader(want, false)
		}
		// Between the look and the lock a fill may have ended: its object is put before
		// its flight is removed, so one of the two is seen.
		if o := c.get(key); o != nil && o != want.Look.Object && !(o.Kind == Pass && !o.passes(c.now())) {
			return nil
		}
	}
	if old := want.Look.Object; old != nil && want.Look.sequence != c.sequence.Load() && c.get(old.Key) != old {
		want.Look.Object = nil // perhaps purged: not even its validators may bring it back
	}
	f := &Fill{c: c, sequence: c.sequence.Load(), want: want, key: key, wake: make(chan struct{}), keep: true, length: -1, readers: make(map[*Reader]struct{})}
	// The leader may leave while others read: its context gives values, not an end.
	f.gone = !want.Sent.IsZero() && want.Look.sequence != f.sequence
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if !want.Solo {
		c.flights[key] = f
	}
	primary := key.Primary()
	if c.fills[primary] == nil {
		c.fills[primary] = make(map[*Fill]struct{}, 1)
	}
	c.fills[primary][f] = struct{}{}
	// The reader comes first: a fill that finds its leader gone closes the response.
	r := f.reader(want, true)
	go f.run(ctx)
	return r
}

// run is the fill's own goroutine: ask, judge the field section, take the body.
func (f *Fill) run(ctx context.Context) {
	defer f.rescue()
	if f.start = f.want.Sent; f.start.IsZero() {
		f.start = f.c.now()
	}
	if f.want.part != nil {
		f.runPart(ctx)
		return
	}
	resp, err := f.ask(ctx)
	if err != nil {
		f.fail(err)
		return
	}
	if resp == nil { // refreshed
		return
	}
	received := f.c.now()
	if standsIn(resp.StatusCode) && f.c.Still(f.want.Look, received).IfError() {
		resp.Body.Close()
		f.fail(StatusError(resp.StatusCode))
		return
	}
	s, ok := f.came(resp)
	if !ok {
		f.unsliced(resp, markFor(resp, ""), received)
		return
	}
	status := s.asWhole(resp)
	o, why := f.want.Policy.admit(f.want.Look.Key, f.want.Request, status, resp.Header, f.start, received)
	if why == ReasonTags {
		f.c.overtagged.Add(1)
	}
	if f.divides(o, why, resp, s) {
		f.divide(ctx, o, resp, s, received)
		return
	}
	switch {
	case o == nil:
	case f.tooLarge(o, resp.ContentLength):
		why = ReasonTooLarge
	case unframed(resp):
		why = ReasonUnframed
	}
	if s != (span{}) && (why != "" || !s.all()) {
		s.asPart(resp)
		f.unsliced(resp, markFor(resp, why), received)
		return
	}
	// An error of the origin is not stored, but it answers all who wait for it, as long
	// as it says the same to each.
	if why != "" && (why != ReasonOriginError || len(o.Vary) > 0) {
		f.alone(resp, why, received)
		return
	}
	defer resp.Body.Close()
	f.stream(o, resp, why, received)
	f.take(ctx, resp.Body)
}

// rescue frees all who wait when the fill's goroutine is left in any other way than by
// one of the settling calls: by a panic or by runtime.Goexit.
func (f *Fill) rescue() {
	var err error = errExit
	if v := recover(); v != nil {
		err = &PanicError{v, debug.Stack()}
	}
	f.mu.Lock()
	done := f.done
	f.mu.Unlock()
	if !done {
		f.fail(err)
	}
}

// ask sends the request. A 304 refreshes the stored object and ask returns neither
// response nor error; where the 304 speaks of something else, or of what was given up
// meanwhile, it asks again for the whole.
func (f *Fill) ask(ctx context.Context) (*http.Response, error) {
	var validators http.Header
	stale := f.want.Look.Object
	if stale != nil {
		validators = stale.Validators()
	}
	asked := f.asks()
	for {
		resp, err := f.want.Fetch(ctx, asked.with(validators), f.early)
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
		if o, mine, why := f.want.Policy.refresh(stale, f.want.Request, resp.Header, f.start, received); o != nil && (o.Body.large() == nil || o.Body.large().there()) {
			f.refreshed(o, mine, why, received)
			return nil, nil
		}
		validators = nil
	}
}

// standsIn reports whether a response with this status is an error for which RFC 5861
// section 4 lets a stored response stand in.
func standsIn(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// tooLarge reports whether a body of this length is above the limits; an unknown
// length is judged as it grows.
func (f *Fill) tooLarge(o *Object, length int64) bool {
	return o.Size()+length > f.c.store.MaxObject() || length > f.c.mostFilled() || f.want.Policy.MaxObject > 0 && length > f.want.Policy.MaxObject
}

// admitted asks the store whether it wants a body of this length; one of unknown length is asked about as it grows: see judge.
func (f *Fill) admitted(o *Object, length int64) bool {
	a, ok := f.c.store.(Admitter)
	return !ok || length < 0 || a.Admits(o.Key, o.Size()+length)
}

// unframed reports whether the body ends where its connection does (RFC 9112 section
// 6.3): nobody can tell whether it is whole.
func unframed(resp *http.Response) bool {
	return resp.ProtoMajor == 1 && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 && !resp.Uncompressed
}

// early hands an interim response to the readers that are here.
func (f *Fill) early(status int, h http.Header) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.interim) < mostInterim {
		f.interim = append(f.interim, interim{status, h})
		f.broadcast()
	}
}
