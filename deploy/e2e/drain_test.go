//go:build e2e

package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// clients of each protocol that are busy while a node is told something.
const clients = 50

// TestReload tells a busy network to read its file again: the same file, a changed one,
// and a bad one. No request is lost, and no client needs a second connection.
func TestReload(t *testing.T) {
	scenario(t, "reload")
	a := newApp(t, "127.26")
	n := run(t, setup{net: "127.26", origin: a.url, edit: []string{"rules: []", "rules: [] # none yet"}})
	c := n.crowdOf(t, a, clients, "fra")
	c.begin(t)
	revision := n.status(t, "edge-fra").Revision

	for range 5 {
		n.reload(t, "network file read again")
		c.further(t, 2)
	}
	t.Log("the unchanged file was read")

	good := n.file(t)
	n.put(t, edited(t, good, "rules: [] # none yet", `rules: [{path: "/once/ruled/*", ttl: 1h}]`))
	n.reload(t, "network file read again")
	ruled := func() string {
		v := n.via(t, "h2", "fra")
		v.must(t, "/once/ruled/1")
		return v.must(t, "/once/ruled/1").verdict()
	}
	// `up` passes the signal on and does not wait for each node's word.
	if !until(10*time.Second, func() bool { return strings.Contains(ruled(), "hit") }) {
		t.Errorf("the new rule has no effect: Cache-Status: %s", ruled())
	}
	// It has a number when the fleet has given it one.
	if !until(10*time.Second, func() bool { return n.status(t, "edge-fra").Revision > revision }) {
		t.Errorf("the changed file is revision %d after %d", n.status(t, "edge-fra").Revision, revision)
	}
	c.further(t, 2)
	t.Log("a changed file was taken")

	now := n.file(t)
	n.put(t, strings.Replace(now, "origin: us", "origin: nowhere", 1))
	n.reload(t, "the network file was not taken, the old one stays")
	if said := n.up.stderr.String(); !strings.Contains(said, "nowhere") || strings.Count(said, "network.yaml:") != 1 {
		t.Errorf("up does not say what is wrong with the file, once:\n%s", said)
	}
	c.further(t, 2)
	for _, node := range []string{"edge-fra", "edge-iad", "edge-sin", "origin-us", "dns-ns1"} {
		var refused string
		if !until(10*time.Second, func() bool {
			s := n.status(t, node)
			if s.Refused != nil {
				refused = *s.Refused
			}
			return s.Refused != nil && len(s.Problems) > 0
		}) || !strings.Contains(refused, "nowhere") {
			t.Errorf("the status of %s does not say that the file was refused, and why: %q", node, refused)
		}
	}
	var out string
	if !until(10*time.Second, func() bool { // the fleet's view is of the nodes' last reports
		out, _, _ = call(t, "status", "--state", n.dir, "-o", "json")
		return json.Valid([]byte(out)) && strings.Count(out, "nowhere") >= 4
	}) {
		t.Errorf("hither status does not show four refusals:\n%s", out)
	}
	if v := ruled(); !strings.Contains(v, "hit") {
		t.Errorf("the old file does not stay: Cache-Status: %s", v)
	}
	n.put(t, now)
	n.reload(t, "network file read again")
	if !until(10*time.Second, func() bool { return n.status(t, "edge-fra").Refused == nil }) {
		t.Error("the status still shows a refusal after a good file")
	}
	c.further(t, 2)
	t.Log("a bad file was refused")

	c.end()
	c.report(t, 0)
	for i, v := range c.visitors {
		if d := v.dials.Load(); d != 1 {
			t.Errorf("client %d (%s) needed %d connections", i, v.proto, d)
		}
	}
}

// TestDrain ends one edge under load. What it has accepted it answers, its clients go
// to the next, and it ends with status 0.
func TestDrain(t *testing.T) {
	scenario(t, "drain")
	a := newApp(t, "127.27")
	n := run(t, setup{net: "127.27", origin: a.url, edit: soonForgotten})
	c := n.crowdOf(t, a, clients, "fra", "iad")
	var some []*visitor
	for i := range 3 * len(protocols) {
		some = append(some, n.visitor(t, visit{proto: protocols[i%len(protocols)], pops: []string{"fra"}}))
	}
	waiting := c.hold(t, some)
	c.begin(t)
	c.further(t, 2)
	elsewhere := n.meter(t, "edge-iad", "hither_edge_requests_total")

	n.signal(t, "edge-fra", syscall.SIGTERM)
	if !until(10*time.Second, func() bool {
		status, _, err := fetch(n.page("edge-fra"), "/ready")
		return err == nil && status == http.StatusServiceUnavailable
	}) {
		t.Error("a draining node says that it is ready")
	}
	if s := n.status(t, "edge-fra").State.String(); s != "draining" {
		t.Errorf("the state of a draining node is %q", s)
	}
	// Clients may still come for as long as DNS or a resolver may send them; then, when the promise is over, the sockets are closed,
	// and only what was accepted is left.
	if !until(endTime, func() bool { return !listens(n.edge("fra")) }) {
		t.Error("a draining node accepts connections for ever")
	}
	if n.up.stderr.count("edge-fra ended") > 0 {
		t.Error("the node ended with requests under way")
	}
	a.release()
	for _, h := range waiting {
		if err := h.finish(); err != nil {
			c.lost.add("%s: %v", h.v.proto, err)
		}
	}
	if !n.up.stderr.wait(endTime, "edge-fra ended (exit status 0)", 1) {
		t.Errorf("the drained node did not end with status 0:\n%s", n.up.stderr)
	}
	c.further(t, 3)
	c.end()
	c.report(t, 0)
	for i, v := range c.visitors {
		if v.moved.Load() != 1 {
			t.Errorf("client %d (%s) has not gone to the other edge", i, v.proto)
		}
	}
	if g := elsewhere.grown(t); g == 0 {
		t.Error("the other edge counted no request")
	}
	if out, _, status := call(t, "ready", "--state", n.dir); status != 1 {
		t.Errorf("hither ready: status %d with a node down: %s", status, out)
	}
}

// TestStop ends the whole network under load, as Ctrl-C does: what was accepted is
// answered, and `up` ends with status 0.
func TestStop(t *testing.T) {
	scenario(t, "stop")
	a := newApp(t, "127.28")
	n := run(t, setup{net: "127.28", origin: a.url})
	c := n.crowdOf(t, a, 10, "fra")
	c.begin(t)
	c.further(t, 2)
	n.up.cmd.Process.Signal(syscall.SIGINT)
	if s := n.up.status(t); s != 0 {
		t.Errorf("up ended with status %d:\n%s", s, n.up.stderr)
	}
	c.wg.Wait()
	c.report(t, len(c.visitors))
	noProcesses(t, n.dir)
}
