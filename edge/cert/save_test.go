package cert_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hither/edge/cert"
)

// TestSave writes pairs where they are read from, and where nobody else reads them.
func TestSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	for name, host := range map[string]string{"WWW.Example.org.": "www.example.org", "*.example.org": "*.example.org"} {
		chain, key := pair(t, host)
		if err := cert.Save(dir, name, chain, key); err != nil {
			t.Fatal(err)
		}
		if _, news := cert.Load([]cert.Source{cert.Folder(dir, name), cert.Folder(dir, host)}, nil, time.Now()); len(news.Taken) != 2 {
			t.Errorf("%s: %v", name, news.Refused)
		}
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
