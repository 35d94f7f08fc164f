//go:build e2e

package lab_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"hither/bench/lab"
)

// A visit is one fetch over a connection of its own, from connect on.
type visit struct {
	start, first time.Time
	port         uint16
	status       int
	verdict      string
	early        bool
	body         int
}

// A visitor fetches from one server.
type visitor struct {
	lab *lab.Lab
	to  netip.AddrPort
	tls *tls.Config // with a session cache where one resumes
}

// overTCP fetches by HTTP/1.1 over TLS of a version.
func (v visitor) overTCP(t *testing.T, version uint16, path string) visit {
	t.Helper()
	conf := v.tls.Clone()
	conf.MinVersion, conf.MaxVersion = version, version
	var x visit
	tr := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := v.lab.At(lab.Client).DialContext(ctx, "tcp", v.to.String())
		if err != nil {
			return nil, err
		}
		x.port = c.LocalAddr().(*net.TCPAddr).AddrPort().Port()
		return tls.Client(c, conf), nil
	}}
	defer tr.CloseIdleConnections()
	x.start = time.Now()
	v.fetch(t, tr, path, &x)
	return x
}

// overQUIC fetches by HTTP/3, with the request in the first flight where a session can be resumed.
func (v visitor) overQUIC(t *testing.T, path string) visit {
	t.Helper()
	sock, err := v.lab.At(lab.Client).ListenUDP(0)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	qt := &quic.Transport{Conn: sock}
	defer qt.Close()
	var conn *quic.Conn
	tr := &http3.Transport{TLSClientConfig: v.tls, Dial: func(ctx context.Context, _ string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
		var err error
		conn, err = qt.DialEarly(ctx, net.UDPAddrFromAddrPort(v.to), tc, qc)
		return conn, err
	}}
	defer tr.Close()
	x := visit{port: sock.LocalAddr().(*net.UDPAddr).AddrPort().Port(), start: time.Now()}
	v.fetch(t, tr, path, &x)
	x.early = conn.ConnectionState().Used0RTT
	return x
}

func (v visitor) fetch(t *testing.T, rt http.RoundTripper, path string, x *visit) {
	t.Helper()
	method := http.MethodGet
	if v.tls.ClientSessionCache != nil {
		method = http3.MethodGet0RTT
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+lab.Host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	x.first = time.Now()
	n, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	x.status, x.verdict, x.body = resp.StatusCode, resp.Header.Get("Cache-Status"), int(n)
}

// measure runs one visit in a settled lab, and returns what it waited for.
func (v visitor) measure(t *testing.T, visit func() visit) (visit, lab.Path, *lab.Recording) {
	t.Helper()
	settle(t, v.lab)
	v.lab.Record()
	x := visit()
	rec := v.lab.Stop()
	path, err := rec.Path(lab.Question{Start: x.start, At: x.first, Port: x.port})
	if err != nil {
		t.Fatal(err)
	}
	return x, path, rec
}

func settle(t *testing.T, l *lab.Lab) {
	t.Helper()
	if err := l.Settle(t.Context(), 30*time.Millisecond); err != nil {
		t.Fatal(err)
	}
}

// direct serves a page at the origin by plain servers of Go's library and quic-go, without an edge.
func direct(t *testing.T, l *lab.Lab) visitor {
	t.Helper()
	cert, roots := selfSigned(t)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "direct") })
	conf := &tls.Config{Certificates: []tls.Certificate{cert}}
	if os.Getenv(plants) == "round trip" {
		// A group for which clients have not sent a key: they are asked to begin again (RFC 8446 section 2.1).
		conf.CurvePreferences = []tls.CurveID{tls.CurveP521}
	}
	to := netip.AddrPortFrom(lab.Origin.Addr(), 443)
	ln, err := l.At(lab.Origin).Listen(t.Context(), "tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	sock, err := l.At(lab.Origin).ListenUDP(443)
	if err != nil {
		t.Fatal(err)
	}
	h1 := &http.Server{Handler: handler, TLSConfig: conf}
	h3 := &http3.Server{Handler: handler, TLSConfig: http3.ConfigureTLSConfig(conf), QUICConfig: &quic.Config{Allow0RTT: true}}
	ended := make(chan error, 2)
	go func() { ended <- h1.ServeTLS(ln, "", "") }()
	go func() { ended <- h3.Serve(sock) }()
	t.Cleanup(func() {
		h1.Close()
		h3.Close()
		sock.Close()
		for range 2 {
			if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		}
	})
	return visitor{lab: l, to: to, tls: &tls.Config{RootCAs: roots, ServerName: lab.Host}}
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{lab.Host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
