// Package listen is the front door of a node: TCP and UDP sockets, TLS, and HTTP/1.1, 2 and 3
// in front of one http.Handler. It bounds what a peer may cost, refuses what is malformed
// before the handler sees it, and drains without losing a request.
//
// What the TLS configuration of a connection is, its owner says ([Config.TLS]); package cert
// does so for an edge. HTTP/1.1 framing is net/http's, HTTP/3 is quic-go's.
package listen

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// A Config says what a [Front] listens to and to whom it hands requests.
type Config struct {
	// HTTPS are the TCP addresses with TLS, for HTTP/1.1 and 2. Empty: off. Port 0 takes a
	// free port, which [Front.HTTPS] tells.
	HTTPS []netip.AddrPort
	// QUIC are the UDP addresses for HTTP/3. Empty: off. Port 0 takes the port which the
	// same address got for HTTPS, because Alt-Svc and HTTPS records name one port for both.
	QUIC []netip.AddrPort
	// HTTP are the TCP addresses without TLS, for HTTP/1.1. Empty: off.
	HTTP []netip.AddrPort

	// Handler answers requests which came over TLS. Required with HTTPS or QUIC. A request in
	// 0-RTT data (RFC 8446 section 8) reaches it with r.TLS.HandshakeComplete == false.
	Handler http.Handler
	// Plain answers requests which came without TLS. Required with HTTP.
	Plain http.Handler

	// TLS returns the configuration of one connection; quic tells which ALPN list it must
	// have ([ALPN]). Required with HTTPS or QUIC. A configuration without certificates refuses the
	// name (alert unrecognized_name, RFC 6066 section 3); an error refuses the connection. It is called
	// concurrently, once per handshake, and may return the same configuration each time:
	// session ticket keys must be set on it explicitly, or nothing resumes.
	TLS func(hello *tls.ClientHelloInfo, quic bool) (*tls.Config, error)

	// ProxyProtocol are the addresses of the proxies in front which must begin each TCP connection, with TLS or without, with a header of the
	// PROXY protocol, version 1 or 2. The client it names is the connection's remote address in all that follows, limits
	// included; where it names none (LOCAL, UNKNOWN), the proxy's stays. A connection of theirs without one is closed. Others cannot
	// send one: it is no TLS and no HTTP. QUIC has none. Empty: nobody.
	ProxyProtocol []netip.Prefix

	// Control is called for each TCP socket before it is bound, for options which its connections inherit; as
	// net.ListenConfig has it. Nil: none.
	Control func(network, address string, c syscall.RawConn) error

	// Limits bound what a peer may cost. The zero value takes the defaults.
	Limits Limits

	// Promise is how long a draining front says that it will go before it stops to accept.
	// Zero: one second, a few round trips of a far client. Negative: none.
	Promise time.Duration

	// Logger takes what an operator should read. Nil: nothing is logged. What a peer did
	// wrong is at level Debug, since a peer chooses how often.
	Logger *slog.Logger
	// Hooks are told what happens, for counters. The zero value tells nobody.
	Hooks Hooks
}

// Limits bound what one peer may cost. A zero field takes its default.
type Limits struct {
	// HeaderBytes bounds the request target, the host and all fields together, each field counted as
	// name + value + 32 bytes (RFC 9113 section 6.5.2) on every protocol. Default 64 KiB. Beyond: 431.
	HeaderBytes int
	// HeaderFields bounds the number of field lines. Default 128. Beyond: 431.
	HeaderFields int
	// URLBytes bounds the request target. Default 8 KiB, which RFC 9110 section 4.1 asks for. Beyond: 414.
	URLBytes int
	// HeaderTime bounds a proxy's header, then a TLS handshake, and then the time from the first byte of a request
	// to the end of its header. Default 10 s.
	HeaderTime time.Duration
	// Idle is how long a connection without a request is kept. Default 2 min.
	Idle time.Duration
	// Silence is how long a request body may say nothing while the handler waits for it, and how
	// long a TCP peer may take to accept the next bytes of an answer. Default 30 s.
	Silence time.Duration
	// ConnectionsPerAddress bounds open connections of one client address; an IPv6 client
	// is its /64. Default 1000, which leaves room for an office behind one address. Negative: unbounded.
	ConnectionsPerAddress int
	// HandshakesPerAddress bounds handshakes begun per second and client address, with one second's worth
	// of burst. Default 200. Negative: unbounded.
	HandshakesPerAddress int
	// Streams bounds concurrent requests of one HTTP/2 or HTTP/3 connection. Default 100. All
	// PoPs of a site must have the same value, else 0-RTT is refused where it is smaller.
	Streams int
	// RetryAbove is the number of QUIC handshakes per second from addresses not yet
	// validated, all clients together, above which each must come back with a token (Retry, RFC 9000
	// section 8.1.2). Default 500. Negative: always Retry.
	RetryAbove int
}

// withDefaults fills zero fields.
func (l Limits) withDefaults() Limits {
	set := func(n *int, d int) {
		if *n == 0 {
			*n = d
		}
	}
	wait := func(t *time.Duration, d time.Duration) {
		if *t <= 0 {
			*t = d
		}
	}
	set(&l.HeaderBytes, 64<<10)
	set(&l.HeaderFields, 128)
	set(&l.URLBytes, 8<<10)
	set(&l.ConnectionsPerAddress, 1000)
	set(&l.HandshakesPerAddress, 200)
	set(&l.Streams, 100)
	set(&l.RetryAbove, 500)
	wait(&l.HeaderTime, 10*time.Second)
	wait(&l.Idle, 2*time.Minute)
	wait(&l.Silence, 30*time.Second)
	return l
}

// check returns all that is missing in c.
func (c *Config) check() error {
	var errs []error
	secure := len(c.HTTPS) > 0 || len(c.QUIC) > 0
	if secure && c.Handler == nil {
		errs = append(errs, errors.New("listen: an HTTPS or QUIC address without a Handler"))
	}
	if secure && c.TLS == nil {
		errs = append(errs, errors.New("listen: an HTTPS or QUIC address without a TLS function"))
	}
	if len(c.HTTP) > 0 && c.Plain == nil {
		errs = append(errs, errors.New("listen: an HTTP address without a Plain handler"))
	}
	if !secure && len(c.HTTP) == 0 {
		errs = append(errs, errors.New("listen: no address to listen on"))
	}
	return errors.Join(errs...)
}
