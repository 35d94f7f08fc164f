package pool

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// What was being done when an exchange failed, the Op of its error.
const (
	opRoundTrip = "round trip"
	opReadBody  = "read body"
)

// Why this side ends a stream; the cause of the exchange's context.
var (
	errFirstByte     = errors.New("no response header in time")
	errSilent        = errors.New("silence in the middle of the body")
	errInformational = errors.New("too many informational responses")
)

// exchange is one attempt of one request on one connection.
type exchange struct {
	p      *Pool
	c      *conn
	caller context.Context
	ctx    context.Context // of the stream; ending it resets the stream and leaves the connection alone
	cancel context.CancelCauseFunc
	up     *upload
	sent   *attempt     // the request's body, may be nil
	first  bool         // the connection carried no request before
	early  atomic.Int32 // informational responses seen

	mu       sync.Mutex
	patience *time.Timer // runs while the origin is the one that everybody waits for
	answered bool        // the final header has arrived
	stream   uint32      // in HTTP/2, once its header was written
	left     bool        // nothing more is read of it
}

// try sends req on c, where a stream is reserved. On success the response's body carries the exchange on.
func (p *Pool) try(c *conn, req *http.Request, up *upload) (*http.Response, *Error) {
	x := &exchange{p: p, c: c, caller: req.Context(), up: up}
	ctx, cancel := context.WithCancelCause(req.Context())
	x.ctx, x.cancel = ctx, func(why error) {
		cancel(why)
		x.leave()
	}
	x.patience = time.AfterFunc(p.cfg.FirstByte, func() { x.cancel(errFirstByte) })
	// Hooks compose: the caller's own is called after this one. It cannot stop the stream by its result, the context can.
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: x.informational, WroteHeaders: x.opened})

	x.first = c.requests.Add(1) == 1
	x.sent = up.attempt(x)
	res, err := c.RoundTrip(p.outgoing(ctx, req, x.sent))
	if err == nil {
		if err = checkAnswer(res); err != nil {
			x.cancel(err)
			res.Body.Close()
		}
	}
	x.mu.Lock()
	x.answered = true
	x.patience.Stop()
	x.mu.Unlock()
	if err != nil {
		e := x.error(opRoundTrip, err)
		x.cancel(nil)
		return nil, e
	}
	res.Request = req
	x.attach(req, res)
	return res, nil
}

// outgoing is req as it is given to net/http: a RoundTripper may not change its request.
func (p *Pool) outgoing(ctx context.Context, req *http.Request, body *attempt) *http.Request {
	out := req.WithContext(ctx)
	if body != nil {
		out.Body = body
	}
	if req.URL == nil || req.URL.Scheme == "" || req.URL.Host == "" {
		u := new(url.URL)
		if req.URL != nil {
			*u = *req.URL
		}
		def := func(v *string, d string) {
			if *v == "" {
				*v = d
			}
		}
		if p.cfg.TLS != nil {
			def(&u.Scheme, "https")
		}
		def(&u.Scheme, "http")
		def(&u.Host, req.Host)
		def(&u.Host, p.cfg.Origin)
		out.URL = u
	}
	// Without the field net/http would send its own name.
	if _, ok := req.Header["User-Agent"]; !ok {
		out.Header = make(http.Header, len(req.Header)+1)
		maps.Copy(out.Header, req.Header)
		out.Header["User-Agent"] = []string{""}
	}
	return out
}

// informational counts a 1xx response; net/http leaves its limit to whoever looks at them.
func (x *exchange) informational(_ int, h textproto.MIMEHeader) error {
	if err := checkFields(http.Header(h)); err != nil {
		x.cancel(err)
		return err
	}
	if int(x.early.Add(1)) > x.p.cfg.Informational {
		x.cancel(errInformational)
		return errInformational
	}
	return nil
}

// wait says that the origin is the one to act from now on; pause that it is not.
func (x *exchange) wait()  { x.patient(func() { x.patience.Reset(x.p.cfg.FirstByte) }) }
func (x *exchange) pause() { x.patient(func() { x.patience.Stop() }) }

func (x *exchange) patient(f func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.answered {
		f()
	}
}

// attach makes the response's body part of the exchange.
func (x *exchange) attach(req *http.Request, res *http.Response) {
	if t, ok := res.Body.(*tunnel); ok {
		// The connection belongs to both ends now, for as long as they like; it ends with the caller's context.
		context.AfterFunc(x.ctx, func() { t.Close() })
		return
	}
	switch {
	case res.Body == http.NoBody && (req.Body == nil || req.Body == http.NoBody):
		x.cancel(nil) // both directions have ended
		return
	case res.StatusCode == http.StatusNotModified || res.StatusCode == http.StatusNoContent:
		// Their Content-Length is that of another response (RFC 9110 section 8.6), but net/http would find the body short.
		x.end() // see body.Close
		res.Body.Close()
		res.Body, res.ContentLength = http.NoBody, 0
		return
	}
	b := &body{rc: res.Body, x: x, length: res.ContentLength}
	x.p.unread.left(b, x.p.cfg.Now())
	res.Body = b
}

// end ends the exchange: the stream if it has not ended, and the upload, which an origin that has answered may not want.
func (x *exchange) end() {
	x.cancel(nil)
	x.sent.end()
}

// error explains err, which net/http returned: first what this side did, then what the origin did.
func (x *exchange) error(op string, err error) *Error {
	p, addr := x.p, x.c.addr
	if x.ctx.Err() != nil {
		switch why := context.Cause(x.ctx); why {
		case errFirstByte:
			return p.error(op, addr, KindFirstByte, why)
		case errSilent:
			return p.error(op, addr, KindSilent, why)
		case errInformational:
			return p.error(op, addr, KindInformational, why)
		case errField, errAnswerStatus, errAnswerLength:
			return p.error(op, addr, KindProtocol, why)
		}
	}
	if x.caller.Err() != nil {
		return p.callerError(op, addr, x.caller)
	}
	if broken := x.up.failure(); broken != nil {
		return p.error("read request body", addr, KindRequestBody, broken)
	}
	kind := x.c.kind(op, err, x.first)
	if kind == KindTerminated && p.isClosed() {
		kind = KindClosed
	}
	e := p.error(op, addr, kind, err)
	e.Retry = e.Retry && op == opRoundTrip
	return e
}

func (p *Pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ctx.Err() != nil
}
