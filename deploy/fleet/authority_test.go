package fleet

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hither/deploy"
)

func TestAuthorityIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "authority")
	first, err := openAuthority(dir, "demo", at(start))
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{".": 0o700, "fleet-ca.pem": 0o600, "fleet-ca.key": 0o600, "site-ca.pem": 0o600, "site-ca.key": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want mode %v", name, info, err, mode)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 4 {
		t.Errorf("%d files in %s, want 4: %v", len(entries), dir, err)
	}
	again, err := openAuthority(dir, "demo", at(start.Add(day)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.FleetCA(), again.FleetCA()) || !bytes.Equal(first.SiteCA(), again.SiteCA()) || bytes.Equal(first.FleetCA(), first.SiteCA()) {
		t.Error("the authorities changed, or are one")
	}
	c := again.fleet.cert
	if !c.IsCA || !c.MaxPathLenZero || c.NotAfter.Sub(start) < 9*365*day || !slices.Equal(c.PermittedDNSDomains, []string{"demo.hither.internal"}) || c.KeyUsage != x509.KeyUsageCertSign {
		t.Errorf("the fleet authority is %+v", c)
	}
}

// TestAuthorityRace: any number at once make one authority.
func TestAuthorityRace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "authority")
	var wg sync.WaitGroup
	roots := make([]string, 8)
	for i := range roots {
		wg.Go(func() {
			a, err := OpenAuthority(dir, "demo")
			if err != nil {
				t.Error(err)
				return
			}
			roots[i] = string(a.FleetCA()) + string(a.SiteCA())
		})
	}
	wg.Wait()
	if slices.Sort(roots); len(slices.Compact(roots)) != 1 {
		t.Error("there is more than one authority")
	}
}

// TestAuthorityInterrupted: a crash after the key was written is no loss.
func TestAuthorityInterrupted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "authority")
	if _, err := openAuthority(dir, "demo", at(start)); err != nil {
		t.Fatal(err)
	}
	key := mustRead(t, filepath.Join(dir, "fleet-ca.key"))
	if err := os.Remove(filepath.Join(dir, "fleet-ca.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := openAuthority(dir, "demo", at(start)); err != nil {
		t.Fatal(err)
	}
	if mustRead(t, filepath.Join(dir, "fleet-ca.key")) != key {
		t.Error("the key was overwritten")
	}
}

func TestAuthorityRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(dir string) error
		want string
	}{
		"key lost":     {func(dir string) error { return os.Remove(filepath.Join(dir, "site-ca.key")) }, "site-ca.pem has no key beside it: restore site-ca.key from a backup, or move the whole folder away to begin a new fleet, in which every node needs a new identity"},
		"key readable": {func(dir string) error { return os.Chmod(filepath.Join(dir, "fleet-ca.key"), 0o640) }, "fleet-ca.key can be read by others (mode 0640); run `chmod 600` on it, and think of who may have read it"},
		"key junk":     {func(dir string) error { return os.WriteFile(filepath.Join(dir, "fleet-ca.key"), []byte("x"), 0o600) }, "fleet-ca.key: not a private key in PEM"},
		"cert junk":    {func(dir string) error { return os.WriteFile(filepath.Join(dir, "fleet-ca.pem"), []byte("x"), 0o600) }, "fleet-ca.pem: not a certificate in PEM"},
		"pair mixed": {func(dir string) error {
			return os.Rename(filepath.Join(dir, "site-ca.pem"), filepath.Join(dir, "fleet-ca.pem"))
		}, "fleet-ca.pem and fleet-ca.key in DIR do not belong together; restore both from one backup"},
		"file too long": {func(dir string) error { return os.Truncate(filepath.Join(dir, "fleet-ca.pem"), maxFile+1) }, "larger than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "authority")
			if _, err := openAuthority(dir, "demo", at(start)); err != nil {
				t.Fatal(err)
			}
			if err := c.harm(dir); err != nil {
				t.Fatal(err)
			}
			_, err := openAuthority(dir, "demo", at(start))
			if want := strings.ReplaceAll(c.want, "DIR", dir); err == nil || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("got  %v\nwant …%s", err, want)
			}
		})
	}
	dir := filepath.Join(t.TempDir(), "authority")
	if _, err := openAuthority(dir, "demo", at(start)); err != nil {
		t.Fatal(err)
	}
	if _, err := openAuthority(dir, "other", at(start)); err == nil || !strings.Contains(err.Error(), `is of network ["demo"], the network file says "other"; give the network its name back, or use another folder`) {
		t.Errorf("another network: %v", err)
	}
	if _, err := openAuthority(dir, "demo", at(start.Add(authorityLife+time.Second))); err == nil || !strings.Contains(err.Error(), "ended on 2039-12-31; move the folder away to begin a new one") {
		t.Errorf("ended: %v", err)
	}
	if _, err := openAuthority(filepath.Join(t.TempDir(), "new"), "../demo", at(start)); err == nil {
		t.Error("a network may be called ../demo")
	}
}

func TestIssueKeepsAndRenews(t *testing.T) {
	a := authority(t, "demo", start)
	dir := filepath.Join(t.TempDir(), "identity")
	issue := func(now time.Time, hub ...string) bool {
		t.Helper()
		a.now = at(now)
		issued, err := a.Issue(dir, RoleEdge, "fra", &deploy.Hub{URLs: hub, EmbeddedIn: "us"})
		if err != nil {
			t.Fatal(err)
		}
		return issued
	}
	files := func() map[string]string {
		got := map[string]string{}
		for _, name := range []string{"node.pem", "node.key", "fleet-ca.pem", "age.key", "hub.yaml"} {
			path := filepath.Join(dir, name)
			got[name] = mustRead(t, path)
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
		return got
	}
	if !issue(start, "tls://127.0.0.1:4222") {
		t.Fatal("nothing was issued")
	}
	first := files()
	if issue(start.Add(59*day), "tls://127.0.0.1:4222") {
		t.Error("issued again with 31 days left")
	}
	if got := files(); fmt.Sprint(got) != fmt.Sprint(first) {
		t.Error("files changed")
	}
	if !issue(start.Add(60*day), "tls://192.0.2.1:4222") {
		t.Error("not renewed with 30 days left")
	}
	second := files()
	if second["node.pem"] == first["node.pem"] || second["node.key"] != first["node.key"] || second["age.key"] != first["age.key"] {
		t.Error("a renewal changes the certificate alone")
	}
	id, err := loadIdentity(dir, at(start))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(id.Hub, []string{"tls://192.0.2.1:4222"}) || id.HubIn != "us" || id.Peer != (Peer{RoleEdge, "fra", "demo"}) || !strings.Contains(second["age.key"], id.Age.Recipient().String()) {
		t.Errorf("loaded %+v", id)
	}
	if got := id.NotAfter(); !got.Equal(start.Add(150 * day)) {
		t.Errorf("it ends %v", got)
	}

	// Another authority's identity, or one damaged, is replaced; keys that cannot be
	// read are not, for somebody put them there.
	b := authority(t, "demo", start)
	if issued, err := b.Issue(dir, RoleEdge, "fra", nil); err != nil || !issued {
		t.Errorf("another authority: issued %v, %v", issued, err)
	}
	mustWrite(t, filepath.Join(dir, "node.pem"), "junk")
	if issued, err := b.Issue(dir, RoleEdge, "fra", nil); err != nil || !issued {
		t.Errorf("a damaged certificate: issued %v, %v", issued, err)
	}
	if _, err := loadIdentity(dir, at(start)); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"node.key", "age.key"} {
		good := mustRead(t, filepath.Join(dir, name))
		mustWrite(t, filepath.Join(dir, name), "junk")
		if _, err := b.Issue(dir, RoleEdge, "fra", nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s junk: %v", name, err)
		}
		if _, err := loadIdentity(dir, at(start)); err == nil {
			t.Errorf("%s junk is loaded", name)
		}
		mustWrite(t, filepath.Join(dir, name), good)
	}
}

func TestIssueRefuses(t *testing.T) {
	a := authority(t, "demo", start)
	for _, p := range [][2]string{{"root", "fra"}, {"", "fra"}, {RoleEdge, ""}, {RoleEdge, "../fra"}, {RoleEdge, "Fra"}, {RoleEdge, strings.Repeat("a", 64)}, {RoleEdge, "-a"}, {RoleEdge, "a.b"}} {
		dir := filepath.Join(t.TempDir(), "identity")
		if _, err := a.Issue(dir, p[0], p[1], nil); err == nil {
			t.Errorf("issued for %q", p)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q left a folder", p)
		}
	}
	if _, err := a.Issue(filepath.Join(t.TempDir(), "identity"), RoleDNS, strings.Repeat("a", 63), nil); err != nil {
		t.Errorf("the longest name: %v", err)
	}
}

func TestLoadIdentityMissing(t *testing.T) {
	_, err := LoadIdentity("/nonexistent/identity")
	want := "fleet: no identity in /nonexistent/identity; `hither fleet init --network FILE --out OUT` makes one for each node, and OUT/nodes/ROLE-NAME is that node's state folder: open /nonexistent/identity/fleet-ca.pem: no such file or directory"
	if err == nil || err.Error() != want || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
