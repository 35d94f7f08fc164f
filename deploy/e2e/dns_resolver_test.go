//go:build e2e

package e2e_test

import (
	"net/netip"
	"testing"
)

// TestDNSResolver asks through unbound, and counts what of it reaches our server: its
// cache keeps each answer for just the networks that it is meant for.
func TestDNSResolver(t *testing.T) {
	scenario(t, "dns-resolver")
	// An hour, so that nothing here depends on how fast this machine is.
	n := run(t, setup{net: "127.72", edit: append(dual("127.72", "sin"), "ttl: 30s", "ttl: 1h")})
	all := askersOf(t, n.unbound(t), 53)
	dig, kdig := all[0], all[1]
	reached := n.meter(t, "dns-ns1", "hither_dns_queries_total")
	got := func(a asker, pop, client string, scope int) {
		t.Helper()
		want := expected{flags: "qr ra", name: host + ".", scope: scope, records: []string{host + ". 3600 IN A " + n.net + "." + pops[pop]}}
		h := a.ask(t, "+subnet="+client, host, "A")
		if err := h.aged().differs(want); err != nil {
			t.Errorf("%s: %v", client, err)
		}
	}
	for _, l := range []land{{"193.0.6.0/24", "fra"}, {"62.210.0.0/24", "fra"}, {"200.160.2.0/24", "iad"}, {"24.48.0.0/24", "iad"}, {"165.21.83.0/24", "sin"}, {"202.12.27.0/24", "sin"}} {
		x := n.explain(t, l.client, "A")
		if x.Scope >= 24 {
			t.Fatalf("the scope of %s is /%d: no other network is in it", l.client, x.Scope)
		}
		got(dig, l.pop, l.client, x.Scope)
		reached.expect(t, 1)
		within, err := netip.MustParsePrefix(l.client).Addr().Prefix(x.Scope)
		if err != nil {
			t.Fatal(err)
		}
		last, outside := bounds(within)
		got(kdig, l.pop, l.client, x.Scope)
		got(dig, l.pop, single(last), x.Scope)
		got(kdig, l.pop, single(within.Addr()), x.Scope)
		reached.expect(t, 0)
		next := n.explain(t, single(outside), "A")
		got(dig, next.Answer.PoPs[0], single(outside), next.Scope)
		reached.expect(t, 1)
	}

	t.Log("one PoP has an IPv6 address: everybody gets it, so the answer holds for all")
	for _, a := range n.askers(t) {
		want := expected{flags: "qr aa", name: host + ".", records: []string{host + ". 3600 IN AAAA " + six("sin")}}
		if err := a.ask(t, "+subnet=193.0.6.0/24", host, "AAAA").differs(want); err != nil {
			t.Error(err)
		}
	}

	t.Log("no client subnet: the resolver tells its client's own")
	four := n.net + ".1.1"
	for round := range 2 {
		for _, c := range []struct {
			question []string
			want     expected
		}{
			{[]string{host, "A"}, expected{name: host + ".", records: []string{host + ". 3600 IN A " + four}}},
			{[]string{host, "AAAA"}, expected{name: host + ".", records: []string{host + ". 3600 IN AAAA " + six("sin")}}},
			{[]string{host, "HTTPS"}, expected{name: host + ".", records: []string{host + ". 3600 IN HTTPS 1 . alpn=h3,h2 port=8443 ipv4hint=" + four + " ipv6hint=" + six("sin")}}},
			{[]string{"hither.test", "TXT"}, expected{name: "hither.test.", records: []string{"hither.test. 3600 IN TXT hither"}}},
			{[]string{"hither.test", "MX"}, expected{name: "hither.test."}},
			{[]string{"nobody.hither.test", "A"}, expected{status: "NXDOMAIN", name: "nobody.hither.test."}},
		} {
			c.want.scope, c.want.flags = -1, "qr ra"
			for _, a := range all {
				if err := a.ask(t, c.question...).aged().differs(c.want); err != nil {
					t.Errorf("%v: %v", c.question, err)
				}
			}
		}
		// What it asks beside the question itself is its own affair (RFC 9156), but once.
		if round == 0 {
			reached = n.meter(t, "dns-ns1", "hither_dns_queries_total")
		}
	}
	reached.expect(t, 0)
}

// aged gives all records the same TTL: a resolver's count down.
func (h heard) aged() heard {
	for i, rr := range h.records {
		h.records[i] = ttlWord.ReplaceAllString(rr, "$1 3600 IN ")
	}
	return h
}
