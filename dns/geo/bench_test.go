//go:build !nogeo

package geo_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"hither/dns/geo"
)

// clients are addresses that a resolver may send, half of them IPv6.
func clients() []netip.Addr {
	rng := rand.New(rand.NewPCG(5, 3))
	all := make([]netip.Addr, 4096)
	for i := range all {
		all[i] = inside(rng, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + rng.IntN(223))}), 8))
		if i%2 == 1 {
			all[i] = inside(rng, netip.PrefixFrom(netip.AddrFrom16([16]byte{byte(0x20 + rng.IntN(0x0b)), byte(rng.IntN(16))}), 16))
		}
	}
	return all
}

func full() *geo.Table {
	return geo.New(prefixes(map[string]string{"10.0.0.0/8": "fra", "10.1.0.0/16": "iad", "2001:db8::/32": "sin"}), geo.Embedded())
}

func TestLookupAllocatesNothing(t *testing.T) {
	table, all := full(), clients()
	all = append(all, netip.MustParseAddr("::ffff:10.1.2.3"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("::"), netip.MustParseAddr("10.1.2.3"))
	if n := testing.AllocsPerRun(10, func() {
		for _, a := range all {
			table.Lookup(a)
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d addresses", n, len(all))
	}
}

func BenchmarkLookup(b *testing.B) {
	table, all := full(), clients()
	for name, first := range map[string]int{"IPv4": 0, "IPv6": 1} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := first; b.Loop(); i += 2 {
				table.Lookup(all[i&4095])
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	data := geo.Embedded().(*geo.Atlas).Encode()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := geo.DecodeAtlas(data); err != nil {
			b.Fatal(err)
		}
	}
}
