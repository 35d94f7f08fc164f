package visit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// A Server is a plain one, of Go's library and quic-go with their defaults: what clients meet without a CDN. It takes
// all protocols, 0-RTT as well.
type Server struct {
	// Roots are whom its clients trust: its certificate is signed by itself.
	Roots *x509.CertPool

	tcp   *http.Server
	h3    *http3.Server
	sock  net.PacketConn
	ended chan error
}

// Serve serves a name on a listener and a socket, and takes both over, also when it returns an error.
func Serve(name string, l net.Listener, sock net.PacketConn, handler http.Handler) (*Server, error) {
	cert, roots, err := selfSigned(name)
	if err != nil {
		return nil, fmt.Errorf("visit: make a certificate for %s: %w", name, errors.Join(err, l.Close(), sock.Close()))
	}
	conf := &tls.Config{Certificates: []tls.Certificate{cert}}
	s := &Server{
		Roots: roots, sock: sock, ended: make(chan error, 2),
		tcp: &http.Server{Handler: handler, TLSConfig: conf.Clone(), ErrorLog: log.New(io.Discard, "", 0)},
		h3:  &http3.Server{Handler: handler, TLSConfig: http3.ConfigureTLSConfig(conf), QUICConfig: &quic.Config{Allow0RTT: true}},
	}
	go func() { s.ended <- s.tcp.ServeTLS(l, "", "") }()
	go func() { s.ended <- s.h3.Serve(sock) }()
	return s, nil
}

// Close ends it at once. The error is what ended it before.
func (s *Server) Close() error {
	all := []error{s.tcp.Close(), s.h3.Close(), s.sock.Close()}
	for range 2 {
		if err := <-s.ended; !errors.Is(err, http.ErrServerClosed) {
			all = append(all, err)
		}
	}
	if err := errors.Join(all...); err != nil {
		return fmt.Errorf("visit: plain server: %w", err)
	}
	return nil
}

// selfSigned makes a certificate that is its own authority, as small as that of an edge.
func selfSigned(name string) (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots, nil
}
