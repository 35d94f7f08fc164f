package pool

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// h2 is an HTTP/2 connection: net/http's, with a wire below that sees what net/http does not tell.
type h2 struct {
	*http.ClientConn
	wire *wire
}

func (s *h2) watch(f func()) { s.SetStateHook(func(*http.ClientConn) { f() }) }
func (s *h2) leaving() bool  { return s.wire.leaving() }
func (s *h2) cause() error   { return s.wire.cause() }

func (s *h2) kind(op string, err error, _ bool) Kind {
	k := exchangeKind(s, err)
	if k == KindProtocol && op == opRoundTrip && s.wire.outgrew() {
		k = KindHeaderSize
	}
	return k
}

// openH2 makes a session of a connection and waits for the peer's SETTINGS, the proof that it speaks HTTP/2 and has
// accepted our certificate.
func (p *Pool) openH2(ctx context.Context, c, raw net.Conn, addr string, rtt time.Duration) (session, *Error) {
	w := newWire(c, raw, p.cfg.HeaderBytes, newFlows(&p.windows, rtt), p.poke)
	cc, err := p.h2Transport(w).NewClientConn(ctx, "http", addr)
	if err != nil {
		w.Close()
		return nil, p.unsent("settings", addr, handshakeKind(err), err)
	}
	select {
	case <-w.settled:
		return &h2{ClientConn: cc, wire: w}, nil
	case <-w.dead:
		err := w.cause()
		kind := handshakeKind(err)
		if errors.Is(err, net.ErrClosed) {
			kind, err = KindProtocol, errors.New("origin sent something that is not HTTP/2")
		}
		cc.Close()
		return nil, p.unsent("settings", addr, kind, err)
	case <-ctx.Done():
		cc.Close()
		return nil, p.unsent("settings", addr, KindConnectTimeout, context.Cause(ctx))
	}
}

// h2Transport is net/http's HTTP/2 for the one connection w: it believes that w is plain text, which is how a connection
// opened by somebody else reaches http.ClientConn; a request's scheme is the one of its URL all the same. The connection has
// no window that counts (net/http gives it 1 GiB): what a stream does not read is never given back to it, so a few clients that
// stall would stop everybody's.
func (p *Pool) h2Transport(w *wire) *http.Transport {
	t := p.baseTransport(w)
	t.HTTP2 = &http.HTTP2Config{
		MaxReceiveBufferPerStream: maxWindow,

		SendPingTimeout:  p.cfg.Ping,
		PingTimeout:      p.cfg.PingTimeout,
		WriteByteTimeout: p.cfg.PingTimeout,
	}
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

// baseTransport is what h1 and h2 have in common: net/http over c.
func (p *Pool) baseTransport(c net.Conn) *http.Transport {
	return &http.Transport{
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return c, nil },
		DisableCompression:     true, // what the origin encoded is passed on as it is
		ExpectContinueTimeout:  p.cfg.Continue,
		MaxResponseHeaderBytes: int64(p.cfg.HeaderBytes),
		Protocols:              new(http.Protocols),
	}
}
