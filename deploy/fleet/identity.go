package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"time"

	"filippo.io/age"
	"github.com/goccy/go-yaml"
)

// An Identity is who a node is, read from its bundle. It is safe for concurrent use.
type Identity struct {
	Peer // who this node is to others

	// Hub holds the addresses of the hub; empty when there is none.
	Hub []string

	// Age opens what was sealed for this node.
	Age *age.X25519Identity

	// Expired, when set, is called for every handshake in which a peer's certificate
	// was accepted although it ended at notAfter. Set it before the first handshake; it
	// is called from the goroutines of handshakes, at once for several.
	Expired func(peer Peer, notAfter time.Time)

	dir   string
	roots *x509.CertPool
	own   atomic.Pointer[tls.Certificate] // Leaf is set
	now   func() time.Time
}

// LoadIdentity reads the bundle in dir (STATE/identity), as [Authority.Issue] wrote
// it. An identity past its end loads: whether it is still taken is for the peer to say.
func LoadIdentity(dir string) (*Identity, error) { return loadIdentity(dir, time.Now) }

func loadIdentity(dir string, now func() time.Time) (*Identity, error) {
	id := &Identity{dir: dir, now: now, roots: x509.NewCertPool()}
	ca, err := readFile(filepath.Join(dir, "fleet-ca.pem"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("fleet: no identity in %s; `hither fleet init --network FILE --out OUT` makes one for each node, and OUT/nodes/ROLE-NAME is that node's state folder: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("fleet: load identity: %w", err)
	}
	if !id.roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("fleet: load identity: %s holds no certificate", filepath.Join(dir, "fleet-ca.pem"))
	}
	cert, peer, err := id.read()
	if err != nil {
		return nil, err
	}
	id.Peer = peer
	id.own.Store(cert)

	sealed, err := readFile(filepath.Join(dir, "age.key"))
	if err != nil {
		return nil, fmt.Errorf("fleet: load identity: %w", err)
	}
	if id.Age, err = parseAgeKey(sealed); err != nil {
		return nil, fmt.Errorf("fleet: load identity: %s: %w", filepath.Join(dir, "age.key"), err)
	}
	data, err := readFile(filepath.Join(dir, "hub.yaml"))
	if err != nil {
		return nil, fmt.Errorf("fleet: load identity: %w", err)
	}
	var hub hubFile
	if err := yaml.UnmarshalWithOptions(data, &hub, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("fleet: load identity: %s: %w", filepath.Join(dir, "hub.yaml"), err)
	}
	id.Hub = hub.URLs
	return id, nil
}

// read reads the certificate and its key, and checks that they belong together and to
// the fleet.
func (id *Identity) read() (*tls.Certificate, Peer, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(id.dir, "node.pem"), filepath.Join(id.dir, "node.key"))
	if err != nil {
		return nil, Peer{}, fmt.Errorf("fleet: load identity: %w", err)
	}
	peer, err := peerIn(cert.Leaf)
	if err != nil {
		return nil, Peer{}, fmt.Errorf("fleet: load identity in %s: %w", id.dir, err)
	}
	// Whether it is past its end is no matter here, so it is checked at that moment.
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{
		Roots: id.roots, CurrentTime: cert.Leaf.NotAfter, DNSName: peer.serverName(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return nil, Peer{}, fmt.Errorf("fleet: load identity in %s: node.pem is not of the fleet in fleet-ca.pem: %w", id.dir, err)
	}
	return &cert, peer, nil
}

// Reload reads a renewed certificate from the bundle. TLS configurations made before
// use it for handshakes from now on. On an error, and when the bundle is now that of
// another node, the old certificate stays.
func (id *Identity) Reload() error {
	cert, peer, err := id.read()
	if err != nil {
		return err
	}
	if peer != id.Peer {
		return fmt.Errorf("fleet: reload identity in %s: it is now that of %v of network %s, and this node is %v of %s", id.dir, peer, peer.Network, id.Peer, id.Network)
	}
	id.own.Store(cert)
	return nil
}

// SiteRoots returns the roots by which sites' certificates are checked: this machine's, and the local site
// authority's where the bundle has it, which is that of a dns node.
func (id *Identity) SiteRoots() (*x509.CertPool, error) {
	roots, err := x509.SystemCertPool()
	if err != nil { // a container may have none
		roots = x509.NewCertPool()
	}
	path := filepath.Join(id.dir, "site-ca.pem")
	switch data, err := readFile(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("fleet: load identity: %w", err)
	case !roots.AppendCertsFromPEM(data):
		return nil, fmt.Errorf("fleet: load identity: %s holds no certificate", path)
	}
	return roots, nil
}

// NotAfter returns when the identity ends.
func (id *Identity) NotAfter() time.Time { return id.own.Load().Leaf.NotAfter }

// NeedsRenewal says whether fewer than 30 days of the identity are left.
func (id *Identity) NeedsRenewal(now time.Time) bool { return needsRenewal(id.own.Load().Leaf, now) }
