//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// runs waits until nodes are ready, hear the hub and run a revision.
func (n *network) runs(t *testing.T, revision int, nodes ...string) {
	t.Helper()
	for _, node := range nodes {
		var last string
		if !until(30*time.Second, func() bool {
			connected, now, err := n.hears(t, node)
			last = fmt.Sprintf("hub %t, revision %d, %v", connected, now, err)
			return err == nil && connected && now == revision
		}) {
			t.Fatalf("%s: %s, and should run revision %d", node, last, revision)
		}
	}
}

// fleet calls the program for this network, and wants its status and words in what it writes.
func (n *network) fleet(t *testing.T, status int, words []string, args ...string) string {
	t.Helper()
	stdout, stderr, got := call(t, append(args, "--state", n.dir)...)
	if got != status {
		t.Errorf("hither %q: status %d, not %d:\n%s%s", args, got, status, stdout, stderr)
	}
	for _, w := range words {
		if !strings.Contains(stdout+stderr, w) {
			t.Errorf("hither %q does not say %q:\n%s%s", args, w, stdout, stderr)
		}
	}
	return stdout
}

// revised writes a network file beside that of the network.
func (n *network) revised(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(n.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// strays lists failures of others than the canary. Request k goes to the canary where k is even.
func strays(failed []failure) (wrong []string) {
	for _, f := range failed {
		if f.k%2 != 0 {
			wrong = append(wrong, fmt.Sprintf("request %d: %v", f.k, f.err))
		}
	}
	return wrong
}

// TestFleetApply leads revisions to nodes that were started by hand: one without traffic, that has a new PoP in it, and a bad one under load.
func TestFleetApply(t *testing.T) {
	scenario(t, "fleet-apply")
	well := newInstance(t, "well", "127.35.0.9:0", manner{status: http.StatusOK})
	broken := newInstance(t, "broken", "127.35.0.9:0", manner{status: http.StatusInternalServerError})
	n := &network{net: "127.35", dir: filepath.Join(t.TempDir(), "state")}
	t.Cleanup(func() { noProcesses(t, n.dir) })
	n.write(t, setup{net: n.net, origin: well.url, edit: append([]string{"\nsites:\n", fmt.Sprintf(`
  - name: bad
    place: {lat: 39.04, lon: -77.49}
    gateway: {addresses: ["127.35.0.2:9443"], metrics: "127.35.0.2:9182"}
    app: {instances: [{url: %q}]}

sites:
`, broken.url)}, soonForgotten...)})
	if _, stderr, status := call(t, "fleet", "init", "--network", n.path(), "--out", n.dir); status != 0 {
		t.Fatalf("fleet init: status %d, %q", status, stderr)
	}
	n.trust(t)
	nodes := []string{"origin-us", "origin-bad", "edge-fra", "edge-iad", "dns-ns1"} // edge-sin stays away
	byHand := map[string]*process{}
	begin := func(node string) {
		role, name, _ := strings.Cut(node, "-")
		byHand[node] = start(t, program, role, "--name", name, "--state", n.state(node))
	}
	for _, node := range nodes {
		begin(node)
	}
	for _, node := range nodes {
		n.await(t, node, byHand[node])
	}
	n.runs(t, 1, nodes...)

	bundle := filepath.Join(n.dir, "syd.tar")
	n.fleet(t, 0, []string{"- name: syd", "hither fleet apply FILE"}, "fleet", "add", "pop", "syd", "--out", bundle)
	if err := os.MkdirAll(n.state("edge-syd"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "tar", "-xf", bundle, "-C", n.state("edge-syd")).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	begin("edge-syd")
	two := edited(t, n.file(t), "\norigins:", `
  - name: syd
    place: {lat: -33.87, lon: 151.21, city: Sydney}
    addresses: [127.35.1.4]

origins:`)
	n.fleet(t, 1, []string{"lat: -333.87 is out of range"}, "fleet", "apply", n.revised(t, "wrong.yaml", edited(t, two, "{lat: -33.87, lon: 151.21", "{lat: -333.87, lon: 151.21")))
	n.fleet(t, 2, []string{`no PoP "nowhere"`}, "fleet", "apply", n.revised(t, "two.yaml", two), "--canary", "nowhere", "--yes")
	apply := start(t, program, "fleet", "apply", filepath.Join(n.dir, "two.yaml"), "--canary", "fra", "--window", "1s", "--note", "with Sydney", "--yes", "--state", n.dir)
	if !apply.stdout.wait(30*time.Second, "too few requests come to tell", 1) {
		t.Fatalf("a canary without traffic:\n%s%s", apply.stdout, apply.stderr)
	}
	n.runs(t, 2, "edge-fra")
	n.runs(t, 1, "edge-iad", "dns-ns1")
	if _, _, status := call(t, "ready", "--state", n.state("edge-syd")); status != 1 {
		t.Errorf("a PoP that nothing names yet: ready ends with %d", status)
	}
	n.fleet(t, 1, []string{"revision 2 of main is being tried at edge-fra"}, "fleet", "rollback", "1")
	n.fleet(t, 0, []string{"revision 2: stable: promoted by main", "away, to take it when they are back: edge-sin"}, "fleet", "promote")
	if status := apply.status(t); status != 0 {
		t.Errorf("apply ended with %d:\n%s%s", status, apply.stdout, apply.stderr)
	}
	nodes = append(nodes, "edge-syd")
	n.await(t, "edge-syd", byHand["edge-syd"])
	n.runs(t, 2, nodes...)
	syd := n.via(t, "h2", "fra")
	syd.edges = []string{n.at("1.4", 8443)}
	if err := isLine("/new", syd.must(t, "/new")); err != nil {
		t.Errorf("the new PoP: %v", err)
	}
	t.Log("one without traffic waits for a word, and brings a new PoP")

	visitors := []*visitor{n.via(t, "h2", "fra"), n.via(t, "h2", "iad")}
	load := &traffic{rate: 100, most: 100, ask: func(ctx context.Context, k int) error {
		path := fmt.Sprintf("/%d", k)
		got, err := visitors[k%2].get(ctx, path)
		if err == nil {
			err = isLine(path, got)
		}
		return err
	}}
	load.begin(t)
	load.further(t, 100)
	three := n.revised(t, "three.yaml", edited(t, two, "\n    origin: us\n", "\n    origin: bad\n"))
	n.fleet(t, 1, []string{"-    origin: us\n+    origin: bad\n", "revision 3: edge-fra is to take it", "revision 3: rolled back: edge-fra answered", "revision 3 is not in force; revision 2 is"},
		"fleet", "apply", three, "--canary", "fra", "--requests", "50", "--yes")
	n.runs(t, 2, nodes...)
	bad := int(load.sent.Load())
	if wrong := strays(load.failures(0, bad)); len(wrong) > 0 {
		t.Errorf("%d requests failed at a PoP that was never to run the bad revision: %s", len(wrong), wrong[0])
	}
	if len(load.failures(0, bad)) == 0 || broken.requests.Load() == 0 {
		t.Error("the bad revision did no harm to its canary")
	}
	t.Logf("a bad one goes back by itself: of %d requests %d failed, all at the canary", bad, len(load.failures(0, bad)))

	n.fleet(t, 0, []string{"3         rolled back", "2         stable", "1         replaced", "with Sydney", "3: edge-fra answered"}, "fleet", "history")
	n.fleet(t, 0, []string{"--- revision 2\n+++ revision 3\n", "+    origin: bad\n"}, "fleet", "diff", "2", "3")
	n.fleet(t, 0, []string{"revision 4: stable", "not named by it, to be ended: edge-syd"}, "fleet", "rollback", "1", "--note", "without Sydney")
	n.runs(t, 4, nodes[:len(nodes)-1]...)
	load.further(t, 50)
	load.end()
	for _, f := range load.failures(bad, int(load.sent.Load())) {
		t.Errorf("request %d failed, and no bad revision is there: %v", f.k, f.err)
	}
	// A PoP that never came is down when the control has listened for as long as a node may need to come back to its hub.
	if !until(40*time.Second, func() bool {
		out, _, _ := call(t, "fleet", "nodes", "--state", n.dir)
		return !strings.Contains(out, "edge-sin    unknown")
	}) {
		t.Error("edge-sin was never started, and is not known to be down")
	}
	n.fleet(t, 0, []string{"edge-syd: the network file in use does not name it", "edge-sin    down"}, "fleet", "nodes")
	n.fleet(t, 0, []string{"edge-sin    down", "edge-fra    ready"}, "status")
	t.Log("and back to the first")
	for _, p := range byHand {
		p.cmd.Process.Kill() // nobody is to wait for their drains
	}
}

// plantStrays shows the check of a roll-out a failure that is not the canary's.
func plantStrays(t *testing.T) {
	canary := failure{k: 4, err: fmt.Errorf("status 500")}
	if wrong := strays([]failure{canary}); len(wrong) > 0 {
		t.Errorf("a failure at the canary: %q", wrong)
	}
	if wrong := strays([]failure{canary, {k: 7, err: fmt.Errorf("status 500")}}); len(wrong) != 1 {
		t.Errorf("a failure elsewhere: %q", wrong)
	}
}
