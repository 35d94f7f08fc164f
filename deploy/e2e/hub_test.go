//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hither/deploy/ops"
)

// members are the nodes of a network of this program's own.
var members = []string{"origin-us", "edge-fra", "edge-iad", "edge-sin", "dns-ns1"}

// hears says whether a node's hub answers, and which revision the node runs.
func (n *network) hears(t *testing.T, node string) (connected bool, revision int, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var s ops.Status
	err = ops.Dial(n.state(node)).Get(ctx, "/v1/status", &s)
	return s.Hub.Connected, s.Revision, err
}

// hear waits until all nodes hear the hub, or none does, and run a revision; 0 = any.
func (n *network) hear(t *testing.T, nodes []string, connected bool, revision int) {
	t.Helper()
	for _, node := range nodes {
		var last string
		if !until(40*time.Second, func() bool {
			c, r, err := n.hears(t, node)
			last = fmt.Sprintf("hub %t, revision %d, %v", c, r, err)
			return err == nil && c == connected && (revision == 0 || r == revision)
		}) {
			t.Fatalf("%s: %s; wanted hub %t, revision %d\n%s", node, last, connected, revision, n.up.stderr)
		}
	}
}

// TestFleetHub takes the hub away, with the origin that has it, and brings it back: edges and DNS servers serve on and start meanwhile, and hear of
// what came in between.
func TestFleetHub(t *testing.T) {
	scenario(t, "fleet-hub")
	n := run(t, setup{net: "127.31", edit: []string{"rules: []", "rules: [] # none yet"}})
	n.hear(t, members, true, 1)
	v := n.via(t, "h2", "fra")
	v.must(t, "/")
	t.Log("all are members, and run revision 1")

	n.signal(t, "origin-us", syscall.SIGKILL)
	others := slices.DeleteFunc(slices.Clone(members), func(m string) bool { return m == "origin-us" })
	n.hear(t, others, false, 1)
	if got := v.must(t, "/"); got.status != http.StatusOK || !strings.Contains(got.verdict(), "hit") {
		t.Errorf("without a hub: status %d, %s", got.status, got.verdict())
	}
	if pop := n.popOf(t, n.net+".0.1", 5300, "193.0.6.0/24"); pop != "fra" {
		t.Errorf("without a hub DNS answers %q", pop)
	}
	t.Log("the hub was killed, and they serve on")

	for _, node := range []string{"edge-fra", "dns-ns1"} {
		n.signal(t, node, syscall.SIGKILL)
		if !n.up.stderr.wait(endTime, node+" ended", 1) {
			t.Fatalf("%s was killed and runs:\n%s", node, n.up.stderr)
		}
		role, name, _ := strings.Cut(node, "-")
		n.await(t, node, start(t, program, role, "--name", name, "--state", n.state(node)))
	}
	n.hear(t, others, false, 1)
	if got := n.via(t, "h2", "fra").must(t, "/"); got.status != http.StatusBadGateway {
		t.Errorf("an edge that began without hub and origin: status %d", got.status)
	}
	if pop := n.popOf(t, n.net+".0.1", 5300, "193.0.6.0/24"); pops[pop] == "" {
		t.Errorf("a DNS server that began without a hub answers %q", pop)
	}
	t.Log("they start from their folders alone")

	n.await(t, "origin-us", start(t, program, "origin", "--name", "us", "--state", n.state("origin-us")))
	n.hear(t, members, true, 1)
	t.Log("the hub is back, and all are members again")

	n.put(t, edited(t, n.file(t), "rules: [] # none yet", `rules: [{path: "/ruled/*", ttl: 1h}]`))
	n.reload(t, "network file read again")
	n.hear(t, members, true, 2)
	t.Log("a changed file reaches those that have none of their own too")
}
