package pool

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"time"
)

// refusedCertificate marks an error of the owner's own certificate check, which crypto/tls hands on as it is.
type refusedCertificate struct{ error }

func (e refusedCertificate) Unwrap() error { return e.error }

// dial opens one connection, trying the addresses beginning with the first-th. The time left is shared out evenly, so
// that an address which swallows packets leaves time for the next (as net.Dialer does for the addresses of a name).
func (p *Pool) dial(ctx context.Context, first int) (*conn, *Error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Connect)
	defer cancel()
	deadline, _ := ctx.Deadline()
	n := len(p.cfg.Addresses)
	var failed *Error
	for i := range n {
		addr := p.cfg.Addresses[(first+i)%n]
		one, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(n-i))
		c, err := p.dialAddress(one, addr)
		cancel()
		if err == nil {
			return c, nil
		}
		failed = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// dialAddress opens a connection in three steps, each an Op of its errors: "dial", "handshake", and "settings", the proof
// that the peer speaks HTTP/2 and has accepted our certificate.
func (p *Pool) dialAddress(ctx context.Context, addr string) (*conn, *Error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, p.unsent("dial", addr, dialKind(err), err)
	}
	secure := tls.Client(raw, p.tlsFor(addr))
	if err := secure.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, p.unsent("handshake", addr, handshakeKind(err), err)
	}
	p.handshakes.Add(1)
	if proto := secure.ConnectionState().NegotiatedProtocol; proto != "h2" {
		secure.Close()
		return nil, p.unsent("handshake", addr, KindProtocol, errors.New("origin did not choose h2 (ALPN)"))
	}

	w := newWire(secure, p.poke)
	cc, err := p.transport(w).NewClientConn(ctx, "http", addr)
	if err != nil {
		w.Close()
		return nil, p.unsent("settings", addr, handshakeKind(err), err)
	}
	select {
	case <-w.settled:
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
	c := &conn{ClientConn: cc, wire: w, addr: addr, born: p.cfg.Now()}
	if age := p.cfg.MaxAge; age > 0 {
		age += time.Duration((rand.Float64()*0.2 - 0.1) * float64(age)) // else all of a fleet would come in step
		c.expires = c.born.Add(age)
	}
	return c, nil
}

// tlsFor is the owner's configuration for addr.
func (p *Pool) tlsFor(addr string) *tls.Config {
	c := p.cfg.TLS.Clone()
	c.NextProtos = []string{"h2"}
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(addr)
	}
	if check := c.VerifyConnection; check != nil {
		c.VerifyConnection = func(s tls.ConnectionState) error {
			if err := check(s); err != nil {
				return refusedCertificate{err}
			}
			return nil
		}
	}
	if check := c.VerifyPeerCertificate; check != nil {
		c.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error {
			if err := check(raw, chains); err != nil {
				return refusedCertificate{err}
			}
			return nil
		}
	}
	return c
}

// streamWindow is how far a stream may be ahead of its reader, and so what one costs whose client does not read. 1 MiB at
// a round trip of 200 ms is 40 Mbit/s for one stream, at 50 ms 160 Mbit/s. The connection has no window that counts (net/http
// gives it 1 GiB): what a stream does not read is never given back to it, so four clients that stall would stop everybody's.
const streamWindow = 1 << 20

// transport is net/http's HTTP/2 for the one connection w: it believes that w is plain text, which is how a connection
// opened by somebody else reaches http.ClientConn; a request's scheme is the one of its URL all the same.
func (p *Pool) transport(w *wire) *http.Transport {
	t := &http.Transport{
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return w, nil },
		DisableCompression:     true, // what the origin encoded is passed on as it is
		ExpectContinueTimeout:  p.cfg.Continue,
		MaxResponseHeaderBytes: int64(p.cfg.HeaderBytes),
		Protocols:              new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: streamWindow,

			SendPingTimeout:  p.cfg.Ping,
			PingTimeout:      p.cfg.PingTimeout,
			WriteByteTimeout: p.cfg.PingTimeout,
		},
	}
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

// dialDone takes the result of a dial: the keeper's work that a connection or its failure changes.
func (p *Pool) dialDone(c *conn, failed *Error) {
	p.mu.Lock()
	p.dialing--
	before := p.failures
	p.failed = failed
	closed := p.ctx.Err() != nil
	switch {
	case failed == nil && !closed:
		p.failures = 0
		p.nextID++
		c.id = p.nextID
		p.conns = append(p.conns, c)
	case failed != nil:
		p.failures++
		p.retryAt = time.Now().Add(backoff(p.failures))
		// With no other connection in sight nobody who waits can be helped.
		if p.dialing == 0 && p.countLocked(open) == 0 {
			p.refuseLocked(failed)
		}
	}
	p.announceLocked()
	p.mu.Unlock()

	switch {
	case failed == nil && closed:
		c.Close()
		return
	case failed == nil:
		c.SetStateHook(func(*http.ClientConn) { p.poke() })
		p.cfg.Log.Info("connection opened", "origin", p.cfg.Origin, "address", c.addr, "connection", c.id)
	case before == 0 && !closed:
		p.cfg.Log.Warn("cannot connect", "origin", p.cfg.Origin, "error", failed)
	}
	p.poke()
}

// backoff is the pause after n failures in a row: from 50 ms doubling up to 1 s, so that an origin that is back is found
// within about a second; between half and all of it, so that the nodes of a fleet do not come in step.
func backoff(n int) time.Duration {
	d := min(50*time.Millisecond<<min(n-1, 10), time.Second)
	return d/2 + rand.N(d/2)
}

// sortByLoad orders connections by streams in flight, the fewest first.
func sortByLoad(cs []*conn) {
	slices.SortStableFunc(cs, func(a, b *conn) int { return a.load - b.load })
}
