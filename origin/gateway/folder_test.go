package gateway

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hither/deploy"
)

// filesIn is the app of a folder, with what it logs.
func filesIn(t *testing.T, dir string) (*files, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	a, err := newFiles(&deploy.Static{Folder: dir}, &Options{Now: time.Now, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return a, log
}

// A folder that goes away is the origin's failure, so that an edge may serve what it has:
// no file of it is known not to be there.
func TestFolderThatVanishes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "site")
	put(t, dir, "a.txt", "one")
	put(t, dir, "404.html", "lost")
	a, log := filesIn(t, dir)
	if a.problem() != "" || ask(t, a, "GET", "/a.txt").StatusCode != 200 || ask(t, a, "GET", "/none").StatusCode != 404 {
		t.Fatal("the folder is there, and not served")
	}
	if log.Len() > 0 {
		t.Fatalf("logs %q", log)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/a.txt", "/none", "/.hidden"} {
		if res := ask(t, a, "GET", path); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d, %v", path, res.StatusCode, res.Header)
		}
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), dir) {
		t.Errorf("%d warnings for four requests: %s", n, log)
	}
	if p := a.problem(); !strings.Contains(p, dir) {
		t.Errorf("problem %q", p)
	}
	// A build that makes its output anew brings it back.
	put(t, dir, "a.txt", "two")
	if res := ask(t, a, "GET", "/a.txt"); res.StatusCode != 200 || text(t, res) != "two" {
		t.Errorf("made anew: %d", res.StatusCode)
	}
	if ask(t, a, "GET", "/none").StatusCode != 404 || a.problem() != "" {
		t.Error("made anew, and still a problem")
	}
}

// A release is switched by a link: the next request sees the new one, with its own tags.
func TestFolderThatIsSwitched(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "1/a.txt", "one")
	put(t, dir, "2/a.txt", "two")
	put(t, dir, "secret", "no")
	link := filepath.Join(dir, "now")
	if err := os.Symlink("1", link); err != nil {
		t.Fatal(err)
	}
	a, _ := filesIn(t, link)
	first := ask(t, a, "GET", "/a.txt")
	if text(t, first) != "one" {
		t.Error("not the first release")
	}
	if err := os.Symlink("2", link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
	second := ask(t, a, "GET", "/a.txt")
	if text(t, second) != "two" || second.Header.Get("Etag") == first.Header.Get("Etag") {
		t.Errorf("still the first release, or its tag %s", second.Header.Get("Etag"))
	}
	if err := os.Symlink("../secret", filepath.Join(dir, "2/out")); err != nil {
		t.Fatal(err)
	}
	if res := ask(t, a, "GET", "/out"); res.StatusCode != 404 {
		t.Errorf("a link out of the folder: %d", res.StatusCode)
	}
}

// The status document gets the folder's problem.
func TestGatewayProblems(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "site")
	put(t, dir, "a.txt", "one")
	h := newHouse(t, deploy.LocalOptions{Site: dir})
	g, _ := h.run(t)
	if p := g.problems(); len(p) != 0 {
		t.Errorf("problems %q", p)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if p := g.problems(); len(p) != 1 || !strings.Contains(p[0], dir) {
		t.Errorf("problems %q", p)
	}
}
