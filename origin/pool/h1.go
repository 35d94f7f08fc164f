package pool

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"
)

var (
	errField    = errors.New("origin sent a field that HTTP does not allow")
	errSwitched = errors.New("origin switched to another protocol unasked")
)

// h1 is an HTTP/1.1 connection: net/http's, with a turn below. It carries one request at a time.
type h1 struct {
	*http.ClientConn
	turn   *turn
	poke   func()      // tells the keeper that a tunnel has ended, which net/http knows nothing of
	closed atomic.Bool // by this side
}

// openH1 makes a session of a connection. That the peer speaks HTTP/1.1 is known with its first answer.
func (p *Pool) openH1(ctx context.Context, c, raw net.Conn, addr string) (session, *Error) {
	t := newTurn(c, raw.(*rawConn))
	cc, err := p.h1Transport(t).NewClientConn(ctx, "http", addr)
	if err != nil {
		t.Close()
		return nil, p.unsent("dial", addr, handshakeKind(err), err)
	}
	return &h1{ClientConn: cc, turn: t, poke: p.poke}, nil
}

// h1Transport is net/http's HTTP/1.1 for the one connection t.
func (p *Pool) h1Transport(t *turn) *http.Transport {
	tr := p.baseTransport(t)
	tr.Protocols.SetHTTP1(true)
	return tr
}

func (s *h1) watch(f func()) { s.SetStateHook(func(*http.ClientConn) { f() }) }
func (s *h1) leaving() bool  { return s.handedOver() }

// handedOver reports that the connection belongs to a tunnel, by 101, and has left net/http, which takes it for closed: its
// error has no name.
func (s *h1) handedOver() bool {
	err := s.ClientConn.Err()
	return err != nil && strings.Contains(err.Error(), "caller owns writable underlying conn")
}

func (s *h1) Err() error {
	if !s.closed.Load() && s.handedOver() {
		return nil
	}
	return s.ClientConn.Err()
}

func (s *h1) InFlight() int {
	if !s.closed.Load() && s.handedOver() {
		return 1
	}
	return s.ClientConn.InFlight()
}

func (s *h1) Close() error {
	s.closed.Store(true)
	s.ClientConn.Close()
	return s.turn.Close() // which net/http leaves open when it has handed it over
}

// cause is the connection's, or what net/http found in its buffer after an answer.
func (s *h1) cause() error {
	if leftOver(s.ClientConn.Err()) {
		return errUnasked
	}
	return s.turn.cause()
}

// leftOver reports that net/http ended an idle connection because it held bytes. The error has neither a name nor a cause.
func leftOver(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "readLoopPeekFailLocked") && errors.Unwrap(err) == nil
}

// patienceAfterEnd is how long an answer that was read before the connection ended may take to come out of net/http.
const patienceAfterEnd = time.Second

// RoundTrip returns when the caller's context or the connection has ended, though net/http waits for a Read of the request's
// body to return first.
func (s *h1) RoundTrip(req *http.Request) (*http.Response, error) {
	number, err := s.turn.ask(req.Context())
	if err != nil {
		s.Release()
		if req.Context().Err() == nil {
			s.ClientConn.Close()
		}
		endBody(req)
		return nil, err
	}
	if req.Body == nil || req.Body == http.NoBody {
		return s.answer(req, number)
	}
	type result struct {
		res *http.Response
		err error
	}
	done := make(chan result, 1)
	go func() {
		res, err := s.answer(req, number)
		if err != nil {
			endBody(req) // net/http does not when it has not begun to write
		}
		done <- result{res, err}
	}()
	late := func(err error) (*http.Response, error) {
		s.ClientConn.Close()
		endBody(req)
		go func() {
			if r := <-done; r.err == nil {
				r.res.Body.Close()
			}
		}()
		return nil, err
	}
	select {
	case r := <-done:
		return r.res, r.err
	case <-req.Context().Done():
		return late(context.Cause(req.Context()))
	case <-s.turn.dead:
	}
	timeout := time.NewTimer(patienceAfterEnd)
	defer timeout.Stop()
	select {
	case r := <-done:
		return r.res, r.err
	case <-req.Context().Done():
		return late(context.Cause(req.Context()))
	case <-timeout.C:
		return late(s.turn.cause())
	}
}

// answer is net/http's round trip, and what it lets pass.
func (s *h1) answer(req *http.Request, number uint64) (*http.Response, error) {
	res, err := s.ClientConn.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if err := checkFields(res.Header); err != nil {
		s.Close()
		res.Body.Close()
		return nil, err
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		rwc, ok := res.Body.(io.ReadWriteCloser)
		if !ok || len(req.Header["Upgrade"]) == 0 {
			s.Close()
			return nil, errSwitched
		}
		res.Body = &tunnel{ReadWriteCloser: rwc, s: s}
		return res, nil
	}
	if res.Body == http.NoBody && (req.Body == nil || req.Body == http.NoBody) {
		s.turn.told(number)
	} else {
		res.Body = &h1Body{ReadCloser: res.Body, s: s, number: number, res: res}
	}
	return res, nil
}

// checkFields refuses names that are not tokens and values with control characters (RFC 9110 sections 5.1 and 5.5): net/http
// takes a name with a space in it, and whoever reads it next may see another field.
func checkFields(h http.Header) error {
	for name, values := range h {
		if !httpguts.ValidHeaderFieldName(name) {
			return errField
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return errField
			}
		}
	}
	return nil
}

// endBody closes the request's body.
func endBody(req *http.Request) {
	if a, ok := req.Body.(*attempt); ok {
		a.end()
	}
}

// h1Body is a response's body, which tells the connection when it has ended.
type h1Body struct {
	io.ReadCloser
	s      *h1
	number uint64
	res    *http.Response
}

func (b *h1Body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.s.turn.told(b.number)
		if bad := checkFields(b.res.Trailer); bad != nil {
			b.s.ClientConn.Close()
			err = bad
		}
	}
	return n, err
}

// tunnel is the connection after 101 Switching Protocols, the caller's until it closes it.
type tunnel struct {
	io.ReadWriteCloser
	s *h1
}

// CloseWrite ends what this side says.
func (t *tunnel) CloseWrite() error {
	if c, ok := t.s.turn.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (t *tunnel) Close() error {
	defer t.s.poke()
	return t.s.Close()
}

// h1Said maps errors of net/http's HTTP/1.1 which have neither a name nor a type to be known by.
var h1Said = []struct {
	text string
	kind Kind
}{
	{"net/http: server response headers exceeded", KindHeaderSize},
	{"http: suspiciously long trailer after chunked body", KindHeaderSize},
	{"http: ContentLength=", KindRequestBody},
	{"http: Request.ContentLength=", KindRequestBody},
}

func (s *h1) kind(op string, err error, first bool) Kind {
	for _, said := range h1Said {
		if strings.Contains(err.Error(), said.text) {
			return said.kind
		}
	}
	if k, ok := saidKind(err); ok {
		return k
	}
	asked, heard := s.turn.progress()
	var oe *net.OpError
	broken := errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &oe) || isIdleClose(err)
	switch {
	case errors.As(err, &oe) && oe.Op == "remote error":
		return KindAlert
	case op == opRoundTrip && !asked:
		return KindUnusable
	case errors.Is(err, syscall.ETIMEDOUT):
		return KindLost
	case errors.Is(s.turn.cause(), errUnasked):
		return KindUnasked
	case op == opRoundTrip && broken && !heard && !first:
		return KindClosedIdle
	case op == opReadBody && errors.Is(err, io.ErrUnexpectedEOF):
		return KindShort
	case broken, errors.Is(err, io.ErrUnexpectedEOF):
		return KindTerminated
	}
	return KindProtocol
}

// isIdleClose knows net/http's word for a connection that ended with no request on it that it knew of.
func isIdleClose(err error) bool {
	return strings.Contains(err.Error(), "server closed idle connection")
}
