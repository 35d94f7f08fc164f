package fleet

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What the authority remembers of the identities that it issued, in its folder: issued/ROLE-NAME.pem is the last certificate of
// each, issued/ROLE-NAME.away has the key of one that was made for another machine, revoked.json says which are no longer taken. Nothing in
// them is secret.

const (
	issuedFolder = "issued"
	awaySuffix   = ".away"
)

// An Issued is an identity as the authority remembers it.
type Issued struct {
	Peer
	At, NotAfter time.Time // when it was issued, and when it ends
	Revoked      bool
	Renew        bool   // it is near its end, or of an authority whose place another takes
	Away         bool   // it was made to be taken to another machine: see [Authority.SendAway]
	Key          string // SHA-256 of its public key, in hexadecimal; a renewed certificate has the same
}

// Live says whether nodes take it at that moment, though perhaps only for the time that they grant after its end.
func (i Issued) Live(now time.Time) bool {
	return !i.Revoked && now.Before(i.NotAfter.Add(renewBefore))
}

// Issued returns what the authority remembers of a peer's identity (ROLE-NAME). Where it issued none the error wraps fs.ErrNotExist.
func (a *Authority) Issued(node string) (Issued, error) {
	_, i, err := a.issued(node)
	return i, err
}

func (a *Authority) issued(node string) (*x509.Certificate, Issued, error) {
	revoked, err := a.Revocations()
	if err != nil {
		return nil, Issued{}, fmt.Errorf("fleet: what was revoked: %w", err)
	}
	return a.issuedBut(node, revoked)
}

// issuedBut is issued, where it is known who is revoked.
func (a *Authority) issuedBut(node string, revoked map[string]time.Time) (*x509.Certificate, Issued, error) {
	peer, err := ParseNode(node)
	if err != nil {
		return nil, Issued{}, fmt.Errorf("fleet: %w", err)
	}
	peer.Network = a.network
	cert, err := readCert(a.issuedPath(peer))
	if err != nil {
		return nil, Issued{}, fmt.Errorf("fleet: what was issued to %v: %w", peer, err)
	}
	if got, err := peerIn(cert); err != nil || got != peer {
		return nil, Issued{}, fmt.Errorf("fleet: %s is not the certificate of %v; remove it", a.issuedPath(peer), peer)
	}
	key := fmt.Sprintf("%x", sha256.Sum256(cert.RawSubjectPublicKeyInfo))
	away, err := readFile(a.awayPath(peer))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, Issued{}, fmt.Errorf("fleet: where %v is: %w", peer, err)
	}
	return cert, Issued{
		Peer: peer, At: issuedAt(cert), NotAfter: cert.NotAfter, Revoked: covers(revoked[node], cert),
		Renew: needsRenewal(cert, a.now()) || cert.CheckSignatureFrom(a.fleet.cert) != nil,
		Key:   key, Away: strings.TrimSpace(string(away)) == key,
	}, nil
}

// SendAway notes that what was issued to a node (ROLE-NAME) last is for another machine: [Init] makes no other identity for it, and nobody starts
// it here. It holds for as long as that key does.
func (a *Authority) SendAway(node string) error {
	i, err := a.Issued(node)
	if err == nil {
		err = writeFile(a.awayPath(i.Peer), []byte(i.Key+"\n"))
	}
	if err != nil {
		return fmt.Errorf("fleet: note that %s is elsewhere: %w", node, err)
	}
	return nil
}

func (a *Authority) awayPath(p Peer) string {
	return filepath.Join(a.dir, issuedFolder, p.String()+awaySuffix)
}

// AllIssued returns all identities that the authority remembers, in the order of their names.
func (a *Authority) AllIssued() ([]Issued, error) {
	entries, err := os.ReadDir(filepath.Join(a.dir, issuedFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("fleet: list what was issued: %w", err)
	}
	revoked, err := a.Revocations()
	if err != nil {
		return nil, fmt.Errorf("fleet: list what was issued: %w", err)
	}
	var all []Issued
	for _, e := range entries {
		node, ok := strings.CutSuffix(e.Name(), ".pem")
		if !ok || strings.HasPrefix(node, ".") {
			continue
		}
		_, i, err := a.issuedBut(node, revoked)
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b Issued) int { return strings.Compare(a.String(), b.String()) })
	return all, nil
}

// Renew issues the next certificate of an identity (ROLE-NAME) for the key that it has, which the authority need not have, and
// returns it in PEM. It is new when the last one is near its end, or when always is set; else it is the last one. What was revoked is not
// renewed: the error wraps [ErrRevoked].
func (a *Authority) Renew(node string, always bool) (certificate []byte, renewed bool, err error) {
	cert, i, err := a.issued(node)
	if err != nil {
		return nil, false, err
	}
	if i.Revoked {
		return nil, false, fmt.Errorf("fleet: renew %s: %w; `hither fleet add` makes it anew, with new keys", node, ErrRevoked)
	}
	if !always && !i.Renew {
		certificate, err = readFile(a.issuedPath(i.Peer))
		return certificate, false, err
	}
	public, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, false, fmt.Errorf("fleet: renew %s: its key is a %T", node, cert.PublicKey)
	}
	until, err := a.revokedUntil(i.Peer)
	if err != nil {
		return nil, false, err
	}
	certificate, err = a.fleet.leaf(a.issueTime(until), a.template(i.Peer), crypto.PublicKey(public))
	if err == nil {
		err = writeFile(a.issuedPath(i.Peer), certificate)
	}
	if err != nil {
		return nil, false, fmt.Errorf("fleet: renew %s: %w", node, err)
	}
	return certificate, true, nil
}

// Revoke has the authority remember that what was issued to a node (ROLE-NAME) so far, or until the moment until where that is later,
// is no longer taken. It returns that moment, which the fleet must be told. Who is added again under the same name gets a certificate
// that was issued after it, whatever the clocks say.
func (a *Authority) Revoke(node string, until time.Time) (time.Time, error) {
	if _, err := ParseNode(node); err != nil {
		return time.Time{}, fmt.Errorf("fleet: revoke: %w", err)
	}
	unlock, err := lock(a.dir)
	if err != nil {
		return time.Time{}, fmt.Errorf("fleet: lock the authority: %w", err)
	}
	defer unlock()
	revoked, err := readRevocations(a.revokedPath())
	if err != nil {
		return time.Time{}, fmt.Errorf("fleet: revoke %s: %w", node, err)
	}
	for _, t := range []time.Time{a.now(), revoked[node]} {
		if t.After(until) {
			until = t
		}
	}
	if i, err := a.Issued(node); err == nil && i.At.After(until) {
		until = i.At
	}
	revoked[node] = until
	if revoked.prune(a.now()); len(revoked) > mostRevoked {
		return time.Time{}, fmt.Errorf("fleet: revoke %s: %d identities are revoked of which some would be taken still, and nodes know of %d at most; "+
			"`hither fleet rotate` ends all that was issued", node, len(revoked), mostRevoked)
	}
	if err := writeRevocations(a.revokedPath(), revoked); err != nil {
		return time.Time{}, fmt.Errorf("fleet: revoke %s: %w", node, err)
	}
	return until, nil
}

// Revocations returns until when identities were issued that are no longer taken, by ROLE-NAME.
func (a *Authority) Revocations() (map[string]time.Time, error) {
	return readRevocations(a.revokedPath())
}

func (a *Authority) revokedPath() string { return filepath.Join(a.dir, revokedFile) }

func (a *Authority) issuedPath(p Peer) string {
	return filepath.Join(a.dir, issuedFolder, p.String()+".pem")
}

// revokedUntil says until when what was issued to the peer is revoked; zero where nothing is.
func (a *Authority) revokedUntil(p Peer) (time.Time, error) {
	revoked, err := readRevocations(a.revokedPath())
	if err != nil {
		return time.Time{}, fmt.Errorf("fleet: what was revoked: %w", err)
	}
	return revoked[p.String()], nil
}

// covers says whether a certificate is one of those that were issued until then and are revoked; zero covers none.
func covers(until time.Time, cert *x509.Certificate) bool {
	return !until.IsZero() && !issuedAt(cert).After(until)
}

// revokedIn says whether the bundle in dir has an identity of the peer that was revoked.
func (a *Authority) revokedIn(dir string, p Peer) (bool, error) {
	until, err := a.revokedUntil(p)
	if err != nil {
		return false, err
	}
	cert, err := readCert(filepath.Join(dir, "node.pem"))
	return err == nil && covers(until, cert), nil
}

// issueTime is when a certificate is issued to whom something was revoked until then: now, but after all that was revoked.
// Certificates count whole seconds.
func (a *Authority) issueTime(revoked time.Time) time.Time {
	now := a.now()
	if after := revoked.Add(time.Second); now.Before(after) {
		return after
	}
	return now
}

// keepIssued keeps a copy of a certificate that was issued.
func (a *Authority) keepIssued(p Peer, path string) error {
	data, err := readFile(path)
	if err == nil {
		err = os.MkdirAll(filepath.Join(a.dir, issuedFolder), 0o700)
	}
	if err == nil {
		_, err = keepFile(a.issuedPath(p), data)
	}
	return err
}

func readCert(path string) (*x509.Certificate, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	cert, err := parseCert(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, nil
}
