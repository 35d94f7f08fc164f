package server

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hither/deploy/fleet/bus"
)

// FuzzHear has PoPs and other DNS servers say anything of themselves. Each message is counted once; one that is no message changes nothing; and
// whatever is heard, what is known stays within its bounds and every client has an answer.
func FuzzHear(f *testing.F) {
	many := make(map[string]bus.Shed)
	for i := range 1000 {
		many[fmt.Sprint("p", i)] = bus.Shed{Part: 0.5}
	}
	prefix := netip.MustParsePrefix("198.51.8.0/24")
	for _, data := range [][]byte{
		nil, []byte("{}"), []byte(`{"v":1}`), []byte(`{"v":2,"state":"draining"}`), []byte("\xff"), []byte(`{"v":1,"load":-1}`),
		[]byte(`{"v":1,"load":1e308}`), []byte(`{"v":1,"state":"\u0000"}`),
		[]byte(`{"v":1,"prefixes":[{"p":"0.0.0.0/0","ms":1,"n":1},{"p":"::/48","ms":1e308,"n":9223372036854775807},{"p":"198.51.8.0/24","ms":-1,"n":-1}]}`),
		bus.Encode(bus.Report{State: "ready", Load: 1.5}), bus.Encode(bus.Report{State: "draining", Load: 5e-324}),
		bus.Encode(bus.Report{State: strings.Repeat("x", 10_000)}),
		bus.Encode(bus.Report{State: "ready", Sheds: &bus.Sheds{PoPs: map[string]bus.Shed{"iad": {Part: 1e308, Way: 127}, "fra": {Part: -1, Way: -128},
			"mars": {Part: 0.5}}}}), []byte(`{"v":1,"sheds":{"pops":null}}`),
		bus.Encode(bus.Report{State: "ready", Sheds: &bus.Sheds{PoPs: many}}),
		bus.Encode(bus.RTTReport{Prefixes: []bus.PrefixRTT{{Prefix: prefix, MS: 200, Samples: 9}, {Prefix: prefix, MS: 1e-300, Samples: 1},
			{Prefix: netip.MustParsePrefix("2001:db8::/48"), MS: 9999, Samples: 1 << 60}}}),
	} {
		for _, name := range []string{"iad", "fra", "mars", "ns2", "ns1", ""} {
			for kind := range uint8(3) {
				f.Add(name, kind, data)
			}
		}
	}
	s, now := clocked(f, strings.Replace(localFile(f), "  servers: [", "  servers: [{name: ns2, addresses: [192.0.2.2]}, ", 1))
	if s.told.peers["ns2"] == nil {
		f.Fatal("there is no other DNS server")
	}
	count := func() (n float64, garbage float64) {
		for line := range strings.Lines(dnsMetrics(s)) {
			if strings.HasPrefix(line, "hither_dns_reports_total{") || strings.HasPrefix(line, "hither_dns_peers_total{") {
				var v float64
				fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v)
				n += v
				if strings.Contains(line, `result="garbage"`) {
					garbage += v
				}
			}
		}
		return n, garbage
	}
	f.Fuzz(func(t *testing.T, name string, kind uint8, data []byte) {
		*now = now.Add(time.Second)
		n, garbage := count()
		known, before := s.told.times.Len(), s.shown()
		switch kind % 3 {
		case 0:
			s.hear(bus.UpReport, name, data, s.hearReport)
		case 1:
			s.hear(bus.UpRTT, name, data, s.hearRTT)
		case 2:
			if s.hearPeer(name, data); name == s.o.Name {
				n-- // its own word, which is none
			}
		}
		after, wrong := count()
		if after != n+1 {
			t.Errorf("counted %v times", after-n)
		}
		if wrong > garbage && (s.shown() != before || s.told.times.Len() != known) {
			t.Errorf("garbage, and yet %s, and was %s", s.shown(), before)
		}
		s.tick()
		for name, p := range s.told.pops {
			if len(p.state) > 64 || !(p.share.Part >= 0 && p.share.Part <= 0.9) {
				t.Errorf("%s: state of %d bytes, share %v", name, len(p.state), p.share)
			}
		}
		for name, p := range s.told.peers {
			if p.sheds != nil && len(p.sheds.PoPs) > len(s.told.pops) {
				t.Errorf("%s sheds for %d PoPs", name, len(p.sheds.PoPs))
			}
		}
		m := new(dns.Msg).SetQuestion("www.hither.test.", dns.TypeA)
		if reply := s.ask(t, m, "198.51.8.1"); len(reply.Answer) == 0 {
			t.Errorf("no answer: %v", reply)
		}
	})
}

// shown is what is told of the PoPs, but when.
func (s *Server) shown() string {
	var b strings.Builder
	for _, name := range []string{"fra", "iad", "sin"} {
		if p := s.told.pops[name]; p != nil {
			fmt.Fprintf(&b, "%s %v %q; ", name, p.load, p.state)
		}
	}
	if p := s.told.peers["ns2"]; p.sheds != nil {
		fmt.Fprintf(&b, "ns2 %v", p.sheds.PoPs)
	}
	return b.String()
}
