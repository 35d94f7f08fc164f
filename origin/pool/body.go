package pool

import (
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

	// Of the goroutine that reads.
	silence *time.Timer
	err     error // sticky
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
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
	if b.silence != nil {
		b.silence.Stop() // the time that the reader takes for itself is not the origin's silence
	}
	switch {
	case err == nil:
	case err == io.EOF:
		b.err = io.EOF
	case b.closed.Load():
		b.err = http.ErrBodyReadAfterClose
	default:
		b.err = b.x.error("read body", err)
	}
	return n, b.err
}

// Close ends the exchange; a stream that has not ended is reset, the connection goes on.
func (b *body) Close() error {
	b.closed.Store(true)
	err := b.rc.Close()
	b.x.cancel(nil)
	return err
}
