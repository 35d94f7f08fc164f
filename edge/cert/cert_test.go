package cert_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"hither/edge/cert"
)

func alpn(quic bool) []string {
	if quic {
		return []string{"h3"}
	}
	return []string{"h2", "http/1.1"}
}

// pair makes a self-signed certificate for names, as PEM.
func pair(t testing.TB, names ...string) (chain, key []byte) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: names[0]},
		DNSNames:     names,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})
}

func certificate(t testing.TB, names ...string) *tls.Certificate {
	t.Helper()
	chain, key := pair(t, names...)
	c, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

func entry(t testing.TB, domain string, names ...string) cert.Entry {
	return cert.Entry{Names: names, Domain: domain, Certificate: certificate(t, names...)}
}

func TestLookup(t *testing.T) {
	table, err := cert.NewTable(alpn,
		entry(t, "main", "www.example.org", "example.org"),
		entry(t, "main", "*.example.org"),
		entry(t, "main", "*.Deep.example.ORG."),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, want string }{
		{"www.example.org", "www.example.org"},
		{"WWW.Example.ORG", "www.example.org"},
		{"www.example.org.", "www.example.org"},
		{"example.org", "www.example.org"},
		{"a.example.org", "*.example.org"},
		{"a.b.example.org", ""}, // a wildcard is one label
		{"a.deep.example.org", "*.Deep.example.ORG."},
		{".example.org", ""},
		{"*.example.org", "*.example.org"},
		{"example.net", ""},
		{"org", ""},
		{"", ""},
		{".", ""},
	} {
		got := ""
		if e, ok := table.Lookup(tt.name); ok {
			got = e.Names[0]
		}
		if got != tt.want {
			t.Errorf("Lookup(%q) = %q, want %q", tt.name, got, tt.want)
		}
	}
	if n := len(table.Entries()); n != 3 {
		t.Errorf("%d entries, want 3", n)
	}
}

func TestTableMistakes(t *testing.T) {
	_, err := cert.NewTable(alpn,
		entry(t, "main", "a.test"),
		entry(t, "main", "A.test."),
		cert.Entry{Names: []string{"b.test"}},
		cert.Entry{Certificate: certificate(t, "c.test")},
		cert.Entry{Names: []string{"d.test"}, Certificate: certificate(t, "d.test"), MinVersion: tls.VersionTLS11},
		cert.Entry{Names: []string{"../e"}, Certificate: certificate(t, "e.test")},
	)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"A.test. is in two entries", "b.test: no certificate", "without a name", "minimum version TLS 1.1", `"../e"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}

// TestPolicies shows that names of one policy share their two configurations, and others do not.
func TestPolicies(t *testing.T) {
	old := entry(t, "main", "old.test")
	old.MinVersion = tls.VersionTLS12
	client := entry(t, "main", "client.test")
	client.ClientCAs = x509.NewCertPool()
	table, err := cert.NewTable(alpn, entry(t, "main", "a.test"), entry(t, "main", "b.test"), entry(t, "other", "c.test"), old, client)
	if err != nil {
		t.Fatal(err)
	}
	names := cert.NewNames(table, nil)
	get := func(name string, quic bool) *tls.Config {
		c, err := names.Config(&tls.ClientHelloInfo{ServerName: name}, quic)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if get("a.test", false) != get("b.test", false) || get("a.test", true) != get("b.test", true) {
		t.Error("one policy has several configurations")
	}
	for _, other := range []string{"c.test", "old.test", "client.test", "unknown.test"} {
		if get("a.test", false) == get(other, false) {
			t.Errorf("%s shares a configuration with a.test", other)
		}
	}
	if got := fmt.Sprint(get("a.test", true).NextProtos, get("a.test", false).NextProtos); got != "[h3] [h2 http/1.1]" {
		t.Errorf("ALPN %s", got)
	}
	if c := get("a.test", false); c.MinVersion != tls.VersionTLS13 || c.SessionTicketsDisabled {
		t.Errorf("a.test: minimum %x, tickets off %v", c.MinVersion, c.SessionTicketsDisabled)
	}
	if c := get("old.test", false); c.MinVersion != tls.VersionTLS12 {
		t.Errorf("old.test: minimum %x", c.MinVersion)
	}
	if c := get("client.test", false); c.ClientAuth != tls.RequireAndVerifyClientCert || !c.SessionTicketsDisabled {
		t.Errorf("client.test: client auth %v, tickets off %v", c.ClientAuth, c.SessionTicketsDisabled)
	}
	for _, name := range []string{"unknown.test", ""} {
		if c := get(name, false); len(c.Certificates) > 0 || c.GetCertificate != nil || !c.SessionTicketsDisabled {
			t.Errorf("%q is not refused", name)
		}
	}
	names.Swap(nil)
	if c := get("a.test", false); c.GetCertificate != nil {
		t.Error("a.test is served although the table is empty")
	}
}
