package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// An Identity is what a node proves itself with, and whom it believes. It does not
// change and may be used concurrently.
type Identity struct {
	Peer
	Certificate tls.Certificate
	NotAfter    time.Time

	roots *x509.CertPool
}

// LoadIdentity reads the bundle in a node's state folder, as [Init] wrote it.
func LoadIdentity(state string) (*Identity, error) {
	dir := filepath.Join(state, identityFolder)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "node.pem"), filepath.Join(dir, "node.key"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("fleet: no identity in %s; make one with `hither fleet init --network FILE --out DIR` and give this node its folder DIR/nodes/ROLE-NAME as --state", state)
	} else if err != nil {
		return nil, fmt.Errorf("fleet: identity in %s: %w", dir, err)
	}
	peer, err := peerOf(pair.Leaf)
	if err != nil {
		return nil, fmt.Errorf("fleet: identity in %s: %w", dir, err)
	}
	pem, err := os.ReadFile(filepath.Join(dir, "fleet-ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("fleet: identity: %w", err)
	}
	id := &Identity{Peer: peer, Certificate: pair, NotAfter: pair.Leaf.NotAfter, roots: x509.NewCertPool()}
	if !id.roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("fleet: identity: no certificate in %s", filepath.Join(dir, "fleet-ca.pem"))
	}
	return id, nil
}

// NeedsRenewal reports whether the certificate is in the last third of its life.
func (id *Identity) NeedsRenewal(now time.Time) bool { return id.NotAfter.Sub(now) < RenewBefore }

// ClientTLS is the configuration for dialing the node of that role and name: it shows
// this node's certificate and takes no other node for the one meant. ALPN is the
// caller's to set.
func (id *Identity) ClientTLS(role, name string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{id.Certificate},
		RootCAs:      id.roots,
		ServerName:   Peer{Network: id.Network, Role: role, Name: name}.serverName(),
	}
}

// ServerTLS is the configuration for being dialed by nodes of the given roles. A
// certificate of theirs that has expired is taken for the time of Grace, and expired,
// if not nil, is told: a fleet must not stop because nobody renewed in time. ALPN is the
// caller's to set.
func (id *Identity) ServerTLS(expired func(Peer, time.Time), now func() time.Time, roles ...string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{id.Certificate},
		// The chain is verified below, where the time of grace is known.
		ClientAuth: tls.RequireAnyClientCert,
		// A resumed session would not be verified again.
		SessionTicketsDisabled: true,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			return id.verify(raw, roles, now(), expired)
		},
	}
}

// verify holds a client's chain against the fleet authority and the roles allowed.
func (id *Identity) verify(raw [][]byte, roles []string, now time.Time, expired func(Peer, time.Time)) error {
	leaf, err := x509.ParseCertificate(raw[0])
	if err != nil {
		return fmt.Errorf("fleet: peer certificate: %w", err)
	}
	at, late := now, false
	if over := now.Sub(leaf.NotAfter); over > 0 && over <= Grace {
		at, late = leaf.NotAfter, true
	}
	options := x509.VerifyOptions{Roots: id.roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := leaf.Verify(options); err != nil {
		return fmt.Errorf("fleet: peer certificate: %w", err)
	}
	peer, err := peerOf(leaf)
	switch {
	case err != nil:
		return err
	case peer.Network != id.Network:
		return fmt.Errorf("fleet: peer %s is of network %q, not %q", peer, peer.Network, id.Network)
	case !slices.Contains(roles, peer.Role):
		return fmt.Errorf("fleet: peer %s may not connect here: its role is not one of %v", peer, roles)
	}
	if late && expired != nil {
		expired(peer, leaf.NotAfter)
	}
	return nil
}

// PeerOf names the node at the other end of a connection made with ClientTLS or
// ServerTLS, which have verified it.
func PeerOf(cs tls.ConnectionState) (Peer, error) {
	if len(cs.PeerCertificates) == 0 {
		return Peer{}, errNoPeer
	}
	return peerOf(cs.PeerCertificates[0])
}
