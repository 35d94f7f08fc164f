package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errUnasked       = errors.New("gateway: instance sent an answer before it was asked")
	errInformational = errors.New("gateway: instance sent too many informational responses")
	errSilent        = errors.New("gateway: instance fell silent in the middle of a body")
)

// turnConn is a connection to an instance which knows whether the instance speaks out of turn. net/http hands bytes that
// follow an answer to the next request on the connection, if that comes soon enough: an instance that sends two answers
// would answer somebody else's question with the second.
type turnConn struct {
	net.Conn

	mu    sync.Mutex
	reads int // that brought something
	asked int // reads when the present request began to be written, -1 before
}

func (c *turnConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.mu.Lock()
		c.reads++
		c.mu.Unlock()
	}
	return n, err
}

func (c *turnConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	if c.asked < 0 {
		c.asked = c.reads
	}
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// taken says that a request has the connection now.
func (c *turnConn) taken() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = -1
}

// answers reports whether what is being read came after the request began to be written.
func (c *turnConn) answers() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked >= 0 && c.reads > c.asked
}

// send sends req to one instance, within the limits.
func (in *Instances) send(req *http.Request, to *url.URL) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	var conn *turnConn // of the goroutines that net/http runs one after the other
	var unasked atomic.Bool
	early := 0
	// Hooks compose: those of the caller are called after these.
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			c := i.Conn
			if t, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
				c = t.NetConn()
			}
			conn = c.(*turnConn)
			conn.taken()
			unasked.Store(false)
		},
		GotFirstResponseByte: func() {
			if !conn.answers() {
				unasked.Store(true)
				conn.Close()
			}
		},
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			if early++; early > in.limits.Informational {
				cancel(errInformational)
				return errInformational
			}
			return nil
		},
	})
	out := req.WithContext(ctx)
	u := *req.URL
	u.Scheme, u.Host = to.Scheme, to.Host
	out.URL = &u
	res, err := in.transport.RoundTrip(out)
	switch {
	case unasked.Load():
		if err == nil {
			res.Body.Close()
		}
		err = errUnasked
	case err != nil && context.Cause(ctx) == errInformational:
		err = errInformational
	}
	if err != nil {
		cancel(nil)
		return nil, err
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		// The connection belongs to both ends now; it ends with the caller's context.
		context.AfterFunc(req.Context(), func() { cancel(nil) })
		return res, nil
	}
	res.Body = &instanceBody{ReadCloser: res.Body, idle: in.limits.BodyIdle, ctx: ctx, cancel: cancel}
	return res, nil
}

// instanceBody is a response's body that may not be silent for longer than idle.
type instanceBody struct {
	io.ReadCloser
	idle   time.Duration
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func (b *instanceBody) Read(p []byte) (int, error) {
	if b.timer == nil {
		b.timer = time.AfterFunc(b.idle, func() { b.cancel(errSilent) })
	} else {
		b.timer.Reset(b.idle)
	}
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && err != io.EOF && context.Cause(b.ctx) == errSilent {
		err = errSilent
	}
	return n, err
}

func (b *instanceBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
