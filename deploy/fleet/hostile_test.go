package fleet

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A forgery is a tar file that somebody else has made: what it says of itself may be anything.
type forgery struct {
	t        *testing.T
	b        bytes.Buffer
	w        *tar.Writer
	manifest Manifest
}

func forge(t *testing.T) *forgery {
	f := &forgery{t: t, manifest: Manifest{V: archiveVersion, Network: "demo", At: start, Files: []ArchivedFile{}}}
	f.w = tar.NewWriter(&f.b)
	return f
}

// add adds a plain file, and says so in the manifest.
func (f *forgery) add(name, data string) *forgery {
	f.t.Helper()
	f.raw(tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600}, data)
	f.says(name, data)
	return f
}

// raw adds anything.
func (f *forgery) raw(h tar.Header, data string) *forgery {
	f.t.Helper()
	h.Size = int64(len(data))
	must(f.t, f.w.WriteHeader(&h))
	if _, err := f.w.Write([]byte(data)); err != nil {
		f.t.Fatal(err)
	}
	return f
}

// says has the manifest name a file.
func (f *forgery) says(name, data string) {
	sum := sha256.Sum256([]byte(data))
	f.manifest.Files = append(f.manifest.Files, ArchivedFile{name, int64(len(data)), hex.EncodeToString(sum[:])})
}

// blocks adds bytes as they are, whole blocks of a tar.
func (f *forgery) blocks(data []byte) *forgery {
	f.t.Helper()
	must(f.t, f.w.Flush())
	f.b.Write(data)
	f.b.Write(make([]byte, -len(data)&511))
	return f
}

// all adds an authority.
func (f *forgery) all(authority map[string]string) *forgery {
	for name, data := range authority {
		f.add(authorityFolder+name, data)
	}
	return f
}

// end ends it with its manifest.
func (f *forgery) end() []byte {
	f.t.Helper()
	data, err := json.Marshal(f.manifest)
	must(f.t, err)
	f.raw(tar.Header{Name: manifestName, Typeflag: tar.TypeReg, Mode: 0o600}, string(data))
	return f.cut()
}

// cut ends it without one.
func (f *forgery) cut() []byte {
	f.t.Helper()
	must(f.t, f.w.Close())
	return f.b.Bytes()
}

// header is a header's block, such as a writer does not make.
func header(name string, flag byte, size int) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000600\x000000000\x000000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x0000000000000\x00", size))
	b[156] = flag
	copy(b[257:], "ustar\x0000")
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// holed is a file of a mebibyte of which a tar has one byte.
func holed(name string) []byte {
	var records strings.Builder
	for _, r := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=" + name, "GNU.sparse.realsize=1048576"} {
		size := len(r) + 2
		for len(fmt.Sprint(size))+len(r)+2 != size {
			size = len(fmt.Sprint(size)) + len(r) + 2
		}
		fmt.Fprintf(&records, "%d %s\n", size, r)
	}
	pad := func(s string) string { return s + strings.Repeat("\x00", -len(s)&511) }
	body := pad("1\n0\n1\n") + "x"
	out := append(header("x", tar.TypeXHeader, records.Len()), pad(records.String())...)
	return append(append(out, header("holed", tar.TypeReg, len(body))...), pad(body)...)
}

// TestHostileBackups lists backups from which no authority is restored: one clear line says why, and nothing is written, whether there is an
// authority, none, or it is to be overwritten.
func TestHostileBackups(t *testing.T) {
	whole := func(network string) map[string]string {
		a := authority(t, network, start)
		identity(t, a, RoleEdge, "fra", start, start)
		if _, err := a.Revoke("edge-iad", start); err != nil {
			t.Fatal(err)
		}
		return tree(t, a.dir)
	}
	ours, other := whole("demo"), whole("other")
	with := func(name, data string) map[string]string {
		all := maps.Clone(ours)
		all[name] = data
		return all
	}
	link := func(flag byte) tar.Header {
		return tar.Header{Name: "authority/fleet-ca.key", Typeflag: flag, Linkname: "/etc/passwd", Mode: 0o600}
	}
	many := forge(t)
	for i := range mostArchives + 2 {
		many.blocks(header(fmt.Sprintf("hub/%d", i), tar.TypeReg, 0))
	}
	changed := forge(t).all(ours)
	changed.manifest.Files[0].Hash = strings.Repeat("0", 64)
	newer, foreign, far := forge(t).all(ours), forge(t).all(ours), forge(t).all(ours)
	newer.manifest.V, foreign.manifest.Network, far.manifest.Tables = 2, "other", 1<<63
	missing := maps.Clone(ours)
	delete(missing, "site-ca.key")
	cases := map[string]struct {
		data []byte
		want string
	}{
		"above it":           {forge(t).all(ours).add("../x", "x").end(), `"../x" in it is no name`},
		"above its folder":   {forge(t).all(ours).add("authority/../../x", "x").end(), "in it is no name"},
		"absolute":           {forge(t).all(ours).add("/authority/x", "x").end(), "in it is no name"},
		"another way":        {forge(t).all(ours).add("authority/./x", "x").end(), "in it is no name"},
		"Windows":            {forge(t).all(ours).add(`authority\x`, "x").end(), "in it is no name"},
		"control character":  {forge(t).all(ours).add("authority/\x1b[2J", "x").end(), `"authority/\x1b[2J" in it is no name`},
		"endless name":       {forge(t).all(ours).add("authority/"+strings.Repeat("x", 100_000), "x").end(), "in it is no name"},
		"symbolic link":      {forge(t).raw(link(tar.TypeSymlink), "").end(), `"authority/fleet-ca.key" in it is no plain file`},
		"hard link":          {forge(t).raw(link(tar.TypeLink), "").end(), "in it is no plain file"},
		"device":             {forge(t).raw(link(tar.TypeChar), "").end(), "in it is no plain file"},
		"fifo":               {forge(t).raw(link(tar.TypeFifo), "").end(), "in it is no plain file"},
		"folder":             {forge(t).raw(link(tar.TypeDir), "").end(), "in it is no plain file"},
		"twice":              {forge(t).all(ours).add("authority/fleet-ca.key", "x").end(), `"authority/fleet-ca.key" is in it twice`},
		"gigabytes":          {forge(t).blocks(header("authority/x", tar.TypeReg, 4<<30)).cut(), "has 4294967296 bytes; at most 8388608"},
		"holes":              {forge(t).blocks(holed("authority/x")).end(), `"authority/x" in it is no plain file`},
		"65,538 files":       {many.end(), "it has more than 65536 files"},
		"no manifest":        {forge(t).all(ours).cut(), "it has no manifest"},
		"a large manifest":   {forge(t).blocks(header(manifestName, tar.TypeReg, 64<<20)).cut(), "at most 33554432"},
		"two manifests":      {forge(t).raw(tar.Header{Name: manifestName, Mode: 0o600}, "{}").end(), "comes after its manifest"},
		"more behind":        {append(forge(t).all(ours).end()[:0:0], many.b.Bytes()[:1024]...), "it has no manifest"},
		"another manifest":   {changed.end(), "what is in it is not what its manifest says"},
		"newer":              {newer.end(), "of version 2, and this program knows 1"},
		"numbers":            {far.end(), "numbers or names that no hub has"},
		"no file of its":     {forge(t).all(ours).add("authority/keys/x", "x").end(), `a file "authority/keys/x" of an authority`},
		"its folder a file":  {forge(t).all(ours).add("authority/issued", "x").end(), `a file "authority/issued" of an authority`},
		"hidden":             {forge(t).all(ours).add("authority/.x", "x").end(), `a file "authority/.x" of an authority`},
		"of another":         {foreign.end(), `is of network [demo], and the backup of other`},
		"without a key":      {forge(t).all(missing).end(), "it has no site-ca.key"},
		"another's key":      {forge(t).all(with("fleet-ca.key", other["fleet-ca.key"])).end(), "do not belong together"},
		"a key that is none": {forge(t).all(with("fleet-ca.key", "x")).end(), "fleet-ca.key: not a private key in PEM"},
		"a name's":           {forge(t).all(with("issued/edge-sin.pem", ours["issued/edge-fra.pem"])).end(), "it is the certificate of edge-fra"},
		"issued junk":        {forge(t).all(with("issued/edge-sin.pem", "x")).end(), "issued/edge-sin.pem: not a certificate"},
		"revoked junk":       {forge(t).all(with("revoked.json", "x")).end(), "revoked.json: invalid character"},
		"a stage":            {forge(t).all(with("rotation.json", `"x"`)).end(), "rotation.json: json:"},
	}
	good := forge(t).all(ours).end()
	for _, n := range []int{0, 100, 511, 512, len(good) / 2, len(good) - 2048} {
		cases[fmt.Sprintf("cut at %d", n)] = struct {
			data []byte
			want string
		}{good[:n], ""}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			there := authority(t, "demo", start)
			for dir, force := range map[string]bool{there.dir: true, filepath.Join(t.TempDir(), "none"): false} {
				before := treeOf(t, dir)
				b, err := OpenArchive(bytes.NewReader(c.data))
				if err == nil {
					_, err = RestoreAuthority(b, dir, force)
				}
				if err == nil {
					t.Fatal("restored")
				}
				if got := err.Error(); !strings.Contains(got, c.want) || strings.ContainsAny(got, "\n\x1b") || len(got) > 400 {
					t.Errorf("it says %q, wanted %q", got, c.want)
				}
				if after := treeOf(t, dir); !maps.Equal(before, after) {
					t.Errorf("%s is another: %q", dir, after)
				}
				if _, err := os.Stat(dir); dir != there.dir && err == nil {
					t.Errorf("%s was made", dir)
				}
			}
		})
	}
	b, err := OpenArchive(bytes.NewReader(good))
	must(t, err)
	dir := filepath.Join(t.TempDir(), "authority")
	if has, err := RestoreAuthority(b, dir, false); err != nil || !has || !maps.Equal(treeOf(t, dir), ours) {
		t.Errorf("and a good one: %v, %v, %q", has, err, treeOf(t, dir))
	}
}

// treeOf is tree, of a folder that need not be there.
func treeOf(t *testing.T, dir string) map[string]string {
	if _, err := os.Stat(dir); err != nil {
		return map[string]string{}
	}
	return tree(t, dir)
}

// TestBackUpLeavesOut: what somebody else has put beside an authority keeps its backup from being restored no more than from being made.
func TestBackUpLeavesOut(t *testing.T) {
	a := authority(t, "demo", start)
	want := tree(t, a.dir)
	for _, name := range []string{".git/refs/heads/main", "old/fleet-ca.key", "issued/.edge-fra.pem.swp", ".notes"} {
		mustWrite(t, filepath.Join(a.dir, name), "x")
	}
	var saved bytes.Buffer
	w := NewArchive(&saved, "demo", start)
	must(t, a.BackUp(w))
	must(t, w.Close())
	b, err := OpenArchive(bytes.NewReader(saved.Bytes()))
	must(t, err)
	dir := filepath.Join(t.TempDir(), "authority")
	if _, err := RestoreAuthority(b, dir, false); err != nil || !maps.Equal(treeOf(t, dir), want) {
		t.Errorf("%v, %q", err, treeOf(t, dir))
	}
}

// TestHostileBundles lists bundle files of which no state folder is made. See TestUnpackRefuses for more.
func TestHostileBundles(t *testing.T) {
	a := authority(t, "demo", start)
	made := filepath.Join(t.TempDir(), "made")
	if _, err := a.Add(made, RoleEdge, "fra", nil, nil); err != nil {
		t.Fatal(err)
	}
	whole := func() *forgery {
		f := forge(t)
		for name, data := range tree(t, made) {
			f.add(name, data)
		}
		return f
	}
	holes := whole()
	for i := range 200 {
		holes.blocks(holed(fmt.Sprintf("certs/a/%d", i)))
	}
	many := whole()
	for i := range mostBundleFiles {
		many.blocks(header(fmt.Sprintf("certs/%d", i), tar.TypeReg, 0))
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"hard link":   {whole().raw(tar.Header{Name: "identity/x", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}, "").cut(), `"identity/x" in it does not belong`},
		"device":      {whole().raw(tar.Header{Name: "identity/x", Typeflag: tar.TypeBlock}, "").cut(), "does not belong"},
		"twice":       {whole().add("identity/node.key", "x").cut(), `"identity/node.key" is in it twice`},
		"holes":       {holes.cut(), `"certs/a/0" in it does not belong`},
		"gigabytes":   {whole().blocks(header("certs/x", tar.TypeReg, 4<<30)).cut(), "cut short"},
		"many files":  {many.cut(), "too large for a bundle"},
		"deep":        {whole().add("certs/a/b/c", "x").cut(), "does not belong"},
		"another way": {whole().add("identity/./x", "x").cut(), "does not belong"},
		"a manifest":  {whole().end(), `"manifest.json" in it does not belong`},
		"a newer hub": {whole().add("identity/hub.yaml/x", "x").cut(), "unpack bundle"},
	} {
		t.Run(name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state")
			err := Unpack(bytes.NewReader(c.data), state)
			if err == nil {
				t.Fatal("taken")
			}
			if got := err.Error(); !strings.Contains(got, c.want) || strings.ContainsAny(got, "\n\x1b") || len(got) > 400 {
				t.Errorf("it says %q, wanted %q", got, c.want)
			}
			if after := treeOf(t, state); len(after) > 0 {
				t.Errorf("left %q", after)
			}
		})
	}
}

// TestPackBounds: what would be no bundle that can be unpacked is not packed.
func TestPackBounds(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "identity/x"), "x")
	must(t, os.MkdirAll(filepath.Join(dir, "certs"), 0o700))
	for i := range mostBundleBytes/maxFile + 1 {
		mustWrite(t, filepath.Join(dir, fmt.Sprintf("certs/%d", i)), "")
		must(t, os.Truncate(filepath.Join(dir, fmt.Sprintf("certs/%d", i)), maxFile))
	}
	if err := Pack(new(bytes.Buffer), dir); err == nil || !strings.Contains(err.Error(), "larger than 67108864 bytes") {
		t.Error(err)
	}
}
