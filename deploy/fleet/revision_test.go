package fleet

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hither/deploy"
)

// revision is the example with a mark, so that revisions differ.
func revision(mark string) []byte {
	return []byte("# revision " + mark + "\n" + string(deploy.Example()))
}

func TestRevisions(t *testing.T) {
	state := t.TempDir()
	r := RevisionsIn(state)
	dir := filepath.Join(state, "revision")
	if _, err := r.Current(); !errors.Is(err, fs.ErrNotExist) || err.Error() != "fleet: no network file in "+dir+"; start the node once with --network FILE: file does not exist" {
		t.Errorf("none: %v", err)
	}
	expect := func(step string, files map[string]string) {
		t.Helper()
		got := tree(t, dir)
		for name, want := range files {
			if !strings.HasPrefix(got[name], want) {
				t.Errorf("%s: %s begins %.20q, want %q", step, name, got[name], want)
			}
		}
		if len(got) != len(files) {
			t.Errorf("%s: %d files, want %d", step, len(got), len(files))
		}
		rev, err := r.Current()
		if err != nil || rev.Damaged != nil || string(rev.Data) != got["current.yaml"] || rev.Network.Name != "demo" {
			t.Errorf("%s: current is %+v, %v", step, rev, err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.Accept(revision("1")))
	expect("first", map[string]string{"current.yaml": "# revision 1\n"})
	must(r.Accept(revision("2")))
	expect("second", map[string]string{"current.yaml": "# revision 2\n", "previous.yaml": "# revision 1\n"})
	must(r.Accept(revision("2")))
	expect("again", map[string]string{"current.yaml": "# revision 2\n", "previous.yaml": "# revision 1\n"})
	must(r.Refuse([]byte("version: 9\n"), errors.New("line one\nline two")))
	expect("refused", map[string]string{"current.yaml": "# revision 2\n", "previous.yaml": "# revision 1\n", "refused.yaml": "version: 9\n", "refused.txt": "line one\nline two\n"})
	must(r.Accept(revision("3")))
	expect("third", map[string]string{"current.yaml": "# revision 3\n", "previous.yaml": "# revision 2\n"})
}

// TestRevisionDamaged: a disk that lost the current one does not stop the node, and
// what is damaged never pushes out what is good.
func TestRevisionDamaged(t *testing.T) {
	state := t.TempDir()
	r := RevisionsIn(state)
	if err := errors.Join(r.Accept(revision("1")), r.Accept(revision("2"))); err != nil {
		t.Fatal(err)
	}
	current, previous := filepath.Join(state, "revision/current.yaml"), filepath.Join(state, "revision/previous.yaml")
	mustWrite(t, current, "\x00\x00\x00")
	rev, err := r.Current()
	if err != nil || string(rev.Data) != string(revision("1")) || rev.Damaged == nil || !strings.HasPrefix(rev.Damaged.Error(), "fleet: revision is damaged:\n"+current+":1:1: ") {
		t.Fatalf("got %+v, %v", rev, err)
	}
	if err := r.Accept(revision("3")); err != nil {
		t.Fatal(err)
	}
	if got := mustRead(t, previous); got != string(revision("1")) {
		t.Errorf("previous is %.20q", got)
	}
	if err := os.Remove(current); err != nil {
		t.Fatal(err)
	}
	if rev, err := r.Current(); err != nil || rev.Damaged == nil || string(rev.Data) != string(revision("1")) {
		t.Errorf("got %+v, %v", rev, err)
	}
	mustWrite(t, current, "junk: true\n")
	mustWrite(t, previous, "junk: true\n")
	if _, err := r.Current(); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("two damaged: %v", err)
	}
}

// TestRefuseIsBounded: what was sent may be of any size.
func TestRefuseIsBounded(t *testing.T) {
	state := t.TempDir()
	if err := RevisionsIn(state).Refuse(make([]byte, maxFile*2), errors.New("too large")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(state, "revision/refused.yaml")); err != nil || info.Size() != maxFile {
		t.Errorf("%v, %v", info, err)
	}
}

// TestWriteFileIsWhole: where the new file cannot be put, the old one stays and
// nothing is left beside it.
func TestWriteFileIsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "target")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(path, []byte("x")); err == nil {
		t.Error("a folder was replaced by a file")
	}
	file := filepath.Join(dir, "file")
	if err := errors.Join(createFile(file, []byte("first")), writeFile(file, []byte("second"))); err != nil {
		t.Fatal(err)
	}
	if err := createFile(file, []byte("third")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created again: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 || mustRead(t, file) != "second" {
		t.Errorf("left are %v, %v", entries, err)
	}
}
