package fleet

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// mostAuthorities is how many a node believes at once: the one, and the next that takes its place.
const mostAuthorities = 2

// A trust is the authorities that a node believes. It is never changed.
type trust struct {
	pem   []byte // as it was read
	certs []*x509.Certificate
	pool  *x509.CertPool
}

// parseTrust reads the certificates of authorities in PEM.
func parseTrust(data []byte) (*trust, error) {
	t := &trust{pem: bytes.Clone(data), pool: x509.NewCertPool()}
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		switch {
		case block.Type != "CERTIFICATE":
			return nil, fmt.Errorf("it holds a %.40q, and only certificates are taken", block.Type)
		case err != nil:
			return nil, err
		case !cert.IsCA:
			return nil, errors.New("it holds a certificate that is none of an authority")
		case len(t.certs) == mostAuthorities:
			return nil, fmt.Errorf("it holds more than %d certificates", mostAuthorities)
		}
		t.certs = append(t.certs, cert)
		t.pool.AddCert(cert)
	}
	if len(t.certs) == 0 {
		return nil, errors.New("it holds no certificate")
	}
	return t, nil
}

// has says whether one of the authorities is cert.
func (t *trust) has(cert *x509.Certificate) bool {
	for _, c := range t.certs {
		if c.Equal(cert) {
			return true
		}
	}
	return false
}

// certified says whose certificate it is, or why it is that of nobody in the fleet. Whether it is past its end is no matter
// here, so it is checked at that moment.
func (t *trust) certified(leaf *x509.Certificate) (Peer, error) {
	peer, err := peerIn(leaf)
	if err != nil {
		return Peer{}, err
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: t.pool, CurrentTime: leaf.NotAfter, DNSName: peer.serverName(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return Peer{}, fmt.Errorf("it is not of the fleet in %s: %w", caFile, err)
	}
	return peer, nil
}

// Trust returns the authorities that this node believes, in PEM, as they lie in its bundle.
func (id *Identity) Trust() []byte { return bytes.Clone(id.trust.Load().pem) }

// SetTrust makes those authorities (PEM, one or two) the ones that this node believes, in its bundle and for handshakes from
// now on. One of them must be believed already, and one that is not must have been signed by one that is: cross is that signature, as
// [Authority.Cross] made it, and nil where none is new. So no word over the network leads a node to strangers, whoever says it. The node's own
// certificate must be of one of them, so that none is left behind. On an error all stays.
func (id *Identity) SetTrust(authorities, cross []byte) error {
	id.mu.Lock()
	defer id.mu.Unlock()
	if err := id.setTrust(authorities, cross); err != nil {
		return fmt.Errorf("fleet: believe other authorities: %w", err)
	}
	return nil
}

// CheckTrust says why SetTrust would not take those authorities, whatever certificate the node has.
func (id *Identity) CheckTrust(authorities, cross []byte) error {
	if _, err := id.checkTrust(authorities, cross); err != nil {
		return fmt.Errorf("fleet: believe other authorities: %w", err)
	}
	return nil
}

func (id *Identity) checkTrust(authorities, cross []byte) (*trust, error) {
	old := id.trust.Load()
	next, err := parseTrust(authorities)
	if err != nil {
		return nil, err
	}
	if len(cross) > mostCross {
		return nil, fmt.Errorf("a signature of %d bytes", len(cross))
	}
	known, stranger := false, false
	for _, c := range next.certs {
		known = known || old.has(c)
		stranger = stranger || !old.has(c) && !old.standsFor(c, cross)
		if org := c.Subject.Organization; len(org) != 1 || org[0] != id.Network {
			return nil, fmt.Errorf("an authority is of network %q, and this node of %q", org, id.Network)
		}
	}
	switch {
	case !known:
		return nil, errors.New("none of them is one that this node believes")
	case stranger:
		return nil, errors.New("one of them is new, and none that this node believes stands for it by its signature")
	}
	return next, nil
}

func (id *Identity) setTrust(authorities, cross []byte) error {
	old := id.trust.Load()
	if bytes.Equal(authorities, old.pem) {
		return nil
	}
	next, err := id.checkTrust(authorities, cross)
	if err != nil {
		return err
	}
	// What waits for this authority comes first, for the node's own certificate may hang on it.
	own, renewed := id.own.Load().Leaf, []byte(nil)
	if leaf, err := id.renewal(id.pending, next); err == nil && leaf != nil {
		own, renewed = leaf, id.pending
	}
	if _, err := next.certified(own); err != nil {
		return fmt.Errorf("this node's own certificate would be taken by nobody: %w", err)
	}
	common := filepath.Join(id.dir, commonFile)
	if _, err := os.Stat(common); errors.Is(err, fs.ErrNotExist) {
		if err := writeFile(common, id.common); err != nil {
			return err
		}
	}
	if renewed != nil {
		// Believe both first: a crash between the two files leaves a bundle that is whole.
		both := append(append(bytes.Clone(old.pem), '\n'), next.pem...)
		if err := writeFile(filepath.Join(id.dir, caFile), both); err != nil {
			return err
		}
		if err := writeFile(filepath.Join(id.dir, "node.pem"), renewed); err != nil {
			return err
		}
	}
	if err := writeFile(filepath.Join(id.dir, caFile), next.pem); err != nil {
		return err
	}
	id.trust.Store(next)
	if renewed != nil {
		id.pending = nil
		return id.reload()
	}
	return nil
}

// Renew takes the node's next certificate, in PEM, and shows it from now on. It must be for this node's key and name, of an
// authority that is believed, and not older than the one in use; one that is older is passed over without an error, for the
// fleet's table may hold it for long. One of an authority that is not believed yet is an error, and is taken
// when SetTrust makes it so.
func (id *Identity) Renew(certificate []byte) error {
	id.mu.Lock()
	defer id.mu.Unlock()
	leaf, err := id.renewal(certificate, id.trust.Load())
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		id.pending = bytes.Clone(certificate)
	}
	if err != nil {
		return fmt.Errorf("fleet: renew identity of %v: %w", id.Peer, err)
	}
	if leaf == nil {
		return nil
	}
	if err := writeFile(filepath.Join(id.dir, "node.pem"), certificate); err != nil {
		return fmt.Errorf("fleet: renew identity of %v: %w", id.Peer, err)
	}
	return id.reload()
}

// CheckRenewal says why nodes would not take a certificate (PEM) for that of a node (ROLE-NAME) of this one's fleet.
func (id *Identity) CheckRenewal(node string, certificate []byte) error {
	if len(certificate) > maxCertificate {
		return fmt.Errorf("fleet: a certificate of %d bytes", len(certificate))
	}
	leaf, err := parseCert(certificate)
	if err != nil {
		return fmt.Errorf("fleet: a renewal for %.80q: %w", node, err)
	}
	peer, err := id.trust.Load().certified(leaf)
	switch {
	case err != nil:
		return fmt.Errorf("fleet: a renewal for %.80q: %w", node, err)
	case peer.String() != node || peer.Network != id.Network:
		return fmt.Errorf("fleet: a renewal for %.80q has the certificate of %v of network %s", node, peer, peer.Network)
	}
	return id.refused(peer, leaf)
}

// renewal reads a certificate that is to take the place of this node's own. It is nil where it is older, or the same.
func (id *Identity) renewal(data []byte, believed *trust) (*x509.Certificate, error) {
	if len(data) == 0 {
		return nil, nil
	}
	if len(data) > maxCertificate {
		return nil, fmt.Errorf("a certificate of %d bytes", len(data))
	}
	leaf, err := parseCert(data)
	if err != nil {
		return nil, err
	}
	own := id.own.Load()
	key, ok := own.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("the certificate is for another key than this node has")
	}
	peer, err := believed.certified(leaf)
	switch {
	case err != nil:
		return nil, err
	case peer != id.Peer:
		return nil, fmt.Errorf("the certificate is that of %v of network %s", peer, peer.Network)
	}
	if leaf.Equal(own.Leaf) || leaf.NotBefore.Before(own.Leaf.NotBefore) {
		return nil, nil
	}
	return leaf, nil
}

// maxCertificate bounds a certificate in PEM; ours have about a kilobyte.
const maxCertificate = 16 << 10
