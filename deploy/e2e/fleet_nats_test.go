//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"hither/deploy/fleet"
)

// clusterNames are the servers of a NATS cluster, and their addresses in a network.
var clusterNames = map[string]string{"n1": "4.1", "n2": "4.2", "n3": "4.3"}

// A cluster is a network whose hub is a NATS cluster. Nodes and servers are processes that somebody started by hand.
type cluster struct {
	network
	server  string // path of nats-server
	running map[string]*process
}

// buildNATS makes the program of the NATS server that the hub has in it, at the version of go.mod, and returns where it is.
func buildNATS(t *testing.T, to string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", to, "github.com/nats-io/nats-server/v2")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return absolute(t, filepath.Join(root, to))
}

// newCluster follows deploy/fleet/hub/README.md: identities, the configuration, three servers, and then the nodes.
func newCluster(t *testing.T, net string) *cluster {
	t.Helper()
	c := &cluster{server: buildNATS(t, "bin/nats-server"), running: make(map[string]*process)}
	c.net, c.dir = net, filepath.Join(t.TempDir(), "state")
	c.write(t, setup{net: net, edit: append([]string{
		fmt.Sprintf(`hub: {urls: ["tls://%s.0.1:4222"], embedded_in: us, api: {address: "%[1]s.0.1:9190"}}`, net),
		fmt.Sprintf(`hub: {urls: ["tls://%s.4.1:4222", "tls://%[1]s.4.2:4222", "tls://%[1]s.4.3:4222"]}`, net),
		"disk: 0B", "disk: 64MiB", "rules: []", "rules: [] # none yet",
	}, soonForgotten...)})
	t.Cleanup(func() { noProcesses(t, c.dir) })
	c.must(t, "fleet", "init", "--network", c.path(), "--out", c.dir)
	for name := range clusterNames {
		c.must(t, "fleet", "add", "hub", name, "--state", c.dir)
	}
	c.configure(t)
	for name := range clusterNames {
		c.startServer(t, name)
	}
	for _, node := range members {
		c.startNode(t, node)
	}
	c.trust(t)
	c.up = c.running["origin-us"]
	return c
}

func (c *cluster) must(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, status := call(t, args...)
	if status != 0 {
		var said any = "" // what its control has to say
		if p := c.running["origin-us"]; p != nil {
			said = p.stderr
		}
		t.Fatalf("hither %s: status %d: %s%s\n%s", strings.Join(args, " "), status, stdout, stderr, said)
	}
	return stdout
}

// configure has the servers' configuration printed, and those that run read it.
func (c *cluster) configure(t *testing.T) {
	t.Helper()
	args := []string{"fleet", "nats-config", "--state", c.dir, "--identity", "identity", "--store", "jetstream"}
	for name, at := range clusterNames {
		args = append(args, "--server", name+"="+c.net+"."+at)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "nats.conf"), []byte(c.must(t, args...)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name := range clusterNames {
		p := c.running[name]
		if p == nil {
			continue
		}
		const word = "Reloaded server configuration"
		before := p.stderr.count(word)
		p.cmd.Process.Signal(syscall.SIGHUP)
		if !p.stderr.wait(endTime, word, before+1) {
			t.Fatalf("%s does not read its configuration:\n%s", name, p.stderr)
		}
	}
}

// startServer starts a server in its folder, where its identity is. One machine has all of them, so each has an address of its own.
func (c *cluster) startServer(t *testing.T, name string) {
	t.Helper()
	at := c.net + "." + clusterNames[name]
	c.running[name] = start(t, "env", "--chdir="+c.state("hub-"+name), "NATS_NAME="+name, c.server, "--config", filepath.Join(c.dir, "nats.conf"),
		"--addr", at, "--cluster_listen", "nats://"+at+":6222")
}

func (c *cluster) startNode(t *testing.T, node string) {
	t.Helper()
	role, name, _ := strings.Cut(node, "-")
	c.running[node] = start(t, program, role, "--name", name, "--state", c.state(node))
	c.await(t, node, c.running[node])
}

// kill ends a process that cannot say goodbye.
func (c *cluster) kill(t *testing.T, name string) {
	t.Helper()
	c.running[name].cmd.Process.Kill()
	c.running[name].status(t)
}

// purge forgets everything everywhere, and returns the purge's number.
func (c *cluster) purge(t *testing.T, wait bool) (id int) {
	t.Helper()
	args := []string{"purge", "all", "--state", c.dir}
	if wait {
		args = append(args, "--wait")
	}
	out := c.must(t, args...)
	if _, err := fmt.Sscanf(out, "purge %d:", &id); err != nil || wait && strings.Count(out, "done") != len(pops) {
		t.Fatalf("purge: %v\n%s", err, out)
	}
	return id
}

// stored says whether a PoP answers the page from its store.
func (n *network) stored(t *testing.T, pop string) bool {
	t.Helper()
	got := n.via(t, "h2", pop).must(t, "/")
	if got.status != 200 {
		t.Fatalf("%s: status %d", pop, got.status)
	}
	return strings.Contains(got.verdict(), "hit")
}

// same waits until the control knows of every node that it runs a revision and has heard the whole journal.
func (c *cluster) same(t *testing.T, revision int, nodes []string) {
	t.Helper()
	var last string
	if !until(endTime, func() bool {
		stdout, stderr, status := call(t, "fleet", "nodes", "--state", c.dir, "-o", "json")
		last = stdout + stderr
		return status == 0 && together(stdout, revision, nodes)
	}) {
		t.Fatalf("not all run revision %d and have the whole journal:\n%s\n%s", revision, last, c.running["origin-us"].stderr)
	}
}

// together says whether in a document of `hither fleet nodes` all nodes run a revision, and edges have heard the whole journal.
func together(text string, revision int, nodes []string) bool {
	var doc struct {
		Nodes []struct {
			Node     string `json:"node"`
			Runs     bool   `json:"runs"`
			Revision int    `json:"revision"`
			Journal  struct {
				Sequence int `json:"sequence"`
			} `json:"journal"`
		} `json:"nodes"`
	}
	if json.Unmarshal([]byte(text), &doc) != nil {
		return false
	}
	end, good := 0, 0
	for _, n := range doc.Nodes {
		end = max(end, n.Journal.Sequence)
	}
	for _, n := range doc.Nodes {
		if slices.Contains(nodes, n.Node) && n.Runs && n.Revision == revision && (n.Journal.Sequence == end || !strings.HasPrefix(n.Node, "edge-")) {
			good++
		}
	}
	return good == len(nodes)
}

// TestFleetNATS runs a fleet on a NATS cluster that is no part of it: three servers that are built from the module, with the configuration that
// the program prints. One is killed, then the control; nothing that was said is lost, and who is revoked is out.
func TestFleetNATS(t *testing.T) {
	scenario(t, "fleet-nats")
	c := newCluster(t, "127.39")
	c.hear(t, members, true, 1)
	c.stored(t, "fra")
	if !c.stored(t, "fra") {
		t.Error("the page is not stored")
	}
	first := c.purge(t, true)
	if c.stored(t, "fra") {
		t.Error("a page that was purged is stored")
	}
	t.Log("purged, with receipts")

	c.kill(t, "n1")
	if id := c.purge(t, true); id != first+1 {
		t.Errorf("purge %d after %d", id, first)
	}
	c.put(t, edited(t, c.file(t), "rules: [] # none yet", `rules: [{path: "/ruled/*", ttl: 1h}]`))
	c.must(t, "fleet", "apply", c.path(), "--yes", "--now", "--state", c.dir)
	c.hear(t, members, true, 2)
	c.must(t, "status", "--state", c.dir)
	c.same(t, 2, members)
	c.startServer(t, "n1")
	t.Log("one server was killed, and the fleet was led on")

	c.stored(t, "sin")
	c.running["edge-sin"].cmd.Process.Signal(syscall.SIGTERM)
	c.running["edge-sin"].status(t)
	c.purge(t, false)
	c.kill(t, "origin-us")
	if _, _, status := call(t, "fleet", "history", "--state", c.dir); status != 1 {
		t.Errorf("without a control: status %d", status)
	}
	c.startNode(t, "edge-sin")
	c.hear(t, []string{"edge-fra", "edge-iad", "edge-sin", "dns-ns1"}, true, 2)
	if pop := c.popOf(t, c.net+".0.1", 5300, "193.0.6.0/24"); pops[pop] == "" {
		t.Errorf("without a control DNS answers %q", pop)
	}
	t.Log("the control was killed; nodes serve and start")

	c.startNode(t, "origin-us")
	c.same(t, 2, members)
	if c.stored(t, "sin") {
		t.Error("sin answers with what was purged while it was away")
	}
	if id := c.purge(t, true); id != first+3 {
		t.Errorf("purge %d after %d", id, first+2)
	}
	if history := c.must(t, "fleet", "history", "--state", c.dir); strings.Count(history, "main") != 1 || !strings.Contains(history, "stable") {
		t.Errorf("the history afterwards:\n%s", history)
	}
	t.Log("it is back, and nothing was lost")

	c.revoked(t)
}

// revoked has a PoP's identity stolen, and replaced by another of the same name.
func (c *cluster) revoked(t *testing.T) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "stolen")
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(c.state("edge-iad"), "identity"))); err != nil {
		t.Fatal(err)
	}
	stolen, err := fleet.LoadIdentity(folder)
	if err != nil {
		t.Fatal(err)
	}
	ended, over := make(chan struct{}), new(sync.Once)
	connect := func() (*nats.Conn, error) {
		return nats.Connect("tls://"+c.net+".4.2:4222", nats.Secure(stolen.HubTLS("")), nats.NoReconnect(), nats.Timeout(endTime),
			nats.CustomInboxPrefix("_INBOX.edge.iad"), nats.ClosedHandler(func(*nats.Conn) { over.Do(func() { close(ended) }) }))
	}
	if _, err = connect(); err != nil {
		t.Fatal(err)
	}
	c.kill(t, "edge-iad")
	c.must(t, "fleet", "revoke", "edge-iad", "--state", c.dir)
	c.configure(t)
	select {
	case <-ended:
	case <-time.After(endTime):
		t.Error("a revoked identity's connection goes on")
	}
	c.must(t, "fleet", "add", "pop", "iad", "--state", c.dir)
	c.configure(t)
	if nc, err := connect(); err == nil {
		nc.Close()
		t.Error("a revoked identity was let in")
	}
	c.startNode(t, "edge-iad")
	c.hear(t, members, true, 2)
	c.must(t, "drain", "pop", "iad", "--undo", "--state", c.dir) // which nothing but an operator's word ends here
	c.purge(t, true)
	t.Log("who was revoked is out, and who has its name now is in")
}
