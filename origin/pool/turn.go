package pool

import (
	"context"
	"errors"
	"net"
	"sync"
)

// errUnasked is why a connection ends whose peer sent bytes that answer nothing.
var errUnasked = errors.New("origin sent something before it was asked")

// turn is the connection below an h1 session: it knows whose turn it is. HTTP/1.1 matches answers to requests by their order
// alone, so what is left over from one answer, or comes by itself, would answer the next request, which is somebody else's.
// net/http's reader hands it on when the next request comes soon enough. Here a request begins only while the reader waits
// for the peer with nothing in its buffer, nor in the kernel's, and bytes that come before a byte of the request was written
// end the connection. What the network still has is not known to anybody.
type turn struct {
	link

	mu      sync.Mutex
	state   *sync.Cond // of mu: parked, drained or over changed
	parked  bool       // the reader waits for the peer and has handed on everything
	drained bool       // and all that the kernel had has been taken from it, by TLS if there is TLS
	over    bool       // the connection has ended
	asked   bool       // the peer may speak: a byte of the request is being written, or was
	request uint64     // counts requests
	heard   bool       // the peer spoke since it was asked
}

func newTurn(c net.Conn, raw *rawConn) *turn {
	t := &turn{link: newLink(c, raw)}
	t.state = sync.NewCond(&t.mu)
	raw.turn = t
	return t
}

// ask begins a request and returns its number. It waits for the reader, which is on its way back to the connection when
// the answer before has been read, and so for no more than a moment.
func (t *turn) ask(ctx context.Context) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.request++
	t.asked, t.heard = false, false
	if !t.quiet() { // else nobody need be woken when ctx ends
		stop := context.AfterFunc(ctx, func() { t.mu.Lock(); defer t.mu.Unlock(); t.state.Broadcast() })
		defer stop()
	}
	for !t.over && ctx.Err() == nil && !t.quiet() {
		t.state.Wait()
	}
	switch {
	case t.over:
		return t.request, t.cause()
	case ctx.Err() != nil:
		return t.request, context.Cause(ctx)
	}
	return t.request, nil
}

// quiet reports that nothing of the peer's is on its way to net/http. mu is held.
func (t *turn) quiet() bool { return t.parked && t.drained && !t.raw.(*rawConn).waiting() }

// told says that the answer to a request was read to its end: whatever comes now comes out of turn.
func (t *turn) told(request uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if request == t.request {
		t.asked = false
	}
}

// progress says how far the request in flight, or the last one, has come.
func (t *turn) progress() (asked, heard bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.asked, t.heard
}

func (t *turn) Write(b []byte) (int, error) {
	t.mu.Lock()
	t.asked = true
	t.mu.Unlock()
	return t.Conn.Write(b)
}

func (t *turn) Read(b []byte) (int, error) {
	t.mu.Lock()
	t.parked = true
	t.state.Broadcast()
	t.mu.Unlock()
	n, err := t.Conn.Read(b)
	t.mu.Lock()
	t.parked = false
	speaks := n > 0 && !t.asked
	t.heard = t.heard || n > 0
	t.mu.Unlock()
	if speaks {
		n, err = 0, errUnasked
	}
	if err != nil {
		t.finish(err)
	}
	return n, err
}

func (t *turn) Close() error {
	t.finish(nil)
	return t.link.Close()
}

func (t *turn) finish(err error) {
	t.ended(err)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	t.state.Broadcast()
}
