//go:build e2e

package e2e_test

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// An arrival is a client that asks DNS and connects at once to what it is told.
type arrival struct {
	pop     string
	refused error
}

// turnedAway says what is wrong with visits while an edge goes: one that was refused, an answer from a third place or from
// the edge again after another, or none from the one that takes over.
func turnedAway(visits []arrival, from, to string) error {
	var steps []step
	for i, v := range visits {
		if v.refused != nil {
			return fmt.Errorf("visit %d of %d was sent to %s and refused: %v", i, len(visits), v.pop, v.refused)
		}
		steps = append(steps, step{pop: v.pop})
	}
	return strayed(steps, from, to, 0)
}

// TestDNSDrain drains an edge while clients come one after the other. DNS hears of it before the edge refuses anybody.
func TestDNSDrain(t *testing.T) {
	scenario(t, "dns-drain")
	n := run(t, setup{net: "127.68", edit: soonForgotten})
	const client = "193.0.6.0/24"
	var visits []arrival
	come := func() {
		v := arrival{pop: n.popOf(t, n.nameServer(), dnsPort, client)}
		if conn, err := net.DialTimeout("tcp", n.edge(v.pop), 5*time.Second); err != nil {
			v.refused = err
		} else {
			conn.Close()
		}
		visits = append(visits, v)
	}
	for range 20 {
		come()
	}
	if out, stderr, status := call(t, "drain", "edge-fra", "--state", n.dir); status != 0 {
		t.Fatalf("drain: status %d, %s%s", status, out, stderr)
	}
	told, struck := 0, ""
	if !until(endTime, func() bool {
		come()
		if now := n.explain(t, client, "A").struck("fra"); now != "" && struck == "" {
			struck, told = now, len(visits)
		}
		return n.up.stderr.count("edge-fra ended (exit status 0)") > 0
	}) {
		t.Fatalf("edge-fra has not ended:\n%s", n.up.stderr)
	}
	for range 20 {
		come()
	}
	if struck != "draining" {
		t.Errorf("the edge was struck out as %q", struck)
	}
	if err := turnedAway(visits, "fra", "iad"); err != nil {
		t.Error(err)
	}
	t.Logf("%d visits, DNS had been told after %d", len(visits), told)

	t.Log("the checker, held to a fault")
	for name, bad := range map[string][]arrival{
		"a visit refused": {{"fra", nil}, {"fra", net.ErrClosed}, {"iad", nil}},
		"back again":      {{"fra", nil}, {"iad", nil}, {"fra", nil}},
		"never told":      {{"fra", nil}, {"fra", nil}},
	} {
		if turnedAway(bad, "fra", "iad") == nil {
			t.Errorf("%s: not seen", name)
		}
	}
}
