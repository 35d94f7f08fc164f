package control_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
	"hither/deploy/ops"
)

// problems is what the fleet's status says is wrong with a node.
func (s *stage) problems(node string) []string {
	s.t.Helper()
	var doc ops.Status
	if fault, status := s.request("status", nil, &doc); status != http.StatusOK {
		s.t.Fatal(fault)
	}
	i := slices.IndexFunc(doc.Nodes, func(n ops.NodeStatus) bool { return n.Node == node })
	if i < 0 {
		s.t.Fatalf("no node %s", node)
	}
	return doc.Nodes[i].Problems
}

// A node that goes on with something else than its target is told of, when it had the time.
func TestAstray(t *testing.T) {
	s := newStage(t)
	s.all()
	a := s.actor("edge-iad")
	a.dead = true // it neither follows nor reports by itself
	s.apply(stageFile("two"), control.How{Now: true})
	again := func(wait time.Duration) {
		t.Helper()
		s.pass(wait)
		if err := a.conn.Publish(bus.UpSubject("edge", "iad", bus.UpReport), bus.Encode(a.r)); err != nil {
			t.Fatal(err)
		}
		until(t, "it is heard", func() bool {
			var doc control.NodesDoc
			s.request("nodes", nil, &doc)
			i := slices.IndexFunc(doc.Nodes, func(n control.NodeLine) bool { return n.Node == "edge-iad" })
			return i >= 0 && doc.Nodes[i].Seen.Equal(s.now().UTC())
		})
	}
	wants := func(want ...string) {
		t.Helper()
		if got := s.problems("edge-iad"); !slices.Equal(got, want) {
			t.Errorf("its problems are %q, not %q", got, want)
		}
	}
	again(2 * time.Second)
	wants()
	for range 50 {
		again(2 * time.Second)
	}
	wants("it runs revision 1, and is to run revision 2")
	if got := s.problems("edge-fra"); len(got) != 0 {
		t.Errorf("another has %q", got)
	}
	a.r.Revision, a.r.Hash = 0, bus.HashOf([]byte("its own"))
	again(2 * time.Second)
	wants()
	for range 8 {
		again(2 * time.Second)
	}
	wants("it runs a network file without a number, and is to run revision 2")
	a.r.Refused, a.r.Why = 2, "no room"
	again(2 * time.Second)
	wants("it refused revision 2: no room")
	a.r.Refused, a.r.Why, a.r.Revision, a.r.Hash = 0, "", 2, bus.HashOf(stageFile("two"))
	again(2 * time.Second)
	wants()
}
