package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestIssueSite(t *testing.T) {
	a := authority(t, "demo", start)
	dir := filepath.Join(t.TempDir(), "certs")
	hosts := []string{"www.hither.test", "*.hither.test"}
	issued, err := a.IssueSite(dir, hosts)
	if err != nil || !slices.Equal(issued, hosts) {
		t.Fatalf("issued %v, %v", issued, err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.SiteCA())
	for folder, name := range map[string]string{"www.hither.test": "www.hither.test", "%2A.hither.test": "any.hither.test"} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, folder, "cert.pem"), filepath.Join(dir, folder, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: start}); err != nil {
			t.Errorf("%s: %v", folder, err)
		}
		if pair.Leaf.IsCA || len(pair.Leaf.URIs) != 0 {
			t.Errorf("%s may do more than a site: %+v", folder, pair.Leaf)
		}
		info, err := os.Stat(filepath.Join(dir, folder, "key.pem"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
	a.now = at(start.Add(59 * day))
	if issued, err := a.IssueSite(dir, hosts); err != nil || len(issued) != 0 {
		t.Errorf("issued %v again, %v", issued, err)
	}
	a.now = at(start.Add(60 * day))
	if issued, err := a.IssueSite(dir, append(hosts, "new.hither.test")); err != nil || len(issued) != 3 {
		t.Errorf("issued %v, %v; want all anew", issued, err)
	}
}

// TestIssueSiteStaysInside: no host leads out of the folder.
func TestIssueSiteStaysInside(t *testing.T) {
	a := authority(t, "demo", start)
	parent := t.TempDir()
	dir := filepath.Join(parent, "certs")
	for _, host := range []string{"../evil", "..", ".", "a/../../evil", "/etc/evil", "a\x00b", "a b"} {
		// Whether such a name can be certified is for x509 to say; where it lies, for us.
		_, err := a.IssueSite(dir, []string{host})
		t.Logf("%q: %v", host, err)
	}
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 1 || entries[0].Name() != "certs" {
		t.Errorf("the parent has %v, %v", entries, err)
	}
}

func TestCertFolder(t *testing.T) {
	for host, want := range map[string]string{
		"www.example.org": "www.example.org",
		"WWW.Example.ORG": "www.example.org",
		"*.example.org":   "%2A.example.org",
		"..":              "%2E.",
		".":               "%2E",
		"../etc":          "%2E.%2Fetc",
		".hidden":         "%2Ehidden",
		"a%2fb":           "a%252fb",
		"a_b":             "a%5Fb",
		"a\x00b":          "a%00b",
		"bücher":          "b%C3%BCcher",
	} {
		if got, err := CertFolder(host); err != nil || got != want {
			t.Errorf("%q lies in %q, %v; want %q", host, got, err, want)
		}
	}
	longest := strings.Repeat("a.", 125) + "abc"
	if got, err := CertFolder("*" + longest[1:]); err != nil || len(got) != 255 {
		t.Errorf("the longest wildcard lies in %d characters, %v", len(got), err)
	}
	for _, host := range []string{"", longest + "d", strings.Repeat("*", 253)} {
		if got, err := CertFolder(host); err == nil {
			t.Errorf("%q lies in %q", host, got)
		}
	}
}

// FuzzCertFolder: the folder is one component of a path, fits a file name, and no two
// hosts share one.
func FuzzCertFolder(f *testing.F) {
	for _, s := range []string{"www.example.org", "*.example.org", "../../etc/passwd", "%2e%2e", "A", "", "İ"} {
		f.Add(s, "www.example.org")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		fa, err := CertFolder(a)
		if err != nil {
			return
		}
		if fa == "" || fa == "." || fa == ".." || len(fa) > 255 || strings.ContainsAny(fa, "/\x00\\") || fa[0] == '.' {
			t.Errorf("%q lies in %q", a, fa)
		}
		if fb, err := CertFolder(b); err == nil && fa == fb && !strings.EqualFold(a, b) {
			t.Errorf("%q and %q both lie in %q", a, b, fa)
		}
	})
}

// FuzzPeer: what a certificate names is a peer that could have been certified, or an
// error.
func FuzzPeer(f *testing.F) {
	for _, s := range []string{"hither://demo/edge/fra", "hither://demo/edge/../fra", "hither://demo:1/edge/fra", "http://demo/edge/fra", "hither:edge/fra"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseURI(s)
		if err != nil {
			return
		}
		p, err := peerIn(&x509.Certificate{URIs: u})
		if err != nil {
			return
		}
		if err := p.check(); err != nil {
			t.Errorf("%q is %+v: %v", s, p, err)
		}
	})
}
