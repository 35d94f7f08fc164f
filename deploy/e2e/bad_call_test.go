//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// oneLine says what is wrong with how a call was refused: its status, and one line for
// people that has all the words.
func oneLine(stdout, stderr string, status, want int, words ...string) error {
	switch {
	case status != want:
		return fmt.Errorf("exit status %d, not %d; it wrote %q", status, want, stdout+stderr)
	case stdout != "":
		return fmt.Errorf("it wrote to standard output: %q", stdout)
	case !strings.HasPrefix(stderr, "hither: ") || strings.Count(stderr, "\n") != 1:
		return fmt.Errorf("not one line that begins with the program's name: %q", stderr)
	}
	for _, w := range words {
		if !strings.Contains(stderr, w) {
			return fmt.Errorf("%q does not say %q", stderr, w)
		}
	}
	return nil
}

// TestBadCalls makes every mistake that a call can have.
func TestBadCalls(t *testing.T) {
	scenario(t, "bad-calls")
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	up := func(args ...string) []string { return append([]string{"up", "--state", state}, args...) }
	for _, c := range []struct {
		args  []string
		words []string
	}{
		{[]string{"frobnicate"}, []string{`unknown command "frobnicate"`}},
		{up("--frobnicate"), []string{"unknown flag: --frobnicate"}},
		{up("more"), []string{`"more"`}},
		{up("--site", filepath.Join(dir, "none")), []string{"--site", "none"}},
		{up("--site", file), []string{"--site", file, "not a folder"}},
		{up("--site", dir, "--origin", "http://127.0.0.1:3000"), []string{"site", "origin"}},
		{up("--origin", "ftp://127.0.0.1"), []string{"ftp://127.0.0.1", "http://HOST:PORT"}},
		{up("--origin", "127.0.0.1:3000"), []string{"127.0.0.1:3000", "http://HOST:PORT"}},
		{up("--net", "127.256"), []string{"127.256", "from 0 to 255"}},
		{up("--net", "10.1"), []string{"10.1", "127.N"}},
		{up("--net", "127.1.2"), []string{"127.1.2", "127.N"}},
		{[]string{"up", "--state", filepath.Join(file, "state")}, []string{"--state", file}},
		{[]string{"up", "--state", "/proc/hither"}, []string{"--state", "/proc/hither"}},
		{[]string{"edge"}, []string{"name", "state"}},
		{[]string{"edge", "--name", "fra", "--state", filepath.Join(dir, "none")}, []string{"identity", "hither fleet init"}},
		{[]string{"origin", "--name", "us", "--state", filepath.Join(dir, "none")}, []string{"identity", "hither fleet init"}},
		{[]string{"dns", "--name", "ns1", "--state", filepath.Join(dir, "none")}, []string{"identity", "hither fleet init"}},
		{[]string{"explain", "nothing"}, []string{"nothing", "explain --help"}},
		{[]string{"fleet", "nothing"}, []string{"nothing", "fleet --help"}},
		{[]string{"explain", "dns"}, []string{"arg"}},
		{[]string{"explain", "dns", "www.hither.test", "--state", filepath.Join(dir, "none")}, []string{"--state", "none"}},
		{[]string{"explain", "request"}, []string{"arg"}},
		{[]string{"explain", "request", "www.hither.test"}, []string{"www.hither.test", "https://HOST/PATH"}},
		{[]string{"explain", "request", "https://www.hither.test/", "--state", filepath.Join(dir, "none")}, []string{"--state", "none"}},
		{[]string{"explain", "map", "-o", "png"}, []string{"png", "table, json or svg"}},
		{[]string{"check"}, []string{"arg"}},
		{[]string{"check", filepath.Join(dir, "none.yaml")}, []string{"none.yaml", "does not exist"}},
		{[]string{"check", file, "-o", "xml"}, []string{"xml", "table or json"}},
		{[]string{"status", "--state", filepath.Join(dir, "none")}, []string{"--state", "none"}},
		{[]string{"status", "-o", "xml"}, []string{"xml", "table or json"}},
		{[]string{"ready", "--state", filepath.Join(dir, "none")}, []string{"--state", "none"}},
		{[]string{"drain", "--state", filepath.Join(dir, "none"), "edge-fra"}, []string{"--state", "none"}},
		{[]string{"fleet", "init", "--out", dir}, []string{"network"}},
		{[]string{"fleet", "init", "--network", filepath.Join(dir, "none.yaml"), "--out", dir}, []string{"--network", "none.yaml"}},
	} {
		stdout, stderr, status := callIn(t, dir, c.args...)
		if err := oneLine(stdout, stderr, status, 2, c.words...); err != nil {
			t.Errorf("hither %s: %v", strings.Join(c.args, " "), err)
		}
	}
	noProcesses(t, dir)
}

// TestTakenPort occupies each socket that a network opens.
func TestTakenPort(t *testing.T) {
	scenario(t, "taken-port")
	for i, at := range []struct{ kind, address string }{
		{"tcp", "127.31.0.1:9443"}, {"udp", "127.31.0.1:9443"}, {"tcp", "127.31.0.1:9182"},
		{"tcp", "127.31.0.1:5300"}, {"udp", "127.31.0.1:5300"}, {"tcp", "127.31.0.1:9181"},
		{"tcp", "127.31.1.1:8443"}, {"udp", "127.31.1.2:8443"}, {"tcp", "127.31.1.3:8080"}, {"tcp", "127.31.1.3:9180"},
	} {
		var taken interface{ Close() error }
		var err error
		if at.kind == "tcp" {
			taken, err = net.Listen("tcp", at.address)
		} else {
			taken, err = net.ListenPacket("udp", at.address)
		}
		if err != nil {
			t.Fatal(err)
		}
		state := filepath.Join(t.TempDir(), fmt.Sprint("state", i))
		stdout, stderr, status := call(t, "up", "--state", state, "--net", "127.31")
		if err := oneLine(stdout, stderr, status, 2, at.address, "in use"); err != nil {
			t.Errorf("%s %s is taken: %v", at.kind, at.address, err)
		}
		noProcesses(t, state)
		taken.Close()
		if _, err := os.Stat(filepath.Join(state, "up.json")); err == nil {
			t.Errorf("%s %s is taken: up.json is left", at.kind, at.address)
		}
	}
}

// TestBadFile edits the network file badly: `up` and `check` name all mistakes with
// their places, and nothing starts.
func TestBadFile(t *testing.T) {
	scenario(t, "bad-file")
	n := &network{net: "127.32", dir: filepath.Join(t.TempDir(), "state")}
	n.write(t, setup{net: n.net})
	out, stderr, status := call(t, "check", n.path())
	if status != 0 || stderr != "" || !strings.Contains(out, "ok: network demo, 3 PoPs, 1 origin, 1 site") {
		t.Errorf("check of a good file: status %d, %q%q", status, out, stderr)
	}
	n.put(t, edited(t, n.file(t), "origin: us\n", "origin: moon\n", "lat: 1.35", "lat: 135", "early_data: safe", "early_dats: safe"))
	want := []string{"moon", "135", "early_dats"}

	check, stderr, status := call(t, "check", n.path())
	if status != 1 || stderr != "" {
		t.Errorf("check: status %d, %q", status, stderr)
	}
	if err := mistakes(check, n.path(), want); err != nil {
		t.Errorf("check: %v", err)
	}
	out, stderr, status = call(t, "check", n.path(), "-o", "json")
	var doc struct {
		Schema   string
		OK       bool
		Mistakes []struct {
			Line, Col int
			Msg       string
		}
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil || status != 1 || stderr != "" || doc.Schema != "hither/check/1" || doc.OK || len(doc.Mistakes) != len(want) {
		t.Errorf("check -o json: status %d, %v, %q, %s", status, err, stderr, out)
	}
	out, stderr, status = call(t, "up", "--state", n.dir)
	if status != 1 || out != "" {
		t.Errorf("up: status %d, %q", status, out)
	}
	if err := mistakes(strings.TrimPrefix(stderr, "hither: "), n.path(), want); err != nil {
		t.Errorf("up: %v", err)
	}
	noProcesses(t, n.dir)

	// A file that was edited keeps what the user wrote.
	n.put(t, edited(t, n.file(t), "origin: moon\n", "origin: us\n", "lat: 135", "lat: 1.35", "early_dats: safe", "early_data: off"))
	stdout, stderr, status := call(t, "up", "--state", n.dir, "--net", "127.33")
	if err := oneLine(stdout, stderr, status, 2, "network.yaml", "edited", "--net"); err != nil {
		t.Errorf("--net with an edited file: %v", err)
	}
	noProcesses(t, n.dir)
}

// mistakes says how a list of mistakes differs from what it should be: a line for each,
// in the order of the file, with file, line and column.
func mistakes(text, file string, want []string) error {
	var places []string
	for line := range strings.Lines(text) {
		var l, c int
		if _, err := fmt.Sscanf(strings.TrimPrefix(line, file), ":%d:%d:", &l, &c); err != nil || !strings.HasPrefix(line, file+":") {
			return fmt.Errorf("%q does not begin with FILE:LINE:COL", line)
		}
		places = append(places, line)
	}
	if len(places) != len(want) {
		return fmt.Errorf("%d mistakes, not %d:\n%s", len(places), len(want), text)
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			return fmt.Errorf("no word of %q:\n%s", w, text)
		}
	}
	return nil
}
