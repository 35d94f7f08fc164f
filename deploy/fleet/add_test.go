package fleet

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAdd makes a PoP that the network file does not name yet, as a bundle file, and starts from it.
func TestAdd(t *testing.T) {
	n, file := exampleNetwork(t)
	a := authority(t, n.Name, start)
	dir := filepath.Join(t.TempDir(), "made")
	b, err := a.Add(dir, RoleEdge, "syd", n, file)
	if err != nil || b.InFile || !slices.Equal(b.Certificates, []string{"www.hither.test"}) || !b.NotAfter.Equal(start.Add(90*day)) {
		t.Fatalf("%+v, %v", b, err)
	}
	if in, err := a.Add(filepath.Join(t.TempDir(), "fra"), RoleEdge, "fra", n, file); err != nil || !in.InFile {
		t.Errorf("%+v, %v", in, err)
	}
	if _, err := a.Add(filepath.Join(t.TempDir(), "twice"), RoleEdge, "syd", n, file); !errors.Is(err, ErrLive) {
		t.Errorf("twice: %v", err)
	}
	for _, p := range [][2]string{{RoleEdge, "../x"}, {"root", "x"}, {RoleHub, ""}} {
		if _, err := a.Add(filepath.Join(t.TempDir(), "bad"), p[0], p[1], n, file); err == nil {
			t.Errorf("%v was added", p)
		}
	}
	if _, err := authority(t, "other", start).Add(filepath.Join(t.TempDir(), "x"), RoleEdge, "x", n, file); err == nil {
		t.Error("added to a network of another name")
	}

	var packed bytes.Buffer
	must(t, Pack(&packed, dir))
	state := filepath.Join(t.TempDir(), "state")
	must(t, Unpack(bytes.NewReader(packed.Bytes()), state))
	want, got := tree(t, dir), tree(t, state) // tree sees to the modes as well
	for name := range want {
		if want[name] != got[name] {
			t.Errorf("%s is another, or not there", name)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
	id, err := loadIdentity(filepath.Join(state, "identity"), at(start))
	if err != nil || id.Peer != (Peer{RoleEdge, "syd", "demo"}) || !slices.Equal(id.Hub, n.Hub.URLs) || id.HubIn != "us" {
		t.Errorf("%+v, %v", id, err)
	}
	if r, err := RevisionsIn(state).Current(); err != nil || !bytes.Equal(r.Data, file) {
		t.Errorf("its revision: %v", err)
	}
	if err := Unpack(bytes.NewReader(packed.Bytes()), state); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over an identity: %v", err)
	}

	// One past its end, and past the time for which it is taken then, makes room.
	a.now = at(start.Add(121 * day))
	if _, err := a.Add(dir, RoleEdge, "syd", n, file); err != nil {
		t.Error(err)
	}
	if mustRead(t, filepath.Join(dir, "identity/node.key")) == want["identity/node.key"] {
		t.Error("it has the old key")
	}
}

// TestUnpackRefuses: a bundle that is cut short, at any byte, or that is none, leaves nothing.
func TestUnpackRefuses(t *testing.T) {
	a := authority(t, "demo", start)
	dir := filepath.Join(t.TempDir(), "made")
	if _, err := a.Add(dir, RoleEdge, "fra", nil, nil); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	must(t, Pack(&packed, dir))
	whole := packed.Bytes()
	one := func(h tar.Header, data string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		h.Size = int64(len(data))
		must(t, w.WriteHeader(&h))
		if _, err := w.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
		must(t, w.Close())
		return b.Bytes()
	}
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600} }
	bad := map[string][]byte{
		"nothing": nil, "junk": []byte(strings.Repeat("junk", 300)), "no identity": one(file("certs/a/cert.pem"), "x"),
		"outside": one(file("../identity/node.pem"), "x"), "inside and out": one(file("identity/../../x"), "x"), "absolute": one(file("/identity/x"), "x"),
		"another folder": one(file("authority/fleet-ca.key"), "x"), "at the top": one(file("identity"), "x"),
		"a link":    one(tar.Header{Name: "identity/node.pem", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, ""),
		"too large": one(file("identity/node.pem"), strings.Repeat("x", maxFile+1)),
	}
	for cut := 1; cut < len(whole)-1024; cut += 509 { // a tar ends with 1024 bytes of zero
		bad["cut at "+string(rune('a'+cut%26))+strings.Repeat("+", cut/509)] = whole[:cut]
	}
	for name, data := range bad {
		state := filepath.Join(t.TempDir(), "state")
		if err := Unpack(bytes.NewReader(data), state); err == nil {
			t.Errorf("%s: taken", name)
		}
		if entries, err := os.ReadDir(state); err == nil && len(entries) > 0 {
			t.Errorf("%s: left %v", name, entries)
		}
	}
	must(t, Unpack(bytes.NewReader(whole), filepath.Join(t.TempDir(), "state")))
}

// TestAway adds a PoP for another machine: nothing is made here in its place when the network file names it, and what it has is what is renewed.
func TestAway(t *testing.T) {
	n, file := exampleNetwork(t)
	out := t.TempDir()
	now := start
	clock := func() time.Time { return now }
	initialise := func() map[string]Change {
		t.Helper()
		changes, err := initAt(n, file, out, clock)
		must(t, err)
		all := make(map[string]Change)
		for _, c := range changes {
			all[c.Node] = c
		}
		return all
	}
	initialise()
	a, err := openAuthority(filepath.Join(out, "authority"), n.Name, clock)
	must(t, err)
	elsewhere := filepath.Join(t.TempDir(), "syd")
	_, err = a.Add(elsewhere, RoleEdge, "syd", n, file)
	must(t, err)
	must(t, a.SendAway("edge-syd"))
	named := *n
	named.PoPs = append(slices.Clone(n.PoPs), n.PoPs[0])
	named.PoPs[len(n.PoPs)].Name = "syd"
	n = &named
	before, err := a.Issued("edge-syd")
	must(t, err)
	for range 2 {
		all := initialise()
		if c := all["edge-syd"]; !c.Away || c.New || all["edge-fra"].Away {
			t.Errorf("%+v", all)
		}
	}
	if _, err := os.Stat(filepath.Join(out, "nodes", "edge-syd")); err == nil {
		t.Error("something was made here in its place")
	}
	if after, err := a.Issued("edge-syd"); err != nil || after.Key != before.Key || !after.Away {
		t.Errorf("its key is another: %+v, %v", after, err)
	}
	now = now.Add(80 * day)
	_, renewed, err := a.Renew("edge-syd", false)
	if after, why := a.Issued("edge-syd"); err != nil || !renewed || why != nil || !after.Away {
		t.Errorf("renewed: %v, %v; %+v, %v", renewed, err, after, why)
	}
	// Its folder comes here after all.
	must(t, os.CopyFS(filepath.Join(out, "nodes", "edge-syd"), os.DirFS(elsewhere)))
	if c := initialise()["edge-syd"]; c.Away {
		t.Errorf("it is here, and %+v", c)
	}
	must(t, os.RemoveAll(filepath.Join(out, "nodes", "edge-syd")))
	// Who is revoked is nowhere.
	_, err = a.Revoke("edge-syd", time.Time{})
	must(t, err)
	if c := initialise()["edge-syd"]; c.Away || !c.New {
		t.Errorf("it was revoked, and %+v", c)
	}
	if err := a.SendAway("edge-nobody"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
