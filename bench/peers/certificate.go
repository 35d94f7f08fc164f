package peers

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// A Certificate is what all web servers show: the same, so that handshakes cost their clients the same.
type Certificate struct {
	Cert, Key, Pair string         // PEM files; Pair is both in one
	Roots           *x509.CertPool // whom clients trust
}

// NewCertificate makes one for a name, with an ECDSA key on P-256, signed by itself, in files of a folder.
func NewCertificate(folder, name string) (Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certificate{}, fmt.Errorf("peers: make a certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(7 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Certificate{}, fmt.Errorf("peers: make a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Certificate{}, fmt.Errorf("peers: make a certificate: %w", err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return Certificate{}, fmt.Errorf("peers: make a certificate: %w", err)
	}
	c := Certificate{
		Cert: filepath.Join(folder, "cert.pem"), Key: filepath.Join(folder, "key.pem"), Pair: filepath.Join(folder, "pair.pem"),
		Roots: x509.NewCertPool(),
	}
	c.Roots.AddCert(leaf)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})
	for file, text := range map[string][]byte{c.Cert: cert, c.Key: private, c.Pair: bytes.Join([][]byte{cert, private}, nil)} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return Certificate{}, fmt.Errorf("peers: make a certificate: %w", err)
		}
	}
	return c, nil
}
