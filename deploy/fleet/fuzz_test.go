package fleet

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// made is an authority with an identity that lasts for a whole fuzz test.
func made(f *testing.F) (a *Authority, id *Identity) {
	f.Helper()
	a, err := openAuthority(filepath.Join(f.TempDir(), "authority"), "demo", at(start))
	if err != nil {
		f.Fatal(err)
	}
	dir := filepath.Join(f.TempDir(), "identity")
	if _, err := a.Issue(dir, RoleEdge, "fra", nil); err != nil {
		f.Fatal(err)
	}
	if id, err = loadIdentity(dir, at(start)); err != nil {
		f.Fatal(err)
	}
	return a, id
}

// FuzzArchive reads anything as a backup: it is whole, or an error of one line that says why not, and then nothing was written. What is restored
// is an authority that can be opened.
func FuzzArchive(f *testing.F) {
	a, _ := made(f)
	var saved bytes.Buffer
	w := NewArchive(&saved, "demo", start)
	if err := a.BackUp(w); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(saved.Bytes())
	f.Add(saved.Bytes()[:1024])
	f.Add([]byte(nil))
	f.Add(bytes.Replace(saved.Bytes(), []byte("authority/issued"), []byte("authority/../../"), 1))
	f.Add(append(header("authority/x", '0', 4<<30), header(manifestName, '0', 0)...))
	f.Add(holed("authority/x"))
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := filepath.Join(root, "authority")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		b, err := OpenArchive(bytes.NewReader(data))
		has := false
		if err == nil {
			if int64(len(data)) < sum(b.Files) {
				t.Errorf("%d bytes became %d", len(data), sum(b.Files))
			}
			has, err = RestoreAuthority(b, dir, false)
		}
		entries, _ := os.ReadDir(root)
		switch {
		case err != nil && (len(entries) > 0 || strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 1000):
			t.Errorf("%q, and %d files", err, len(entries))
		case err == nil && has:
			if _, err := openAuthority(dir, b.Network, at(start)); err != nil {
				t.Errorf("what was restored: %v", err)
			}
		}
	})
}

// sum is how many bytes files have.
func sum(files []ArchivedFile) (n int64) {
	for _, f := range files {
		n += f.Size
	}
	return n
}

// FuzzBundle reads anything as a bundle file: its files lie in the folders of a bundle, each once, and are no larger than it, or it is an error.
func FuzzBundle(f *testing.F) {
	_, id := made(f)
	var packed bytes.Buffer
	if err := Pack(&packed, filepath.Dir(id.dir)); err != nil {
		f.Fatal(err)
	}
	f.Add(packed.Bytes())
	f.Add(bytes.Replace(packed.Bytes(), []byte("identity/"), []byte("../entit/"), 1))
	f.Add(append(holed("certs/a/b"), make([]byte, tarEnd)...))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := readBundle(bytes.NewReader(data))
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 1000 {
				t.Errorf("it says %q", err)
			}
			return
		}
		size, names := 0, make(map[string]bool)
		for _, file := range files {
			folder, rest, _ := strings.Cut(file.name, "/")
			if size += len(file.data); names[file.name] || !filepath.IsLocal(file.name) || !strings.Contains("identity revision certs", folder) || rest == "" {
				t.Errorf("it has %q", file.name)
			}
			names[file.name] = true
		}
		if size > len(data) {
			t.Errorf("%d bytes became %d", len(data), size)
		}
	})
}

// FuzzTable hands an identity anything as a value of a table: what is refused changes nothing, and whatever is taken, the bundle can be read again.
func FuzzTable(f *testing.F) {
	a, id := made(f)
	other, err := openAuthority(filepath.Join(f.TempDir(), "other"), "demo", at(start))
	if err != nil {
		f.Fatal(err)
	}
	next, _, err := a.Renew("edge-fra", true)
	if err != nil {
		f.Fatal(err)
	}
	cross, err := a.fleet.stand(other.fleet.cert)
	if err != nil {
		f.Fatal(err)
	}
	value := func(m map[string]any) []byte {
		m["v"] = 1
		data, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		return data
	}
	for _, key := range []string{"edge-fra", "edge-iad", "ca", "", "edge-*", "edge-" + strings.Repeat("x", 64)} {
		for _, table := range []string{TableRevoked, TableCertificate, TableTrust, "drain", ""} {
			for _, v := range [][]byte{
				nil, []byte("{}"), []byte(`{"v":2}`), []byte("\xff"), value(map[string]any{"until": start}), value(map[string]any{"certificate": next}),
				value(map[string]any{"authorities": a.FleetCA()}),
				value(map[string]any{"authorities": append(bytes.Clone(a.FleetCA()), other.FleetCA()...)}),
				value(map[string]any{"authorities": append(bytes.Clone(a.FleetCA()), other.FleetCA()...), "cross": cross}), value(map[string]any{"authorities": other.FleetCA()}),
				value(map[string]any{"certificate": []byte("x")}),
			} {
				f.Add(table, key, v)
			}
		}
	}
	// believes is all that an identity goes by.
	believes := func(id *Identity) map[string]string {
		revoked, _ := json.Marshal(*id.revoked.Load())
		return map[string]string{"trust": string(id.Trust()), "revoked": string(revoked), "own": string(id.own.Load().Leaf.Raw)}
	}
	f.Fuzz(func(t *testing.T, table, key string, v []byte) {
		if len(v) == 0 {
			v = nil
		}
		before := believes(id)
		err := id.Table(table, key, v)
		if after := believes(id); err != nil && !maps.Equal(before, after) {
			t.Errorf("%v, and yet it believes %q, and did %q", err, after, before)
		}
		if !strings.Contains(string(id.Trust()), string(a.FleetCA())) {
			t.Error("it believes its authority no more")
		}
		again, err := loadIdentity(id.dir, at(start))
		if err != nil {
			t.Fatalf("the bundle: %v", err)
		}
		if now := believes(again); !maps.Equal(now, believes(id)) {
			t.Errorf("started again it believes %q", now)
		}
	})
}

// FuzzNotes reads anything as what a node notes of its revisions: numbers that can be, or nothing.
func FuzzNotes(f *testing.F) {
	for _, s := range []string{"", "{}", `{"number":7,"hash":"x"}`, `{"number":-7}`, `{"number":1e99}`, `{"stable":-1,"number":3}`, "\x00", "null",
		"[" + strings.Repeat("{", 1000)} {
		f.Add([]byte(s))
	}
	state := f.TempDir()
	r := RevisionsIn(state)
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"current.json", "canary.json", "current.yaml", revokedFile} {
			if err := os.WriteFile(filepath.Join(r.dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if m, c := r.Mark(), r.Canary(); m.Number < 0 || c.Number < 0 || c.Stable < 0 {
			t.Errorf("%+v, %+v", m, c)
		}
		if rev, err := r.Current(); err == nil && rev.Network == nil {
			t.Error("a revision without a network")
		}
		if revoked, err := readRevocations(filepath.Join(r.dir, revokedFile)); err == nil && revoked == nil {
			t.Error("nothing is revoked, and nothing can be")
		}
	})
}

// many makes as many revocations as there may be, with the longest names.
func many(n int, until time.Time) revocations {
	r := make(revocations, n)
	for i := range n {
		name := []byte(strings.Repeat("x", 63))
		for k, digit := range []byte(time.Unix(int64(i), 0).UTC().Format("0405150102")) {
			name[20+k] = digit
		}
		r[RoleOperator+"-"+string(name)] = until
	}
	return r
}

// TestManyRevoked: a bundle with as many revocations as there may be can be read again; of more those are forgotten that do not matter any more; and
// the rest stays in force where one is too many.
func TestManyRevoked(t *testing.T) {
	a := authority(t, "demo", start)
	id := identity(t, a, RoleEdge, "fra", start, start)
	zone := time.FixedZone("far", 12*3600)
	fresh := start.Add(-time.Hour + 123456789).In(zone)
	all := many(mostRevoked, fresh)
	if len(all) != mostRevoked {
		t.Fatalf("%d names", len(all))
	}
	must(t, id.SetRevoked(all))
	for _, dir := range []string{a.dir, id.dir} {
		must(t, writeRevocations(filepath.Join(dir, revokedFile), all))
	}
	if _, err := loadIdentity(id.dir, at(start)); err != nil {
		t.Fatal(err)
	}
	if err := id.Table(TableRevoked, "edge-iad", []byte(`{"v":1,"until":"2030-01-02T03:04:05Z"}`)); err == nil || len(*id.revoked.Load()) != mostRevoked {
		t.Errorf("one more: %v, %d", err, len(*id.revoked.Load()))
	}
	if _, err := a.Revoke("edge-iad", start); err == nil || !strings.Contains(err.Error(), "hither fleet rotate") {
		t.Errorf("the authority: %v", err)
	}
	var saved bytes.Buffer
	w := NewArchive(&saved, "demo", start)
	must(t, a.BackUp(w))
	must(t, w.Close())
	b, err := OpenArchive(bytes.NewReader(saved.Bytes()))
	must(t, err)
	if _, err := RestoreAuthority(b, filepath.Join(t.TempDir(), "authority"), false); err != nil {
		t.Errorf("restored: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "added")
	if _, err := a.Add(dir, RoleEdge, "sin", nil, nil); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	must(t, Pack(&packed, dir))
	must(t, Unpack(&packed, filepath.Join(t.TempDir(), "state")))

	for node := range all { // one of them is of long ago
		all[node] = start.Add(-121 * day)
		break
	}
	must(t, id.SetRevoked(all))
	must(t, writeRevocations(a.revokedPath(), all))
	if err := id.Table(TableRevoked, "edge-iad", []byte(`{"v":1,"until":"2030-01-02T03:04:05Z"}`)); err != nil || id.Revoked(Peer{Role: RoleEdge,
		Name: "iad"}).IsZero() || len(*id.revoked.Load()) != mostRevoked {
		t.Errorf("one more in its place: %v, %d", err, len(*id.revoked.Load()))
	}
	if _, err := a.Revoke("edge-iad", start); err != nil {
		t.Error(err)
	}
}
