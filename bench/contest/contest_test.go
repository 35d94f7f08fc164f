package contest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"hither/bench/load"
	"hither/bench/peers"
	"hither/bench/upstream"
)

// A world has a real upstream, and servers in this process that do as tests have them do.
type world struct {
	*Contest
	certificate tls.Certificate
	origin      *upstream.Handler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Contest: new(Contest), origin: upstream.NewHandler(upstream.NewObjects())}
	folder := t.TempDir()
	c, err := peers.NewCertificate(folder, peers.WebName)
	if err != nil {
		t.Fatal(err)
	}
	if w.certificate, err = tls.LoadX509KeyPair(c.Cert, c.Key); err != nil {
		t.Fatal(err)
	}
	origin := httptest.NewServer(w.origin)
	t.Cleanup(origin.Close)
	w.Upstream = &peers.WebServer{Name: "upstream", Addr: origin.Listener.Addr().(*net.TCPAddr).AddrPort()}
	w.Clients = &Clients{Folder: folder, Roots: c.Roots, MaxKeys: 10}
	w.Pairs, w.For, w.Idle = 2, 100*time.Millisecond, 20
	w.objects, w.http, w.warm = upstream.NewObjects(), &http.Client{Transport: &http.Transport{}}, make(map[string]bool)
	t.Cleanup(w.http.CloseIdleConnections)
	return w
}

// server serves a handler over all protocols.
func (w *world) server(t *testing.T, name string, h http.Handler, change func(*tls.Config)) *peers.WebServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	sock, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	// AES-128 is what Go chooses by itself where there is hardware for it.
	conf := &tls.Config{Certificates: []tls.Certificate{w.certificate}, NextProtos: []string{"h2", "http/1.1"}}
	if change != nil {
		change(conf)
	}
	quiet := log.New(io.Discard, "", 0)
	tcp := &http.Server{Handler: h, TLSConfig: conf.Clone(), ErrorLog: quiet}
	if !slices.Contains(conf.NextProtos, "h2") {
		tcp.Protocols = new(http.Protocols)
		tcp.Protocols.SetHTTP1(true)
	}
	h3 := &http3.Server{Handler: h, TLSConfig: http3.ConfigureTLSConfig(conf)}
	var all sync.WaitGroup
	all.Go(func() { tcp.ServeTLS(l, "", "") })
	all.Go(func() { h3.Serve(sock) })
	t.Cleanup(func() {
		tcp.Close()
		h3.Close()
		sock.Close()
		all.Wait()
	})
	return &peers.WebServer{Name: name, Addr: at}
}

// cache is a server that does all right, but for what it is told to do wrong.
type cache struct {
	origin http.Handler

	mu     sync.Mutex
	wrong  func(w http.ResponseWriter, r *http.Request) (done bool) // nil = nothing
	stored map[string]*httptest.ResponseRecorder
}

func (w *world) cache() *cache {
	return &cache{origin: w.origin, stored: make(map[string]*httptest.ResponseRecorder)}
}

func (c *cache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	wrong := c.wrong
	c.mu.Unlock()
	if wrong != nil && wrong(w, r) {
		return
	}
	c.mu.Lock()
	answer := c.stored[r.URL.String()]
	c.mu.Unlock()
	if answer == nil {
		answer = httptest.NewRecorder()
		c.origin.ServeHTTP(answer, r)
		if answer.Header().Get("Cache-Control") != "no-store" {
			c.mu.Lock()
			c.stored[r.URL.String()] = answer
			c.mu.Unlock()
		}
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
}

func named(t *testing.T, name string) Case {
	t.Helper()
	cases, err := Select([]string{name})
	if err != nil || len(cases) != 1 {
		t.Fatalf("%s: %v, %v", name, cases, err)
	}
	return cases[0]
}

// TestCheck has an honest server pass, in all cases.
func TestCheck(t *testing.T) {
	w := newWorld(t)
	s := w.server(t, "honest", w.cache(), nil)
	v := w.visitor(s, "h2", w.Clients.tlsConfig())
	defer v.close()
	for _, size := range upstream.Sizes() {
		for n := range w.Clients.MaxKeys {
			if _, err := v.get(t.Context(), size, n, true, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, one := range Cases() {
		if one.Size.Name == "1m" && one.Protocol != "h1" {
			continue // is the same in time only
		}
		if err := w.check(t.Context(), s, one); err != nil {
			t.Errorf("%v: %v", one, err)
		}
	}
}

// TestCheckFinds plants servers that are not as a case says.
func TestCheckFinds(t *testing.T) {
	w := newWorld(t)
	pass := func(rw http.ResponseWriter, r *http.Request) bool { w.origin.ServeHTTP(rw, r); return true }
	for _, c := range []struct {
		name, cases string
		wrong       func(http.ResponseWriter, *http.Request) bool
		tls         func(*tls.Config)
		why         string
	}{
		{"a server that stores nothing", "hit/h1/1k hit/h2/16k hit/h3/1k handshake-full/h1/1k idle/h1/1k", pass, nil, "of 20 hits it asked its upstream for 20"},
		{"a server that stores what it may not", "proxy/h1/1k proxy/h2/16k", func(_ http.ResponseWriter, r *http.Request) bool {
			r.URL.Path = strings.TrimPrefix(r.URL.Path, "/p")
			return false
		}, nil, "it asked its upstream 0 times"},
		{"a server that leaves the query out", "miss/h1/1k miss/h2/1k", func(_ http.ResponseWriter, r *http.Request) bool {
			r.URL.RawQuery = ""
			return false
		}, nil, "it asked its upstream 0 times"},
		{"a server that asks twice", "miss/h1/1k proxy/h3/1k", func(_ http.ResponseWriter, r *http.Request) bool {
			w.origin.ServeHTTP(httptest.NewRecorder(), r)
			return false
		}, nil, "for 20 requests it asked its upstream 40 times"},
		{"a server that has errors", "hit/h1/1k", func(rw http.ResponseWriter, _ *http.Request) bool {
			http.Error(rw, "no room", http.StatusServiceUnavailable)
			return true
		}, nil, `503 Service Unavailable: "no room`},
		{"a server that sends less", "hit/h2/16k", func(rw http.ResponseWriter, _ *http.Request) bool { rw.Write(make([]byte, 1024)); return true }, nil, "1024 bytes that are not the 16384"},
		{"a server that sends more", "hit/h2/1k", func(rw http.ResponseWriter, _ *http.Request) bool { rw.Write(make([]byte, 99999)); return true }, nil, "1025 bytes that are not the 1024"},
		{"a server that sends something else", "hit/h3/1k", func(rw http.ResponseWriter, _ *http.Request) bool { rw.Write(make([]byte, 1024)); return true }, nil, "1024 bytes that are not the 1024"},
		{"a server that cuts", "hit/h1/1k", func(rw http.ResponseWriter, _ *http.Request) bool {
			rw.Header().Set("Content-Length", "1024")
			rw.Write(make([]byte, 100))
			return true
		}, nil, "unexpected EOF"},
		{"a server without HTTP/2", "hit/h2/1k", nil, func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }, "get /1k/0"},
		{"a server of TLS 1.2", "hit/h1/1k", nil, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, "protocol version"},
		{"a server without tickets", "handshake-resumed/h1/1k handshake-resumed/h3/1k", nil, func(c *tls.Config) { c.SessionTicketsDisabled = true }, "20 of 20 handshakes were full"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range strings.Fields(c.cases) {
				cache := w.cache()
				s := w.server(t, "liar", cache, c.tls)
				one := named(t, name)
				if c.tls == nil {
					v := w.visitor(s, "h2", w.Clients.tlsConfig())
					for n := range w.Clients.MaxKeys {
						if _, err := v.get(t.Context(), one.Size, n, true, ""); err != nil {
							t.Fatal(err)
						}
					}
					v.close()
				} else {
					for n := range w.Clients.MaxKeys {
						for _, size := range upstream.Sizes() {
							cache.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", size.Path(n, true), nil))
						}
					}
				}
				cache.mu.Lock()
				cache.wrong = c.wrong
				cache.mu.Unlock()
				if err := w.check(t.Context(), s, one); err == nil || !strings.Contains(err.Error(), c.why) {
					t.Errorf("%s: %v; want an error with %q", name, err, c.why)
				}
			}
		})
	}
}

func TestFill(t *testing.T) {
	w := newWorld(t)
	honest := w.server(t, "honest", w.cache(), nil)
	size := upstream.Size{Name: "16k", Bytes: 16 << 10}
	if err := w.fill(t.Context(), honest, size); err != nil {
		t.Error(err)
	}
	none := w.server(t, "none", w.origin, nil)
	if err := w.fill(t.Context(), none, size); err == nil || !strings.Contains(err.Error(), "does not keep 10 of them: the 4th time") {
		t.Errorf("a server that stores nothing is filled: %v", err)
	}
	cache := w.cache()
	cache.wrong = func(rw http.ResponseWriter, r *http.Request) bool { http.NotFound(rw, r); return true }
	if err := w.fill(t.Context(), w.server(t, "lost", cache, nil), size); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a server that finds nothing is filled: %v", err)
	}
}

func TestJudge(t *testing.T) {
	hit, miss := named(t, "hit/h1/1k"), named(t, "miss/h1/1k")
	good := load.WebRun{Answered: 10_000, Bytes: 10_000 << 10}
	for _, c := range []struct {
		one    Case
		change func(*load.WebRun)
		asked  int64
		why    string
	}{
		{hit, nil, 0, ""},
		{hit, nil, 10, ""},
		{hit, nil, 11, "of 10000 hits it asked its upstream for 11"},
		{hit, func(r *load.WebRun) { r.Failed = 1 }, 0, "1 requests failed"},
		{hit, func(r *load.WebRun) { r.Answered, r.Bytes = 0, 0 }, 0, "nothing was answered"},
		{hit, func(r *load.WebRun) { r.Bytes-- }, 0, "not whole"},
		{miss, nil, 10_000, ""},
		{miss, nil, 10_064, ""},
		{miss, nil, 10_065, "asked its upstream 10065 times"},
		{miss, nil, 9_999, "asked its upstream 9999 times"},
	} {
		run := good
		if c.change != nil {
			c.change(&run)
		}
		err := judge(c.one, run, c.asked)
		if c.why == "" && err != nil || c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%v, %+v, asked %d: %v; want %q", c.one, run, c.asked, err, c.why)
		}
	}
	for _, c := range []struct {
		name string
		run  load.HTTPRun
		ok   bool
	}{
		{"handshake-full/h1/1k", load.HTTPRun{Answered: 100, Opened: 100}, true},
		{"handshake-full/h1/1k", load.HTTPRun{Answered: 100, Opened: 99}, false},
		{"handshake-full/h1/1k", load.HTTPRun{Answered: 100, Opened: 100, Resumed: 1}, false},
		{"handshake-resumed/h1/1k", load.HTTPRun{Answered: 1016, Opened: 1016, Resumed: 990}, true}, // 16 connections
		{"handshake-resumed/h1/1k", load.HTTPRun{Answered: 1016, Opened: 1016, Resumed: 989}, false},
		{"handshake-resumed/h1/1k", load.HTTPRun{Answered: 16, Opened: 16}, false},
	} {
		if err := handshakes(named(t, c.name), &c.run); (err == nil) != c.ok {
			t.Errorf("%s, %+v: %v", c.name, c.run, err)
		}
	}
}

// entrant starts a server of this process.
func (w *world) entrant(t *testing.T, name string, h http.Handler) Entrant {
	return Entrant{Name: name, HTTP3: true, Stores: true, Start: func(context.Context) (*peers.WebServer, error) { return w.server(t, name, h, nil), nil }}
}

// TestMeasure measures with our own client, and finds a liar among the cases.
func TestMeasure(t *testing.T) {
	w := newWorld(t)
	liar := w.cache()
	liar.wrong = func(_ http.ResponseWriter, r *http.Request) bool {
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/p")
		return false
	}
	w.Ours, w.Peer = w.entrant(t, "ours", w.cache()), w.entrant(t, "liar", liar)
	w.Cases = []Case{named(t, "hit/h3/16k"), named(t, "idle/h2/1k"), named(t, "proxy/h3/1k")}
	w.Cases[0].Connections, w.Cases[0].Streams = 1, 1 // of few answers, all come in time
	w.For = time.Second
	steps := 0
	w.Step = func(Case) { steps++ }
	rows, err := w.Measure(t.Context())
	if err != nil || len(rows) != 3 || steps != 3 {
		t.Fatalf("%d rows, %d steps, %v", len(rows), steps, err)
	}
	hit, idle, proxy := rows[0], rows[1], rows[2]
	if hit.Err != nil || len(hit.Ours) != 2 || len(hit.Peer) != 2 {
		t.Fatalf("hits: %+v", hit)
	}
	for _, r := range append(hit.Ours, hit.Peer...) {
		if r.Answered == 0 || r.Asked != 0 || r.Rate <= 0 || r.P50 <= 0 || r.P999 < r.P50 {
			t.Errorf("a run of hits: %+v", r)
		}
	}
	if idle.Err != nil || len(idle.Ours) != 2 || idle.Ours[0].Answered != 20 {
		t.Errorf("idle: %+v", idle)
	}
	if proxy.Err == nil || !strings.Contains(proxy.Err.Error(), "liar is not ready for proxy/h3/1k") || len(proxy.Ours) != 0 {
		t.Errorf("a liar: %+v", proxy)
	}
}

// TestMeasureEnds shows that a server which does not start ends it, and what does not suit is left out.
func TestMeasureEnds(t *testing.T) {
	w := newWorld(t)
	broken := errors.New("nginx ended at once: bind() failed")
	w.Ours = w.entrant(t, "ours", w.cache())
	w.Peer = Entrant{Name: "nginx", Start: func(context.Context) (*peers.WebServer, error) { return nil, broken }}
	w.Cases = Cases()
	var start *StartError
	if rows, err := w.Measure(t.Context()); !errors.Is(err, broken) || len(rows) != 0 || !errors.As(err, &start) || start.Server != "nginx" {
		t.Errorf("%d rows, %v of %+v", len(rows), err, start)
	}
	for _, one := range w.Suited() {
		if one.Kind == Miss || one.Protocol == "h3" {
			t.Errorf("%v suits a server without", one)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	w.Peer = w.entrant(t, "peer", w.cache())
	if _, err := w.Measure(over); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	w.Upstream = &peers.WebServer{Name: "upstream", Addr: netip.MustParseAddrPort("127.0.0.1:1")}
	w.Cases = []Case{named(t, "proxy/h1/1k")}
	if rows, err := w.Measure(t.Context()); err != nil || len(rows) != 1 || rows[0].Err == nil {
		t.Errorf("without an upstream: %+v, %v", rows, err)
	}
}
