//go:build e2e

package e2e_test

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hither/deploy"
)

// A spot is a place on the Earth, in degrees north and east.
type spot struct{ lat, lon float64 }

// cosine is that of the angle between two spots: the greater, the nearer on the great circle.
func (s spot) cosine(o spot) float64 {
	const radians = math.Pi / 180
	return math.Sin(s.lat*radians)*math.Sin(o.lat*radians) + math.Cos(s.lat*radians)*math.Cos(o.lat*radians)*math.Cos((s.lon-o.lon)*radians)
}

// A home is a network whose place is public knowledge.
type home struct {
	net           netip.Prefix
	country, city string
	at            spot
}

// homes reads testdata/networks.txt.
func homes(t *testing.T) (all []home) {
	t.Helper()
	text, err := os.ReadFile("testdata/networks.txt")
	if err != nil {
		t.Fatal(err)
	}
	countries := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 6 {
			t.Fatalf("testdata/networks.txt: %q has %d fields, not 6", line, len(f))
		}
		h := home{country: f[1], city: f[2]}
		var bad [3]error
		h.net, bad[0] = netip.ParsePrefix(f[0])
		h.at.lat, bad[1] = strconv.ParseFloat(f[3], 64)
		h.at.lon, bad[2] = strconv.ParseFloat(f[4], 64)
		if bad != [3]error{} || h.net != h.net.Masked() || !h.net.Addr().Is4() || h.net.Bits() > 24 || math.Abs(h.at.lat) > 90 || math.Abs(h.at.lon) > 180 {
			t.Fatalf("testdata/networks.txt: %q: %v", line, bad)
		}
		all, countries[h.country] = append(all, h), true
	}
	if len(all) < 200 || len(countries) < 150 {
		t.Fatalf("testdata/networks.txt has %d networks of %d countries", len(all), len(countries))
	}
	return all
}

// A spread is PoPs by name, one per continent.
type spread map[string]spot

var (
	threeContinents = spread{"fra": {50.11, 8.68}, "iad": {38.95, -77.45}, "sin": {1.35, 103.99}}
	sixContinents   = spread{
		"fra": threeContinents["fra"], "iad": threeContinents["iad"], "sin": threeContinents["sin"],
		"gru": {-23.43, -46.47}, "jnb": {-26.13, 28.24}, "syd": {-33.95, 151.18},
	}
)

// names are in an order that is always the same.
func (c spread) names() []string { return slices.Sorted(maps.Keys(c)) }

// exchanged has each PoP at the place of the next one.
func (c spread) exchanged() spread {
	wrong, names := spread{}, c.names()
	for i, name := range names {
		wrong[name] = c[names[(i+1)%len(names)]]
	}
	return wrong
}

// nearest is the PoP that is nearest to a spot.
func (c spread) nearest(at spot) string {
	return slices.MaxFunc(c.names(), func(a, b string) int { return cmp.Compare(c[a].cosine(at), c[b].cosine(at)) })
}

// address is that of a PoP in the network 127.79.
func (c spread) address(name string) string {
	return fmt.Sprintf("127.79.1.%d", 1+slices.Index(c.names(), name))
}

// file is a network file with these PoPs. They are probed once an hour, for none of them
// runs: a probe that fails once takes nobody out of the answers.
func (c spread) file(t *testing.T) string {
	t.Helper()
	data, err := deploy.Local(deploy.LocalOptions{Net: "127.79"})
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	begin, end := strings.Index(text, "\npops:"), strings.Index(text, "\norigins:")
	if begin < 0 || end < begin {
		t.Fatalf("the network file has no pops before its origins:\n%s", text)
	}
	made := "\npops:\n"
	for _, name := range c.names() {
		made += fmt.Sprintf("  - {name: %s, place: {lat: %v, lon: %v}, addresses: [%s]}\n", name, c[name].lat, c[name].lon, c.address(name))
	}
	return edited(t, text[:begin]+made+text[end:], "unknown: [fra, iad, sin]", "unknown: ["+strings.Join(c.names(), ", ")+"]",
		"probe: {interval: 2s,", "probe: {interval: 1h,")
}

// A placement is how a DNS server places the homes.
type placement struct {
	right, all int
	misses     []string
}

// answerFor asks a DNS server for the site's address, as a resolver does for a client at a home: with 24 bits of its address (RFC 7871
// section 11.1). An answer that is not one address is an error.
func answerFor(server string, h home) (address string, err error) {
	q := new(dns.Msg)
	q.SetQuestion(host+".", dns.TypeA)
	q.SetEdns0(1232, false)
	q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{
		Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: h.net.Addr().AsSlice(),
	}}
	a, _, err := (&dns.Client{Timeout: 10 * time.Second}).Exchange(q, server)
	if err != nil {
		return "", fmt.Errorf("%s: %w", h.net, err)
	}
	if len(a.Answer) == 1 {
		if rr, ok := a.Answer[0].(*dns.A); ok {
			return rr.A.String(), nil
		}
	}
	return "", fmt.Errorf("%s: not one address:\n%s", h.net, a)
}

// place asks a DNS server for each home's answer. An answer that is no PoP's address is an error.
func (c spread) place(server string, all []home) (p placement, err error) {
	for _, h := range all {
		a, err := answerFor(server, h)
		if err != nil {
			return p, err
		}
		got := ""
		for _, name := range c.names() {
			if a == c.address(name) {
				got = name
			}
		}
		if got == "" {
			return p, fmt.Errorf("%s: %s is no PoP's address", h.net, a)
		}
		p.all++
		if want := c.nearest(h.at); got == want {
			p.right++
		} else {
			p.misses = append(p.misses, fmt.Sprintf("%s, %s in %s: %s, not %s", h.net, h.city, h.country, got, want))
		}
	}
	return p, nil
}

// wrong says that fewer than 92 of 100 homes got their nearest PoP.
func (p placement) wrong() error {
	if p.all == 0 || 100*p.right < 92*p.all {
		return fmt.Errorf("%d of %d networks get the PoP that is nearest to their city, want 92 of 100", p.right, p.all)
	}
	return nil
}

// serveDNS starts the DNS server of a network none of whose PoPs runs, and waits for an answer.
func (c spread) serveDNS(t *testing.T) (server string) {
	t.Helper()
	n := &network{net: "127.79", dir: filepath.Join(t.TempDir(), "state")}
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	n.put(t, c.file(t))
	if _, stderr, status := call(t, "fleet", "init", "--network", n.path(), "--out", n.dir); status != 0 {
		t.Fatalf("fleet init: status %d, %q", status, stderr)
	}
	t.Cleanup(func() { noProcesses(t, n.dir) })
	p := start(t, program, "dns", "--name", "ns1", "--state", n.state("dns-ns1"), "--network", n.path())
	n.await(t, "dns-ns1", p)
	return n.at("0.1", dnsPort)
}

// TestDNSPlacement asks the DNS server, which has nothing but the table of countries in
// the program, for the clients of networks whose cities are known. Planted are servers
// that take each PoP for the next one.
func TestDNSPlacement(t *testing.T) {
	scenario(t, "dns-placement")
	all := homes(t)
	for _, c := range []struct {
		name         string
		pops, served spread
		planted      bool
	}{
		{"six", sixContinents, sixContinents, false},
		{"three", threeContinents, threeContinents, false},
		{"six exchanged", sixContinents, sixContinents.exchanged(), true},
		{"three exchanged", threeContinents, threeContinents.exchanged(), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := c.pops.place(c.served.serveDNS(t), all)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d of %d networks (%.1f %%) get their nearest of %v", p.right, p.all, 100*float64(p.right)/float64(p.all), c.pops.names())
			if c.planted {
				if p.wrong() == nil {
					t.Error("the checker takes it for right")
				}
				return
			}
			for _, miss := range p.misses {
				t.Log(miss)
			}
			if err := p.wrong(); err != nil {
				t.Error(err)
			}
		})
	}
}
