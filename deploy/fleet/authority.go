package fleet

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	// authorityLife is how long the authorities last. Nodes hold their root, so a
	// short life would be a date on which the fleet stops.
	authorityLife = 10 * 365 * 24 * time.Hour

	// leafLife is how long an identity or a local site certificate lasts.
	leafLife = 90 * 24 * time.Hour

	// renewBefore is how much life is left when one is renewed, and also how long
	// after its end a gateway still takes an identity: a fleet whose hub or operator
	// is away for weeks goes on serving.
	renewBefore = 30 * 24 * time.Hour

	// skew is how far a clock may be behind the authority's.
	skew = time.Hour
)

// An Authority certifies. It is two authorities that never stand in for one another:
// the fleet's, by which nodes know each other, and the sites', by which a client
// trusts a local network. It lives where the operator is, in a folder of its own, and
// is safe for concurrent use.
type Authority struct {
	dir     string
	network string
	fleet   signer // the next one, from StageIssue of a rotation on
	site    signer
	trust   []byte // what nodes are to believe: the fleet's certificate, or two during a rotation
	cross   []byte // see Cross
	stage   Stage
	now     func() time.Time
}

// A signer is one authority: its certificate and the key to it.
type signer struct {
	cert *x509.Certificate
	pem  []byte
	key  *ecdsa.PrivateKey
}

// OpenAuthority opens the authority in the folder dir (DIR/authority), and makes it
// there when there is none. What exists is never overwritten: an authority of another
// network, a key that is missing or that others can read are errors.
func OpenAuthority(dir, network string) (*Authority, error) {
	return openAuthority(dir, network, time.Now)
}

func openAuthority(dir, network string, now func() time.Time) (*Authority, error) {
	if !isName(network) {
		return nil, fmt.Errorf("fleet: network name %q is not 1 to 63 of a-z, 0-9 and -", network)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("fleet: make folder of the authority: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, fmt.Errorf("fleet: lock the authority: %w", err)
	}
	defer unlock()
	a := &Authority{dir: dir, network: network, now: now}
	if a.stage, err = resume(dir); err != nil {
		return nil, err
	}
	if a.fleet, err = a.signer(dir, "fleet"); err != nil {
		return nil, err
	}
	if a.site, err = a.signer(dir, "site"); err != nil {
		return nil, err
	}
	a.trust = a.fleet.pem
	if a.stage == StageNone {
		return a, nil
	}
	next, err := a.signer(filepath.Join(dir, nextFolder), "fleet")
	if err != nil {
		return nil, err
	}
	a.trust = append(bytes.Clone(a.fleet.pem), next.pem...)
	if a.cross, err = a.fleet.stand(next.cert); err != nil {
		return nil, err
	}
	if a.stage == StageIssue {
		a.fleet = next
	}
	return a, nil
}

// FindAuthority opens the authority in the folder dir, whatever its network is called. Where there is none, it is an error that
// wraps fs.ErrNotExist, and none is made.
func FindAuthority(dir string) (*Authority, error) {
	data, err := readFile(filepath.Join(dir, "fleet-ca.pem"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("fleet: no authority in %s; it is where `hither fleet init` or `hither up` made it, and `hither fleet restore` brings it back from a backup: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("fleet: open authority: %w", err)
	}
	cert, err := parseCert(data)
	if err != nil || len(cert.Subject.Organization) != 1 {
		return nil, fmt.Errorf("fleet: %s is no certificate of an authority: %w", filepath.Join(dir, "fleet-ca.pem"), errors.Join(err))
	}
	return OpenAuthority(dir, cert.Subject.Organization[0])
}

// Network returns the name of the network whose authority it is.
func (a *Authority) Network() string { return a.network }

// FleetCA returns the roots by which nodes know each other, in PEM: one, or two while one takes the place of the other.
func (a *Authority) FleetCA() []byte { return bytes.Clone(a.trust) }

// SiteCA returns the root by which clients trust local site certificates, in PEM. It
// is never accepted between nodes.
func (a *Authority) SiteCA() []byte { return a.site.pem }

// signer opens or makes one authority. The key comes first, so a crash between the
// two files leaves a key that has certified nothing, and the next start goes on from
// there; a certificate without its key is a loss that only its owner can mend.
func (a *Authority) signer(dir, kind string) (signer, error) {
	keyPath, certPath := filepath.Join(dir, kind+"-ca.key"), filepath.Join(dir, kind+"-ca.pem")
	_, certErr := os.Stat(certPath)
	keyPEM, err := readPrivate(keyPath)
	switch {
	case errors.Is(err, fs.ErrNotExist) && certErr == nil:
		return signer{}, fmt.Errorf("fleet: %s has no key beside it: restore %s-ca.key from a backup, or move the whole folder away to begin a new fleet, in which every node needs a new identity", certPath, kind)
	case errors.Is(err, fs.ErrNotExist):
		if keyPEM, err = newKey(); err == nil {
			err = createFile(keyPath, keyPEM)
		}
	}
	if err != nil {
		return signer{}, fmt.Errorf("fleet: key of the %s authority: %w", kind, err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return signer{}, fmt.Errorf("fleet: key of the %s authority in %s: %w", kind, keyPath, err)
	}
	if errors.Is(certErr, fs.ErrNotExist) {
		made, err := a.root(kind, key)
		if err == nil {
			err = createFile(certPath, made)
		}
		if err != nil {
			return signer{}, fmt.Errorf("fleet: make certificate of the %s authority: %w", kind, err)
		}
	}
	certPEM, err := readFile(certPath)
	if err != nil {
		return signer{}, fmt.Errorf("fleet: certificate of the %s authority: %w", kind, err)
	}
	cert, err := parseCert(certPEM)
	if err != nil {
		return signer{}, fmt.Errorf("fleet: certificate of the %s authority in %s: %w", kind, certPath, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return signer{}, fmt.Errorf("fleet: %s-ca.pem and %s-ca.key in %s do not belong together; restore both from one backup", kind, kind, dir)
	}
	if org := cert.Subject.Organization; len(org) != 1 || org[0] != a.network {
		return signer{}, fmt.Errorf("fleet: the authority in %s is of network %q, the network file says %q; give the network its name back, or use another folder", dir, org, a.network)
	}
	if a.now().After(cert.NotAfter) {
		return signer{}, fmt.Errorf("fleet: the %s authority in %s ended on %s; move the folder away to begin a new one", kind, dir, cert.NotAfter.Format(time.DateOnly))
	}
	return signer{cert: cert, pem: certPEM, key: key}, nil
}

// root makes the certificate of an authority.
func (a *Authority) root(kind string, key *ecdsa.PrivateKey) ([]byte, error) {
	now := a.now()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "hither " + kind + " authority", Organization: []string{a.network}},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	if kind == "fleet" {
		// RFC 5280 section 4.2.1.10: whoever steals this key can forge nodes, but no
		// name of anything else.
		template.PermittedDNSDomainsCritical = true
		template.PermittedDNSDomains = []string{domain(a.network)}
	}
	return sign(template, template, &key.PublicKey, key)
}

// leaf certifies a key for what the template says, from now on and for leafLife.
func (s signer) leaf(now time.Time, template *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	template.NotBefore = now.Add(-skew)
	template.NotAfter = now.Add(leafLife)
	if template.NotAfter.After(s.cert.NotAfter) {
		template.NotAfter = s.cert.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	return sign(template, s.cert, public, s.key)
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// newKey makes a P-256 key, in PEM.
func newKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("not a private key in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("not an ECDSA key on P-256")
	}
	return key, nil
}

func parseCert(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("not a certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
