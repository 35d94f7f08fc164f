package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/goccy/go-yaml"

	"hither/deploy"
)

// hubFile is hub.yaml of a bundle: where the node finds the fleet's bus.
type hubFile struct {
	URLs []string `yaml:"urls"`
}

// Init makes what a network needs under dir: the authorities in authority/, the site
// authority's root in ca.pem, and one bundle per node in nodes/ROLE-NAME/identity. What
// is there and still good is kept, so it may be run again after nodes were added or
// when certificates come to their end. It returns the authorities.
func Init(n *deploy.Network, dir string, now func() time.Time) (*Authority, error) {
	a, err := OpenAuthority(filepath.Join(dir, "authority"), n.Name, now)
	if err != nil {
		return nil, err
	}
	if err := keep(filepath.Join(dir, "ca.pem"), a.SiteRoot()); err != nil {
		return nil, err
	}
	for _, p := range Nodes(n) {
		if err := a.bundle(p, n.Hub.URLs, filepath.Join(dir, "nodes", p.String())); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Nodes lists every node of a network.
func Nodes(n *deploy.Network) []Peer {
	var nodes []Peer
	for i := range n.Origins {
		nodes = append(nodes, Peer{n.Name, "origin", n.Origins[i].Name})
	}
	for i := range n.PoPs {
		nodes = append(nodes, Peer{n.Name, "edge", n.PoPs[i].Name})
	}
	for i := range n.DNS.Servers {
		nodes = append(nodes, Peer{n.Name, "dns", n.DNS.Servers[i].Name})
	}
	return nodes
}

// bundle writes a node's identity where it has none that is good.
func (a *Authority) bundle(p Peer, hub []string, state string) error {
	dir := filepath.Join(state, identityFolder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("fleet: bundle of %s: %w", p, err)
	}
	if err := keep(filepath.Join(dir, "fleet-ca.pem"), a.fleetRoot()); err != nil {
		return err
	}
	urls, err := yaml.Marshal(hubFile{hub})
	if err != nil {
		return err
	}
	if err := keep(filepath.Join(dir, "hub.yaml"), urls); err != nil {
		return err
	}
	// The age key is what secrets are sealed to: making it anew would lose them.
	ageFile := filepath.Join(dir, "age.key")
	if _, err := os.Stat(ageFile); os.IsNotExist(err) {
		k, err := age.GenerateX25519Identity()
		if err != nil {
			return err
		}
		if err := write(ageFile, []byte("# public key: "+k.Recipient().String()+"\n"+k.String()+"\n")); err != nil {
			return err
		}
	}
	if a.good(p, state) {
		return nil
	}
	chain, key, err := a.issueNode(p)
	if err != nil {
		return err
	}
	if err := write(filepath.Join(dir, "node.key"), key); err != nil {
		return err
	}
	return write(filepath.Join(dir, "node.pem"), chain)
}

// good reports whether state has an identity of p, signed by this authority, that does
// not need renewal.
func (a *Authority) good(p Peer, state string) bool {
	id, err := LoadIdentity(state)
	if err != nil || id.Peer != p || id.NeedsRenewal(a.now()) {
		return false
	}
	return id.Certificate.Leaf.CheckSignatureFrom(a.fleet.cert) == nil
}

// keep writes a file unless it has that content already.
func keep(path string, data []byte) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
		return nil
	}
	return write(path, data)
}
