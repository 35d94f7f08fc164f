package pool

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds each test: what hangs fails.
const limit = 20 * time.Second

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// fleet is a CA with a certificate for the origin and one for the edge.
type fleet struct {
	roots        *x509.CertPool
	origin, edge tls.Certificate
}

var newFleet = sync.OnceValue(func() fleet {
	caKey, caCert := newKey(), &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fleet"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, caCert, caCert, caKey.Public(), caKey)
	if err != nil {
		panic(err)
	}
	caCert, _ = x509.ParseCertificate(der)
	f := fleet{roots: x509.NewCertPool()}
	f.roots.AddCert(caCert)
	leaf := func(name string) tls.Certificate {
		key := newKey()
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}, caCert, key.Public(), caKey)
		if err != nil {
			panic(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	f.origin, f.edge = leaf("us.origin"), leaf("fra.edge")
	return f
})

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func (f fleet) server() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{f.origin}, ClientCAs: f.roots, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"},
	}
}

func (f fleet) client() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{f.edge}, RootCAs: f.roots, ServerName: "us.origin", MinVersion: tls.VersionTLS13}
}

// origin is a real HTTP/2 server over mutual TLS which can be killed and started again at the same address.
type origin struct {
	t       *testing.T
	addr    string
	handler http.Handler
	h2      *http.HTTP2Config
	plain   bool
	conns   atomic.Int64 // accepted ever
	srv     *http.Server
	done    chan struct{}
}

func newOrigin(t *testing.T, h http.HandlerFunc) *origin {
	o := &origin{t: t, addr: "127.0.0.1:0", handler: h}
	o.start()
	t.Cleanup(o.kill)
	return o
}

func (o *origin) start() {
	o.t.Helper()
	ln, err := net.Listen("tcp", o.addr)
	if err != nil {
		o.t.Fatal(err)
	}
	o.addr = ln.Addr().String()
	o.srv = &http.Server{
		Handler: o.handler, TLSConfig: newFleet().server(), HTTP2: o.h2, ErrorLog: log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				o.conns.Add(1)
			}
		},
	}
	o.done = make(chan struct{})
	if o.plain {
		o.srv.Protocols = new(http.Protocols)
		o.srv.Protocols.SetHTTP1(true)
		o.srv.Protocols.SetUnencryptedHTTP2(true)
		go func() { defer close(o.done); o.srv.Serve(ln) }()
		return
	}
	go func() { defer close(o.done); o.srv.ServeTLS(ln, "", "") }()
}

func (o *origin) kill() { o.srv.Close(); <-o.done }

// config is a configuration with short limits.
func config(addrs ...string) Config {
	return Config{
		Origin: "us", Node: "fra", Addresses: addrs, TLS: newFleet().client(),
		Connect: 2 * time.Second, FirstByte: 10 * time.Second, BodyIdle: 10 * time.Second,
	}
}

// started is a running pool, closed when the test ends.
func started(t *testing.T, cfg Config) *Pool {
	t.Helper()
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.Start(context.Background())
	t.Cleanup(func() { p.Close() })
	return p
}

// warm is a running pool with its connections open.
func warm(t *testing.T, cfg Config) *Pool {
	t.Helper()
	p := started(t, cfg)
	if err := p.Warm(deadline(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

// await returns when what the pool announces makes ok true.
func await(t *testing.T, p *Pool, what string, ok func(Status) bool) {
	t.Helper()
	ctx := deadline(t)
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if s := p.Status(); ok(s) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("never: %s; status %+v", what, p.Status())
		}
	}
}

func request(t *testing.T, method, path string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(deadline(t), method, "https://www.hither.test"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fetch returns the body of a successful exchange.
func fetch(p *Pool, r *http.Request) (string, error) {
	res, err := p.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", res.StatusCode)
	}
	return string(b), err
}
