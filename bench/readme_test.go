package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWriteBetween(t *testing.T) {
	file := filepath.Join(t.TempDir(), "README.md")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	put("# A\n\n<!-- begin x -->\nold\n<!-- end x -->\n\n<!-- begin y -->\nkept\n<!-- end y -->\n")
	for _, text := range []string{"new\n", "newer"} {
		if err := writeBetween(file, "x", text); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := "# A\n\n<!-- begin x -->\n\n" + strings.TrimSpace(text) + "\n\n<!-- end x -->\n\n<!-- begin y -->\nkept\n<!-- end y -->\n"
		if string(got) != want {
			t.Errorf("it has\n%s", got)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("it became %v, %v", info.Mode(), err)
	}
	for _, text := range []string{"", "<!-- begin x -->", "<!-- end x -->\n<!-- begin x -->", "<!-- begin x --><!-- begin x --><!-- end x -->"} {
		put(text)
		if err := writeBetween(file, "x", "new"); err == nil || !strings.Contains(err.Error(), "<!-- begin x -->") {
			t.Errorf("%q: %v", text, err)
		}
		if got, _ := os.ReadFile(file); string(got) != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	if err := writeBetween(file+".other", "x", "new"); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
	if left, _ := filepath.Glob(file + "?*"); left != nil {
		t.Errorf("it left %v", left)
	}
}
