//go:build e2e

package e2e_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// An example is a command that a README shows, with its output. In the output "..." is
// any text in a line, and a line of it alone is any number of lines.
type example struct {
	where   string // file:line
	command string
	want    []string
}

// TestReadmes executes what the READMEs show, from the top of the repository, against
// one network: what they say of `.hither` and 127.0 is done to the scenario's.
func TestReadmes(t *testing.T) {
	scenario(t, "readmes")
	peer(t, "curl", "curl")
	n := run(t, setup{net: "127.38"})
	var all []example
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case path.Base(name) != "README.md":
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err == nil {
			all = append(all, examples(name, string(text))...)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 5 {
		t.Errorf("the READMEs have %d examples only", len(all))
	}
	for _, e := range all {
		if err := e.run(n); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d examples", len(all))
}

// examples finds those of a README: fenced blocks tagged console.
func examples(file, text string) (all []example) {
	var inside bool
	var now *example
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			inside, now = line == "```console", nil
		case !inside:
		case strings.HasPrefix(line, "$ "):
			all = append(all, example{where: fmt.Sprintf("%s:%d", file, i+1), command: line[2:]})
			now = &all[len(all)-1]
		case now != nil:
			now.want = append(now.want, line)
		}
	}
	return all
}

var (
	stateFolder = regexp.MustCompile(`(^|[\s='"])\.hither\b`)
	loopback    = regexp.MustCompile(`\b127\.0(\.\d+\.\d+)\b(/\d+)?`)
)

// here is a text of a README as it reads for the network n.
func here(text string, n *network) string {
	text = stateFolder.ReplaceAllString(text, "${1}"+n.dir)
	return loopback.ReplaceAllStringFunc(text, func(s string) string {
		if strings.Contains(s, "/") {
			return s // a prefix, not an address
		}
		return n.net + strings.TrimPrefix(s, "127.0")
	})
}

// run executes the example and says how its output differs from what is shown.
func (e example) run(n *network) error {
	command := here(e.command, n)
	cmd := exec.Command("bash", "-c", command)
	cmd.Dir = root
	stop := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer stop.Stop()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || !cmd.ProcessState.Exited() {
		return fmt.Errorf("%s: $ %s: %w", e.where, command, err)
	}
	want := make([]string, len(e.want))
	for i, w := range e.want {
		want[i] = here(w, n)
	}
	got := strings.Split(strings.ReplaceAll(strings.TrimRight(string(out), "\n"), "\r", ""), "\n")
	if len(out) == 0 {
		got = nil
	}
	if !shown(want, got) {
		return fmt.Errorf("%s: $ %s\nshows:\n%s\nbut writes:\n%s", e.where, command, strings.Join(want, "\n"), strings.Join(got, "\n"))
	}
	return nil
}

// shown reports whether an output is what a README shows.
func shown(want, got []string) bool {
	switch {
	case len(want) == 0:
		return len(got) == 0
	case want[0] == "...":
		return shown(want[1:], got) || len(got) > 0 && shown(want, got[1:])
	case len(got) == 0:
		return false
	}
	parts := strings.Split(want[0], "...")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	line := regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
	return line.MatchString(got[0]) && shown(want[1:], got[1:])
}
