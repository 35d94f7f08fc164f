package pool

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Config says how to reach one origin. Fields which are zero take the default in brackets.
type Config struct {
	Origin string // its name, in errors, log and status; required
	Node   string // the name of this node, in errors and log; may be empty

	// Addresses are host:port, at least one. A new connection begins with the next one in turn and tries the others when
	// that one fails, all within Connect.
	Addresses []string

	// TLS proves this node and checks the origin; nil = plain text, for h1 and h2c alone. It is cloned; NextProtos is set
	// to the protocol. An empty ServerName means the address's host.
	TLS *tls.Config

	// Protocol is "h1", "h2", "h2c" or "h3". An h1 connection carries one request at a time, the others many. [h2]
	Protocol string

	// Lookup returns the addresses of a host that is a name; nil = net.DefaultResolver. An answer serves connections for five
	// seconds and is renewed as often. Of an answer at most 64 addresses are used.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	// ProxyProtocol is "v1" or "v2": each connection begins with a header that says for whom it is, as WithSource has it,
	// and carries requests of that source alone; "" = not. h1 only. No connection is kept open without a request.
	ProxyProtocol string

	// Connections are kept open while nothing happens; negative = none: one is opened when a request needs it [h1: none, others: 2].
	Connections int

	MaxConnections int           // opened at most when streams run out [h1: 256, others: 32]
	Idle           time.Duration // an h1 connection above Connections is closed after it without a request; negative = not before MaxAge [1m]
	MaxWaiting     int           // requests that may wait for a connection at once, one more gets 503; negative = none [1000]
	MaxAge         time.Duration // a connection is replaced after it, give or take a tenth at random; negative = never [10m]
	Retries        int           // further attempts for a request that certainly was not processed; negative = none [3]

	Connect   time.Duration // TCP, TLS and the peer's SETTINGS; also how long a request waits for a connection [2s]
	FirstByte time.Duration // how long the origin may neither take a byte of the request nor send the final header [30s]
	BodyIdle  time.Duration // how long the origin may be silent in the middle of a body; negative = for ever [30s]
	Continue  time.Duration // how long a request with Expect: 100-continue holds its body back (RFC 9110 section 10.1.1) [1s]

	HeaderBytes   int // of one response header or trailer, names and values (RFC 9113 section 6.5.2) [64 KiB]
	Informational int // 1xx responses before the final one; with h3 5 at most [16]

	// Window is how many bytes of responses may wait here for readers who do something else. Streams share it: one whose reader
	// waits for a far origin may be up to 16 MiB ahead of it, one whose reader is slow 1 MiB, or less when many are. When more waits
	// all the same, those whose readers have been away for longest are cut off, after 5s. [64 MiB]
	Window int64

	Ping        time.Duration // silence after which a connection is probed, with PING or, h1, TCP keep-alive [3s]
	PingTimeout time.Duration // a connection is dead when the answer takes longer, or no byte can be written for so long [3s]

	Now func() time.Time // clock of a connection's age and of readers who are away [time.Now]
	Log *slog.Logger     // opened, lost, cannot be opened [nowhere]
}

func (c *Config) check() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("pool: origin %q: "+format, append([]any{c.Origin}, args...)...))
	}
	if c.Origin == "" {
		bad("has no name")
	}
	if len(c.Addresses) == 0 {
		bad("has no address")
	}
	for _, a := range c.Addresses {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" {
			bad("address %q is not host:port", a)
		}
	}
	switch c.Protocol {
	case "", "h2":
		if c.TLS == nil {
			bad("has no TLS configuration: h2 is always TLS, HTTP/2 in plain text is h2c")
		}
	case "h1":
	case "h3":
		if c.TLS == nil {
			bad("has no TLS configuration: h3 is always TLS")
		}
	case "h2c":
		if c.TLS != nil {
			bad("has a TLS configuration, but h2c is plain text")
		}
	default:
		bad("protocol %q is not one of h1, h2, h2c and h3", c.Protocol)
	}
	switch c.ProxyProtocol {
	case "":
	case "v1", "v2":
		if c.Protocol != "h1" {
			bad("PROXY protocol is for h1: a connection of %s carries requests of many", cmp.Or(c.Protocol, "h2"))
		}
	default:
		bad("PROXY protocol %q is neither v1 nor v2", c.ProxyProtocol)
	}
	for _, f := range []struct {
		name string
		v    int64
	}{
		{"most connections", int64(c.MaxConnections)},
		{"header bytes", int64(c.HeaderBytes)}, {"informational responses", int64(c.Informational)},
		{"connect limit", int64(c.Connect)}, {"first byte limit", int64(c.FirstByte)}, {"continue limit", int64(c.Continue)},
		{"window", c.Window}, {"ping interval", int64(c.Ping)}, {"ping timeout", int64(c.PingTimeout)},
	} {
		if f.v < 0 {
			bad("%s may not be negative", f.name)
		}
	}
	if d := c.withDefaults(); d.MaxConnections < d.Connections {
		bad("keeps %d connections but may open only %d", d.Connections, d.MaxConnections)
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.Protocol == "" {
		c.Protocol = "h2"
	}
	if c.Protocol == "h1" {
		def(&c.MaxConnections, 256)
	} else {
		def(&c.Connections, 2)
		def(&c.MaxConnections, 32)
	}
	if c.ProxyProtocol != "" {
		c.Connections = 0
	}
	c.Connections = max(c.Connections, 0)
	def(&c.Idle, time.Minute)
	def(&c.MaxWaiting, 1000)
	def(&c.MaxAge, 10*time.Minute)
	def(&c.Retries, 3)
	c.Retries = max(c.Retries, 0)
	def(&c.Connect, 2*time.Second)
	def(&c.FirstByte, 30*time.Second)
	def(&c.BodyIdle, 30*time.Second)
	def(&c.Continue, time.Second)
	def(&c.HeaderBytes, 64<<10)
	def(&c.Informational, 16)
	def(&c.Window, 64<<20)
	def(&c.Ping, 3*time.Second)
	def(&c.PingTimeout, 3*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// def sets *v to d when it is zero.
func def[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
