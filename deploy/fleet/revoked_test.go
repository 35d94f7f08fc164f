package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// meet says why a client and a server do not come together; "" = they do.
func meet(t *testing.T, server, client *Identity) string {
	t.Helper()
	_, _, serverErr, clientErr := shake(t, server.ServerTLS(roles...), client.ClientTLS(server.Role, server.Name))
	if serverErr != nil || clientErr != nil {
		return errors.Join(serverErr, clientErr).Error()
	}
	return ""
}

// TestRevoked: who is revoked is refused as a client, as a server and as a hub, by a node started again too; who is added again
// under the same name is taken, also where the authority's clock is behind that of whoever revoked.
func TestRevoked(t *testing.T) {
	a := authority(t, "demo", start.Add(-day))
	us, iad := identity(t, a, RoleOrigin, "us", start, start), identity(t, a, RoleEdge, "iad", start, start)
	fra := identity(t, a, RoleEdge, "fra", start, start)
	if why := meet(t, us, fra); why != "" {
		t.Fatal(why)
	}
	state, _, _, _ := shake(t, us.ServerTLS(RoleEdge), fra.ClientTLS(RoleOrigin, "us"))
	if err := us.Refused(&state); err != nil {
		t.Error(err)
	}
	var told []Peer
	us.OnRevoked(func(p Peer) { told = append(told, p) })
	us.OnRevoked(func(p Peer) { t.Errorf("who wants to hear no more hears of %v", p) })()

	ahead := start.Add(10 * time.Minute) // the control's clock
	until, err := a.Revoke("edge-fra", ahead)
	if err != nil || !until.Equal(ahead) {
		t.Fatalf("revoked until %v, %v", until, err)
	}
	for range 2 { // once more is no news
		if err := us.SetRevoked(map[string]time.Time{"edge-fra": until}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []Peer{fra.Peer}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
	if err := us.Refused(&state); !errors.Is(err, ErrRevoked) {
		t.Errorf("an open connection of it: %v", err)
	}
	again, err := loadIdentity(us.dir, at(start))
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []*Identity{us, again} {
		if why := meet(t, server, fra); !strings.Contains(why, "fleet: the certificate of edge-fra was issued until 2030-01-02 03:14:05: its identity was revoked") {
			t.Errorf("the revoked client: %q", why)
		}
		if why := meet(t, server, iad); why != "" {
			t.Errorf("another: %s", why)
		}
	}
	// As a server, for one that dials it.
	if err := iad.SetRevoked(map[string]time.Time{"edge-fra": until, "origin-us": until}); err != nil {
		t.Fatal(err)
	}
	if why := meet(t, fra, iad); !strings.Contains(why, ErrRevoked.Error()) {
		t.Errorf("the revoked server: %q", why)
	}
	if _, _, _, err := shake(t, us.ServerTLS(roles...), iad.HubTLS("us")); !errors.Is(err, ErrRevoked) {
		t.Errorf("the revoked hub: %v", err)
	}

	// It is not renewed, and not brought back by accident.
	if _, _, err := a.Renew("edge-fra", true); !errors.Is(err, ErrRevoked) {
		t.Errorf("renewed: %v", err)
	}
	bundle, err := a.Add(filepath.Join(t.TempDir(), "new"), RoleEdge, "fra", nil, nil)
	if err != nil || bundle.InFile {
		t.Fatalf("%+v, %v", bundle, err)
	}
	dir := filepath.Join(t.TempDir(), "again")
	a.now = at(start.Add(time.Minute))
	if _, err := a.Add(dir, RoleEdge, "fra", nil, nil); !errors.Is(err, ErrLive) {
		t.Errorf("a live name was added again: %v", err)
	}
	if _, err := a.Revoke("edge-fra", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Add(dir, RoleEdge, "fra", nil, nil); err != nil {
		t.Fatal(err)
	}
	added, err := loadIdentity(filepath.Join(dir, "identity"), at(start))
	if err != nil {
		t.Fatal(err)
	}
	if why := meet(t, us, added); why != "" {
		t.Errorf("added again: %s", why)
	}
	if got := added.Revoked(fra.Peer); got.Before(until) {
		t.Errorf("the new bundle knows of revocations until %v", got)
	}
	if why := meet(t, us, fra); !strings.Contains(why, ErrRevoked.Error()) {
		t.Errorf("the stolen one, after that: %q", why)
	}
}

func TestRevokedRefuses(t *testing.T) {
	a := authority(t, "demo", start)
	us := identity(t, a, RoleOrigin, "us", start, start)
	for _, node := range []string{"", "edge", "edge-", "root-fra", "edge-../fra", "edge-" + strings.Repeat("a", 64)} {
		if err := us.SetRevoked(map[string]time.Time{node: start}); err == nil {
			t.Errorf("%q was revoked", node)
		}
		if _, err := a.Revoke(node, start); err == nil {
			t.Errorf("the authority revoked %q", node)
		}
	}
	if err := us.SetRevoked(nil); err != nil {
		t.Error(err)
	}
	mustWrite(t, filepath.Join(us.dir, revokedFile), `{"edge-fra": `)
	if _, err := loadIdentity(us.dir, at(start)); err == nil || !strings.Contains(err.Error(), "revoked.json is damaged") {
		t.Errorf("a damaged list: %v", err)
	}
	// A list of the authority that cannot be read makes nobody revoked and nobody new.
	key := mustRead(t, filepath.Join(us.dir, "node.key"))
	mustWrite(t, a.revokedPath(), "x")
	if _, err := a.Issue(us.dir, RoleOrigin, "us", nil); err == nil {
		t.Error("issued without knowing who is revoked")
	}
	if mustRead(t, filepath.Join(us.dir, "node.key")) != key {
		t.Error("the key is another")
	}
}

// TestInitLeavesRevoked: the folder of a revoked node is left as it is.
func TestInitLeavesRevoked(t *testing.T) {
	n, file := exampleNetwork(t)
	out := filepath.Join(t.TempDir(), "out")
	if _, err := initAt(n, file, out, at(start)); err != nil {
		t.Fatal(err)
	}
	a, err := openAuthority(filepath.Join(out, "authority"), n.Name, at(start))
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"edge-fra", "operator-main"} {
		if _, err := a.Revoke(node, start); err != nil {
			t.Fatal(err)
		}
	}
	first := tree(t, out)
	changes, err := initAt(n, file, out, at(start.Add(80*day)))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		if revoked := c.Node == "edge-fra"; c.Revoked != revoked || c.Renewed == revoked {
			t.Errorf("%+v", c)
		}
	}
	second := tree(t, out)
	for _, name := range []string{"nodes/edge-fra/identity/node.pem", "nodes/edge-fra/identity/node.key", "operator/node.pem"} {
		if first[name] != second[name] {
			t.Errorf("%s changed", name)
		}
	}
}

// TestClocksApart: an identity is taken at once by nodes whose clocks are behind the authority's by minutes.
func TestClocksApart(t *testing.T) {
	a := authority(t, "demo", start)
	us := identity(t, a, RoleOrigin, "us", start, start.Add(-59*time.Minute))
	fra := identity(t, a, RoleEdge, "fra", start, start.Add(-30*time.Minute))
	if why := meet(t, us, fra); why != "" {
		t.Error(why)
	}
}

func TestIssuedMissing(t *testing.T) {
	a := authority(t, "demo", start)
	if _, err := a.Issued("edge-fra"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if all, err := a.AllIssued(); err != nil || len(all) != 0 {
		t.Errorf("got %v, %v", all, err)
	}
	identity(t, a, RoleEdge, "fra", start, start)
	if err := os.Rename(filepath.Join(a.dir, "issued/edge-fra.pem"), filepath.Join(a.dir, "issued/edge-iad.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Issued("edge-iad"); err == nil || !strings.Contains(err.Error(), "is not the certificate of edge-iad") {
		t.Errorf("another's certificate: %v", err)
	}
	if _, err := FindAuthority(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an authority where none is: %v", err)
	}
}

// BenchmarkRevoked tells a node that knows of as many revocations as there may be of each of them again, as at each contact with the hub, and then of one more.
func BenchmarkRevoked(b *testing.B) {
	dir := b.TempDir()
	a, err := openAuthority(filepath.Join(dir, "authority"), "demo", at(start))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := a.Issue(filepath.Join(dir, "identity"), RoleEdge, "fra", nil); err != nil {
		b.Fatal(err)
	}
	id, err := loadIdentity(filepath.Join(dir, "identity"), at(start))
	if err != nil {
		b.Fatal(err)
	}
	all := many(mostRevoked-1, start)
	if err := id.SetRevoked(all); err != nil {
		b.Fatal(err)
	}
	value := []byte(`{"v":1,"until":"` + start.Format(time.RFC3339Nano) + `"}`)
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			for node := range all {
				if err := id.Table(TableRevoked, node, value); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("one more", func(b *testing.B) {
		for b.Loop() {
			for _, v := range [][]byte{value, nil} {
				if err := id.Table(TableRevoked, "edge-iad", v); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// BenchmarkIssued lists the identities of an authority that has issued many, a tenth of which are revoked, and adds one more.
func BenchmarkIssued(b *testing.B) {
	a, err := openAuthority(filepath.Join(b.TempDir(), "authority"), "demo", at(start))
	if err != nil {
		b.Fatal(err)
	}
	key, err := keepKey(filepath.Join(a.dir, "node.key"))
	if err != nil {
		b.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(a.dir, issuedFolder), 0o700); err != nil {
		b.Fatal(err)
	}
	revoked, issued := make(revocations), 0
	for _, n := range []int{1000, 10_000} {
		for ; issued < n; issued++ {
			p := Peer{RoleEdge, fmt.Sprintf("p%d", issued), "demo"}
			cert, err := a.fleet.leaf(start, a.template(p), &key.PublicKey)
			if err != nil {
				b.Fatal(err)
			}
			if err := os.WriteFile(a.issuedPath(p), cert, 0o600); err != nil {
				b.Fatal(err)
			}
			if issued%10 == 0 {
				revoked[p.String()] = start
			}
		}
		if err := writeRevocations(a.revokedPath(), revoked); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("%d/add", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if _, err := a.Add(b.TempDir(), RoleEdge, fmt.Sprintf("more-%d-%d", n, i), nil, nil); err != nil {
					b.Fatal(err)
				}
			}
			more, err := filepath.Glob(filepath.Join(a.dir, issuedFolder, "edge-more-*"))
			if err != nil {
				b.Fatal(err)
			}
			for _, path := range more {
				if err := os.Remove(path); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("%d/list", n), func(b *testing.B) {
			for b.Loop() {
				if all, err := a.AllIssued(); err != nil || len(all) != n {
					b.Fatalf("%d, %v", len(all), err)
				}
			}
		})
	}
}
