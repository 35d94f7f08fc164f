package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hither/deploy"
)

// Change is what [Init] did for one node.
type Change struct {
	Node string // ROLE-NAME
	Dir  string // its state folder

	// New is true when the node had no identity, Renewed when it had one near its end
	// or of another fleet. Neither: what was there is kept.
	New, Renewed bool

	// Revoked is true when it has an identity that was revoked, which is left as it is; `hither fleet add --again` makes another.
	Revoked bool

	// Away is true when it was made for another machine (`hither fleet add --out`), and has nothing to be started here.
	Away bool

	// Certificates are the hosts for which it got a new certificate of the site
	// authority.
	Certificates []string
}

// OperatorFolder is where [Init] puts the identity of the operator named FirstOperator.
const (
	OperatorFolder = "operator"
	FirstOperator  = "main"
)

// Init makes everything by which the nodes of a network know each other, in the folder
// out: the authorities (authority/), a state folder with identity and local site
// certificates for each node (nodes/ROLE-NAME/), the operator's own identity (operator/),
// and the root that clients trust (ca.pem). file is the network file as it was read; a node that has no revision yet
// gets it as its first, so that its folder alone is enough to start it.
//
// Init may be called again on the same folder: authorities and valid identities are
// kept, missing ones are added, and those with fewer than 30 days left are renewed.
// Nodes that are no longer in the network keep their folders, and those that were made for another machine get none here.
func Init(network *deploy.Network, file []byte, out string) ([]Change, error) {
	return initAt(network, file, out, time.Now)
}

func initAt(network *deploy.Network, file []byte, out string, now func() time.Time) ([]Change, error) {
	if err := os.MkdirAll(out, 0o700); err != nil {
		return nil, fmt.Errorf("fleet: make folder: %w", err)
	}
	unlock, err := lock(out)
	if err != nil {
		return nil, fmt.Errorf("fleet: lock folder: %w", err)
	}
	defer unlock()
	a, err := openAuthority(filepath.Join(out, "authority"), network.Name, now)
	if err != nil {
		return nil, err
	}
	if _, err := keepFile(filepath.Join(out, "ca.pem"), a.SiteCA()); err != nil {
		return nil, fmt.Errorf("fleet: write root of the sites: %w", err)
	}
	operator := filepath.Join(out, OperatorFolder)
	if revoked, err := a.revokedIn(operator, Peer{RoleOperator, FirstOperator, network.Name}); err != nil {
		return nil, err
	} else if !revoked {
		if _, err := a.Issue(operator, RoleOperator, FirstOperator, &network.Hub); err != nil {
			return nil, err
		}
	}
	var changes []Change
	node := func(role, name string, hosts []string) error {
		c, err := a.node(filepath.Join(out, "nodes"), Peer{role, name, network.Name}, &network.Hub, hosts, file)
		changes = append(changes, c)
		return err
	}
	for i := range network.PoPs {
		pop := &network.PoPs[i]
		if err := node(RoleEdge, pop.Name, localHosts(network, pop)); err != nil {
			return nil, err
		}
	}
	for i := range network.Origins {
		for _, g := range network.Origins[i].AllGateways() {
			if err := node(RoleOrigin, g.Name, nil); err != nil {
				return nil, err
			}
		}
	}
	for i := range network.DNS.Servers {
		if err := node(RoleDNS, network.DNS.Servers[i].Name, nil); err != nil {
			return nil, err
		}
	}
	return changes, nil
}

// isAway says whether what was issued to a node last is for another machine, and is not in the bundle in dir all the same.
func (a *Authority) isAway(dir string, p Peer) (bool, error) {
	cert, i, err := a.issued(p.String())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !i.Away || !i.Live(a.now()) {
		return false, err
	}
	here, err := readCert(filepath.Join(dir, "node.pem"))
	return err != nil || !bytes.Equal(here.RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo), nil
}

// localHosts are the hosts that the PoP serves with certificates of the site authority.
func localHosts(network *deploy.Network, pop *deploy.PoP) []string {
	var hosts []string
	for _, s := range network.SitesOf(pop) {
		if s.TLS.Certificate.Source == deploy.CertificateLocal {
			hosts = append(hosts, s.Hosts...)
		}
	}
	return hosts
}

// node makes the state folder of one node.
func (a *Authority) node(nodes string, p Peer, hub *deploy.Hub, hosts []string, file []byte) (Change, error) {
	c := Change{Node: p.String(), Dir: filepath.Join(nodes, p.String())}
	identity := filepath.Join(c.Dir, "identity")
	var err error
	if c.Away, err = a.isAway(identity, p); err != nil || c.Away {
		return c, err
	}
	if c.Revoked, err = a.revokedIn(identity, p); err != nil || c.Revoked {
		return c, err
	}
	_, err = os.Stat(filepath.Join(identity, "node.pem"))
	had := err == nil
	issued, err := a.Issue(identity, p.Role, p.Name, hub)
	if err != nil {
		return c, err
	}
	c.New, c.Renewed = issued && !had, issued && had
	if c.Certificates, err = a.IssueSite(filepath.Join(c.Dir, "certs"), hosts); err != nil {
		return c, err
	}
	// A revision that the node accepted is its own to replace.
	revisions := RevisionsIn(c.Dir)
	if _, err := os.Stat(filepath.Join(revisions.dir, "current.yaml")); errors.Is(err, fs.ErrNotExist) {
		return c, revisions.Accept(file)
	}
	return c, nil
}
