package edge_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// silent takes what net/http would print about a script's misdeeds.
var silent = log.New(io.Discard, "", 0)

// A client speaks one protocol to one edge. Connections are kept until reconnect.
type client struct {
	proto string // "h1", "h2", "h3"
	https netip.AddrPort
	http  netip.AddrPort
	roots *x509.CertPool

	mu       sync.Mutex
	byName   map[string]closer // round trippers by TLS server name; "" = the URL's host
	plain    *http.Transport
	sessions *sessions
	udp      []*quic.Transport
	journal  *journal
	bell     *bell  // rings when something was logged
	relay    *relay // between the next QUIC connection and the edge; nil = none
}

// A closer is a round tripper whose connections can be closed.
type closer interface {
	http.RoundTripper
	drop()
}

type tcpTripper struct{ *http.Transport }

func (t tcpTripper) drop() { t.CloseIdleConnections() }

type quicTripper struct{ *http3.Transport }

func (t quicTripper) drop() { t.Close() }

func newClient(proto string, e *edge, a *authority, j *journal) *client {
	return &client{
		proto: proto, journal: j, bell: j.bell, https: e.https, http: e.http, roots: a.pool, byName: make(map[string]closer), sessions: &sessions{ClientSessionCache: tls.NewLRUClientSessionCache(8), put: newBell(patience)},
	}
}

func (c *client) tls(name string) *tls.Config {
	conf := &tls.Config{RootCAs: c.roots, ServerName: name, ClientSessionCache: c.sessions, MinVersion: tls.VersionTLS12}
	switch c.proto {
	case "h1":
		conf.NextProtos = []string{"http/1.1"}
	case "h2":
		conf.NextProtos = []string{"h2"}
	default:
		conf.NextProtos = []string{"h3"}
	}
	return conf
}

// tripper is what speaks to the edge, with the TLS server name where it is not the host.
func (c *client) tripper(scheme, name string) http.RoundTripper {
	c.mu.Lock()
	defer c.mu.Unlock()
	to := func(addr netip.AddrPort) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr.String())
		}
	}
	if scheme == "http" {
		if c.plain == nil {
			c.plain = &http.Transport{DialContext: to(c.http), DisableCompression: true}
		}
		return c.plain
	}
	if t := c.byName[name]; t != nil {
		return t
	}
	var t closer
	if c.proto == "h3" {
		t = quicTripper{&http3.Transport{
			TLSClientConfig: c.tls(name), QUICConfig: &quic.Config{}, DisableCompression: true, Dial: c.dialQUIC,
		}}
	} else {
		var protocols http.Protocols
		protocols.SetHTTP1(c.proto == "h1")
		protocols.SetHTTP2(c.proto == "h2")
		t = tcpTripper{&http.Transport{
			TLSClientConfig: c.tls(name), Protocols: &protocols, DialContext: to(c.https), DisableCompression: true,
			MaxIdleConnsPerHost: 100, ExpectContinueTimeout: patience,
		}}
	}
	c.byName[name] = t
	return t
}

// dialQUIC connects to the edge from a socket of its own, whatever the URL's host. The connection is there before the handshake
// is complete only where early data is asked for: quic-go v0.65.0 reads what the edge allows while the handshake writes it.
func (c *client) dialQUIC(ctx context.Context, _ string, conf *tls.Config, qc *quic.Config) (*quic.Conn, error) {
	sock, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	tr := &quic.Transport{Conn: sock}
	c.mu.Lock()
	c.udp = append(c.udp, tr)
	rl := c.relay
	c.mu.Unlock()
	if rl == nil {
		return tr.Dial(ctx, net.UDPAddrFromAddrPort(c.https), conf, qc)
	}
	return tr.DialEarly(ctx, rl.front.LocalAddr(), conf, qc)
}

// early prepares the next request to go as 0-RTT data: on a new connection, by a session of
// an earlier one, through a relay that holds the end of the handshake back until the request
// is answered or in the log. handled tells the latter.
func (c *client) early(ctx context.Context, handled func() bool) (*relay, error) {
	c.reconnect()
	// A ticket that is used twice may be refused: fetch one for this request.
	before := c.sessions.count()
	conn, err := c.dialQUIC(ctx, "", c.tls(defaultHost), &quic.Config{})
	if err != nil {
		return nil, err
	}
	err = c.sessions.put.await("a session ticket", func() bool { return c.sessions.count() > before })
	c.reconnect()
	if <-conn.Context().Done(); err != nil {
		return nil, err
	}
	rl, err := newRelay(c.https)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.relay = rl
	// The edge may send three times what it received and no more until it has seen the
	// handshake's end (RFC 9000 section 8.1), so its answer may not get through before.
	rl.work.Go(func() {
		for {
			heard := c.bell.heard()
			if handled() {
				rl.release()
				return
			}
			select {
			case <-heard:
			case <-rl.opened:
				return
			}
		}
	})
	return rl, nil
}

// reconnect closes all connections; session tickets stay.
func (c *client) reconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.byName {
		t.drop()
	}
	clear(c.byName)
	if c.plain != nil {
		c.plain.CloseIdleConnections()
	}
	for _, tr := range c.udp {
		tr.Close()
		tr.Conn.Close()
	}
	c.udp = nil
	if c.relay != nil {
		c.relay.close()
		c.relay = nil
	}
}

// sessions tells when a ticket has come.
type sessions struct {
	tls.ClientSessionCache
	put *bell

	mu sync.Mutex
	n  int
}

func (s *sessions) Put(key string, st *tls.ClientSessionState) {
	s.ClientSessionCache.Put(key, st)
	if st != nil {
		s.mu.Lock()
		s.n++
		s.mu.Unlock()
		s.put.ring()
	}
}

func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}
