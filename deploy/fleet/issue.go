package fleet

import (
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/goccy/go-yaml"

	"hither/deploy"
)

// hubFile is identity/hub.yaml: where the node finds the hub.
type hubFile struct {
	URLs       []string `yaml:"urls"`
	EmbeddedIn string   `yaml:"embedded_in,omitempty"`
}

// Issue writes the identity bundle of a node into dir (STATE/identity) and says
// whether its certificate is new. One that is whole, of this fleet and not near its
// end is kept. The node's keys are made once and kept over renewals, so a renewal
// replaces the certificate's file alone; to change them, remove the folder. What was
// revoked is never renewed: it gets new keys. The authority keeps a copy of the
// certificate, from which it can renew it where only the node has the key. hub is where
// the node finds the hub for as long as it has no network file; nil = there is none.
func (a *Authority) Issue(dir, role, name string, hub *deploy.Hub) (issued bool, err error) {
	peer := Peer{Role: role, Name: name, Network: a.network}
	if err := peer.check(); err != nil {
		return false, fmt.Errorf("fleet: issue identity: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("fleet: issue identity of %v: %w", peer, err)
	}
	if hub == nil {
		hub = new(deploy.Hub)
	}
	until, err := a.revokedUntil(peer)
	if err != nil {
		return false, err
	}
	if revoked, err := a.revokedIn(dir, peer); err != nil {
		return false, err
	} else if revoked {
		for _, name := range []string{"node.pem", "node.key", "age.key"} {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return false, fmt.Errorf("fleet: issue identity of %v: %w", peer, err)
			}
		}
	}
	if err := keepAgeKey(filepath.Join(dir, "age.key")); err != nil {
		return false, fmt.Errorf("fleet: issue identity of %v: %w", peer, err)
	}
	// The authorities come first: a crash before the certificate leaves a bundle that is whole.
	if _, err := keepFile(filepath.Join(dir, caFile), a.trust); err != nil {
		return false, fmt.Errorf("fleet: issue identity of %v: %w", peer, err)
	}
	issued, err = a.fleet.keepLeaf(a.issueTime(until), filepath.Join(dir, "node.pem"), filepath.Join(dir, "node.key"), a.template(peer))
	if err == nil {
		err = a.keepIssued(peer, filepath.Join(dir, "node.pem"))
	}
	if err == nil {
		err = a.keepCommon(dir)
	}
	if err == nil {
		err = SetHub(dir, hub)
	}
	if err == nil && role == RoleDNS { // it asks edges by the names of sites
		_, err = keepFile(filepath.Join(dir, "site-ca.pem"), a.site.pem)
	}
	if err != nil {
		return false, fmt.Errorf("fleet: issue identity of %v: %w", peer, err)
	}
	return issued, nil
}

// SetHub notes in an identity bundle where the hub is. Nodes with a network file go by that; operators go by this.
func SetHub(dir string, hub *deploy.Hub) error {
	data, err := yaml.Marshal(hubFile{URLs: append([]string{}, hub.URLs...), EmbeddedIn: hub.EmbeddedIn})
	if err == nil {
		_, err = keepFile(filepath.Join(dir, "hub.yaml"), data)
	}
	if err != nil {
		return fmt.Errorf("fleet: note where the hub is: %w", err)
	}
	return nil
}

// template is what a peer's certificate says.
func (a *Authority) template(p Peer) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{Organization: []string{a.network}}, // a common name may have 64 characters, too few
		DNSNames:    []string{p.serverName()},
		URIs:        []*url.URL{p.uri()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

// IssueSite writes a certificate of the site authority for each host into dir
// (STATE/certs), in a folder that [CertFolder] names, as cert.pem and key.pem. Hosts
// are exact names or wildcards (`*.example.org`). Certificates that are whole and not
// near their end are kept; it returns the hosts that got a new one.
func (a *Authority) IssueSite(dir string, hosts []string) (issued []string, err error) {
	for _, host := range hosts {
		folder, err := CertFolder(host)
		if err != nil {
			return issued, err
		}
		folder = filepath.Join(dir, folder)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return issued, fmt.Errorf("fleet: issue certificate of %s: %w", host, err)
		}
		isNew, err := a.site.keepLeaf(a.now(), filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"), &x509.Certificate{
			Subject:     pkix.Name{Organization: []string{a.network}},
			DNSNames:    []string{host},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		if err != nil {
			return issued, fmt.Errorf("fleet: issue certificate of %s: %w", host, err)
		}
		if isNew {
			issued = append(issued, host)
		}
	}
	return issued, nil
}

// maxHost is the longest domain name (RFC 1035 section 2.3.4).
const maxHost = 253

// CertFolder returns the name of the folder for a host's certificate: the host in
// lower case, with every byte but a-z, 0-9, - and the dots inside written as %XX, so
// that no host leads out of the folder or into that of another.
func CertFolder(host string) (string, error) {
	host = strings.ToLower(host)
	if host == "" || len(host) > maxHost {
		return "", fmt.Errorf("fleet: %q is no host name: it has %d characters, not 1 to %d", host[:min(len(host), 64)], len(host), maxHost)
	}
	var b strings.Builder
	for i := range len(host) {
		switch c := host[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	// Every byte escaped makes more than a file name may have (255), and is no name.
	if b.Len() > 255 {
		return "", fmt.Errorf("fleet: %q is no host name", host[:64])
	}
	return b.String(), nil
}

// keepLeaf keeps the certificate at certPath, if it is what would be issued and not
// near its end, or replaces it. A key that is there and whole is used again.
func (s signer) keepLeaf(now time.Time, certPath, keyPath string, want *x509.Certificate) (issued bool, err error) {
	key, err := keepKey(keyPath)
	if err != nil {
		return false, err
	}
	if data, err := readFile(certPath); err == nil {
		if cert, err := parseCert(data); err == nil && s.certified(cert, key, want) && !needsRenewal(cert, now) {
			return false, nil
		}
	}
	data, err := s.leaf(now, want, &key.PublicKey)
	if err != nil {
		return false, err
	}
	return true, writeFile(certPath, data)
}

// certified says whether the certificate is one of s for this key and these names.
func (s signer) certified(cert *x509.Certificate, key *ecdsa.PrivateKey, want *x509.Certificate) bool {
	return cert.CheckSignatureFrom(s.cert) == nil && key.PublicKey.Equal(cert.PublicKey) &&
		slices.Equal(cert.DNSNames, want.DNSNames) &&
		slices.EqualFunc(cert.URIs, want.URIs, func(a, b *url.URL) bool { return a.String() == b.String() })
}

// needsRenewal says whether the certificate is near its end, or not yet valid by a
// clock that went back.
func needsRenewal(cert *x509.Certificate, now time.Time) bool {
	return now.Before(cert.NotBefore) || !now.Before(cert.NotAfter.Add(-renewBefore))
}

// keepKey returns the key at path, or makes one there. A file that is no key is an
// error: somebody put it there.
func keepKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if data, err = newKey(); err == nil {
			err = createFile(path, data)
		}
	}
	if err != nil {
		return nil, err
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; remove it to have a new one made", path, err)
	}
	return key, nil
}

// keepAgeKey makes the key to which secrets for this node are sealed, in the format
// of age-keygen, unless there is one.
func keepAgeKey(path string) error {
	if data, err := readFile(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			_, err = parseAgeKey(data)
		}
		if err != nil {
			return fmt.Errorf("%s: %w; secrets were sealed to it, so restore it or remove it knowingly", path, err)
		}
		return nil
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	return createFile(path, []byte("# public key: "+id.Recipient().String()+"\n"+id.String()+"\n"))
}

func parseAgeKey(data []byte) (*age.X25519Identity, error) {
	ids, err := age.ParseIdentities(strings.NewReader(string(data)))
	if err != nil {
		return nil, err
	}
	id, ok := ids[0].(*age.X25519Identity)
	if !ok || len(ids) != 1 {
		return nil, errors.New("not one X25519 identity")
	}
	return id, nil
}
