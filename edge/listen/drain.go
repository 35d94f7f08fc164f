package listen

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// defaultPromise is used for a Config.Promise of zero.
const defaultPromise = time.Second

// A CutError is returned by [Front.Drain] when its time was over before its work was.
type CutError struct {
	Requests    int // in a handler when they were cut
	Connections int // on TCP, of them some without a request
}

func (e *CutError) Error() string {
	return fmt.Sprintf("listen: drain: out of time: cut %d requests, %d connections", e.Requests, e.Connections)
}

// Drain goes without losing a request, and closes the front. The promise comes first:
//
//  1. Each answer says that we go: GOAWAY on all HTTP/2 and HTTP/3 connections, Connection: close
//     on HTTP/1.1. Idle HTTP/1.1 connections stay open: a client may be writing its next request to one this very
//     moment, and only an answer can tell it without a loss. New connections are still taken, for
//     those who had to leave theirs and for resolvers that still name us.
//  2. After Config.Promise the sockets stop to accept.
//  3. For as long again, who has just connected may ask; then connections without a request are closed,
//     and HTTP/2 and HTTP/3 ones of the time since the first step get their GOAWAY.
//  4. Requests in a handler go on until they end or ctx is done, and their TCP connections until the client
//     has closed, which tells that the answer has arrived.
//  5. What is left is cut; then the error is a *CutError which says how much it was.
//
// A request that crosses a GOAWAY on its way is refused in a manner that tells the client to repeat
// it elsewhere (RFC 9113 section 6.8, RFC 9114 section 5.2). A second call waits for the first one's end.
func (f *Front) Drain(ctx context.Context) error {
	if f.draining.Swap(true) {
		<-f.stop
		return nil
	}
	promise := f.cfg.Promise
	if promise == 0 {
		promise = defaultPromise
	}
	// Not a child of ctx: its end closes connections, and what they cut must be counted before.
	hard, cancel := context.WithCancel(context.Background())
	defer cancel()
	var going sync.WaitGroup
	first, second := f.succeed()
	going.Go(func() { first.shutdown(hard) })
	wait(ctx, promise)
	f.closeListeners()
	wait(ctx, promise)
	f.closeWaiting()
	going.Go(func() { second.shutdown(hard) })
	err := f.waitQuiet(ctx)
	if err == nil {
		// Not before: a request which net/http reads during Shutdown is dropped.
		for _, s := range []*site{f.h1, f.clear} {
			s.Close()
			going.Go(func() { s.Shutdown(hard) })
		}
		// The handlers are done, the last packets of their answers may not be: QUIC
		// drops what is unsent when a connection is closed. Clients close after
		// GOAWAY; for those who do not, the promise's time is long enough.
		gone := make(chan struct{})
		go func() { going.Wait(); close(gone) }()
		select {
		case <-gone:
		case <-time.After(max(promise, 0)):
		case <-ctx.Done():
		}
		f.waitTails(ctx)
	}
	cancel()
	going.Wait()
	f.Close()
	return err
}

// closeWaiting closes HTTP/1.1 connections on which nothing has been asked.
func (f *Front) closeWaiting() {
	f.mu.Lock()
	var idle []*conn
	for c := range f.conns {
		if c.waits.Load() {
			idle = append(idle, c)
		}
	}
	f.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

// succeed replaces the generation that takes connections and returns both.
func (f *Front) succeed() (old, next *generation) {
	next = f.newGeneration()
	f.mu.Lock()
	old, f.current = f.current, next
	f.mu.Unlock()
	if f.serving.Load() {
		next.start(&f.loops)
	}
	return old, next
}

// waitQuiet waits until no request is in a handler.
func (f *Front) waitQuiet(ctx context.Context) error {
	for f.active.Load() > 0 {
		select {
		case <-f.quiet:
		case <-ctx.Done():
			f.mu.Lock()
			defer f.mu.Unlock()
			if n := f.active.Load(); n > 0 {
				return &CutError{Requests: int(n), Connections: len(f.conns)}
			}
			return nil
		}
	}
	return nil
}

// closeListeners ends the taking of connections. QUIC connections that exist go on: their
// socket stays open.
func (f *Front) closeListeners() {
	for _, ln := range f.secure {
		ln.Close()
	}
	for _, ln := range f.plain {
		ln.Close()
	}
	for _, u := range f.udp {
		u.ln.Close()
	}
}

// Close ends everything at once: the contexts of requests are cancelled, and their connections gone. It waits
// for the handlers of HTTP/3, as does Serve. It may be called again.
func (f *Front) Close() error {
	f.stopOnce.Do(func() {
		f.closeListeners()
		f.mu.Lock()
		f.shut = true
		g := f.current
		open, tails := slices.Collect(maps.Keys(f.conns)), slices.Collect(maps.Keys(f.tails))
		f.mu.Unlock()
		for _, c := range open {
			c.Close()
		}
		for _, c := range tails {
			c.Conn.Close()
		}
		over, cancel := context.WithCancel(context.Background())
		cancel()
		g.shutdown(over)
		for _, s := range []*site{f.h1, f.clear, g.h2} {
			s.Close()
			s.Server.Close()
		}
		for _, u := range f.udp {
			u.close()
		}
		close(f.stop)
	})
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
