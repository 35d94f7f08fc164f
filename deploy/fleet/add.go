package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hither/deploy"
)

// ErrLive is what errors wrap about a name that has an identity already.
var ErrLive = errors.New("it has an identity that nodes take")

// A Bundle is what [Authority.Add] makes: the state folder of a node that has only to be unpacked on its machine.
type Bundle struct {
	Peer
	NotAfter     time.Time
	Certificates []string // hosts for which it has a certificate of the site authority
	InFile       bool     // the network file names the node
}

// Add makes the state folder of one node, whether the network file names it yet or not: an identity with keys that no other
// has, the network file and local site certificates. network and file may be nil where there is no network file yet.
// dir must not have an identity. A name whose identity is live is refused with an error that wraps [ErrLive]: whoever adds it again revokes what
// it had first.
func (a *Authority) Add(dir, role, name string, network *deploy.Network, file []byte) (Bundle, error) {
	peer := Peer{Role: role, Name: name, Network: a.network}
	b := Bundle{Peer: peer}
	if err := peer.check(); err != nil {
		return b, fmt.Errorf("fleet: add: %w", err)
	}
	if network != nil && network.Name != a.network {
		return b, fmt.Errorf("fleet: add %v: the network file is of %q, and the authority of %q", peer, network.Name, a.network)
	}
	switch i, err := a.Issued(peer.String()); {
	case err == nil && i.Live(a.now()):
		return b, fmt.Errorf("fleet: add %v: %w until %s", peer, ErrLive, i.NotAfter.UTC().Format(time.DateOnly))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return b, err
	}
	identity := filepath.Join(dir, "identity")
	if _, err := os.Stat(filepath.Join(identity, "node.pem")); err == nil {
		// One that is past its end or revoked makes room. Its keys go with it.
		if err := os.RemoveAll(identity); err != nil {
			return b, fmt.Errorf("fleet: add %v: %w", peer, err)
		}
	}
	var hub *deploy.Hub
	var hosts []string
	if network != nil {
		hub = &network.Hub
		b.InFile = names(network, peer)
		hosts = a.hosts(network, peer)
	}
	if _, err := a.Issue(identity, role, name, hub); err != nil {
		return b, err
	}
	cert, err := readCert(filepath.Join(identity, "node.pem"))
	if err != nil {
		return b, err
	}
	b.NotAfter = cert.NotAfter
	// A node that never heard the hub is to know too.
	if revoked, err := readRevocations(a.revokedPath()); err == nil && len(revoked) > 0 {
		if err := writeRevocations(filepath.Join(identity, revokedFile), revoked); err != nil {
			return b, fmt.Errorf("fleet: add %v: %w", peer, err)
		}
	}
	if b.Certificates, err = a.IssueSite(filepath.Join(dir, "certs"), hosts); err != nil {
		return b, err
	}
	if file == nil {
		return b, nil
	}
	return b, RevisionsIn(dir).Accept(file)
}

// hosts are those for which a node gets certificates of the site authority. A PoP that is not in the file yet gets those of the
// trust domain "main", in which a PoP is that names none.
func (a *Authority) hosts(network *deploy.Network, p Peer) []string {
	if p.Role != RoleEdge {
		return nil
	}
	if pop := network.PoP(p.Name); pop != nil {
		return localHosts(network, pop)
	}
	for i := range network.PoPs {
		if network.PoPs[i].Trust == "main" {
			return localHosts(network, &network.PoPs[i])
		}
	}
	return nil
}

// names says whether the network file has the node.
func names(network *deploy.Network, p Peer) bool {
	switch p.Role {
	case RoleEdge:
		return network.PoP(p.Name) != nil
	case RoleOrigin:
		return network.OriginNode(p.Name) != nil
	case RoleDNS:
		for i := range network.DNS.Servers {
			if network.DNS.Servers[i].Name == p.Name {
				return true
			}
		}
		return false
	}
	return true
}
