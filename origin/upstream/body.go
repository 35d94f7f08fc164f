package upstream

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"hither/origin/balance"
)

// attach makes the response's body tell how the attempt ended.
func (a *attempt) attach() {
	res, p := a.res, a.x.place
	if p.early && a.verdict != balance.Pending {
		p.leave()
	}
	switch {
	case res.Body == nil || res.Body == http.NoBody,
		res.StatusCode == http.StatusNoContent, res.StatusCode == http.StatusNotModified, a.x.req.Method == http.MethodHead:
		a.end(balance.Answered, 0)
		return
	case a.whole > 0:
		a.end(balance.Answered, a.whole)
		return
	}
	b := &body{rc: res.Body, a: a, length: res.ContentLength}
	if !p.early {
		b.watch()
	}
	res.Body = b.as()
}

// end ends the attempt whose answer was handed on.
func (a *attempt) end(k balance.Kind, bytes int64) {
	if a.verdict == balance.Pending && (k != balance.Answered || bytes < a.x.u.cfg.Balance.Expect.MinBytes) {
		a.x.place.spoil()
	}
	a.finish(balance.Outcome{Kind: k, FirstByte: a.firstByte, Bytes: bytes})
	a.x.place.leave()
	a.cancel()
}

// body is the body of a response that was handed on. Read by one goroutine; Close may be called by another.
type body struct {
	rc     io.ReadCloser
	a      *attempt
	length int64 // -1 = unknown
	n      atomic.Int64
	over   sync.Once

	reading atomic.Bool
	reads   atomic.Uint32
	tick    *time.Timer // nil where the place was given back; see watch
}

// as is the body with what else its own body can do.
func (b *body) as() io.ReadCloser {
	w, upgraded := b.rc.(io.Writer) // 101 (RFC 9110 section 7.8), or an answered CONNECT
	to, copies := b.rc.(io.WriterTo)
	switch {
	case upgraded:
		return upgradedBody{b, w}
	case copies:
		return copiedBody{b, to}
	}
	return b
}

// upgradedBody is a connection that belongs to both ends now.
type upgradedBody struct {
	*body
	io.Writer
}

// CloseWrite ends what this side says.
func (b upgradedBody) CloseWrite() error {
	if c, ok := b.rc.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (b *body) Read(p []byte) (int, error) {
	b.asks()
	n, err := b.rc.Read(p)
	b.got(int64(n))
	if err != nil {
		b.ended(err)
	}
	return n, err
}

// asks says that the origin is the one to act, got that it is not, and how much it gave.
func (b *body) asks() {
	b.reads.Add(1)
	b.reading.Store(true)
}

func (b *body) got(n int64) {
	b.reading.Store(false)
	b.n.Add(n)
	if n > 0 && b.a.verdict == balance.Pending && b.a.x.place.early {
		b.a.x.place.leave()
	}
}

// ended takes the error of a read into account.
func (b *body) ended(err error) {
	switch {
	case err == io.EOF:
		b.end(balance.Answered)
	case errors.Is(err, http.ErrBodyReadAfterClose), b.a.ctx.Err() != nil:
		b.end(balance.Canceled)
	default:
		b.end(outcome(err))
	}
}

// copiedBody is one that can write itself somewhere.
type copiedBody struct {
	*body
	to io.WriterTo
}

// WriteTo is io.WriterTo. Errors of w say nothing of the instance: the Close that follows does.
func (b copiedBody) WriteTo(w io.Writer) (int64, error) {
	b.asks()
	to := &metered{b.body, w, nil}
	n, err := b.to.WriteTo(to)
	b.got(0)
	switch {
	case err == nil:
		b.ended(io.EOF)
	case to.err == nil:
		b.ended(err)
	}
	return n, err
}

// metered counts what goes through.
type metered struct {
	b   *body
	w   io.Writer
	err error // of w
}

func (m *metered) Write(p []byte) (int, error) {
	m.b.got(int64(len(p)))
	n, err := m.w.Write(p)
	m.err = err
	m.b.asks()
	return n, err
}

func (b *body) Close() error {
	err := b.rc.Close()
	if _, upgraded := b.rc.(io.Writer); upgraded || b.n.Load() == b.length {
		b.end(balance.Answered) // either end may say that it is enough, and who has read all need not read the end
	} else {
		b.end(balance.Canceled)
	}
	return err
}

func (b *body) end(k balance.Kind) {
	b.over.Do(func() {
		if b.tick != nil {
			b.tick.Stop()
		}
		b.a.end(k, b.n.Load())
	})
}

// patience is how long a reader may let the origin wait and have its place.
const patience = time.Second

// watch gives the place back when no read is under way and none began for a whole tick.
func (b *body) watch() {
	last := b.reads.Load()
	b.tick = time.AfterFunc(time.Hour, func() {
		now := b.reads.Load()
		if !b.reading.Load() && now == last {
			b.a.x.place.leave()
			return
		}
		last = now
		b.tick.Reset(patience)
	})
	b.tick.Reset(patience) // not before the field is set
}
