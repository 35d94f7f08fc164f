package pool

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"
)

// refusedCertificate marks an error of the owner's own certificate check, which crypto/tls hands on as it is.
type refusedCertificate struct{ error }

func (e refusedCertificate) Unwrap() error { return e.error }

// leastShare of the time for a dial is what each address gets at least.
const leastShare = 4

// dial opens one connection for k, trying the addresses beginning with the first-th. The time left is shared out evenly, so
// that an address which swallows packets leaves time for the next (as net.Dialer does for the addresses of a name), though
// with many not all are reached. When none works and the names' answers were not fresh, they are asked for again.
func (p *Pool) dial(ctx context.Context, k Key, first int, age time.Duration) (*conn, *Error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Connect)
	defer cancel()
	deadline, _ := ctx.Deadline()
	tried := make(map[target]bool)
	var failed *Error
	for {
		to, unknown := p.targets(ctx, first, age)
		if unknown != nil {
			failed = unknown
		}
		to = slices.DeleteFunc(to, func(t target) bool { return tried[t] })
		for i, t := range to {
			tried[t] = true
			share := max(time.Until(deadline)/time.Duration(len(to)-i), p.cfg.Connect/leastShare)
			one, cancel := context.WithTimeout(ctx, share)
			c, err := p.dialTarget(one, k, t)
			cancel()
			if err == nil {
				return c, nil
			}
			failed = err
			if ctx.Err() != nil {
				return nil, failed
			}
		}
		if age == 0 || len(to) == 0 {
			return nil, failed
		}
		age = 0
	}
}

// dialTarget opens a connection in three steps, each an Op of its errors: "dial", "handshake", and "settings", the proof
// that the peer speaks HTTP/2 and has accepted our certificate.
func (p *Pool) dialTarget(ctx context.Context, k Key, to target) (*conn, *Error) {
	if p.cfg.Protocol == "h3" {
		s, failed := p.openH3(ctx, to)
		if failed != nil {
			return nil, failed
		}
		return p.newConn(s, k, to), nil
	}
	addr, begun := to.addr.String(), time.Now()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	rtt := time.Since(begun)
	if err != nil {
		return nil, p.unsent("dial", addr, dialKind(err), err)
	}
	if err := p.announce(ctx, raw, k); err != nil {
		raw.Close()
		return nil, p.unsent("dial", addr, handshakeKind(err), err)
	}
	if p.cfg.Protocol == "h1" {
		r, err := newRawConn(raw, p.cfg.Ping, p.cfg.PingTimeout)
		if err != nil {
			raw.Close()
			return nil, p.unsent("dial", addr, KindTerminated, err)
		}
		raw = r
	}
	c := raw
	if p.cfg.TLS != nil {
		secure, failed := p.handshake(ctx, raw, to)
		if failed != nil {
			return nil, failed
		}
		c = secure
	}
	var s session
	var failed *Error
	if p.cfg.Protocol == "h1" {
		s, failed = p.openH1(ctx, c, raw, addr)
	} else {
		s, failed = p.openH2(ctx, c, raw, addr, rtt)
	}
	if failed != nil {
		return nil, failed
	}
	return p.newConn(s, k, to), nil
}

// newConn is a connection that has been opened, with the time of its end.
func (p *Pool) newConn(s session, k Key, to target) *conn {
	c := &conn{session: s, key: k, to: to, addr: to.addr.String(), born: p.cfg.Now()}
	if age := p.cfg.MaxAge; age > 0 {
		age += time.Duration((rand.Float64()*0.2 - 0.1) * float64(age)) // else all of a fleet would come in step
		c.expires = c.born.Add(age)
	}
	return c
}

// alpn is the protocol as TLS names it (RFC 7301, RFC 9113 section 3.2).
func (p *Pool) alpn() string {
	if p.cfg.Protocol == "h1" {
		return "http/1.1"
	}
	return p.cfg.Protocol
}

// handshake is TLS over raw, which it closes when it fails. A peer that says nothing about the protocol speaks HTTP/1.1.
func (p *Pool) handshake(ctx context.Context, raw net.Conn, to target) (*tls.Conn, *Error) {
	addr := to.addr.String()
	secure := tls.Client(raw, p.tlsFor(to.host))
	if err := secure.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, p.unsent("handshake", addr, handshakeKind(err), err)
	}
	p.handshakes.Add(1)
	if proto := secure.ConnectionState().NegotiatedProtocol; proto != p.alpn() && !(proto == "" && p.cfg.Protocol == "h1") {
		secure.Close()
		return nil, p.unsent("handshake", addr, KindProtocol, fmt.Errorf("origin did not choose %s (ALPN)", p.alpn()))
	}
	return secure, nil
}

// tlsFor is the owner's configuration for an address of host.
func (p *Pool) tlsFor(host string) *tls.Config {
	c := p.cfg.TLS.Clone()
	c.NextProtos = []string{p.alpn()}
	if c.ServerName == "" {
		c.ServerName = host
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

// dialDone takes the result of a dial: the keeper's work that a connection or its failure changes.
func (p *Pool) dialDone(k Key, c *conn, failed *Error) {
	p.mu.Lock()
	p.dialing--
	if p.dialingFor[k]--; p.dialingFor[k] == 0 {
		delete(p.dialingFor, k)
	}
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
		// With no other connection in sight nobody who waits for one like it can be helped.
		if p.dialingFor[k] == 0 && !p.hasLocked(k) {
			p.refuseLocked(failed, func(w *waiter) bool { return w.key == k })
		}
	}
	p.announceLocked()
	p.mu.Unlock()

	switch {
	case failed == nil && closed:
		c.Close()
		return
	case failed == nil:
		c.watch(p.poke)
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

// together is how many streams a connection has before the next one gets any. One that always has something to send keeps its
// congestion window, and learns the rate of the line; the slices of a few large answers (four each, and the answer that is given up for them), spread over connections, would
// have each of them stop and go, compete with one another, and every answer wait for the slowest.
const together = 32

// sortByLoad orders connections by streams in flight, the fewest first, as far as that matters.
func sortByLoad(cs []*conn) {
	slices.SortStableFunc(cs, func(a, b *conn) int { return a.load/together - b.load/together })
}
