//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// moveTime bounds how long a change of health takes to reach clients.
const moveTime = 30 * time.Second

// A step is an answer, and how many probes with one outcome were counted just after it.
type step struct {
	pop    string
	probes int64
}

// strayed says what is wrong with the answers while clients move from one PoP to
// another, which they may not before so many probes.
func strayed(steps []step, from, to string, probes int64) error {
	moved := false
	for i, s := range steps {
		switch {
		case s.pop != from && s.pop != to:
			return fmt.Errorf("answer %d is %q, neither %s nor %s", i, s.pop, from, to)
		case s.pop == to && s.probes < probes:
			return fmt.Errorf("answer %d is %s after %d probes, before %d", i, to, s.probes, probes)
		case s.pop == from && moved:
			return fmt.Errorf("answer %d is %s again", i, from)
		}
		moved = moved || s.pop == to
	}
	if !moved {
		return fmt.Errorf("none of %d answers is %s", len(steps), to)
	}
	return nil
}

// moves asks until the answers of a client come from another PoP, and for some more.
// counted tells of the outcomes that should have moved it.
func (n *network) moves(t *testing.T, client, from, to string, counted func() int64, probes int64) {
	t.Helper()
	var steps []step
	after := 0
	until(moveTime, func() bool {
		pop := n.popOf(t, n.nameServer(), dnsPort, client)
		steps = append(steps, step{pop, counted()})
		if pop == to {
			after++
		}
		return after == 20
	})
	if err := strayed(steps, from, to, probes); err != nil {
		t.Errorf("clients in %s: %v", client, err)
	}
}

// popOf is the PoP whose address a client is answered with.
func (n *network) popOf(t *testing.T, server string, port int, client string) string {
	t.Helper()
	h := askersOf(t, server, port)[0].ask(t, "+subnet="+client, host, "A")
	for pop, rest := range pops {
		if len(h.records) == 1 && strings.HasSuffix(h.records[0], " "+n.net+"."+rest) {
			return pop
		}
	}
	return fmt.Sprint(h.status, h.records)
}

// TestDNSFailover kills edges, and asks whom their clients get: from our server and
// through a resolver which keeps answers for as long as it may.
func TestDNSFailover(t *testing.T) {
	scenario(t, "dns-failover")
	const client = "193.0.6.0/24"
	n := run(t, setup{net: "127.71", edit: []string{
		"ttl: 30s", "ttl: 1s", // for the resolver
		"{interval: 2s, timeout: 1s, fall: 3, rise: 2}", "{interval: 600ms, timeout: 600ms, fall: 3, rise: 2}",
	}})
	resolver := n.unbound(t)
	through := func(want string) {
		t.Helper()
		got := ""
		if !until(moveTime, func() bool { got = n.popOf(t, resolver, 53, client); return got == want }) {
			t.Errorf("through unbound clients in %s get %s, not %s", client, got, want)
		}
	}
	up := func() (now []string) {
		c := n.counters(t, "dns-ns1")
		for pop := range pops {
			if c.sum("hither_pop_up", "pop", pop) == 1 {
				now = append(now, pop)
			}
		}
		slices.Sort(now)
		return now
	}
	var order []string
	for _, c := range n.explain(t, client, "A").Candidates {
		order = append(order, c.PoP)
	}
	if !slices.Equal(order, []string{"fra", "iad", "sin"}) || !slices.Equal(up(), order) {
		t.Fatalf("clients in %s have the order %v; %v are up", client, order, up())
	}
	through("fra")

	t.Log("the nearest is killed")
	n.signal(t, "edge-fra", syscall.SIGKILL)
	n.moves(t, client, "fra", "iad", func() int64 {
		return n.counters(t, "dns-ns1").sum("hither_dns_probes_total", "pop", "fra", "result", "failed")
	}, 3)
	through("iad")
	if x := n.explain(t, client, "A"); x.struck("fra") != "down" || x.struck("iad") != "" || !slices.Equal(x.Answer.PoPs, []string{"iad"}) {
		t.Errorf("explain: %+v", x)
	}
	if now := up(); !slices.Equal(now, []string{"iad", "sin"}) {
		t.Errorf("hither_pop_up is 1 for %v", now)
	}
	if got := n.popOf(t, n.nameServer(), dnsPort, "165.21.83.0/24"); got != "sin" {
		t.Errorf("clients in Singapore get %s", got)
	}

	t.Log("started again")
	passed := n.meter(t, "dns-ns1", "hither_dns_probes_total", "pop", "fra", "result", "passed")
	edge := start(t, program, "edge", "--name", "fra", "--state", n.state("edge-fra"), "--network", n.path(), "--access-log", "")
	n.moves(t, client, "iad", "fra", func() int64 { return passed.grown(t) }, 2)
	through("fra")
	if x := n.explain(t, client, "A"); x.struck("fra") != "" {
		t.Errorf("explain: %+v", x)
	}

	t.Log("all are killed: everybody gets the PoP that would be best")
	edge.cmd.Process.Kill()
	n.signal(t, "edge-iad", syscall.SIGKILL)
	n.signal(t, "edge-sin", syscall.SIGKILL)
	if !until(moveTime, func() bool { return len(up()) == 0 }) {
		t.Fatalf("%v count as up", up())
	}
	allDown := n.meter(t, "dns-ns1", "hither_dns_all_down_total")
	for _, l := range []land{{client, "fra"}, {"199.43.0.0/24", "iad"}, {"165.21.83.0/24", "sin"}} {
		if got := n.popOf(t, n.nameServer(), dnsPort, l.client); got != l.pop {
			t.Errorf("clients in %s get %s, not %s", l.client, got, l.pop)
		}
		if x := n.explain(t, l.client, "A"); !x.Answer.AllDown || !slices.Equal(x.Answer.PoPs, []string{l.pop}) {
			t.Errorf("explain: %+v", x)
		}
	}
	allDown.expect(t, 3)
	through("fra")
}
