package pool

import (
	"container/list"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// body is a response's body. Its errors are *Error; io.EOF comes only when the origin has ended the stream and all bytes
// of its Content-Length, no more and no fewer, were read. Read by one goroutine; Close may be called by another.
type body struct {
	rc     io.ReadCloser
	x      *exchange
	closed atomic.Bool
	length int64        // -1 = unknown
	n      atomic.Int64 // bytes read

	// Of the goroutine that reads.
	silence *time.Timer
	err     error // sticky

	// Guarded by unread.mu.
	at        *list.Element // while the reader is away
	since     time.Time
	abandoned bool
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if !b.x.p.unread.back(b) {
		b.err = b.x.p.count(b.x.p.error(opReadBody, b.x.c.addr, KindUnread, errUnread))
		return 0, b.err
	}
	idle := b.x.p.cfg.BodyIdle
	switch {
	case idle < 0:
	case b.silence == nil:
		b.silence = time.AfterFunc(idle, func() { b.x.cancel(errSilent) })
	default:
		b.silence.Reset(idle)
	}
	n, err := b.rc.Read(p)
	b.n.Add(int64(n))
	if b.silence != nil {
		b.silence.Stop() // the time that the reader takes for itself is not the origin's silence
	}
	switch {
	case err == nil:
		b.x.p.unread.left(b, b.x.p.cfg.Now())
	case err == io.EOF:
		b.err = io.EOF
		b.x.leave()
	case b.closed.Load():
		b.err = http.ErrBodyReadAfterClose
	default:
		b.err = b.x.p.count(b.x.error(opReadBody, err))
	}
	return n, b.err
}

// unread is how many bytes may wait here for the reader.
func (b *body) unread() int64 {
	n := b.x.unread()
	if b.length >= 0 {
		n = min(n, b.length-b.n.Load())
	}
	return n
}

// Close ends the exchange; a stream that has not ended is reset, the connection goes on.
func (b *body) Close() error {
	b.closed.Store(true)
	b.x.p.unread.back(b)
	// First the exchange: net/http's Close waits for the end of the stream, and so for an upload in the middle of a Read that
	// nothing but the caller's next step may end.
	b.x.end()
	return b.rc.Close()
}

// abandon gives up what the reader, who is away, has not read; it learns why when it comes back.
func (b *body) abandon() {
	b.x.cancel(errUnread)
	b.rc.Close()
}
