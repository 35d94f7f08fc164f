package listen

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// ErrSilentBody is what reading a request's body returns (wrapped) when the client has sent
// nothing of it for Limits.Silence. A handler which has not answered yet says 408 (RFC 9110 section 15.5.9).
// It is also an os.ErrDeadlineExceeded. On HTTP/1.1 the request's context is cancelled as well, by net/http, which
// knows no smaller consequence of a Read that failed; the answer still goes out.
var ErrSilentBody = fmt.Errorf("listen: request body went silent: %w", os.ErrDeadlineExceeded)

// A body is a request's body that must not go silent. Like any it is read by one goroutine.
type body struct {
	io.ReadCloser
	control *http.ResponseController
	silence time.Duration
	hooks   *Hooks
	err     error       // what every further Read returns; nil: go on
	ended   atomic.Bool // err is set: who carries the content to the origin may still read when the handler has returned

	// timer is used on HTTP/2 alone. There a read deadline ends the stream's body when it
	// comes, whether somebody reads or not: armed for longer than one Read, it would strike a client that
	// waits for us because its flow-control window is used up. HTTP/1.1 and 3 only wake a Read which is waiting.
	timer *time.Timer
}

// watch replaces the body of r.
func watch(w http.ResponseWriter, r *http.Request, silence time.Duration, hooks *Hooks) *body {
	b := &body{ReadCloser: r.Body, control: http.NewResponseController(w), silence: silence, hooks: hooks}
	if r.ProtoMajor == 2 {
		b.timer = time.AfterFunc(silence, func() { b.control.SetReadDeadline(time.Unix(1, 0)) })
		b.timer.Stop()
	} else {
		// Before the first Read as well: net/http itself reads (and drops) what the
		// client still sends when a handler answers early, and would wait for it for ever.
		b.arm()
	}
	r.Body = b
	return b
}

func (b *body) arm() {
	if b.timer != nil {
		b.timer.Reset(b.silence)
		return
	}
	b.control.SetReadDeadline(time.Now().Add(b.silence))
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	b.arm()
	n, err := b.ReadCloser.Read(p)
	if b.timer != nil {
		b.timer.Stop()
	}
	switch {
	case err == nil:
	case isTimeout(err):
		b.hooks.rejected(ReasonSlowBody)
		b.err = ErrSilentBody
		b.ended.Store(true)
		err = b.err
	default:
		b.err = err
		b.ended.Store(true)
		if errors.Is(err, io.EOF) && b.timer == nil {
			// On HTTP/1.1 net/http reads on behind the body, to learn whether the client
			// leaves; that Read may last as long as the handler.
			b.control.SetReadDeadline(time.Time{})
		}
	}
	return n, err
}

// after is called when the handler has returned. What it left unread is net/http's to
// drop, within one more silence.
func (b *body) after() {
	if !b.ended.Load() && b.timer == nil {
		b.arm()
	}
	if b.timer != nil {
		b.timer.Stop()
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
