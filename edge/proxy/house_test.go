package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hither/cache"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// A shelf is a store that forgets nothing by itself. The zero shelf is empty.
type shelf struct{ objects sync.Map }

func (s *shelf) Get(k cache.Key) *cache.Object {
	if o, ok := s.objects.Load(k); ok && !o.(*cache.Object).Dead() {
		return o.(*cache.Object)
	}
	return nil
}

func (s *shelf) Put(o *cache.Object) {
	if old, ok := s.objects.Swap(o.Key, o); ok && old != o {
		old.(*cache.Object).Kill()
	}
}

func (s *shelf) Delete(k cache.Key) bool {
	old, ok := s.objects.LoadAndDelete(k)
	if ok {
		old.(*cache.Object).Kill()
	}
	return ok
}

func (s *shelf) Each(yield func(*cache.Object) bool) {
	s.objects.Range(func(_, o any) bool { return o.(*cache.Object).Dead() || yield(o.(*cache.Object)) })
}

func (s *shelf) MaxObject() int64 { return 1 << 20 }

// A clock stands still until it is told to go on.
type clock struct{ nanos atomic.Int64 }

func (c *clock) now() time.Time          { return noon.Add(time.Duration(c.nanos.Load())) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

// host is a name that httptest's certificate is valid for, as are all below it.
const host = "example.com"

// A house is a proxy behind a real TLS server, before a real origin.
type house struct {
	t      *testing.T
	clock  *clock
	proxy  *Proxy
	site   *Site
	client *http.Client
	edge   *httptest.Server
	roots  *x509.CertPool
	ends   chan record

	mu       sync.Mutex
	handlers map[string]http.HandlerFunc // of the origin, by path
	saw      []*http.Request             // by the origin
}

// A record is what an Exchange said when it was over.
type record struct {
	verdict  cache.Verdict
	reason   cache.Reason
	status   int
	in, out  int64
	fault    error
	origin   string
	protocol string
	self     bool
}

// eachProto runs a test with clients of HTTP/1.1 and 2.
func eachProto(t *testing.T, test func(t *testing.T, h *house)) {
	for _, proto := range []string{"h1", "h2"} {
		t.Run(proto, func(t *testing.T) { test(t, newHouse(t, proto)) })
	}
}

func newHouse(t *testing.T, proto string) *house {
	h := &house{t: t, clock: new(clock), ends: make(chan record, 1024), handlers: make(map[string]http.HandlerFunc)}

	origin := httptest.NewUnstartedServer(http.HandlerFunc(h.serveOrigin))
	origin.EnableHTTP2 = true
	origin.Config.DisableGeneralOptionsHandler = true
	origin.Config.ErrorLog = log.New(io.Discard, "", 0)
	origin.StartTLS()
	t.Cleanup(origin.Close)
	h.roots = origin.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	transport := dialing(origin.Listener.Addr(), &tls.Config{RootCAs: h.roots, ServerName: host}, true)
	t.Cleanup(transport.CloseIdleConnections)

	h.site = &Site{Name: "www", Origin: "us", Transport: transport, Policy: "main", EarlyData: true}
	sites := NewSites()
	sites.Add(h.site, host, "*."+host)
	h.proxy = New(Config{
		Node: "fra", Cache: cache.New(cache.Config{Store: new(shelf), Now: h.clock.now}), Sites: sites,
		AltSvc: `h3=":443"; ma=3600`, Port: 443, Now: h.clock.now, End: h.end,
	})

	h.edge = httptest.NewUnstartedServer(h.proxy)
	h.edge.EnableHTTP2 = true
	h.edge.Config.DisableGeneralOptionsHandler = true
	h.edge.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.edge.StartTLS()
	t.Cleanup(h.edge.Close)
	front := dialing(h.edge.Listener.Addr(), &tls.Config{RootCAs: h.roots}, proto == "h2")
	t.Cleanup(front.CloseIdleConnections)
	h.client = &http.Client{
		Transport:     front,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return h
}

// dialing is a transport all of whose connections go to one address.
func dialing(to net.Addr, config *tls.Config, h2 bool) *http.Transport {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, to.Network(), to.String())
		},
		TLSClientConfig: config, DisableCompression: true, ExpectContinueTimeout: time.Hour,
		Protocols: new(http.Protocols),
	}
	t.Protocols.SetHTTP1(!h2)
	t.Protocols.SetHTTP2(h2)
	return t
}

func (h *house) end(x *Exchange) {
	h.ends <- record{x.Verdict, x.Reason, x.Status, x.BytesIn, x.BytesOut, x.Fault, x.Origin, x.Proto, x.Self}
}

// over waits for the next exchange's end.
func (h *house) over() record { return <-h.ends }

// origin lets f answer a path at the origin.
func (h *house) origin(path string, f http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.handlers[path] = f
}

// says is an origin that answers with fields and a body.
func says(status int, body string, pairs ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(pairs); i += 2 {
			w.Header().Add(pairs[i], pairs[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func (h *house) serveOrigin(w http.ResponseWriter, r *http.Request) {
	seen := r.Clone(context.Background())
	h.mu.Lock()
	h.saw = append(h.saw, seen)
	f := h.handlers[r.URL.Path]
	h.mu.Unlock()
	w.Header().Set("Date", h.clock.now().Format(http.TimeFormat))
	if f == nil {
		http.NotFound(w, r)
		return
	}
	f(w, r)
}

// asked returns the requests that came to the origin since it was last called.
func (h *house) asked() []*http.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	saw := h.saw
	h.saw = nil
	return saw
}

// expectAsked fails the test unless n requests came to the origin, and returns the last.
func (h *house) expectAsked(n int) *http.Request {
	h.t.Helper()
	saw := h.asked()
	if len(saw) != n {
		h.t.Fatalf("the origin was asked %d times, want %d", len(saw), n)
	}
	if n == 0 {
		return nil
	}
	return saw[n-1]
}

// An answer is a response that was read, with the exchange that made it.
type answer struct {
	*http.Response
	body string
	err  error // of reading the body
	record
}

func (h *house) request(method, path string, body io.Reader, pairs ...string) *http.Request {
	r, err := http.NewRequestWithContext(h.t.Context(), method, "https://"+host+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] == "Host" {
			r.Host = pairs[i+1]
			r.URL.Host = pairs[i+1]
			continue
		}
		r.Header.Add(pairs[i], pairs[i+1])
	}
	return r
}

// do sends a request and reads the answer to its end.
func (h *house) do(method, path string, pairs ...string) answer {
	h.t.Helper()
	resp, err := h.client.Do(h.request(method, path, nil, pairs...))
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	return answer{resp, string(body), err, h.over()}
}

// get is do for a GET that must be answered with this status and body.
func (h *house) get(path string, status int, body string, pairs ...string) answer {
	h.t.Helper()
	a := h.do("GET", path, pairs...)
	if a.StatusCode != status || a.body != body || a.err != nil {
		h.t.Fatalf("GET %s: %d %q, %v, want %d %q; %v", path, a.StatusCode, a.body, a.err, status, body, a.Header)
	}
	return a
}

// fields checks fields of an answer: names and values; "-" is absence.
func (a answer) fields(t *testing.T, pairs ...string) answer {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		got := "-"
		if values := a.Header.Values(pairs[i]); len(values) > 0 {
			got = strings.Join(values, " | ")
		}
		if got != pairs[i+1] {
			t.Errorf("%s: %s, want %s", pairs[i], got, pairs[i+1])
		}
	}
	return a
}

// said checks the verdict and the reason of the exchange.
func (a answer) said(t *testing.T, verdict cache.Verdict, reason cache.Reason) answer {
	t.Helper()
	if a.verdict != verdict || a.reason != reason {
		t.Errorf("verdict %v/%s, want %v/%s", a.verdict, a.reason, verdict, reason)
	}
	return a
}

// sent checks a request's field at the origin; "-" is absence.
func sent(t *testing.T, r *http.Request, name, want string) {
	t.Helper()
	got := "-"
	if values := r.Header.Values(name); len(values) > 0 {
		got = strings.Join(values, " | ")
	}
	if got != want {
		t.Errorf("the origin was sent %s: %s, want %s", name, got, want)
	}
}

// dial opens a TLS connection for bytes that no http.Client would send.
func (h *house) dial() *tls.Conn {
	h.t.Helper()
	c, err := tls.Dial("tcp", h.edge.Listener.Addr().String(), &tls.Config{RootCAs: h.roots, ServerName: host, NextProtos: []string{"http/1.1"}})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}

// raw sends bytes and returns all that comes until the connection ends.
func (h *house) raw(format string, args ...any) (string, error) {
	c := h.dial()
	if _, err := fmt.Fprintf(c, format, args...); err != nil {
		return "", err
	}
	all, err := io.ReadAll(c)
	return string(all), err
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return slices.Clip(out)
}
