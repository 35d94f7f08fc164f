package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/qlog"
	"github.com/quic-go/quic-go/qlogwriter"
	"golang.org/x/time/rate"
)

// errTooMany refuses a QUIC connection (CONNECTION_REFUSED).
var errTooMany = errors.New("listen: too many connections of one address")

// A udp is one UDP socket with QUIC on it.
type udp struct {
	sock *net.UDPConn
	tr   *quic.Transport
	ln   *quic.EarlyListener
}

// Addr returns the address it is bound to.
func (u *udp) Addr() net.Addr { return u.sock.LocalAddr() }

func (u *udp) close() {
	u.tr.Close()
	u.sock.Close()
}

// newUDP puts QUIC on sock; from then on datagrams are answered.
func (f *Front) newUDP(sock *net.UDPConn) (*udp, error) {
	u := &udp{sock: sock}
	unvalidated := rate.NewLimiter(rate.Limit(max(f.limits.RetryAbove, 0)), max(f.limits.RetryAbove, 0))
	u.tr = &quic.Transport{
		Conn: sock,
		VerifySourceAddress: func(a net.Addr) bool {
			return f.peers.busy(peerKey(a)) || !unvalidated.Allow()
		},
		ConnContext: f.admitQUIC,
		Tracer:      dropCounter{f.hooks},
	}
	var err error
	u.ln, err = u.tr.ListenEarly(baseTLS(true, f.chooseQUIC), quicConfig(f.limits))
	if err != nil {
		return nil, err
	}
	// The first call makes quic-go keep such datagrams; it must not wait for a goroutine
	// to be scheduled, or the first of them go uncounted.
	ended, end := context.WithCancel(context.Background())
	end()
	u.tr.ReadNonQUICPacket(ended, nil)
	f.loops.Go(func() { f.countStrangers(u) })
	return u, nil
}

// A quicConn is what we know about one QUIC connection, from its first packet on.
type quicConn struct {
	front   *Front
	peer    netip.Addr
	unknown atomic.Bool // we have no certificate for the name asked for
	opened  atomic.Bool // it has been counted
	active  atomic.Int64
	pace    pace // of measuring the round trip
	stuck   *time.Timer
	conn    *quic.Conn
}

// admitQUIC decides on a new connection before anything is computed for it.
func (f *Front) admitQUIC(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	key := peerKey(info.RemoteAddr)
	if why, ok := f.peers.admit(key); !ok {
		f.hooks.rejected(why)
		return nil, errTooMany
	}
	c := &quicConn{front: f, peer: key}
	ctx = context.WithValue(ctx, connKey{}, c)
	context.AfterFunc(ctx, c.closed)
	return ctx, nil
}

// closed is called when the connection has ended, or never came to be.
func (c *quicConn) closed() {
	f := c.front
	f.peers.release(c.peer)
	switch {
	case c.opened.Load():
		f.hooks.connections(H3, -1)
	case c.unknown.Load():
		f.hooks.rejected(ReasonUnknown)
	default:
		f.hooks.rejected(ReasonTLS)
	}
}

func (f *Front) chooseQUIC(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	conf, err := f.cfg.TLS(hello, true)
	if err == nil && certless(conf) {
		if c, ok := hello.Context().Value(connKey{}).(*quicConn); ok {
			c.unknown.Store(true)
		}
	}
	return conf, err
}

// acceptQUIC takes connections, 0-RTT ones before their handshake has completed.
func (f *Front) acceptQUIC(u *udp) {
	for {
		conn, err := u.ln.Accept(context.Background())
		if err != nil {
			return
		}
		c, ok := conn.Context().Value(connKey{}).(*quicConn)
		if !ok {
			refuseLate(conn)
			continue
		}
		f.loops.Go(func() { f.serveQUIC(c, conn) })
	}
}

func (f *Front) serveQUIC(c *quicConn, conn *quic.Conn) {
	c.conn = conn
	c.opened.Store(true)
	f.hooks.connections(H3, +1)
	f.loops.Go(func() {
		select {
		case <-conn.HandshakeComplete():
			f.hooks.handshake(H3, quicKind(conn))
		case <-conn.Context().Done():
			select {
			case <-conn.HandshakeComplete(): // and then it ended: both are so
				f.hooks.handshake(H3, quicKind(conn))
			default:
				f.hooks.rejected(ReasonTLS)
			}
		}
	})
	// http3 closes a connection without streams by itself. One whose streams never get
	// as far as a handler, because their header does not end, is closed here.
	limit := f.limits.Idle + f.limits.HeaderTime
	c.stuck = time.AfterFunc(limit, c.closeStuck)
	defer c.stuck.Stop()
	f.giveH3(conn)
}

// refuseLate ends a connection which nobody takes any more.
func refuseLate(conn *quic.Conn) {
	conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
}

func quicKind(conn *quic.Conn) Kind {
	switch st := conn.ConnectionState(); {
	case st.Used0RTT:
		return Early
	case st.TLS.DidResume:
		return Resumed
	}
	return Full
}

// enter and leave stand around each request of the connection.
func (c *quicConn) enter() {
	if c.active.Add(1) == 1 {
		c.stuck.Stop()
	}
}

func (c *quicConn) leave() {
	c.measure()
	if c.active.Add(-1) == 0 {
		c.stuck.Reset(c.front.limits.Idle + c.front.limits.HeaderTime)
	}
}

func (c *quicConn) closeStuck() {
	if c.active.Load() == 0 && c.conn.Context().Err() == nil {
		c.front.hooks.rejected(ReasonSlowHeader)
		c.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), "header did not end")
	}
}

// h3Server returns an HTTP/3 server. Its SETTINGS follow from the limits alone (RFC 9114 section 7.2.4.2).
func (f *Front) h3Server(entered func(*quic.Conn)) *http3.Server {
	return &http3.Server{
		Handler:        &guard{front: f, next: f.cfg.Handler},
		MaxHeaderBytes: f.limits.HeaderBytes + headerSlack,
		IdleTimeout:    f.limits.Idle,
		ConnContext: func(ctx context.Context, c *quic.Conn) context.Context {
			entered(c)
			return ctx
		},
	}
}

// countStrangers counts datagrams which are no QUIC at all.
func (f *Front) countStrangers(u *udp) {
	buf := make([]byte, 1)
	for {
		if _, _, err := u.tr.ReadNonQUICPacket(context.Background(), buf); err != nil {
			return
		}
		f.hooks.rejected(ReasonDatagram)
	}
}

// dropCounter counts what QUIC drops or answers before there is a connection.
type dropCounter struct{ hooks *Hooks }

func (d dropCounter) RecordEvent(e qlogwriter.Event) {
	switch e.(type) {
	case qlog.PacketDropped:
		d.hooks.rejected(ReasonDatagram)
	case qlog.VersionNegotiationSent:
		d.hooks.rejected(ReasonVersion)
	}
}

func (dropCounter) Close() error { return nil }
