package cert_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hither/edge/cert"
)

func TestLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	if pairs, err := cert.Load(dir, nil); err != nil || len(pairs) != 0 {
		t.Fatalf("no folder: %v, %v", pairs, err)
	}
	save := func(name string, names ...string) {
		t.Helper()
		chain, key := pair(t, names...)
		if err := cert.Save(dir, name, chain, key); err != nil {
			t.Fatal(err)
		}
	}
	save("WWW.Example.org.", "www.example.org")
	save("*.example.org", "*.example.org")
	first, err := cert.Load(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != 2 || first["www.example.org"] == nil || first["*.example.org"] == nil {
		t.Fatalf("loaded %v", first)
	}
	for _, path := range []string{"www.example.org", "%2A.example.org"} {
		for file, want := range map[string]os.FileMode{"": 0o700, "key.pem": 0o600, "cert.pem": 0o600} {
			info, err := os.Stat(filepath.Join(dir, path, file))
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != want {
				t.Errorf("%s/%s: mode %o, want %o", path, file, got, want)
			}
		}
	}

	// A key that does not fit: the old pair stays, the other name is read as ever.
	_, other := pair(t, "www.example.org")
	if err := os.WriteFile(filepath.Join(dir, "www.example.org", "key.pem"), other, 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := cert.Load(dir, first)
	if err == nil || !strings.Contains(err.Error(), "pair of www.example.org: private key does not match public key; the old one stays") {
		t.Errorf("error %v", err)
	}
	if second["www.example.org"] != first["www.example.org"] || second["*.example.org"] == nil {
		t.Errorf("loaded %v", second)
	}
	if fresh, _ := cert.Load(dir, nil); fresh["www.example.org"] != nil {
		t.Error("a pair that does not fit was loaded")
	}

	// A folder that is gone takes its pair with it.
	if err := os.RemoveAll(filepath.Join(dir, "www.example.org")); err != nil {
		t.Fatal(err)
	}
	if third, err := cert.Load(dir, second); err != nil || third["www.example.org"] != nil || len(third) != 1 {
		t.Errorf("loaded %v, %v", third, err)
	}
}

// TestLoadFolders shows that folder names are taken in one spelling only, and hidden ones and files not at all.
func TestLoadFolders(t *testing.T) {
	dir := t.TempDir()
	chain, key := pair(t, "www.example.org")
	for _, name := range []string{"WWW.example.org", "%77ww.example.org", "%2E%2E%2Fwww.example.org", ".hidden", "x%zz", strings.Repeat("a", 60) + ".test"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(dir, name, "cert.pem"), chain, 0o600)
		os.WriteFile(filepath.Join(dir, name, "key.pem"), key, 0o600)
	}
	os.WriteFile(filepath.Join(dir, "README"), nil, 0o600)
	pairs, err := cert.Load(dir, nil)
	if len(pairs) != 0 {
		t.Errorf("loaded %v", pairs)
	}
	if err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("want five lines of errors, have:\n%v", err)
	}
}

func TestSaveRefuses(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "certs")
	chain, key := pair(t, "www.example.org")
	_, otherKey := pair(t, "www.example.org")
	for _, tt := range []struct {
		name string
		key  []byte
		want string
	}{
		{"../../etc/passwd", key, "label of 0 octets"},
		{"a/b.test", key, "no letter of a host name"},
		{"..", key, "0 octets"},
		{"", key, "0 octets"},
		{strings.Repeat("a.", 149) + "ab", key, "300 octets"},
		{strings.Repeat("a", 64) + ".test", key, "label of 64 octets"},
		{"*.*.example.org", key, "no letter"},
		{"a\x00.test", key, "no letter"},
		{"www.example.net", key, "certificate is valid for www.example.org, not www.example.net"},
		{"www.example.org", otherKey, "private key does not match public key"},
	} {
		if err := cert.Save(dir, tt.name, chain, tt.key); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Save(%.20q): error %v, want %q", tt.name, err, tt.want)
		}
	}
	if left, _ := os.ReadDir(parent); len(left) != 0 {
		t.Errorf("something was written: %v", left)
	}
}

func TestFolderName(t *testing.T) {
	for name, want := range map[string]string{
		"WWW.Example.org.": "www.example.org",
		"*.example.org":    "%2A.example.org",
		"../x":             "%2E%2E%2Fx",
		"..":               "%2E",
		"a..b":             "a.%2Eb",
		"%2e":              "%252e",
		"a b\x00":          "a%20b%00",
	} {
		if got := cert.FolderName(name); got != want {
			t.Errorf("FolderName(%q) = %q, want %q", name, got, want)
		}
	}
}

// FuzzFolderName holds that no name leaves its folder, and that those which pass as names come back.
func FuzzFolderName(f *testing.F) {
	for _, s := range []string{"www.example.org", "*.example.org", "../..", ".", "A.B", "%2e%2e", "a/b", "\x00", "ä.test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := cert.FolderName(name)
		if strings.ContainsAny(got, "/\\\x00") || strings.HasPrefix(got, ".") || filepath.Base(got) != got && got != "" {
			t.Errorf("FolderName(%q) = %q leaves its folder", name, got)
		}
		if cert.CheckName(name) == nil && strings.ReplaceAll(got, "%2A", "*") != cert.Canonical(name) {
			t.Errorf("FolderName(%q) = %q", name, got)
		}
	})
}
