package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/ops"
	"hither/origin/pool"
)

// house is a network's folder with the identities of its nodes.
type house struct {
	dir     string
	network *deploy.Network
	log     *record // of its gateway
}

// A record is a log that a test reads.
type record struct {
	mu   sync.Mutex // guards what follows
	text strings.Builder
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

// count is how often it has a text.
func (r *record) count(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.text.String(), text)
}

// newHouse makes the local network with what its origin serves: options of deploy.Local.
func newHouse(t *testing.T, o deploy.LocalOptions) house {
	t.Helper()
	h := house{dir: t.TempDir(), network: network(t, o), log: new(record)}
	file, err := deploy.Local(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fleet.Init(h.network, file, h.dir); err != nil {
		t.Fatal(err)
	}
	return h
}

// network is the local network with a gateway that binds free ports.
func network(t *testing.T, o deploy.LocalOptions) *deploy.Network {
	t.Helper()
	file, err := deploy.Local(o)
	if err != nil {
		t.Fatal(err)
	}
	n, err := deploy.Parse("network.yaml", file)
	if err != nil {
		t.Fatal(err)
	}
	us := n.Origin("us")
	us.Gateway.Bind = []netip.AddrPort{netip.MustParseAddrPort("127.64.9.1:0")}
	us.Gateway.Metrics = netip.AddrPort{} // the page has no other way to say its port
	return n
}

func (h house) state(node string) string { return filepath.Join(h.dir, "nodes", node) }

func (h house) identity(t *testing.T, node string) *fleet.Identity {
	t.Helper()
	id, err := fleet.LoadIdentity(filepath.Join(h.state(node), "identity"))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// run is a gateway that serves until the test ends or stop is called.
func (h house) run(t *testing.T) (g *Gateway, stop func() error) {
	t.Helper()
	ready := make(chan struct{})
	g, err := New(Options{
		Name: "us", State: h.state("origin-us"), Network: h.network, Identity: h.identity(t, "origin-us"),
		Version: "test", Log: slog.New(slog.NewTextHandler(h.log, nil)), Ready: func() { close(ready) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case <-deadline(t).Done():
		t.Fatal("not ready")
	}
	return g, stop
}

// edge is the pool of the edge fra to g.
func (h house) edge(t *testing.T, g *Gateway) *pool.Pool { return h.edgeOver(t, g, "h2") }

// edgeOver is the same by a protocol.
func (h house) edgeOver(t *testing.T, g *Gateway, protocol string) *pool.Pool {
	t.Helper()
	addr := g.front.HTTPS()[0].String()
	if protocol == "h3" {
		addr = g.front.QUIC()[0].String()
	}
	p, err := pool.New(pool.Config{
		Origin: "us", Node: "fra", Addresses: []string{addr}, Protocol: protocol,
		TLS: h.identity(t, "edge-fra").ClientTLS("origin", "us"),
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Start(context.Background())
	t.Cleanup(func() { p.Close() })
	if err := p.Warm(deadline(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

func fetch(t *testing.T, rt http.RoundTripper, path string) (*http.Response, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(deadline(t), "GET", "https://www.hither.test"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := rt.RoundTrip(r)
	body, err := whole(res, err)
	return res, body, err
}

// TestRevokedEdge has an edge revoked whose connections are there: none of its requests is answered any more.
func TestRevokedEdge(t *testing.T) {
	h := newHouse(t, deploy.LocalOptions{})
	g, _ := h.run(t)
	for proto, rt := range map[string]http.RoundTripper{"HTTP/2.0": h.edge(t, g), "HTTP/3.0": h.edgeOver(t, g, "h3")} {
		if res, _, err := fetch(t, rt, "/"); err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: %v, %v", proto, res, err)
		}
		if err := g.o.Identity.SetRevoked(map[string]time.Time{"edge-fra": time.Now()}); err != nil {
			t.Fatal(err)
		}
		if res, _, err := fetch(t, rt, "/"); err == nil && res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: answered with %d", proto, res.StatusCode)
		}
		if err := g.o.Identity.SetRevoked(nil); err != nil {
			t.Fatal(err)
		}
	}
	// Over HTTP/3 the pool may have seen the end of its connection first.
	if n := rejected(t, g, rejectedRevoked); n < 1 || h.log.count("a request was refused") != 1 {
		t.Errorf("%d requests are counted, %d lines of the log have them", n, h.log.count("a request was refused"))
	}
}

// rejected reads a count of hither_origin_rejected_total.
func rejected(t *testing.T, g *Gateway, reason string) (n int) {
	t.Helper()
	page := httptest.NewRecorder()
	g.metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	_, rest, ok := strings.Cut(page.Body.String(), `hither_origin_rejected_total{node="origin-us",reason="`+reason+`"} `)
	if !ok {
		t.Fatalf("no count of %s", reason)
	}
	fmt.Sscan(rest, &n)
	return n
}

func TestGatewayOverBothProtocols(t *testing.T) {
	h := newHouse(t, deploy.LocalOptions{})
	g, _ := h.run(t)
	for proto, rt := range map[string]http.RoundTripper{"HTTP/2.0": h.edge(t, g), "HTTP/3.0": h.edgeOver(t, g, "h3")} {
		res, body, err := fetch(t, rt, "/")
		if err != nil {
			t.Fatalf("%s: %v", proto, err)
		}
		if res.Proto != proto || res.StatusCode != 200 || !strings.Contains(body, "hither") || res.Header.Get("Cache-Control") != "public, max-age=60" {
			t.Errorf("%s %d %v", res.Proto, res.StatusCode, res.Header)
		}
	}
}

func TestGatewayTakesEdgesAlone(t *testing.T) {
	h, other := newHouse(t, deploy.LocalOptions{}), newHouse(t, deploy.LocalOptions{})
	g, _ := h.run(t)
	site, err := tls.LoadX509KeyPair(filepath.Join(h.state("edge-fra"), "certs", "www.hither.test", "cert.pem"), filepath.Join(h.state("edge-fra"), "certs", "www.hither.test", "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	real := h.identity(t, "edge-fra").ClientTLS("origin", "us")
	type shows = func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	for name, certificate := range map[string]shows{
		"no certificate":               func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return new(tls.Certificate), nil },
		"one of the site authority":    func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &site, nil },
		"an origin's":                  h.identity(t, "origin-us").ClientTLS("origin", "us").GetClientCertificate,
		"an edge's of another network": other.identity(t, "edge-fra").ClientTLS("origin", "us").GetClientCertificate,
	} {
		c := real.Clone()
		c.GetClientCertificate = certificate
		p, err := pool.New(pool.Config{Origin: "us", Node: "stranger", Addresses: []string{g.front.HTTPS()[0].String()}, TLS: c})
		if err != nil {
			t.Fatal(err)
		}
		p.Start(context.Background())
		_, _, err = fetch(t, p, "/")
		var e *pool.Error
		if !errors.As(err, &e) || e.ProxyStatus() != "tls_alert_received" {
			t.Errorf("%s: %v", name, err)
		}
		p.Close()
	}
	if n := g.count.served.Load(); n != 0 {
		t.Errorf("%d requests of strangers reached the handler", n)
	}
	if n := rejected(t, g, "tls"); n < 4 || h.log.count("a connection was refused") != 1 {
		t.Errorf("%d strangers are counted, %d lines of the log have them", n, h.log.count("a connection was refused"))
	}
	if _, _, err := fetch(t, h.edge(t, g), "/"); err != nil {
		t.Errorf("an edge of the fleet: %v", err)
	}
}

// Under load the network file is read again and again: no request is lost, no connection is dropped.
func TestGatewayReloadLosesNothing(t *testing.T) {
	dirs := [2]string{t.TempDir(), t.TempDir()}
	for i, dir := range dirs {
		put(t, dir, "who", fmt.Sprint(i))
	}
	h := newHouse(t, deploy.LocalOptions{Site: dirs[0]})
	g, _ := h.run(t)
	p := h.edge(t, g)
	networks := [2]*deploy.Network{h.network, network(t, deploy.LocalOptions{Site: dirs[1]})}

	var wg sync.WaitGroup
	var seen [2]atomic.Int64
	stop := make(chan struct{})
	for range 10 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				res, body, err := fetch(t, p, "/who")
				switch {
				case err != nil || res.StatusCode != 200:
					t.Errorf("%v, %v", res, err)
					return
				case body == "0" || body == "1":
					seen[body[0]-'0'].Add(1)
				default:
					t.Errorf("got %q", body)
				}
			}
		})
	}
	for i := 1; i <= 20; i++ {
		if err := g.Reload(networks[i%2]); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint(i % 2)
		if _, body, err := fetch(t, p, "/who"); err != nil || body != want {
			t.Errorf("after reload %d: %q, %v", i, body, err)
		}
	}
	close(stop)
	wg.Wait()
	if s := p.Status(); s.HandshakesTotal != 2 || seen[0].Load()+seen[1].Load() == 0 {
		t.Errorf("%+v", s)
	}
}

func TestGatewayKeepsWhatItHasWhenAFileIsBad(t *testing.T) {
	h := newHouse(t, deploy.LocalOptions{})
	g, _ := h.run(t)
	p := h.edge(t, g)
	gone := network(t, deploy.LocalOptions{Site: filepath.Join(t.TempDir(), "gone")})
	discover := network(t, deploy.LocalOptions{})
	discover.Origin("us").App = deploy.App{Discover: &deploy.Discover{Fleet: "app"}}
	none := network(t, deploy.LocalOptions{})
	none.Origins = nil
	for want, n := range map[string]*deploy.Network{"make it, or change app.static.folder": gone, "app.discover": discover, `no origin "us"`: none} {
		if err := g.Reload(n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if res, _, err := fetch(t, p, "/"); err != nil || res.StatusCode != 200 {
			t.Errorf("after a bad file: %v, %v", res, err)
		}
	}
}

// While requests come, the gateway is told to go: each of them is answered, or was certainly not taken.
func TestGatewayDrainLosesNothing(t *testing.T) {
	begun, release := make(chan struct{}, 100), make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			w.(http.Flusher).Flush()
			begun <- struct{}{}
			<-release
		}
		io.WriteString(w, "done")
	}))
	defer app.Close()
	h := newHouse(t, deploy.LocalOptions{Origin: app.URL})
	g, stop := h.run(t)
	p := h.edge(t, g)

	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, body, err := fetch(t, p, "/slow"); err != nil || body != "done" {
				t.Errorf("in flight when the drain began: %q, %v", body, err)
			}
		})
	}
	for range 10 {
		<-begun
	}
	for range 10 {
		wg.Go(func() {
			for {
				_, body, err := fetch(t, p, "/quick")
				var e *pool.Error
				switch {
				case err == nil && body == "done":
				case errors.As(err, &e) && e.Retryable():
					return // the gateway is gone
				default:
					t.Errorf("%q, %v", body, err)
					return
				}
			}
		})
	}
	done := make(chan error)
	go func() { done <- stop() }()
	// The promise has been made when the gateway says so; only then the slow ones may end.
	client := ops.Dial(h.state("origin-us"))
	for {
		var s ops.Status
		if err := client.Get(deadline(t), "/v1/status", &s); err != nil {
			t.Fatal(err)
		}
		if s.Nodes[0].State == ops.Draining {
			break
		}
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestGatewayCountsWhatItAnswers(t *testing.T) {
	h := newHouse(t, deploy.LocalOptions{})
	g, _ := h.run(t)
	p := h.edge(t, g)
	for _, path := range []string{"/", "/none", "/style.css"} {
		if _, _, err := fetch(t, p, path); err != nil {
			t.Fatal(err)
		}
	}
	var s ops.Status
	if err := ops.Dial(h.state("origin-us")).Get(deadline(t), "/v1/status", &s); err != nil {
		t.Fatal(err)
	}
	n := s.Nodes[0]
	if n.Node != "origin-us" || n.Role != "origin" || n.State != ops.Ready || n.RequestsTotal != 3 || n.BytesTotal == 0 || n.Connections["h2"] != 2 {
		t.Errorf("%+v", n)
	}
	page := httptest.NewRecorder()
	g.metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		`hither_origin_requests_total{code="200",node="origin-us"} 2`,
		`hither_origin_requests_total{code="404",node="origin-us"} 1`,
		`hither_origin_broken_total{node="origin-us"} 0`,
	} {
		if !strings.Contains(page.Body.String(), line+"\n") {
			t.Errorf("metrics have no %s", line)
		}
	}
}

// An instance that lies about its length costs the edge a stream, never a wrong body, and is counted.
func TestGatewayBreaksOffWhatIsShort(t *testing.T) {
	h := newHouse(t, deploy.LocalOptions{Origin: liar(t, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 50000))})
	g, _ := h.run(t)
	p := h.edge(t, g)
	_, _, err := fetch(t, p, "/")
	var e *pool.Error
	if !errors.As(err, &e) || e.Whose != pool.Origin || e.Retryable() || e.Op != "read body" {
		t.Errorf("got %v", err)
	}
	page := httptest.NewRecorder()
	g.metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	if line := `hither_origin_broken_total{node="origin-us"} 1`; !strings.Contains(page.Body.String(), line+"\n") {
		t.Errorf("metrics have no %s", line)
	}
	if s := p.Status(); s.HandshakesTotal != 2 {
		t.Errorf("it cost a connection: %+v", s)
	}
}

func TestGatewayThatCannotStartSaysWhyAndKeepsNothingOpen(t *testing.T) {
	h := newHouse(t, deploy.LocalOptions{})
	taken, err := net.Listen("tcp", "127.64.9.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	options := func(change func(*deploy.Network)) Options {
		n := network(t, deploy.LocalOptions{})
		change(n)
		return Options{Name: "us", State: h.state("origin-us"), Network: n, Identity: h.identity(t, "origin-us"), Log: slog.New(slog.DiscardHandler)}
	}
	for want, change := range map[string]func(*deploy.Network){
		taken.Addr().String(): func(n *deploy.Network) {
			n.Origin("us").Gateway.Bind = []netip.AddrPort{netip.MustParseAddrPort(taken.Addr().String())}
		},
		"/none/such": func(n *deploy.Network) { n.Origin("us").App.Static.Folder = "/none/such" },
	} {
		g, err := New(options(change))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %q", err, want)
		}
		if err == nil {
			g.close()
		}
	}
}
