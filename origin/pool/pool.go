// Package pool keeps persistent connections to one origin and is an http.RoundTripper over them: HTTP/1.1, HTTP/2 (in plain
// text too) and HTTP/3.
//
// HTTP/1.1 and 2 are net/http's, driven through http.ClientConn, so that the pool and not the library decides which connection
// carries a request. http.ClientConn gives reservations within the peer's stream limit, pings ([http.HTTP2Config]), flow
// control (which [flows] corrects), CONTINUATION limits and one state hook; golang.org/x/net/http2 has more calls, but its ClientConn is deprecated in
// favour of this one and from Go 1.27 on a wrapper around it. What http.ClientConn does not tell is seen below it: by a [wire]
// for h2 that the peer's SETTINGS were processed (only then is a connection counted as open: with TLS 1.3 a refused client
// certificate is known no sooner, RFC 8446 section 4.4.4) and that a GOAWAY came to an idle connection; by a [turn] for h1
// that nothing is left of one answer when the next request begins. HTTP/3 is quic-go's http3.ClientConn. It counts no streams,
// waits for none to be allowed, and checks no request before a stream is opened for it: [h3] does.
//
// A request takes the connection with the fewest streams in flight, in steps of 32. Connections are opened by one goroutine, the keeper,
// before a request needs them, and are replaced when they break, say GOAWAY, or are old: first the new one, then the old
// one finishes its streams. What can go wrong is an [Error] in every case, of the response's body too.
package pool

import (
	"container/list"
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Pool is the connections to one origin. It is safe for concurrent use. Make it with New, then call Start once.
type Pool struct {
	cfg     Config
	key     Key // without a source
	names   *names
	refresh time.Duration // the constant of that name
	wake    chan struct{} // something changed: the keeper should look; holds one
	work    sync.WaitGroup

	handshakes atomic.Uint64
	requests   atomic.Uint64
	unread     unread
	windows    windows
	retries    [len(retryReasons)]atomic.Uint64
	streams    streams
	errors     [kinds]atomic.Uint64

	mu         sync.Mutex // never held while a byte is written or read
	ctx        context.Context
	stop       context.CancelFunc
	closing    bool       // no new request
	conns      []*conn    // open and draining
	waiting    *list.List // of *waiter, first come first served
	dialing    int
	dialingFor map[Key]int
	dialed     int       // picks the address a dial begins with
	failures   int       // dials failed in a row
	barren     int       // connections in a row that ended young and without a request
	retryAt    time.Time // by the clock of time.Now: no dial of the keeper's own before
	failed     *Error    // the last dial's error, nil when it worked
	changed    chan struct{}
	nextID     uint64
}

// New checks cfg and makes a pool that has no connection yet. All mistakes of cfg are in the error.
func New(cfg Config) (*Pool, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	return &Pool{
		cfg:        cfg,
		key:        cfg.Key(),
		names:      newNames(cfg.Lookup),
		refresh:    refresh,
		dialingFor: make(map[Key]int),
		wake:       make(chan struct{}, 1),
		waiting:    list.New(),
		windows:    windows{budget: cfg.Window},
		changed:    make(chan struct{}),
	}, nil
}

// Start begins to open connections and to keep them; it does not wait for them (see Warm). The pool ends when ctx ends or
// by Close. A second call does nothing.
func (p *Pool) Start(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx != nil || p.closing {
		return
	}
	p.ctx, p.stop = context.WithCancel(ctx)
	p.work.Go(p.keep)
	p.work.Go(p.follow)
	p.poke()
}

// Warm waits until as many connections are open as the pool keeps. When ctx ends first, it returns the reason why the last
// one could not be opened, or the context's.
func (p *Pool) Warm(ctx context.Context) error {
	for {
		p.mu.Lock()
		open, changed, failed := p.countLocked(open), p.changed, p.failed
		p.mu.Unlock()
		if open >= p.cfg.Connections {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if failed != nil {
				return failed
			}
			return context.Cause(ctx)
		}
	}
}

// Drain refuses new requests, waits until those in flight have ended or ctx has, and closes the pool.
func (p *Pool) Drain(ctx context.Context) error {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.poke()
	defer p.Close()
	for {
		p.mu.Lock()
		left, changed := len(p.conns), p.changed
		if p.ctx == nil || p.ctx.Err() != nil {
			left = 0 // never started, or its keeper has gone and closed everything
		}
		p.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Close closes every connection, whatever is in flight, and returns when all goroutines of the pool have ended.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closing = true
	stop := p.stop
	p.mu.Unlock()
	if stop != nil {
		stop()
	}
	p.work.Wait()
	return nil
}

// RoundTrip sends req over one of the connections. The authority is req.Host, or that of its URL; an empty scheme means
// https. A request which the origin certainly did not process is sent again over another connection, as often as the
// configuration allows, when its body permits it: none, GetBody, or nothing read of it yet. Errors, those of reading the
// response's body too, are *Error. The caller's httptrace sees informational responses; response trailers are complete
// when the body has been read to its end.
func (p *Pool) RoundTrip(req *http.Request) (*http.Response, error) {
	up := newUpload(req)
	begun, counted := time.Now(), false
	var last *conn // that could not take the request; a GOAWAY that is on its way may be why
	for attempt := 0; ; attempt++ {
		c, err := p.take(req.Context(), last)
		if err != nil {
			up.settle()
			return nil, p.count(err)
		}
		if !counted {
			p.requests.Add(1)
			counted = true
		}
		res, err := p.try(c, req, up)
		if err == nil {
			up.settle()
			return res, nil
		}
		why, again := retryReason(err.Kind)
		if err.Cause == errNoStream && time.Since(begun) < p.cfg.Connect {
			attempt = min(attempt, p.cfg.Retries-1) // it waited for a stream, as it might have in take
		}
		if !again || attempt >= p.cfg.Retries || !up.rewind() {
			up.settle()
			return nil, p.count(err)
		}
		p.retries[why].Add(1)
		last = c
	}
}

// count counts an error that goes to the caller.
func (p *Pool) count(e *Error) *Error {
	p.errors[e.Kind].Add(1)
	return e
}
