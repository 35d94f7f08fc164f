package server

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"hither/deploy/fleet/bus"
)

// A probe measures the connection, and what it measured of this server's own network stands against the PoP's word.
func TestProbesAgainstWords(t *testing.T) {
	s, now := clocked(t, localFile(t))
	var at target
	for _, x := range s.world.Load().targets {
		if x.pop == "fra" {
			at = x
		}
	}
	own, _ := s.world.Load().network.Server("ns1").Addresses[0].Prefix(24)
	client := netip.MustParsePrefix(newYork)
	say := func(p netip.Prefix, ms float64) {
		*now = now.Add(time.Second)
		s.toldRTT("fra", []bus.PrefixRTT{{Prefix: p, MS: ms, Samples: 50}})
		s.tick()
	}
	iad := func() { // it is slow, and fra better
		s.toldRTT("iad", []bus.PrefixRTT{{Prefix: client, MS: 101, Samples: 50}})
	}
	iad()
	say(client, 60)
	if answer, _ := candidates(t, s, newYork); answer[0] != "fra" {
		t.Fatalf("answered %v", answer)
	}
	for range 8 {
		s.connected(at, 90*time.Millisecond)
	}
	say(own, 50)
	if s.told.times.Standing(0, *now).Aside {
		t.Error("50 ms against 90 is no lie")
	}
	say(own, 40)
	if answer, all := candidates(t, s, newYork); answer[0] != "iad" || all["fra"].RTTUnused != "its word is set aside" {
		t.Errorf("answered %v, %+v", answer, all["fra"])
	}
	if p := strings.Join(s.Status().Nodes[0].Problems, "\n"); !strings.Contains(p, "PoP fra claims to be much nearer") {
		t.Errorf("the status says %q", p)
	}
	metrics := dnsMetrics(s)
	for _, want := range []string{`hither_dns_moves_total{node="dns-ns1",pop="iad",reason="aside"} 1`, `hither_dns_rtt_total{node="dns-ns1",pop="fra",result="aside"} 1`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s", want)
		}
	}
	// Another network file keeps what is known, and what is known of liars.
	n := *s.world.Load().network
	n.PoPs = append(n.PoPs[1:len(n.PoPs):len(n.PoPs)], n.PoPs[0])
	if err := s.Reload(&n); err != nil {
		t.Fatal(err)
	}
	if answer, all := candidates(t, s, newYork); answer[0] != "iad" || all["fra"].RTTUnused != "its word is set aside" || *all["iad"].RTT != 101 {
		t.Errorf("after a new network file: answered %v, %+v", answer, all)
	}
	*now = now.Add(11 * time.Minute)
	iad()
	say(client, 60)
	say(client, 60)
	if answer, all := candidates(t, s, newYork); answer[0] != "fra" {
		t.Errorf("ten minutes later: answered %v, %+v", answer, all)
	}
}
