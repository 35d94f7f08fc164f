//go:build e2e

package e2e_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// docs is a real site: Python's manual as Debian packages it.
const docs = "/usr/share/doc/python3.11/html"

// copyDocs copies the manual with its symbolic links resolved, and returns the folder
// and the paths of its files.
func copyDocs(t *testing.T) (folder string, files []string) {
	t.Helper()
	if _, err := os.Stat(docs); err != nil {
		t.Fatalf("%s is missing: apt-get install python3.11-doc", docs)
	}
	folder = filepath.Join(t.TempDir(), "site")
	if out, err := exec.Command("cp", "-rL", docs, folder).CombinedOutput(); err != nil {
		t.Fatalf("copy the manual: %v\n%s", err, out)
	}
	// Debian packs the longest page, to which others link by its own name.
	if out, err := exec.Command("gunzip", "--keep", filepath.Join(folder, "whatsnew/changelog.html.gz")).CombinedOutput(); err != nil {
		t.Fatalf("unpack the manual's change log: %v\n%s", err, out)
	}
	files, err := filesOf(folder)
	if err != nil {
		t.Fatal(err)
	}
	// The gateway does not serve hidden files.
	files = slices.DeleteFunc(files, func(f string) bool { return strings.HasPrefix(filepath.Base(f), ".") })
	if len(files) < 500 {
		t.Fatalf("the manual has %d files only", len(files))
	}
	return folder, files
}

// filesOf lists the files below a folder.
func filesOf(folder string) (files []string, err error) {
	err = fs.WalkDir(os.DirFS(folder), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	return files, err
}

// urlOf is the URL of a file of the site.
func urlOf(file string) string {
	return site + (&url.URL{Path: "/" + file}).EscapedPath()
}

// differences compares files below two folders byte by byte. Each difference is a line.
// A query in the second folder's name of a file (as wget writes them) is none of the first.
func differences(want, got string, files []string) (wrong []string) {
	for _, f := range files {
		name, _, _ := strings.Cut(f, "?")
		a, err := os.ReadFile(filepath.Join(want, name))
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		b, err := os.ReadFile(filepath.Join(got, f))
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		if !bytes.Equal(a, b) {
			wrong = append(wrong, fmt.Sprintf("%s: %d bytes differ from the %d there should be, from byte %d on", f, len(b), len(a), firstDifference(a, b)))
		}
	}
	return wrong
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// same fails the test if the files differ, and shows the first few.
func same(t *testing.T, want, got string, files []string) {
	t.Helper()
	wrong := differences(want, got, files)
	for _, w := range wrong[:min(len(wrong), 5)] {
		t.Error(w)
	}
	if len(wrong) > 5 {
		t.Errorf("... %d of %d files differ", len(wrong), len(files))
	}
}
