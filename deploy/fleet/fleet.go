// Package fleet is what makes many nodes one network. It holds the fleet's identities
// (the authorities, the certificate by which each node proves its role and name, and
// mutual TLS between nodes), the folders that `hither fleet init` and `hither up` make,
// and the revisions of the network file that a node keeps.
package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// The roles of nodes.
const (
	RoleEdge     = "edge"
	RoleOrigin   = "origin"
	RoleDNS      = "dns"
	RoleHub      = "hub"      // a server of a NATS cluster that is not the origin's own
	RoleOperator = "operator" // a person, or a program in whose hand the fleet is
)

// roles are all of them.
var roles = []string{RoleEdge, RoleOrigin, RoleDNS, RoleHub, RoleOperator}

// Peer is who stands at the other end of a connection between nodes.
type Peer struct {
	Role    string // one of the roles above
	Name    string // of the PoP, the gateway or the DNS server in the network file; a hub's and an operator's own
	Network string // the network's name
}

// String is ROLE-NAME, as the node's folder is called.
func (p Peer) String() string { return p.Role + "-" + p.Name }

// serverName is the DNS name in a node's certificate, which a dialling node checks
// (RFC 9525 section 6.3). The domain .internal is reserved for private use, so no
// public authority certifies it.
func (p Peer) serverName() string {
	return p.Name + "." + p.Role + "." + domain(p.Network)
}

// domain is above the names of all nodes of a network.
func domain(network string) string { return network + ".hither.internal" }

// uri is the name in a node's certificate that says role and name apart.
func (p Peer) uri() *url.URL {
	return &url.URL{Scheme: "hither", Host: p.Network, Path: "/" + p.Role + "/" + p.Name}
}

// check says whether a Peer can be certified.
func (p Peer) check() error {
	if !slices.Contains(roles, p.Role) {
		return fmt.Errorf("role %.80q is not one of %s", p.Role, strings.Join(roles, ", "))
	}
	for _, s := range []string{p.Name, p.Network} {
		if !isName(s) {
			return fmt.Errorf("%.80q is not a name of 1 to 63 of a-z, 0-9 and -", s)
		}
	}
	return nil
}

// isName holds names to what the network file allows, for they come from certificates
// too and become parts of paths, metrics and subjects.
func isName(s string) bool {
	return s != "" && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-' &&
		!strings.ContainsFunc(s, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
		})
}

// PeerOf returns who stands at the other end of a connection whose handshake was made
// with [Identity.ClientTLS] or [Identity.ServerTLS]; those have verified the
// certificate that it reads.
func PeerOf(cs tls.ConnectionState) (Peer, error) {
	if len(cs.PeerCertificates) == 0 {
		return Peer{}, errors.New("fleet: the peer showed no certificate")
	}
	return peerIn(cs.PeerCertificates[0])
}

// peerIn reads the identity that a certificate gives.
func peerIn(cert *x509.Certificate) (Peer, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != "hither" {
		return Peer{}, errors.New("fleet: the certificate is not one of a node; it has no hither:// name")
	}
	u := cert.URIs[0]
	role, name, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	p := Peer{Role: role, Name: name, Network: u.Host}
	if err := p.check(); err != nil {
		return Peer{}, fmt.Errorf("fleet: the certificate's name %.200q: %w", u.String(), err)
	}
	return p, nil
}
