// Package fleet is what makes machines one network: the authorities, an identity for each
// node, mutual TLS between nodes, and the network file's revisions that a node keeps.
//
// Two authorities are kept apart. The fleet authority signs nodes and nothing else;
// every link between nodes trusts it alone. The site authority signs the certificates of
// sites that have no public ones; clients trust it, nodes never do.
package fleet

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Lifetimes of what the authorities sign.
const (
	NodeLifetime   = 90 * 24 * time.Hour // of a node's certificate
	RenewBefore    = 30 * 24 * time.Hour // left, when a node's certificate is made anew
	Grace          = 30 * 24 * time.Hour // past its end, while a gateway still takes an edge's certificate
	siteLifetime   = 90 * 24 * time.Hour // of a site's certificate
	rootLifetime   = 10 * 365 * 24 * time.Hour
	clockSkew      = time.Hour // certificates are valid a little before they were made
	uriScheme      = "hither"
	internalZone   = "hither.internal"
	identityFolder = "identity"
)

// A Peer is who a node is, as its certificate says.
type Peer struct {
	Network string
	Role    string // edge, origin or dns
	Name    string
}

// String is the node's name among all nodes: ROLE-NAME.
func (p Peer) String() string { return p.Role + "-" + p.Name }

// uri is the peer as the certificate's URI: hither://NETWORK/ROLE/NAME.
func (p Peer) uri() *url.URL {
	return &url.URL{Scheme: uriScheme, Host: p.Network, Path: "/" + p.Role + "/" + p.Name}
}

// serverName is the peer as the certificate's DNS name, which is what a dialer asks for.
func (p Peer) serverName() string {
	return p.Name + "." + p.Role + "." + p.Network + "." + internalZone
}

// errNoPeer: a certificate that is no node's.
var errNoPeer = errors.New("fleet: certificate names no node")

// peerOf reads a node's certificate. It verifies nothing.
func peerOf(c *x509.Certificate) (Peer, error) {
	if len(c.URIs) != 1 || c.URIs[0].Scheme != uriScheme {
		return Peer{}, errNoPeer
	}
	u := c.URIs[0]
	parts := strings.Split(u.Path, "/")
	if len(parts) != 3 || parts[0] != "" || u.Host == "" || parts[1] == "" || parts[2] == "" {
		return Peer{}, fmt.Errorf("%w: %s", errNoPeer, u)
	}
	return Peer{Network: u.Host, Role: parts[1], Name: parts[2]}, nil
}
