package fleet

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"filippo.io/age"
	"github.com/goccy/go-yaml"
)

// Files of a bundle that a node writes itself, beside node.pem.
const (
	caFile      = "fleet-ca.pem" // the authorities that the node believes: one, or two while one takes the place of the other
	commonFile  = "common.key"   // see [Identity.Common]; not there before a second authority
	revokedFile = "revoked.json" // see [Identity.SetRevoked]; not there before a first revocation
)

// An Identity is who a node is, read from its bundle. It is safe for concurrent use.
type Identity struct {
	Peer // who this node is to others

	// Hub holds the addresses of the hub; empty when there is none. HubIn is the origin's
	// gateway that has it in it; "" = a NATS cluster elsewhere. A network file that the node
	// has knows better.
	Hub   []string
	HubIn string

	// Age opens what was sealed for this node.
	Age *age.X25519Identity

	// Expired, when set, is called for every handshake in which a peer's certificate
	// was accepted although it ended at notAfter. Set it before the first handshake; it
	// is called from the goroutines of handshakes, at once for several.
	Expired func(peer Peer, notAfter time.Time)

	dir     string
	common  []byte                          // see Common
	trust   atomic.Pointer[trust]           // never nil
	revoked atomic.Pointer[revocations]     // never nil
	own     atomic.Pointer[tls.Certificate] // Leaf is set
	now     func() time.Time

	mu      sync.Mutex // held by whoever changes what is above, or files of dir; guards what follows
	pending []byte     // a certificate of an authority that is not believed yet; see Renew
	told    map[*func(Peer)]struct{}
}

// LoadIdentity reads the bundle in dir (STATE/identity), as [Authority.Issue] wrote
// it. An identity past its end loads: whether it is still taken is for the peer to say.
func LoadIdentity(dir string) (*Identity, error) { return loadIdentity(dir, time.Now) }

func loadIdentity(dir string, now func() time.Time) (*Identity, error) {
	id := &Identity{dir: dir, now: now, told: make(map[*func(Peer)]struct{})}
	ca, err := readFile(filepath.Join(dir, caFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("fleet: no identity in %s; `hither fleet init --network FILE --out OUT` makes one for each node, and OUT/nodes/ROLE-NAME is that node's state folder: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("fleet: load identity: %w", err)
	}
	believed, err := parseTrust(ca)
	if err != nil {
		return nil, fmt.Errorf("fleet: load identity: %s: %w", filepath.Join(dir, caFile), err)
	}
	id.trust.Store(believed)
	switch id.common, err = readFile(filepath.Join(dir, commonFile)); {
	case errors.Is(err, fs.ErrNotExist):
		id.common = ca
	case err != nil:
		return nil, fmt.Errorf("fleet: load identity: %w", err)
	}
	revoked, err := readRevocations(filepath.Join(dir, revokedFile))
	if err != nil {
		return nil, fmt.Errorf("fleet: load identity: %w", err)
	}
	id.revoked.Store(&revoked)
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
	id.Hub, id.HubIn = hub.URLs, hub.EmbeddedIn
	return id, nil
}

// Common returns 32 bytes for a purpose, which are the same at every node of the network and which clients cannot work out: they
// are made of the certificate of the fleet's first authority, which no node shows. They stay the same when another authority
// takes its place: from then on each node keeps that first one in common.key. It hides what clients need not see; it is no
// key to guard anything with, for who has run a node of the network knows it.
func (id *Identity) Common(purpose string) []byte {
	h := hmac.New(sha256.New, id.common)
	h.Write([]byte("hither\x00" + purpose))
	return h.Sum(nil)
}

// read reads the certificate and its key, and checks that they belong together and to
// the fleet.
func (id *Identity) read() (*tls.Certificate, Peer, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(id.dir, "node.pem"), filepath.Join(id.dir, "node.key"))
	if err != nil {
		return nil, Peer{}, fmt.Errorf("fleet: load identity: %w", err)
	}
	peer, err := id.trust.Load().certified(cert.Leaf)
	if err != nil {
		return nil, Peer{}, fmt.Errorf("fleet: load identity in %s: node.pem: %w", id.dir, err)
	}
	return &cert, peer, nil
}

// Reload reads a renewed certificate from the bundle. TLS configurations made before
// use it for handshakes from now on. On an error, and when the bundle is now that of
// another node, the old certificate stays.
func (id *Identity) Reload() error {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.reload()
}

func (id *Identity) reload() error {
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

// Same says whether two identities are the same in all that decides whom they meet: certificate, authorities, revocations and the hub's place.
func (id *Identity) Same(other *Identity) bool {
	return id.Peer == other.Peer && id.HubIn == other.HubIn && slices.Equal(id.Hub, other.Hub) &&
		id.own.Load().Leaf.Equal(other.own.Load().Leaf) && bytes.Equal(id.trust.Load().pem, other.trust.Load().pem) &&
		maps.EqualFunc(*id.revoked.Load(), *other.revoked.Load(), time.Time.Equal)
}

// Issued returns when the authority issued the identity, to the second.
func (id *Identity) Issued() time.Time { return issuedAt(id.own.Load().Leaf) }

// NotAfter returns when the identity ends.
func (id *Identity) NotAfter() time.Time { return id.own.Load().Leaf.NotAfter }

// NeedsRenewal says whether fewer than 30 days of the identity are left.
func (id *Identity) NeedsRenewal(now time.Time) bool { return needsRenewal(id.own.Load().Leaf, now) }
