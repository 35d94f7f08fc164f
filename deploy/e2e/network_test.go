//go:build e2e

package e2e_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/ops"
)

// host is the site's name in every network here.
const host = "www.hither.test"

// A setup says which network a scenario wants.
type setup struct {
	net    string           // 127.N, a /16 for this scenario alone
	site   string           // folder to serve
	origin string           // URL to stand in front of
	edit   []string         // pairs of a text in the network file and what it becomes
	flags  []string         // further ones for `up`
	before func(n *network) // called before it is started, with its file in its folder
}

// A network is a running `hither up`.
type network struct {
	net, dir string
	up       *process
	roots    *x509.CertPool
}

// readyLine is the last that `up` writes before it waits.
const readyLine = "\nready\n"

// readyTime bounds the start of a network.
const readyTime = 60 * time.Second

// soonForgotten are the edits by which resolvers forget an edge that drains within a second, which waits for that.
var soonForgotten = []string{"ttl: 30s", "ttl: 1s"}

// run starts a network and waits until it is ready. It ends with the test, which fails
// if a process is left.
func run(t *testing.T, s setup) *network {
	t.Helper()
	n := &network{net: s.net, dir: filepath.Join(t.TempDir(), "state")}
	args := append([]string{"up", "--state", n.dir}, s.flags...)
	if s.edit == nil {
		args = append(args, "--net", s.net)
		if s.site != "" {
			args = append(args, "--site", s.site)
		}
		if s.origin != "" {
			args = append(args, "--origin", s.origin)
		}
	} else {
		n.write(t, s)
	}
	t.Cleanup(func() {
		noProcesses(t, n.dir)
		n.noCrashes(t)
	})
	if s.before != nil {
		s.before(n)
	}
	n.up = start(t, program, args...)
	if !n.up.stdout.wait(readyTime, readyLine, 1) {
		t.Fatalf("%s is not ready; it wrote:\n%s%s", n.up.cmd, n.up.stdout, n.up.stderr)
	}
	n.trust(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the network's errors:\n%s", n.up.stderr)
		}
	})
	return n
}

// noCrashes fails the test if a node's log has a panic.
func (n *network) noCrashes(t *testing.T) {
	t.Helper()
	logs, _ := filepath.Glob(filepath.Join(n.dir, "nodes", "*", "node.log"))
	if len(logs) == 0 {
		t.Errorf("the nodes of %s have no logs", n.dir)
	}
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Error(err)
		}
		for _, line := range crashes(string(text)) {
			t.Errorf("%s: %s", log, line)
		}
	}
}

// trust lets visitors believe what the network's site authority signs.
func (n *network) trust(t *testing.T) {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(n.dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	n.roots = x509.NewCertPool()
	if !n.roots.AppendCertsFromPEM(pem) {
		t.Fatalf("no certificate in %s", pem)
	}
}

// write writes the network file before the first start, as a user does who has edited it.
func (n *network) write(t *testing.T, s setup) {
	t.Helper()
	data, err := deploy.Local(deploy.LocalOptions{Net: s.net, Site: s.site, Origin: s.origin})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	n.put(t, edited(t, string(data), s.edit...))
}

// edited replaces texts of a network file, each of which must be there once.
func edited(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if strings.Count(text, pairs[i]) != 1 {
			t.Fatalf("%q is %d times in the network file, not once", pairs[i], strings.Count(text, pairs[i]))
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

// file returns the network file.
func (n *network) file(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(n.path())
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (n *network) put(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(n.path(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (n *network) path() string { return filepath.Join(n.dir, "network.yaml") }

// at is an address of the network: n.at("1.1", 8443).
func (n *network) at(rest string, port int) string {
	return net.JoinHostPort(n.net+"."+rest, fmt.Sprint(port))
}

// pops are the last halves of the PoPs' addresses.
var pops = map[string]string{"fra": "1.1", "iad": "1.2", "sin": "1.3"}

// edge is where a PoP listens for HTTPS and HTTP/3.
func (n *network) edge(pop string) string { return n.at(pops[pop], 8443) }

// page is the address of a node's metrics and health.
func (n *network) page(node string) string {
	if pop, ok := strings.CutPrefix(node, "edge-"); ok {
		return n.at(pops[pop], 9180)
	}
	if strings.HasPrefix(node, "dns-") {
		return n.at("0.1", 9181)
	}
	return n.at("0.1", 9182)
}

// state is a node's state folder.
func (n *network) state(node string) string { return filepath.Join(n.dir, "nodes", node) }

// An upFile is DIR/up.json.
type upFile struct {
	Schema string `json:"schema"`
	PID    int    `json:"pid"`
	Nodes  []struct {
		Node      string   `json:"node"`
		Role      string   `json:"role"`
		Name      string   `json:"name"`
		PID       int      `json:"pid"`
		Addresses []string `json:"addresses"`
		Socket    string   `json:"socket"`
	} `json:"nodes"`
}

func (n *network) upFile(t *testing.T) (f upFile) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(n.dir, "up.json"))
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// pid is the process of a node.
func (n *network) pid(t *testing.T, node string) int {
	t.Helper()
	for _, o := range n.upFile(t).Nodes {
		if o.Node == node && o.PID > 0 {
			return o.PID
		}
	}
	t.Fatalf("up.json has no process of %s", node)
	return 0
}

// signal sends a signal to a node.
func (n *network) signal(t *testing.T, node string, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(n.pid(t, node), s); err != nil {
		t.Fatal(err)
	}
}

// status asks a node's socket how it is.
func (n *network) status(t *testing.T, node string) ops.NodeStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var s ops.Status
	if err := ops.Dial(n.state(node)).Get(ctx, "/v1/status", &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Nodes) != 1 {
		t.Fatalf("the socket of %s tells of %d nodes", node, len(s.Nodes))
	}
	return s.Nodes[0]
}

// reload sends SIGHUP to `up` and waits for its word on it.
func (n *network) reload(t *testing.T, word string) {
	t.Helper()
	before := n.up.stderr.count(word)
	if err := n.up.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if !n.up.stderr.wait(30*time.Second, word, before+1) {
		t.Fatalf("no line %q after SIGHUP:\n%s", word, n.up.stderr)
	}
}
