package server

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// The scope is 0 where the answer does not vary, for a family of which one PoP alone has addresses too.
func TestScopeOfOnePoP(t *testing.T) {
	s := bare(t, strings.Replace(testdata(t, "records.yaml"), `addresses: ["fd00::3"]`, `addresses: [127.53.1.3]`, 1))
	for qtype, want := range map[uint16]uint8{dns.TypeA: 20, dns.TypeAAAA: 0, dns.TypeHTTPS: 20} {
		m := wireAnswer(t, s, "www.hither.test.", qtype, netip.MustParsePrefix("198.51.0.0/24"), addr("127.0.0.1"))
		if got := subnetOf(m).SourceScope; got != want || len(m.Answer) != 1 {
			t.Errorf("%s: scope %d, want %d", dns.TypeToString[qtype], got, want)
		}
	}
}

// PoPs of one place share its clients by a hash of their prefix, which the scope has to hold.
func TestScopeOfShared(t *testing.T) {
	s := bare(t, strings.Replace(testdata(t, "records.yaml"), "place: {lat: 38.95, lon: -77.45}", "place: {lat: 50.2, lon: 8.7}, weight: 3", 1))
	got := make(map[string]int)
	for _, c := range []struct {
		client string
		scope  uint8
	}{
		{"192.0.2.0/24", 24}, {"198.51.0.0/22", 22}, {"::ffff:192.0.2.0/120", 120}, {"::ffff:198.51.0.0/118", 118},
	} {
		m := wireAnswer(t, s, "www.hither.test.", dns.TypeA, netip.MustParsePrefix(c.client), addr("127.0.0.1"))
		if scope := subnetOf(m).SourceScope; scope != c.scope {
			t.Errorf("%s: scope %d, want %d", c.client, scope, c.scope)
		}
	}
	for i := range 256 {
		client := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32)
		got[wireAnswer(t, s, "www.hither.test.", dns.TypeA, client, addr("127.0.0.1")).Answer[0].String()]++
	}
	if len(got) != 1 {
		t.Errorf("one /24 got %v", got)
	}
}

// A name with thousands of records: over UDP nothing of them, over TCP all.
func TestLargeSets(t *testing.T) {
	f := newFolder(t)
	var lines strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&lines, "all 60 A 10.0.%d.%d\n", i>>8, i&255)
		if i < 3000 {
			fmt.Fprintf(&lines, "half 60 A 10.0.%d.%d\n", i>>8, i&255)
		}
	}
	f.put("zone", []byte(lines.String()))
	s := bare(t, f.file)
	for _, c := range []struct {
		name    string
		tr      transport
		records int
	}{{"all", overUDP, 0}, {"half", overUDP, 0}, {"all", overTCP, 4000}, {"half", overTCP, 3000}, {"HALF", overTCP, 3000}} {
		var m dns.Msg
		out := s.answer(asked(t, c.name+".hither.test.", 1), addr("192.0.2.1"), c.tr, make([]byte, 0, maxUDP))
		if err := m.Unpack(out); err != nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) != c.records || m.Truncated != (c.records == 0) {
			t.Errorf("%s over %s: %d bytes, %d records, cut %v, %v", c.name, c.tr, len(out), len(m.Answer), m.Truncated, err)
		}
	}
}
