package pool

import (
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
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// selfSigned is a certificate for name which vouches for itself, valid until then.
func selfSigned(t *testing.T, name string, until time.Time) tls.Certificate {
	t.Helper()
	key := newKey()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: until.Add(-2 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// secureServer is a real server of a protocol with a TLS configuration.
func secureServer(t *testing.T, protocol string, cfg *tls.Config) string {
	t.Helper()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})
	if protocol == "h3" {
		cfg.NextProtos = []string{"h3"}
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http3.Server{Handler: h, TLSConfig: cfg}
		done := make(chan struct{})
		go func() { defer close(done); srv.Serve(udp) }()
		t.Cleanup(func() { srv.Close(); udp.Close(); <-done })
		return udp.LocalAddr().String()
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, TLSConfig: cfg, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() { defer close(done); srv.ServeTLS(ln, "", "") }()
	t.Cleanup(func() { srv.Close(); <-done })
	return ln.Addr().String()
}

// TestCertificates has both sides show certificates that the other must not take, over each protocol with TLS.
func TestCertificates(t *testing.T) {
	now := time.Now()
	own, expired := selfSigned(t, "us.origin", now.Add(time.Hour)), selfSigned(t, "us.origin", now.Add(-time.Hour))
	known := func(c tls.Certificate) *x509.CertPool {
		pool := x509.NewCertPool()
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		pool.AddCert(leaf)
		return pool
	}
	for _, protocol := range []string{"h1", "h2", "h3"} {
		for _, test := range []struct {
			name   string
			kind   Kind
			token  string
			server func(*tls.Config)
			client func(*tls.Config)
		}{
			{"good", kinds, "", nil, nil},
			{"self-signed", KindCertificate, "tls_certificate_error", func(c *tls.Config) { c.Certificates = []tls.Certificate{own} }, nil},
			{"expired", KindCertificate, "tls_certificate_error", func(c *tls.Config) { c.Certificates = []tls.Certificate{expired} },
				func(c *tls.Config) { c.RootCAs = known(expired) }},
			{"another name", KindCertificate, "tls_certificate_error", nil, func(c *tls.Config) { c.ServerName = "iad.origin" }},
			{"owner's check", KindCertificate, "tls_certificate_error", nil, func(c *tls.Config) {
				c.VerifyConnection = func(tls.ConnectionState) error { return errors.New("not an origin") }
			}},
			{"ours is missing", KindAlert, "tls_alert_received", nil, func(c *tls.Config) { c.Certificates = nil }},
			{"ours is self-signed", KindAlert, "tls_alert_received", nil, func(c *tls.Config) {
				c.Certificates = nil
				c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
			}},
		} {
			t.Run(protocol+" "+test.name, func(t *testing.T) {
				server := newFleet().server()
				if test.server != nil {
					test.server(server)
				}
				cfg := config(secureServer(t, protocol, server))
				cfg.Protocol = protocol
				if test.client != nil {
					test.client(cfg.TLS)
				}
				p := started(t, cfg)
				res, err := p.RoundTrip(request(t, "GET", "/", nil))
				if test.kind == kinds {
					if err != nil || p.Status().HandshakesTotal == 0 {
						t.Fatalf("%v, %+v", err, p.Status())
					}
					res.Body.Close()
					return
				}
				var e *Error
				if !errors.As(err, &e) || e.Kind != test.kind || e.Status() != 502 || e.ProxyStatus() != test.token || e.Whose != Origin {
					t.Fatalf("got %v", err)
				}
				if p.Status().ErrorsTotal[test.kind.String()] != 1 {
					t.Errorf("counted: %v", p.Status().ErrorsTotal)
				}
			})
		}
	}
}
