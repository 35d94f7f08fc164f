package gateway

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// maxCA bounds a file of certificates.
const maxCA = 4 << 20

// trust makes the TLS settings towards instances: the very same for the same certificates and name, so that an instance
// which has not changed is known by them and keeps its connections. Its methods are called by one goroutine at a time.
type trust map[trustKey]trusted

type trustKey struct {
	file string // with certificates in PEM; "" = those of the machine
	name string // which the instance's certificate must be for
}

type trusted struct {
	sum    [sha256.Size]byte // of the file
	config *tls.Config
}

// config returns the settings for a server of that name whose certificate comes from those in file.
func (t trust) config(file, name string) (*tls.Config, error) {
	key := trustKey{file, name}
	made := trusted{config: &tls.Config{ServerName: name}}
	if file != "" {
		pem, err := readFile(file, maxCA)
		if err != nil {
			return nil, fmt.Errorf("gateway: read the certificates that instances must have: %w", err)
		}
		made.sum = sha256.Sum256(pem)
		made.config.RootCAs = x509.NewCertPool()
		if !made.config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("gateway: %s has no certificate in PEM; `ca` names the authority's, as in `openssl x509 -in FILE`", file)
		}
	}
	if was, ok := t[key]; ok && was.sum == made.sum {
		return was.config, nil
	}
	t[key] = made
	return made.config, nil
}

// readFile reads a file of at most that many bytes.
func readFile(name string, most int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", name, most)
	}
	return os.ReadFile(name)
}
