package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"time"
)

// revocations are by ROLE-NAME until when certificates were issued that are refused. They are never changed in place.
type revocations map[string]time.Time

// Bounds of them: identities, far above those that a network ends while it matters (see prune), and bytes of a file with as many, each of which has a
// line of 120 at most.
const (
	mostRevoked = 10_000
	maxRevoked  = 2 << 20
)

// prune forgets, of more than there may be, those that do not matter any more: what was issued by then is past its end and past the time for which it is
// taken after that. Where they are fewer all are kept, for a clock may be wrong.
func (r revocations) prune(now time.Time) {
	if len(r) <= mostRevoked {
		return
	}
	maps.DeleteFunc(r, func(_ string, until time.Time) bool { return now.Sub(until) > leafLife+renewBefore+2*skew })
}

// ErrRevoked is what errors about a certificate wrap whose identity was revoked.
var ErrRevoked = errors.New("its identity was revoked")

// SetRevoked has handshakes from now on refuse certificates by role and name (ROLE-NAME): of each, those that were issued until
// that moment. A certificate issued later under the same name is taken. It lies in the bundle, and so counts for a node that
// starts without a hub. The error is about the bundle alone: what was given counts in any case.
func (id *Identity) SetRevoked(revoked map[string]time.Time) error {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.setRevoked(maps.Clone(revoked))
}

func (id *Identity) setRevoked(next revocations) error {
	if next == nil {
		next = revocations{}
	}
	next.prune(id.now())
	if len(next) > mostRevoked {
		return fmt.Errorf("fleet: %d identities are revoked; at most %d are taken", len(next), mostRevoked)
	}
	old := *id.revoked.Load()
	var fresh []Peer
	for node, until := range next {
		if was, ok := old[node]; ok && was.Equal(until) {
			continue
		}
		peer, err := ParseNode(node)
		if err != nil {
			return fmt.Errorf("fleet: revoke %.80q: %w", node, err)
		}
		if until.After(old[node]) {
			peer.Network = id.Network
			fresh = append(fresh, peer)
		}
	}
	id.revoked.Store(&next)
	var err error
	if !maps.EqualFunc(old, next, time.Time.Equal) {
		err = writeRevocations(filepath.Join(id.dir, revokedFile), next)
	}
	for _, peer := range fresh {
		for f := range id.told {
			(*f)(peer)
		}
	}
	if err != nil {
		return fmt.Errorf("fleet: keep what is revoked: %w", err)
	}
	return nil
}

// OnRevoked has f called with each peer that is revoked from now on until stop is called, so that who keeps connections ends those of
// the peer. f must not call methods of the identity that change it.
func (id *Identity) OnRevoked(f func(Peer)) (stop func()) {
	id.mu.Lock()
	defer id.mu.Unlock()
	key := new(func(Peer))
	*key = f
	id.told[key] = struct{}{}
	return func() {
		id.mu.Lock()
		defer id.mu.Unlock()
		delete(id.told, key)
	}
}

// Refused says why who stands at the other end of a connection is not taken any more, though it was when the connection began: its
// identity was revoked since. It is cheap enough for every request.
func (id *Identity) Refused(cs *tls.ConnectionState) error {
	if len(*id.revoked.Load()) == 0 {
		return nil
	}
	if cs == nil {
		return errors.New("fleet: a connection without TLS")
	}
	peer, err := PeerOf(*cs)
	if err != nil {
		return err
	}
	return id.refused(peer, cs.PeerCertificates[0])
}

// Revoked says until when certificates of a peer were issued that are refused; zero = none is.
func (id *Identity) Revoked(p Peer) time.Time { return (*id.revoked.Load())[p.String()] }

// Revocations says until when certificates were issued that are refused, by ROLE-NAME.
func (id *Identity) Revocations() map[string]time.Time { return maps.Clone(*id.revoked.Load()) }

// refused says whether a peer's certificate is revoked.
func (id *Identity) refused(p Peer, leaf *x509.Certificate) error {
	if until, ok := (*id.revoked.Load())[p.String()]; ok && covers(until, leaf) {
		return fmt.Errorf("fleet: the certificate of %v was issued until %s: %w", p, until.UTC().Format(time.DateTime), ErrRevoked)
	}
	return nil
}

// issuedAt is when an authority of ours issued a certificate, to the second: its beginning is set back by skew.
func issuedAt(leaf *x509.Certificate) time.Time { return leaf.NotBefore.Add(skew) }

// ParseNode reads ROLE-NAME, as [Peer.String] writes it. The network is not in it.
func ParseNode(node string) (Peer, error) {
	role, name, _ := strings.Cut(node, "-")
	p := Peer{Role: role, Name: name}
	whole := p
	whole.Network = "any"
	if err := whole.check(); err != nil {
		return Peer{}, fmt.Errorf("%.80q is no ROLE-NAME: %w", node, err)
	}
	return p, nil
}

func readRevocations(path string) (revocations, error) {
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return revocations{}, nil
	}
	if err != nil {
		return nil, err
	}
	out := revocations{}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; copy it from another node, or remove it to take every certificate that is not past its end", path, err)
	}
	if out == nil {
		out = revocations{} // the file says null
	}
	return out, nil
}

func writeRevocations(path string, r revocations) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(data, '\n'))
}
