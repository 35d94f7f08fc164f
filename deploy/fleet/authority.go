package fleet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// An Authority holds the two roots of a network. It stays where the operator is.
type Authority struct {
	network string
	fleet   root
	site    root
	now     func() time.Time
}

type root struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// OpenAuthority reads the authorities of network from dir, and makes them where dir has
// none. What is there is never overwritten.
func OpenAuthority(dir, network string, now func() time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("fleet: authority: %w", err)
	}
	a := &Authority{network: network, now: now}
	var err error
	if a.fleet, err = openRoot(dir, "fleet-ca", network+" fleet authority", now); err != nil {
		return nil, err
	}
	if a.site, err = openRoot(dir, "site-ca", network+" site authority", now); err != nil {
		return nil, err
	}
	return a, nil
}

// openRoot reads DIR/NAME.pem and NAME.key, or makes both.
func openRoot(dir, name, title string, now func() time.Time) (root, error) {
	certFile, keyFile := filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	certPEM, certErr := os.ReadFile(certFile)
	keyPEM, keyErr := os.ReadFile(keyFile)
	switch {
	case errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist):
		return makeRoot(certFile, keyFile, title, now())
	case certErr != nil || keyErr != nil:
		return root{}, fmt.Errorf("fleet: authority is incomplete, restore the missing file from a backup: %w", errors.Join(certErr, keyErr))
	}
	cert, err := parseCert(certPEM)
	if err != nil {
		return root{}, fmt.Errorf("fleet: %s: %w", certFile, err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return root{}, fmt.Errorf("fleet: %s: %w", keyFile, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return root{}, fmt.Errorf("fleet: %s is not the key of %s", keyFile, certFile)
	}
	return root{cert, key}, nil
}

func makeRoot(certFile, keyFile, title string, now time.Time) (root, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return root{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: title},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(rootLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return root{}, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return root{}, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return root{}, err
	}
	// The key first: a certificate without its key could be handed out and never used.
	if err := write(keyFile, keyPEM); err != nil {
		return root{}, err
	}
	return root{cert, key}, write(certFile, encodeCert(der))
}

// issue signs a leaf for both sides of a connection.
func (r root) issue(template *x509.Certificate, now time.Time, lifetime time.Duration) (chain, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template.SerialNumber = serial()
	template.NotBefore, template.NotAfter = now.Add(-clockSkew), now.Add(lifetime)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, r.cert, &k.PublicKey, r.key)
	if err != nil {
		return nil, nil, err
	}
	key, err = encodeKey(k)
	return encodeCert(der), key, err
}

// issueNode signs a node's certificate.
func (a *Authority) issueNode(p Peer) (chain, key []byte, err error) {
	return a.fleet.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: p.String()}, URIs: []*url.URL{p.uri()}, DNSNames: []string{p.serverName()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, a.now(), NodeLifetime)
}

// IssueSite signs a certificate for a host name or a wildcard, for sites whose
// certificate is local.
func (a *Authority) IssueSite(name string) (chain, key []byte, err error) {
	return a.site.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.now(), siteLifetime)
}

// SiteRoot is the site authority's certificate in PEM: what curl is told to trust.
func (a *Authority) SiteRoot() []byte { return encodeCert(a.site.cert.Raw) }

// fleetRoot is what nodes trust.
func (a *Authority) fleetRoot() []byte { return encodeCert(a.fleet.cert.Raw) }

// serial is 127 random bits, which needs no record (RFC 5280 section 4.1.2.2).
func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return n.Add(n, big.NewInt(1))
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

func parseCert(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no PEM certificate in it")
	}
	return x509.ParseCertificate(block.Bytes)
}

func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("no PEM private key in it")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a %T where an ECDSA key belongs", k)
	}
	return key, nil
}
