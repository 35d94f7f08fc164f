package edge_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
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

func newClient(proto string, e *edge, a *authority) *client {
	return &client{
		proto: proto, https: e.https, http: e.http, roots: a.pool, byName: make(map[string]closer), sessions: &sessions{ClientSessionCache: tls.NewLRUClientSessionCache(8), put: newBell(patience)},
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

// dialQUIC connects to the edge from a socket of its own, whatever the URL's host.
func (c *client) dialQUIC(ctx context.Context, _ string, conf *tls.Config, qc *quic.Config) (*quic.Conn, error) {
	sock, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	tr := &quic.Transport{Conn: sock}
	to := net.UDPAddrFromAddrPort(c.https)
	c.mu.Lock()
	c.udp = append(c.udp, tr)
	if c.relay != nil {
		to = c.relay.front.LocalAddr().(*net.UDPAddr)
	}
	c.mu.Unlock()
	return tr.DialEarly(ctx, to, conf, qc)
}

// early prepares the next request to go as 0-RTT data: on a new connection, by a session of
// an earlier one, through a relay that holds the end of the handshake back.
func (c *client) early(ctx context.Context) (*relay, error) {
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

// A call is one request under way.
type call struct {
	id      string
	cancel  context.CancelFunc
	content *io.PipeWriter // where the script writes the content itself
	taken   *countingBody

	ready chan struct{} // closed when resp or err is there
	resp  *http.Response
	err   error

	mu       sync.Mutex
	interims []interim
	body     []byte // read so far; owned by the script's goroutine
}

type interim struct {
	status int
	header http.Header
}

// begin sends the request that a line describes.
func (c *client) begin(s *step, words []token, id string) (*call, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	cl := &call{id: id, cancel: cancel, ready: make(chan struct{})}
	r, err := c.request(ctx, cl, words)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("%s: %w", s.text, err)
	}
	name, _ := option(words, "sni")
	done := func() {}
	if has(words, "early") {
		rl, err := c.early(ctx)
		if err != nil {
			cancel()
			return nil, err
		}
		done = rl.release
	}
	t := c.tripper(r.URL.Scheme, name)
	go func() {
		defer close(cl.ready)
		cl.resp, cl.err = t.RoundTrip(r)
		done()
	}()
	return cl, nil
}

// request makes the http.Request of "METHOD path-or-url Field: value body=...".
func (c *client) request(ctx context.Context, cl *call, words []token) (*http.Request, error) {
	if len(words) < 2 {
		return nil, errors.New("a request is METHOD PATH")
	}
	target := words[1].text
	if strings.HasPrefix(target, "/") || target == "*" {
		target = "https://" + defaultHost + target
	}
	scheme, rest, _ := strings.Cut(target, "://")
	host, path := rest, "*"
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	host = strings.TrimSuffix(host, "*")
	r := &http.Request{
		Method: strings.ToUpper(words[0].text), Host: host, Header: headerOf(words),
		URL: &url.URL{Scheme: scheme, Host: host, Opaque: path}, // byte for byte
	}
	if strings.HasPrefix(path, "//") { // which Opaque would take for an authority
		r.URL = &url.URL{Scheme: scheme, Host: host, Path: path}
	}
	if many, ok := option(words, "many"); ok {
		n, err := strconv.Atoi(many)
		if err != nil {
			return nil, err
		}
		for i := range n {
			r.Header.Set("X-Many-"+strconv.Itoa(i), "x")
		}
	}
	if has(words, "early") {
		r.Method += "_0RTT"
	}
	if _, ok := r.Header["Referer"]; !ok {
		r.Header.Set("Referer", cl.id)
	}
	if h := r.Header.Get("Host"); h != "" {
		r.Host = h
		delete(r.Header, "Host")
	}
	cl.content, cl.taken = nil, nil
	if body, ok := option(words, "body"); ok {
		var from io.Reader = strings.NewReader(body)
		if body == "-" {
			from, cl.content = pipe()
			r.ContentLength = -1
		} else if !has(words, "chunked") {
			r.ContentLength = int64(len(body))
		} else {
			r.ContentLength = -1
		}
		cl.taken = &countingBody{Reader: from}
		r.Body = cl.taken
	}
	if t, ok := option(words, "trailer"); ok {
		f := tokens("'" + t + "'")[0]
		r.Trailer = http.Header{canonical(f.name): {f.value}}
	}
	trace := &httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
		cl.mu.Lock()
		defer cl.mu.Unlock()
		cl.interims = append(cl.interims, interim{status, http.Header(h).Clone()})
		return nil
	}}
	return r.WithContext(httptrace.WithClientTrace(ctx, trace)), nil
}

func pipe() (io.Reader, *io.PipeWriter) { return io.Pipe() }

// A countingBody tells how much of a request's content the transport took.
type countingBody struct {
	io.Reader
	mu sync.Mutex
	n  int
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.mu.Lock()
	b.n += n
	b.mu.Unlock()
	return n, err
}

func (b *countingBody) Close() error {
	if c, ok := b.Reader.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (b *countingBody) sent() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}

// An answer is what came back.
type answer struct {
	interims []interim
	status   int // 0: none came
	header   http.Header
	body     []byte
	trailer  http.Header
	sent     int   // bytes of the request's content that were taken
	err      error // no response, or its content broke off
}

// abandon gives the request up. A transport that waits for content must be freed first.
func (cl *call) abandon() {
	if cl.content != nil {
		cl.content.CloseWithError(context.Canceled)
	}
	cl.cancel()
	if <-cl.ready; cl.err == nil {
		cl.resp.Body.Close()
	}
}

// read waits for the field section and n bytes of content.
func (cl *call) read(n int) error {
	<-cl.ready
	if cl.err != nil {
		return fmt.Errorf("no response: %w", cl.err)
	}
	buf := make([]byte, n)
	got, err := io.ReadFull(cl.resp.Body, buf)
	cl.body = append(cl.body, buf[:got]...)
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", got, n, err)
	}
	return nil
}

// finish reads to the end.
func (cl *call) finish() *answer {
	defer cl.cancel()
	<-cl.ready
	a := &answer{err: cl.err}
	if cl.err == nil {
		rest, err := io.ReadAll(cl.resp.Body)
		cl.resp.Body.Close()
		a.err = err
		a.status, a.header, a.trailer = cl.resp.StatusCode, cl.resp.Header, cl.resp.Trailer
		a.body = append(cl.body, rest...)
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	a.interims = cl.interims
	if cl.taken != nil {
		a.sent = cl.taken.sent()
	}
	return a
}
