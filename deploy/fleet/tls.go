package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ClientTLS returns how to dial the node of that role and name: TLS 1.3, showing this
// node's certificate, and accepting that node's alone. The caller sets the ALPN
// protocols (NextProtos), which it may do in place; each call returns a new
// configuration. What is believed and what is revoked counts as it is at each handshake.
func (id *Identity) ClientTLS(role, name string) *tls.Config {
	want := Peer{Role: role, Name: name, Network: id.Network}
	return id.dialling(want, want.serverName(), func(got Peer) error {
		if got != want {
			return fmt.Errorf("fleet: dialled %v of network %s and reached %v of %s", want, want.Network, got, got.Network)
		}
		return nil
	})
}

// HubTLS returns how to dial the hub: as ClientTLS, but whoever answers is taken when it is an origin's gateway of that name,
// which has the hub in it, or a node of RoleHub. Where a URL leads is for the network file to say, and so the host in it does not
// count.
func (id *Identity) HubTLS(gateway string) *tls.Config {
	return id.dialling(Peer{Role: RoleOrigin, Name: gateway, Network: id.Network}, "", func(got Peer) error {
		if got.Network != id.Network || got.Role != RoleHub && (got.Role != RoleOrigin || got.Name != gateway) {
			return fmt.Errorf("fleet: dialled the hub and reached %v of network %s", got, got.Network)
		}
		return nil
	})
}

// dialling is how to dial for a peer and take whom accept takes, with the DNS name in its certificate unless that is "". The
// library's own check would hold the authorities that were believed when the configuration was made, so VerifyConnection does
// all of it, with the errors that the library's would have.
func (id *Identity) dialling(to Peer, dnsName string, accept func(Peer) error) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         to.serverName(),
		InsecureSkipVerify: true,
		Time:               id.now,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return id.own.Load(), nil
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return errors.New("fleet: the peer showed no certificate")
			}
			leaf := cs.PeerCertificates[0]
			_, err := leaf.Verify(x509.VerifyOptions{
				Roots: id.trust.Load().pool, CurrentTime: id.now(), DNSName: dnsName, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			})
			var got Peer
			if err == nil {
				got, err = peerIn(leaf)
			}
			if err == nil {
				err = accept(got)
			}
			if err == nil {
				err = leaf.VerifyHostname(got.serverName())
			}
			if err == nil {
				err = id.refused(got, leaf)
			}
			if err != nil {
				return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
			}
			return nil
		},
	}
}

// ServerTLS returns how to listen for nodes of those roles: TLS 1.3, and a certificate
// of the fleet demanded of every client. A client's certificate is still taken for 30
// days after its end, and Expired is told. The caller sets the ALPN protocols
// (NextProtos); each call returns a new configuration. What is believed and what is
// revoked counts as it is at each handshake.
func (id *Identity) ServerTLS(roles ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       id.now,
		// The library's own check knows no grace, so VerifyConnection does all of it.
		ClientAuth: tls.RequireAnyClientCert,
		// A ticket would carry an identity past its renewal or its end; connections
		// between nodes last, so there is little to resume.
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return id.own.Load(), nil
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			return id.verifyClient(cs, roles)
		},
	}
}

// verifyClient checks who dialled.
func (id *Identity) verifyClient(cs tls.ConnectionState, roles []string) error {
	peer, err := PeerOf(cs)
	if err != nil {
		return err
	}
	leaf, now := cs.PeerCertificates[0], id.now()
	at := now
	if expired := now.After(leaf.NotAfter); expired && !now.After(leaf.NotAfter.Add(renewBefore)) {
		at = leaf.NotAfter
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: id.trust.Load().pool, CurrentTime: at, DNSName: peer.serverName(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	switch invalid := (x509.CertificateInvalidError{}); {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("fleet: the certificate of %v is valid from %s to %s, and now it is %s; `hither fleet renew` renews it",
			peer, leaf.NotBefore.UTC().Format(time.DateOnly), leaf.NotAfter.UTC().Format(time.DateOnly), now.UTC().Format(time.DateTime))
	case err != nil:
		return fmt.Errorf("fleet: the certificate that says %v is not of this fleet: %w", peer, err)
	case peer.Network != id.Network:
		return fmt.Errorf("fleet: %v is of network %q, and this node of %q", peer, peer.Network, id.Network)
	case !slices.Contains(roles, peer.Role):
		return fmt.Errorf("fleet: %v was refused; only nodes of role %s are taken here", peer, strings.Join(roles, " or "))
	}
	if err := id.refused(peer, leaf); err != nil {
		return err
	}
	if at != now && id.Expired != nil {
		id.Expired(peer, leaf.NotAfter)
	}
	return nil
}
