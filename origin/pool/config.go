package pool

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Config says how to reach one origin. Fields which are zero take the default in brackets.
type Config struct {
	Origin string // its name, in errors, log and status; required
	Node   string // the name of this node, in errors and log; may be empty

	// Addresses are host:port, at least one. A new connection begins with the next one in turn and tries the others when
	// that one fails, all within Connect.
	Addresses []string

	// TLS proves this node and checks the origin; required. It is cloned; NextProtos is set to h2. An empty ServerName
	// means the address's host.
	TLS *tls.Config

	Protocol       string        // "h2" is the one protocol accepted; h1 and h3 are refused by New [h2]
	Connections    int           // kept open while nothing happens [2]
	MaxConnections int           // opened at most when streams run out [32]
	MaxWaiting     int           // requests that may wait for a connection at once, one more gets 503; negative = none [1000]
	MaxAge         time.Duration // a connection is replaced after it, give or take a tenth at random; negative = never [10m]
	Retries        int           // further attempts for a request that certainly was not processed; negative = none [3]

	Connect   time.Duration // TCP, TLS and the peer's SETTINGS; also how long a request waits for a connection [2s]
	FirstByte time.Duration // how long the origin may neither take a byte of the request nor send the final header [30s]
	BodyIdle  time.Duration // how long the origin may be silent in the middle of a body; negative = for ever [30s]
	Continue  time.Duration // how long a request with Expect: 100-continue holds its body back (RFC 9110 section 10.1.1) [1s]

	HeaderBytes   int // of one response header or trailer, names and values (RFC 9113 section 6.5.2) [64 KiB]
	Informational int // 1xx responses before the final one [16]

	Unread int // responses, of up to 1 MiB each, that may wait for readers who do something else; more are cut off after 5s [64]

	Ping        time.Duration // silence after which a connection is probed with PING [3s]
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
	if c.TLS == nil {
		bad("has no TLS configuration: links between nodes are always TLS")
	}
	if c.Protocol != "" && c.Protocol != "h2" {
		bad("protocol %q is not supported, only h2", c.Protocol)
	}
	for _, f := range []struct {
		name string
		v    int64
	}{
		{"connections", int64(c.Connections)}, {"most connections", int64(c.MaxConnections)},
		{"header bytes", int64(c.HeaderBytes)}, {"informational responses", int64(c.Informational)},
		{"connect limit", int64(c.Connect)}, {"first byte limit", int64(c.FirstByte)}, {"continue limit", int64(c.Continue)},
		{"ping interval", int64(c.Ping)}, {"ping timeout", int64(c.PingTimeout)},
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
	def(&c.Connections, 2)
	def(&c.MaxConnections, 32)
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
	def(&c.Unread, 64)
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
func def[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
