package fleet

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBackUpAuthority loses an authority and brings it back; another that is there stays.
func TestBackUpAuthority(t *testing.T) {
	a := authority(t, "demo", start)
	fra := identity(t, a, RoleEdge, "fra", start, start)
	if _, err := a.Revoke("edge-iad", start); err != nil {
		t.Fatal(err)
	}
	var saved bytes.Buffer
	w := NewArchive(&saved, "demo", start)
	must(t, a.BackUp(w))
	must(t, w.Close())
	b, err := OpenArchive(bytes.NewReader(saved.Bytes()))
	if err != nil || b.Network != "demo" || b.Hub {
		t.Fatalf("%+v, %v", b, err)
	}
	want := tree(t, a.dir)
	must(t, os.RemoveAll(a.dir))
	if has, err := RestoreAuthority(b, a.dir, false); err != nil || !has {
		t.Fatalf("%v, %v", has, err)
	}
	got := tree(t, a.dir)
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s is another", name)
		}
	}
	if a, err = openAuthority(a.dir, "demo", at(start)); err != nil {
		t.Fatal(err)
	}
	if why := meet(t, identity(t, a, RoleOrigin, "us", start, start), fra); why != "" {
		t.Error(why)
	}

	other := authority(t, "demo", start)
	before := tree(t, other.dir)
	if _, err := RestoreAuthority(b, other.dir, false); err == nil || !strings.Contains(err.Error(), "it stays, and nothing was changed") {
		t.Errorf("over another: %v", err)
	}
	for name, data := range tree(t, other.dir) {
		if before[name] != data {
			t.Errorf("%s changed", name)
		}
	}
	if _, err := RestoreAuthority(b, other.dir, true); err != nil || mustRead(t, filepath.Join(other.dir, "fleet-ca.key")) != want["fleet-ca.key"] {
		t.Errorf("with force: %v", err)
	}

	// Cut short anywhere, or changed, it is none.
	whole := saved.Bytes()
	for cut := 0; cut < len(whole)-1024; cut += 512 {
		if _, err := OpenArchive(bytes.NewReader(whole[:cut])); err == nil {
			t.Errorf("taken with %d of %d bytes", cut, len(whole))
		}
	}
	changed := bytes.Replace(whole, []byte("edge-iad"), []byte("edge-xyz"), 1)
	if _, err := OpenArchive(bytes.NewReader(changed)); err == nil {
		t.Error("taken though it was changed")
	}
}
