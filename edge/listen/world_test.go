package listen_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"go.uber.org/goleak"

	"hither/edge/cert"
	"hither/edge/listen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	siteName  = "www.example.org"
	otherName = "old.example.org" // TLS 1.2 is allowed there
)

var any0 = netip.MustParseAddrPort("127.77.0.1:0")

// counts is what a front has told its hooks. Waiting for a count is waiting for the event.
type counts struct {
	t    testing.TB
	mu   sync.Mutex
	n    map[string]int
	more *sync.Cond
}

func newCounts(t testing.TB) *counts {
	c := &counts{t: t, n: make(map[string]int)}
	c.more = sync.NewCond(&c.mu)
	return c
}

func (c *counts) add(what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[what] += n
	c.more.Broadcast()
}

func (c *counts) get(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[what]
}

// wait returns when what has been counted n times, and fails the test when that does not come.
func (c *counts) wait(what string, n int) {
	c.t.Helper()
	late := false
	limit := time.AfterFunc(patience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		late = true
		c.more.Broadcast()
	})
	defer limit.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.n[what] != n {
		if late {
			c.t.Errorf("%s was counted %d times, want %d; all counts: %v", what, c.n[what], n, c.n)
			return
		}
		c.more.Wait()
	}
}

// patience is how long a test waits for what must come; it only ends tests that have failed.
const patience = 10 * time.Second

func (c *counts) hooks() listen.Hooks {
	return listen.Hooks{
		Connections: func(p listen.Proto, d int) { c.add("open "+string(p), d) },
		Handshakes:  func(p listen.Proto, k listen.Kind) { c.add(string(p)+" "+string(k), 1) },
		Rejected:    func(r listen.Reason) { c.add(string(r), 1) },
	}
}

// A world is a front with a site, and what a client must know of it.
type world struct {
	*listen.Front
	*counts
	roots *x509.CertPool
	names *cert.Names
	now   func() time.Time
}

// authority makes certificates for the tests.
func authority(t testing.TB) (*x509.CertPool, func(names ...string) *tls.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	serial := int64(1)
	return pool, func(names ...string) *tls.Certificate {
		serial++
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, k.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
	}
}

// open starts a front whose two handlers are h. change, if not nil, edits the configuration.
func open(t *testing.T, h http.HandlerFunc, change func(*listen.Config)) *world {
	t.Helper()
	return openAt(t, time.Now, h, change)
}

func openAt(t *testing.T, now func() time.Time, h http.HandlerFunc, change func(*listen.Config)) *world {
	t.Helper()
	roots, issue := authority(t)
	table, err := cert.NewTable(listen.ALPN,
		cert.Entry{Names: []string{siteName}, Domain: "main", Certificate: issue(siteName)},
		cert.Entry{Names: []string{otherName}, Domain: "main", Certificate: issue(otherName), MinVersion: tls.VersionTLS12},
		cert.Entry{Names: []string{"client.example.org"}, Domain: "main", Certificate: issue("client.example.org"), ClientCAs: roots},
	)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{counts: newCounts(t), roots: roots, now: now, names: cert.NewNames(table, cert.NewTickets(time.Hour, now))}
	cfg := listen.Config{
		HTTPS: []netip.AddrPort{any0}, QUIC: []netip.AddrPort{any0}, HTTP: []netip.AddrPort{any0},
		Handler: h, Plain: h, TLS: w.names.Config, Hooks: w.hooks(), Promise: 50 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	w.Front, err = listen.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- w.Serve() }()
	t.Cleanup(func() {
		w.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return w
}

func (w *world) clientTLS(alpn ...string) *tls.Config {
	return &tls.Config{RootCAs: w.roots, ServerName: siteName, NextProtos: alpn}
}

func (w *world) addr() string { return w.HTTPS()[0].String() }

// client returns a client that speaks one protocol with the front whatever the URL's host says.
func (w *world) client(p listen.Proto, conf *tls.Config) *http.Client {
	w.t.Helper()
	if conf == nil {
		conf = w.clientTLS()
	}
	var rt http.RoundTripper
	if p == listen.H3 {
		tr := &http3.Transport{
			TLSClientConfig: conf,
			Dial: func(ctx context.Context, _ string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
				return quic.DialAddrEarly(ctx, w.QUIC()[0].String(), tc, qc)
			},
		}
		w.t.Cleanup(func() { tr.Close() })
		rt = tr
	} else {
		var protos http.Protocols
		protos.SetHTTP1(p == listen.H1)
		protos.SetHTTP2(p == listen.H2)
		tr := &http.Transport{
			TLSClientConfig: conf, Protocols: &protos, DisableCompression: true, MaxIdleConnsPerHost: 100,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, w.addr())
			},
		}
		w.t.Cleanup(tr.CloseIdleConnections)
		rt = tr
	}
	return &http.Client{Transport: rt}
}

// raw opens a TLS connection for bytes of a test's own.
func (w *world) raw(alpn string) *tls.Conn {
	w.t.Helper()
	c, err := tls.Dial("tcp", w.addr(), w.clientTLS(alpn))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

var protos = []listen.Proto{listen.H1, listen.H2, listen.H3}

func each(t *testing.T, f func(t *testing.T, p listen.Proto)) {
	for _, p := range protos {
		t.Run(string(p), func(t *testing.T) { f(t, p) })
	}
}

func body(t testing.TB, resp *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
