package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// A site is an http.Server together with the queue from which it takes connections: their handshakes are
// done before, because only then it is known which server is theirs.
type site struct {
	*http.Server
	queue chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newSite(s *http.Server) *site {
	return &site{Server: s, queue: make(chan net.Conn), done: make(chan struct{})}
}

func (s *site) start(wg *sync.WaitGroup) {
	wg.Go(func() { s.Serve(s) })
}

// give hands over c, or closes it when the server has ended.
func (s *site) give(c net.Conn) {
	select {
	case s.queue <- c:
	case <-s.done:
		c.Close()
	}
}

// Accept, Close and Addr make a site the net.Listener of its own server.
func (s *site) Accept() (net.Conn, error) {
	select {
	case c := <-s.queue:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close ends the taking of connections, and nothing else.
func (s *site) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

// Addr is asked by net/http for nothing that matters here.
func (s *site) Addr() net.Addr { return &net.TCPAddr{} }

// connContext puts the connection where the guard finds it.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if g := gateOf(c); g != nil {
		return context.WithValue(ctx, connKey{}, g)
	}
	if t, ok := c.(*tls.Conn); ok {
		return context.WithValue(ctx, connKey{}, t.NetConn())
	}
	return ctx
}

// acceptPause is how long accepting rests after an error such as no free file descriptor.
const acceptPause = 50 * time.Millisecond

// accept takes connections of one listener until it is closed.
func (f *Front) accept(ln *net.TCPListener, serve func(*conn)) {
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			f.log.Error("accept rests", "address", ln.Addr().String(), "error", err)
			select {
			case <-f.stop:
				return
			case <-time.After(acceptPause):
				continue
			}
		}
		own := &conn{Conn: c, front: f, silence: f.limits.Silence, proxied: f.behindProxy(c.RemoteAddr())}
		if !own.proxied && !f.admit(own) {
			continue
		}
		if !f.remember(own) {
			own.Close()
			return
		}
		f.loops.Go(func() {
			if !own.proxied || f.introduce(own) {
				serve(own)
			}
		})
	}
}

// admit takes c into its client's share, or resets it: nothing stays behind in the kernel.
func (f *Front) admit(c *conn) bool {
	key := peerKey(c.RemoteAddr())
	why, ok := f.peers.admit(key)
	if !ok {
		f.hooks.rejected(why)
		c.Conn.(*net.TCPConn).SetLinger(0)
		c.Close()
		return false
	}
	if !c.hold(key) {
		f.peers.release(key)
		return false
	}
	return true
}

func (f *Front) serveClear(c *conn) {
	c.opened(H1)
	f.clear.give(&gate{Conn: c, own: c, hooks: f.hooks})
}

// handshake makes c a TLS connection and gives it to the server of its protocol.
func (f *Front) handshake(c *conn) {
	c.Conn.SetReadDeadline(time.Now().Add(f.limits.HeaderTime))
	c.SetWriteDeadline(time.Now().Add(f.limits.HeaderTime))
	t := tls.Server(c, f.tlsConf)
	if err := t.Handshake(); err != nil {
		f.refuseHandshake(c, err)
		return
	}
	c.SetDeadline(time.Time{})
	state := t.ConnectionState()
	p := H1
	if state.NegotiatedProtocol == "h2" {
		p = H2
	}
	kind := Full
	if state.DidResume {
		kind = Resumed
	}
	f.hooks.handshake(p, kind)
	c.opened(p)
	if p == H2 {
		f.giveH2(t)
		return
	}
	g := &gate{Conn: t, own: c, hooks: f.hooks}
	f.h1.give(tlsGate{g, t})
}

func (f *Front) refuseHandshake(c *conn, err error) {
	defer c.Close()
	var record tls.RecordHeaderError
	switch {
	case c.unknown:
		f.hooks.rejected(ReasonUnknown)
	case errors.As(err, &record) && looksLikeHTTP(record.RecordHeader):
		f.hooks.rejected(ReasonNotTLS)
		io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nThis port speaks HTTPS.\n")
	default:
		f.hooks.rejected(ReasonTLS)
	}
	f.log.Debug("tls handshake", "client", c.RemoteAddr().String(), "error", err)
}

// looksLikeHTTP reports whether the five bytes which should be a TLS record's header are a method.
func looksLikeHTTP(b [5]byte) bool {
	switch string(b[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH":
		return true
	}
	return false
}

func (f *Front) chooseTCP(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	conf, err := f.cfg.TLS(hello, false)
	if c, ok := hello.Conn.(*conn); ok && err == nil && certless(conf) {
		c.unknown = true
	}
	return conf, err
}

// certless reports whether a configuration refuses the name.
func certless(c *tls.Config) bool {
	return c == nil || len(c.Certificates) == 0 && c.GetCertificate == nil && c.GetConfigForClient == nil
}
