package cert

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// A policy is what names must share to be served by one TLS configuration.
type policy struct {
	domain string
	min    uint16
	cas    *Authorities // one for each sum
}

// info is the HKDF info of a policy's ticket keys: a session agreed under one policy never
// resumes under another.
func (p policy) info() string {
	return "hither ticket " + p.domain + "\x00" + tls.VersionName(p.min)
}

// Authorities are those of which one must have issued a client's certificate. Where two were parsed from the same bytes, they are the same
// policy.
type Authorities struct {
	pool *x509.CertPool
	sum  [sha256.Size]byte
}

// ParseAuthorities reads certificates in PEM. It fails where there is none.
func ParseAuthorities(pem []byte) (*Authorities, error) {
	a := &Authorities{pool: x509.NewCertPool(), sum: sha256.Sum256(pem)}
	if !a.pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate")
	}
	return a, nil
}

// configs are the two ready configurations of a policy. They are never cloned by us, so that keys set on
// them are seen by the next handshake.
type configs struct {
	policy    policy
	tcp, quic *tls.Config
}

// suites are those of TLS 1.2 that keep a session's key when the certificate's leaks and cannot be taken apart by their padding: ECDHE with
// an AEAD. crypto/tls would take CBC with SHA-1 as well. Those of TLS 1.3 are not chosen.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// config builds one of a policy's configurations.
func (t *Table) config(p policy, alpn []string) *tls.Config {
	c := &tls.Config{
		MinVersion:   p.min,
		CipherSuites: suites,
		NextProtos:   alpn,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if n := t.find(hello.ServerName); n != nil {
				return n.entry.Certificate.choose(hello)
			}
			return nil, fmt.Errorf("cert: no certificate for %q", hello.ServerName)
		},
		SessionTicketsDisabled: p.cas != nil,
	}
	if p.cas != nil {
		c.ClientCAs = p.cas.pool
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c
}
