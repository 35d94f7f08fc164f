//go:build e2e

package e2e_test

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestUp starts a network as a user does, looks at what it makes, and starts a second
// one in its place.
func TestUp(t *testing.T) {
	scenario(t, "up")
	site := t.TempDir()
	if err := os.WriteFile(filepath.Join(site, "index.html"), []byte("<h1>mine</h1>"), 0o644); err != nil {
		t.Fatal(err)
	}
	n := run(t, setup{net: "127.34", site: site})
	for _, word := range []string{"curl", n.dir, n.net + ".1.1", host} {
		if !strings.Contains(n.up.stdout.String(), word) {
			t.Errorf("up's words do not help to try it: no %q in\n%s", word, n.up.stdout)
		}
	}
	for _, proto := range protocols {
		for pop := range pops {
			if got := n.via(t, proto, pop).must(t, "/"); got.status != http.StatusOK || string(got.body) != "<h1>mine</h1>" {
				t.Errorf("%s over %s: status %d, %q", pop, proto, got.status, got.body)
			}
		}
	}
	f := n.upFile(t)
	if f.Schema != "hither/up/1" || f.PID != n.up.cmd.Process.Pid || len(f.Nodes) != 5 {
		t.Errorf("up.json: %+v", f)
	}
	for _, o := range f.Nodes {
		if o.PID == 0 || len(o.Addresses) == 0 || o.Socket != filepath.Join(n.state(o.Node), "admin.sock") {
			t.Errorf("up.json: %+v", o)
		}
	}
	if wrong := wrongModes(n.dir); len(wrong) > 0 {
		t.Errorf("modes in the state folder: %s", strings.Join(wrong, ", "))
	}
	for _, name := range []string{
		"ca.pem", "network.yaml", "lock", "up.json", "authority/fleet-ca.pem", "authority/fleet-ca.key", "authority/site-ca.pem", "authority/site-ca.key",
		"nodes/edge-fra/identity/node.pem", "nodes/edge-fra/identity/node.key", "nodes/edge-fra/identity/fleet-ca.pem",
		"nodes/edge-fra/revision/current.yaml", "nodes/edge-fra/admin.sock", "nodes/origin-us/revision/current.yaml", "nodes/origin-us/admin.sock",
		"nodes/dns-ns1/revision/current.yaml", "nodes/dns-ns1/admin.sock",
	} {
		if _, err := os.Stat(filepath.Join(n.dir, name)); err != nil {
			t.Error(err)
		}
	}

	stdout, stderr, status := call(t, "up", "--state", n.dir, "--net", "127.35")
	if err := oneLine(stdout, stderr, status, 2, n.dir, "in use", "--state"); err != nil {
		t.Errorf("another up: %v", err)
	}
	if _, _, status := call(t, "ready", "--state", n.dir); status != 0 {
		t.Errorf("the first network is not ready after another up: status %d", status)
	}

	t.Log("a PoP of another machine")
	elsewhere := filepath.Join(t.TempDir(), "syd")
	n.fleet(t, 0, []string{"- name: syd"}, "fleet", "add", "pop", "syd", "--out", elsewhere)
	two := edited(t, n.file(t), "\norigins:", `
  - name: syd
    place: {lat: -33.87, lon: 151.21, city: Sydney}
    addresses: [127.34.1.4]

origins:`)
	n.fleet(t, 0, nil, "fleet", "apply", n.revised(t, "two.yaml", two), "--now", "--yes")
	const notHere = "edge-syd is not started here"
	if !n.up.stderr.wait(endTime, notHere, 1) || !n.up.stderr.wait(endTime, "the network file is revision 2", 1) {
		t.Fatalf("up does not leave the node of another machine alone:\n%s", n.up.stderr)
	}
	if f := n.upFile(t); len(f.Nodes) != 5 {
		t.Errorf("up.json, with a node elsewhere: %+v", f)
	}
	if _, err := os.Stat(n.state("edge-syd")); err == nil {
		t.Error("up made a state folder for the node of another machine")
	}
	start(t, program, "edge", "--name", "syd", "--state", elsewhere)
	if !until(readyTime, func() bool { _, _, status := call(t, "ready", "--state", elsewhere); return status == 0 }) {
		t.Error("the node of another machine is not ready")
	}

	t.Log("up is killed")
	n.up.cmd.Process.Kill()
	<-n.up.done
	noProcesses(t, n.dir)

	t.Log("and started again in what it left, as it was without naming it")
	again := start(t, program, "up", "--state", n.dir)
	if !again.stdout.wait(readyTime, readyLine, 1) {
		t.Fatalf("not ready:\n%s%s", again.stdout, again.stderr)
	}
	if !strings.Contains(again.stderr.String(), notHere) {
		t.Errorf("started again, up does not say that a node is elsewhere:\n%s", again.stderr)
	}
	if got := n.via(t, "h2", "sin").must(t, "/"); got.status != http.StatusOK || string(got.body) != "<h1>mine</h1>" {
		t.Errorf("status %d, %q", got.status, got.body)
	}
	again.cmd.Process.Signal(syscall.SIGTERM)
	if s := again.status(t); s != 0 {
		t.Errorf("up ended with status %d:\n%s", s, again.stderr)
	}
	noProcesses(t, n.dir)
	for _, gone := range []string{"up.json", "nodes/edge-fra/admin.sock"} {
		if _, err := os.Lstat(filepath.Join(n.dir, gone)); err == nil {
			t.Errorf("%s is left of a network that ended", gone)
		}
	}
}

// wrongModes lists what in a state folder others than its owner could use.
func wrongModes(dir string) (wrong []string) {
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it went meanwhile
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if want := fs.FileMode(0o600); info.Mode().Perm() != want && !d.IsDir() || d.IsDir() && info.Mode().Perm() != 0o700 {
			wrong = append(wrong, strings.TrimPrefix(path, dir)+" "+info.Mode().String())
		}
		return nil
	})
	return wrong
}

// TestFleet runs nodes by hand from the bundles that `hither fleet init` makes, as on
// machines of their own.
func TestFleet(t *testing.T) {
	scenario(t, "fleet")
	dir := t.TempDir()
	n := &network{net: "127.36", dir: filepath.Join(dir, "state")}
	n.write(t, setup{net: n.net, edit: soonForgotten})
	stdout, stderr, status := call(t, "fleet", "init", "--network", n.path(), "--out", n.dir)
	if status != 0 {
		t.Fatalf("fleet init: status %d, %q", status, stderr)
	}
	for _, node := range []string{"origin-us", "edge-fra", "edge-iad", "edge-sin", "dns-ns1"} {
		if !strings.Contains(stdout, node) {
			t.Errorf("fleet init does not name %s: %q", node, stdout)
		}
	}
	if wrong := wrongModes(n.dir); len(wrong) > 0 {
		t.Errorf("modes in what fleet init made: %s", strings.Join(wrong, ", "))
	}
	key := filepath.Join(n.state("edge-fra"), "identity", "node.key")
	before, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, stderr, status := call(t, "fleet", "init", "--network", n.path(), "--out", n.dir); status != 0 {
		t.Errorf("fleet init again: status %d, %q", status, stderr)
	}
	if after, err := os.ReadFile(key); err != nil || string(after) != string(before) {
		t.Errorf("fleet init again made another key (%v)", err)
	}
	n.trust(t)

	t.Cleanup(func() { noProcesses(t, n.dir) })
	gateway := start(t, program, "origin", "--name", "us", "--state", n.state("origin-us"), "--network", n.path())
	edge := start(t, program, "edge", "--name", "fra", "--state", n.state("edge-fra"), "--network", n.path())
	n.await(t, "origin-us", gateway)
	n.await(t, "edge-fra", edge)
	if got := n.via(t, "h3", "fra").must(t, "/"); got.status != http.StatusOK {
		t.Errorf("status %d", got.status)
	}
	if !edge.stdout.wait(10*time.Second, `"target":"/"`, 1) {
		t.Errorf("the access log on standard output has no line of the request:\n%s", edge.stdout)
	}
	if _, stderr, status := call(t, "edge", "--name", "iad", "--state", n.state("edge-fra"), "--network", n.path()); status != 2 || !strings.Contains(stderr, "edge-fra") {
		t.Errorf("a node with another's identity: status %d, %q", status, stderr)
	}
	for _, p := range []*process{edge, gateway} {
		p.cmd.Process.Signal(syscall.SIGTERM)
		if s := p.status(t); s != 0 {
			t.Errorf("%s ended with status %d:\n%s", p.cmd, s, p.stderr)
		}
	}

	t.Log("the edge alone: no network file, no origin")
	edge = start(t, program, "edge", "--name", "fra", "--state", n.state("edge-fra"), "--access-format", "combined")
	n.await(t, "edge-fra", edge)
	v := n.via(t, "h2", "fra")
	if got := v.must(t, "/alone"); got.status != http.StatusBadGateway || got.header.Get("Proxy-Status") == "" {
		t.Errorf("status %d with the origin down; %v", got.status, got.header)
	}
	if !edge.stdout.wait(10*time.Second, `"GET /alone HTTP/2.0" 502 `, 1) {
		t.Errorf("no line in the combined format:\n%s", edge.stdout)
	}
	if s := n.status(t, "edge-fra"); s.Hash == "" || s.State.String() != "ready" {
		t.Errorf("the status of the edge alone: %+v", s)
	}
	gateway = start(t, program, "origin", "--name", "us", "--state", n.state("origin-us"))
	n.await(t, "origin-us", gateway)
	if !until(20*time.Second, func() bool { return v.must(t, "/").status == http.StatusOK }) {
		t.Error("an edge that began without its origin does not find it")
	}
}

// await waits until a node that was started by hand is ready.
func (n *network) await(t *testing.T, node string, p *process) {
	t.Helper()
	if !until(readyTime, func() bool {
		_, _, status := call(t, "ready", "--state", n.state(node))
		return status == 0
	}) {
		t.Fatalf("%s is not ready:\n%s", node, p.stderr)
	}
}
