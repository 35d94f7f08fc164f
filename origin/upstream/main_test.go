package upstream

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hither/origin/balance"
	"hither/origin/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a Sender that checks its caller, and misbehaves on request.
type fake struct {
	t      testing.TB
	id     string
	answer func(n int, req *http.Request) (*http.Response, error) // the n-th request, from 0

	requests atomic.Int64
	under    atomic.Int64 // way: RoundTrips
	open     atomic.Int64 // bodies
	drained  atomic.Bool  // no request may come any more
	lost     atomic.Bool  // it has no connection, and knows
	gone     chan struct{}
	once     sync.Once
}

func (f *fake) RoundTrip(req *http.Request) (*http.Response, error) {
	if f.drained.Load() {
		f.t.Errorf("%s: a request after Drain", f.id)
	}
	f.under.Add(1)
	defer f.under.Add(-1)
	n := int(f.requests.Add(1)) - 1
	if req.Body != nil {
		defer req.Body.Close()
	}
	res, err := f.answer(n, req)
	if (res == nil) == (err == nil) {
		f.t.Errorf("%s: the fake is wrong", f.id)
	}
	_, upgraded := bodyOf(res).(io.Writer)
	_, copies := bodyOf(res).(io.WriterTo)
	if res != nil && res.Body != http.NoBody && !upgraded && !copies {
		f.open.Add(1)
		res.Body = &counted{ReadCloser: res.Body, f: f}
	}
	return res, err
}

func (f *fake) Up() bool { return !f.lost.Load() }

func bodyOf(res *http.Response) io.Reader {
	if res == nil {
		return nil
	}
	return res.Body
}

func (f *fake) Drain(ctx context.Context) error {
	if f.under.Load() > 0 && ctx.Err() == nil {
		f.t.Errorf("%s: drained with requests under way", f.id)
	}
	f.drained.Store(true)
	return f.Close()
}

func (f *fake) Close() error {
	f.once.Do(func() { close(f.gone) })
	return nil
}

type counted struct {
	io.ReadCloser
	f    *fake
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.f.open.Add(-1) })
	return c.ReadCloser.Close()
}

// answers makes a response; fields are Name: value.
func answers(status int, content string, fields ...string) (*http.Response, error) {
	res := &http.Response{
		StatusCode: status, Header: http.Header{}, ContentLength: int64(len(content)), Body: io.NopCloser(strings.NewReader(content)),
		Proto: "HTTP/2.0", ProtoMajor: 2,
	}
	for _, f := range fields {
		name, v, _ := strings.Cut(f, ": ")
		res.Header.Add(name, v)
	}
	return res, nil
}

// fails makes an error like a pool's.
func fails(k pool.Kind, unprocessed bool) (*http.Response, error) {
	whose := pool.Origin
	switch k {
	case pool.KindFull, pool.KindClosed, pool.KindDeadline:
		whose = pool.Us
	case pool.KindCanceled, pool.KindUnread, pool.KindRequestBody, pool.KindRequestInvalid:
		whose = pool.Client
	}
	return nil, &pool.Error{Kind: k, Whose: whose, Retry: unprocessed, Op: "round trip", Cause: errors.New(k.String())}
}

// says is an instance that gives the same answer each time, with its name as a field.
func says(status int, content string, fields ...string) func(int, *http.Request) (*http.Response, error) {
	return func(int, *http.Request) (*http.Response, error) { return answers(status, content, fields...) }
}

// bench is an upstream over fakes.
type bench struct {
	*Upstream
	fakes map[string]*fake
	mu    sync.Mutex
}

// answer is how the instances of a bench answer, by ID.
type answer map[string]func(int, *http.Request) (*http.Response, error)

// over makes an upstream over instances that answer so. Round robin, so that it is known who comes first: by ID.
func over(t testing.TB, a answer, change func(*Config)) *bench {
	t.Helper()
	b := &bench{fakes: map[string]*fake{}}
	cfg := Config{
		Origin: "app", Node: "us", Balance: balance.Config{Algorithm: "round-robin"},
		Sender: func(i Instance) (Sender, error) {
			f := &fake{t: t, id: i.ID, answer: a[i.ID], gone: make(chan struct{})}
			b.mu.Lock()
			defer b.mu.Unlock()
			b.fakes[i.ID] = f
			return f, nil
		},
	}
	for id := range a {
		cfg.Instances = append(cfg.Instances, instance(id))
	}
	if change != nil {
		change(&cfg)
	}
	u, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Upstream = u
	t.Cleanup(func() {
		u.Close()
		for id, f := range b.fakes {
			if n := f.open.Load(); n != 0 {
				t.Errorf("%s: %d bodies were not closed", id, n)
			}
		}
		for _, i := range u.Status().Balance.Instances {
			if i.Score.InFlight != 0 {
				t.Errorf("%s: %d requests are still counted as in flight", i.ID, i.Score.InFlight)
			}
		}
		if l := u.Status().Limit; l != nil && l.In != 0 {
			t.Errorf("%d places were not given back", l.In)
		}
	})
	return b
}

func instance(id string) Instance {
	return Instance{ID: id, URL: &url.URL{Scheme: "https", Host: id + ":443"}, Weight: 1}
}

func request(t *testing.T, method, target string, content io.Reader) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limitOfTests)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, "https://www.hither.test"+target, content)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// limitOfTests bounds each test: what hangs fails.
const limitOfTests = 20 * time.Second

// fetch is the status and content of an exchange.
func fetch(rt http.RoundTripper, r *http.Request) (int, string, error) {
	res, err := rt.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	c, err := io.ReadAll(res.Body)
	return res.StatusCode, string(c), err
}

// get is what a GET of / brings, as "200 content" or the word of its error.
func get(t *testing.T, rt http.RoundTripper) string {
	t.Helper()
	return said(fetch(rt, request(t, "GET", "/", nil)))
}

func said(status int, content string, err error) string {
	var e interface{ Reason() string }
	switch {
	case errors.As(err, &e):
		return e.Reason()
	case err != nil:
		return err.Error()
	}
	return strings.TrimSpace(strconv.Itoa(status) + " " + content)
}

// retries is Status.RetriesTotal without zeros, as "lost 1, status 2".
func retries(u *Upstream) string {
	var all []string
	s := u.Status()
	for _, r := range RetryReasons() {
		if n := s.RetriesTotal[r]; n > 0 {
			all = append(all, r+" "+strconv.FormatUint(n, 10))
		}
	}
	return strings.Join(all, ", ")
}

// fleet is a CA with a certificate for instances and one for who asks them.
type fleet struct {
	roots        *x509.CertPool
	origin, edge tls.Certificate
}

var newFleet = sync.OnceValue(func() fleet {
	key := func() *ecdsa.PrivateKey { k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); return k }
	caKey, ca := key(), &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fleet"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		panic(err)
	}
	ca, _ = x509.ParseCertificate(der)
	f := fleet{roots: x509.NewCertPool()}
	f.roots.AddCert(ca)
	leaf := func(name string) tls.Certificate {
		k := key()
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}, ca, k.Public(), caKey)
		if err != nil {
			panic(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
	}
	f.origin, f.edge = leaf("us.origin"), leaf("fra.edge")
	return f
})

// server is a real HTTP/2 server over mutual TLS, or one of HTTP/1.1 in plain text, that can be killed and started again at
// the same address.
type server struct {
	t     *testing.T
	plain bool
	addr  string
	h     http.Handler
	srv   *http.Server
	done  chan struct{}
}

func newServer(t *testing.T, h http.HandlerFunc) *server { return newServerOf(t, h, false) }

func newServerOf(t *testing.T, h http.HandlerFunc, plain bool) *server {
	s := &server{t: t, addr: "127.0.0.1:0", h: h, plain: plain}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) start() {
	s.t.Helper()
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	srv, done := &http.Server{Handler: s.h, ErrorLog: log.New(io.Discard, "", 0)}, make(chan struct{})
	s.addr, s.srv, s.done = ln.Addr().String(), srv, done
	if s.plain {
		go func() { defer close(done); srv.Serve(ln) }()
		return
	}
	f := newFleet()
	srv.TLSConfig = &tls.Config{
		Certificates: []tls.Certificate{f.origin}, ClientCAs: f.roots, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
	}
	go func() { defer close(done); srv.ServeTLS(ln, "", "") }()
}

// kill cuts all connections.
func (s *server) kill() { s.srv.Close(); <-s.done }

// stop lets requests finish: GOAWAY.
func (s *server) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), limitOfTests)
	defer cancel()
	if err := s.srv.Shutdown(ctx); err != nil {
		s.t.Error(err)
	}
	<-s.done
}

func (s *server) instance() Instance {
	if s.plain {
		return Instance{ID: s.addr, URL: &url.URL{Scheme: "http", Host: s.addr}, Protocol: "h1", Weight: 1}
	}
	return Instance{ID: s.addr, URL: &url.URL{Scheme: "https", Host: s.addr}, Weight: 1}
}

// pools makes senders that are pools.
func pools(i Instance) (Sender, error) {
	cfg := pool.Config{
		Origin: i.ID, Node: "fra", Addresses: []string{i.URL.Host}, Protocol: i.Protocol, Connect: 2 * time.Second, FirstByte: 10 * time.Second,
	}
	if f := newFleet(); i.URL.Scheme == "https" {
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{f.edge}, RootCAs: f.roots, ServerName: "us.origin", MinVersion: tls.VersionTLS13}
	}
	p, err := pool.New(cfg)
	if err != nil {
		return nil, err
	}
	p.Start(context.Background())
	return p, nil
}

// overPools makes an upstream over servers, with ejection as a gateway has it.
func overPools(t *testing.T, change func(*Config), servers ...*server) *Upstream {
	t.Helper()
	cfg := Config{Origin: "app", Node: "fra", Sender: pools, Balance: balance.Config{
		Eject: balance.Eject{Consecutive: 5, MaxPercent: 50, PanicPercent: 30},
	}}
	for _, s := range servers {
		cfg.Instances = append(cfg.Instances, s.instance())
	}
	if change != nil {
		change(&cfg)
	}
	u, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}
