package fleet

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNodesKnowEachOther(t *testing.T) {
	a := authority(t, "demo", start)
	us := identity(t, a, RoleOrigin, "us", start, start)
	fra := identity(t, a, RoleEdge, "fra", start, start)
	server := us.ServerTLS(RoleEdge, RoleOrigin)
	client := fra.ClientTLS(RoleOrigin, "us")
	server.NextProtos, client.NextProtos = []string{"h2"}, []string{"h2"}
	s, c, serverErr, clientErr := shake(t, server, client)
	if serverErr != nil || clientErr != nil {
		t.Fatalf("server: %v, client: %v", serverErr, clientErr)
	}
	if p, err := PeerOf(s); err != nil || p != (Peer{RoleEdge, "fra", "demo"}) {
		t.Errorf("the server sees %+v, %v", p, err)
	}
	if p, err := PeerOf(c); err != nil || p != (Peer{RoleOrigin, "us", "demo"}) {
		t.Errorf("the client sees %+v, %v", p, err)
	}
	if s.Version != tls.VersionTLS13 || s.NegotiatedProtocol != "h2" || c.DidResume {
		t.Errorf("%+v", s)
	}
	if fra.String() != "edge-fra" {
		t.Errorf("the edge is called %s", fra)
	}
}

// What nodes have in common is of one network and one purpose.
func TestCommon(t *testing.T) {
	a, other := authority(t, "demo", start), authority(t, "demo", start)
	us := identity(t, a, RoleOrigin, "us", start, start).Common("x")
	if len(us) != 32 || !bytes.Equal(us, identity(t, a, RoleEdge, "fra", start, start).Common("x")) {
		t.Errorf("two nodes of a network have %x and something else", us)
	}
	if bytes.Equal(us, identity(t, a, RoleOrigin, "us", start, start).Common("y")) || bytes.Equal(us, identity(t, other, RoleOrigin, "us", start, start).Common("x")) {
		t.Error("another purpose or another network has the same")
	}
}

// TestServerRefuses lists clients that a gateway must not take, with the reason that
// its log gets.
func TestServerRefuses(t *testing.T) {
	a := authority(t, "demo", start.Add(-200*day))
	gateway := identity(t, a, RoleOrigin, "us", start, start)
	stranger := identity(t, authority(t, "demo", start), RoleEdge, "fra", start, start)

	// A client that shows whatever is asked for, and believes any server.
	shows := func(chain ...[]byte) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: chain, PrivateKey: gateway.own.Load().PrivateKey}, nil
		}}
	}
	der := func(id *Identity) []byte { return id.own.Load().Certificate[0] }
	key := gateway.own.Load()
	forge := func(parent *x509.Certificate, signer any, uris ...string) []byte {
		template := &x509.Certificate{
			Subject: pkix.Name{Organization: []string{"demo"}}, NotBefore: start.Add(-day), NotAfter: start.Add(day),
			DNSNames: []string{"fra.edge.demo.hither.internal"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		for _, s := range uris {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			template.URIs = append(template.URIs, u)
		}
		forged, err := x509.CreateCertificate(rand.Reader, template, parent, key.Leaf.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return forged
	}
	const fra = "hither://demo/edge/fra"
	for name, c := range map[string]struct {
		client *tls.Config
		want   string
	}{
		"no certificate":    {&tls.Config{InsecureSkipVerify: true}, "client didn't provide a certificate"},
		"other role":        {identity(t, a, RoleDNS, "ns1", start, start).ClientTLS(RoleOrigin, "us"), "fleet: dns-ns1 was refused; only nodes of role edge are taken here"},
		"other fleet":       {shows(forge(stranger.own.Load().Leaf, stranger.own.Load().PrivateKey, fra)), "fleet: the certificate that says edge-fra is not of this fleet: x509: certificate signed by unknown authority"},
		"site authority":    {shows(forge(a.site.cert, a.site.key, fra)), "fleet: the certificate that says edge-fra is not of this fleet: x509: certificate signed by unknown authority"},
		"signed by a node":  {shows(forge(key.Leaf, key.PrivateKey, fra), der(gateway)), "fleet: the certificate that says edge-fra is not of this fleet: x509: certificate signed by unknown authority"},
		"no name":           {shows(forge(a.fleet.cert, a.fleet.key)), "fleet: the certificate is not one of a node; it has no hither:// name"},
		"two names":         {shows(forge(a.fleet.cert, a.fleet.key, fra, "hither://demo/edge/iad")), "fleet: the certificate is not one of a node; it has no hither:// name"},
		"names that differ": {shows(forge(a.fleet.cert, a.fleet.key, "hither://demo/edge/iad")), "fleet: the certificate that says edge-iad is not of this fleet: x509: certificate is valid for fra.edge.demo.hither.internal, not iad.edge.demo.hither.internal"},
		"strange role":      {shows(forge(a.fleet.cert, a.fleet.key, "hither://demo/root/fra")), `fleet: the certificate's name "hither://demo/root/fra": role "root" is not one of edge, origin, dns, hub, operator`},
		"strange name":      {shows(forge(a.fleet.cert, a.fleet.key, "hither://demo/edge/../fra")), `fleet: the certificate's name "hither://demo/edge/../fra": "../fra" is not a name of 1 to 63 of a-z, 0-9 and -`},
		"expired 31 days":   {identity(t, a, RoleEdge, "fra", start.Add(-121*day), start).ClientTLS(RoleOrigin, "us"), "fleet: the certificate of edge-fra is valid from 2029-09-03 to 2029-12-02, and now it is 2030-01-02 03:04:05; `hither fleet renew` renews it"},
		"not yet valid":     {identity(t, a, RoleEdge, "fra", start.Add(2*time.Hour), start).ClientTLS(RoleOrigin, "us"), "fleet: the certificate of edge-fra is valid from 2030-01-02 to 2030-04-02, and now it is 2030-01-02 03:04:05; `hither fleet renew` renews it"},
		"TLS 1.2":           {&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, "tls: client offered only unsupported versions: [303]"},
	} {
		t.Run(name, func(t *testing.T) {
			gateway.Expired = func(p Peer, _ time.Time) { t.Errorf("%v was accepted past its end", p) }
			_, _, serverErr, clientErr := shake(t, gateway.ServerTLS(RoleEdge), c.client)
			if serverErr == nil || !strings.Contains(serverErr.Error(), c.want) {
				t.Errorf("server: %v\nwant:   %s", serverErr, c.want)
			}
			if clientErr == nil {
				t.Error("the client was not told")
			}
		})
	}
}

// TestClientRefuses lists servers that an edge must not take for its origin.
func TestClientRefuses(t *testing.T) {
	a := authority(t, "demo", start.Add(-200*day))
	fra := identity(t, a, RoleEdge, "fra", start, start)
	other := authority(t, "demo", start)

	dir := t.TempDir()
	if _, err := a.IssueSite(dir, []string{"us.origin.demo.hither.internal"}); err != nil {
		t.Fatal(err)
	}
	site, err := tls.LoadX509KeyPair(filepath.Join(dir, "us.origin.demo.hither.internal/cert.pem"), filepath.Join(dir, "us.origin.demo.hither.internal/key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		server *tls.Config
		want   string
	}{
		"other name":     {identity(t, a, RoleOrigin, "eu", start, start).ServerTLS(RoleEdge), "x509: certificate is valid for eu.origin.demo.hither.internal, not us.origin.demo.hither.internal"},
		"other role":     {identity(t, a, RoleEdge, "us", start, start).ServerTLS(RoleEdge), "x509: certificate is valid for us.edge.demo.hither.internal, not us.origin.demo.hither.internal"},
		"other fleet":    {identity(t, other, RoleOrigin, "us", start, start).ServerTLS(RoleEdge), "x509: certificate signed by unknown authority"},
		"site authority": {&tls.Config{Certificates: []tls.Certificate{site}}, "x509: certificate signed by unknown authority"},
		"expired":        {identity(t, a, RoleOrigin, "us", start.Add(-91*day), start).ServerTLS(RoleEdge), "x509: certificate has expired or is not yet valid"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, _, clientErr := shake(t, c.server, fra.ClientTLS(RoleOrigin, "us"))
			if clientErr == nil || !strings.Contains(clientErr.Error(), c.want) {
				t.Errorf("client: %v\nwant:   %s", clientErr, c.want)
			}
		})
	}
}

// TestServerTakesExpired: a gateway takes an identity for 30 days after its end, and
// says so each time.
func TestServerTakesExpired(t *testing.T) {
	a := authority(t, "demo", start.Add(-200*day))
	gateway := identity(t, a, RoleOrigin, "us", start, start)
	fra := identity(t, a, RoleEdge, "fra", start.Add(-119*day), start)
	type call struct {
		Peer
		notAfter time.Time
	}
	calls := make(chan call, 2)
	gateway.Expired = func(p Peer, notAfter time.Time) { calls <- call{p, notAfter} }
	for range 2 {
		if _, _, serverErr, clientErr := shake(t, gateway.ServerTLS(RoleEdge), fra.ClientTLS(RoleOrigin, "us")); serverErr != nil || clientErr != nil {
			t.Fatalf("server: %v, client: %v", serverErr, clientErr)
		}
		if got, want := <-calls, (call{Peer{RoleEdge, "fra", "demo"}, start.Add(-29 * day)}); got != want {
			t.Errorf("told of %v, want %v", got, want)
		}
	}
	if !fra.NeedsRenewal(start) || gateway.NeedsRenewal(start) {
		t.Error("the expired one needs renewal, the fresh one does not")
	}
}

// TestReload: a renewed certificate is shown by configurations made before.
func TestReload(t *testing.T) {
	a := authority(t, "demo", start.Add(-200*day))
	gateway := identity(t, a, RoleOrigin, "us", start, start)
	dir := filepath.Join(t.TempDir(), "identity")
	a.now = at(start.Add(-121 * day))
	if _, err := a.Issue(dir, RoleEdge, "fra", nil); err != nil {
		t.Fatal(err)
	}
	fra, err := loadIdentity(dir, at(start))
	if err != nil {
		t.Fatal(err)
	}
	server, client := gateway.ServerTLS(RoleEdge), fra.ClientTLS(RoleOrigin, "us")
	if _, _, serverErr, _ := shake(t, server, client); serverErr == nil {
		t.Fatal("the old certificate was taken")
	}
	a.now = at(start)
	if issued, err := a.Issue(dir, RoleEdge, "fra", nil); err != nil || !issued {
		t.Fatalf("issued %v, %v", issued, err)
	}
	if err := fra.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, _, serverErr, clientErr := shake(t, server, client); serverErr != nil || clientErr != nil {
		t.Errorf("server: %v, client: %v", serverErr, clientErr)
	}
	if got := fra.NotAfter(); !got.Equal(start.Add(90 * day)) {
		t.Errorf("it ends %v", got)
	}

	// Another node's bundle in the same folder, and a broken one, leave the old.
	if _, err := a.Issue(dir, RoleEdge, "iad", nil); err != nil {
		t.Fatal(err)
	}
	if err := fra.Reload(); err == nil || !strings.Contains(err.Error(), "it is now that of edge-iad of network demo, and this node is edge-fra of demo") {
		t.Errorf("got %v", err)
	}
	mustWrite(t, filepath.Join(dir, "node.pem"), "junk")
	if err := fra.Reload(); err == nil {
		t.Error("junk was loaded")
	}
	if _, _, serverErr, _ := shake(t, server, client); serverErr != nil {
		t.Errorf("server: %v", serverErr)
	}
}
