package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// A worker makes requests, one at a time: it is one stream of a line.
type worker struct {
	d    *dialler
	line *line
	urls []*http.Request // one for each URL; they are not changed

	// ctx is that of its requests until one is given up, and timer does that: a context for each would cost more.
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// An outcome is what came of a request.
type outcome struct {
	kind    ErrorKind // "" is well
	err     error
	status  int // 0: no answer
	bytes   int64
	opened  bool
	resumed bool
	again   error // why it was sent again; nil = it was not
}

// newRequests makes the requests for the URLs.
func newRequests(l *HTTPLoad) []*http.Request {
	all := make([]*http.Request, len(l.URLs))
	header := http.Header{"User-Agent": {"hither-bench"}, "Accept": {"*/*"}} // shared: transports do not write to it
	for i, u := range l.URLs {
		all[i] = &http.Request{
			Method: http.MethodGet, URL: u, Host: u.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody,
		}
	}
	return all
}

func newWorker(d *dialler, to *line, urls []*http.Request) *worker {
	if urls == nil {
		urls = newRequests(d.load)
	}
	return &worker{d: d, line: to, urls: urls}
}

// close ends what it has; not its line, which others may use.
func (w *worker) close() {
	if w.cancel != nil {
		w.timer.Stop()
		w.cancel(nil)
	}
}

// arm sets the timer of the next request, and a new context where the last one is used up.
func (w *worker) arm(ctx context.Context) {
	if w.cancel != nil && w.ctx.Err() == nil {
		w.timer.Reset(w.d.load.Timeout)
		return
	}
	w.close()
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	cancel := w.cancel
	w.timer = time.AfterFunc(w.d.load.Timeout, func() { cancel(errSlow) })
}

// ask makes a request for a URL and reads all of its answer. ctx is the same in all calls.
func (w *worker) ask(ctx context.Context, url int) outcome {
	w.arm(ctx)
	defer w.timer.Stop()
	o, retry := w.try(url)
	first := o.err
	for n := 1; retry && n < attempts; n++ {
		o, retry = w.try(url)
		o.again = first
	}
	if o.err != nil && context.Cause(w.ctx) == errSlow {
		o.kind, o.err = ErrTimeout, fmt.Errorf("%w: %v", errSlow, w.d.load.Timeout)
	}
	return o
}

// attempts are how often a request is sent at most: each time, all streams of a connection have to move to the next.
const attempts = 5

// try does so once. It may be tried again where a connection that others used before ended before an answer to this began: as clients
// do, since a server may end a connection at any time.
func (w *worker) try(url int) (o outcome, retry bool) {
	h, opened, err := w.line.take(w.ctx)
	o.opened = opened
	if err != nil {
		o.kind, o.err = openKind(err), err
		return o, false
	}
	answer, err := h.RoundTrip(w.urls[url].WithContext(w.ctx))
	if err != nil {
		w.line.put(h, true)
		o.kind, o.err = ErrBroken, err
		return o, w.ctx.Err() == nil && (!opened || w.d.load.Streams > 1)
	}
	o.status = answer.StatusCode
	o.resumed = opened && answer.TLS != nil && answer.TLS.DidResume
	o.bytes, err = w.read(answer.Body, answer.ContentLength)
	answer.Body.Close()
	w.line.put(h, w.d.load.NewConnections || answer.Close || h.dead() != nil)
	switch {
	case errors.Is(err, errTooLong):
		o.kind, o.err = ErrTooLong, fmt.Errorf("a body of more than %d bytes", w.d.load.MaxBody)
	case answer.ProtoMajor != w.d.proto:
		o.kind, o.err = ErrProtocol, fmt.Errorf("the server speaks %s there, not %s", answer.Proto, w.d.load.Protocol)
	case err != nil:
		o.kind, o.err = ErrBody, fmt.Errorf("read the body: %w", err)
	case answer.StatusCode >= 400:
		o.kind, o.err = ErrStatus, fmt.Errorf("status %d", answer.StatusCode)
	}
	return o, false
}

var errTooLong = errors.New("too long")

// partSize is how much of a body is read at once: as much as a TLS record holds.
const partSize = 16 << 10

// read takes a body to its end.
func (w *worker) read(body io.Reader, length int64) (n int64, err error) {
	part := w.d.parts.Get().(*[partSize]byte)
	defer w.d.parts.Put(part)
	for {
		k, err := body.Read(part[:])
		n += int64(k)
		switch {
		case n > w.d.load.MaxBody:
			return n, errTooLong
		case errors.Is(err, io.EOF) && length >= 0 && n != length:
			return n, fmt.Errorf("%d bytes of %d: %w", n, length, io.ErrUnexpectedEOF)
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return n, err
		}
	}
}
