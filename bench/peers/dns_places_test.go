package peers

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"hither/dns/geo"
)

// TestPlaces holds the prefixes that peers are told to what hither decides.
func TestPlaces(t *testing.T) {
	p, err := NewPlaces("127.83")
	if err != nil {
		t.Fatal(err)
	}
	for client, pop := range map[string]string{
		"0.0.0.1":         "fra", // nobody's
		"193.0.6.139":     "fra", // the RIPE NCC, Amsterdam
		"18.7.22.69":      "iad", // MIT
		"143.107.10.20":   "gru", // Universidade de São Paulo
		"196.24.45.1":     "jnb", // Stellenbosch
		"137.132.1.1":     "sin", // National University of Singapore
		"129.78.5.8":      "syd", // University of Sydney
		"255.255.255.255": "fra",
	} {
		if got := p.Lookup(netip.MustParseAddr(client)); got.Name != pop {
			t.Errorf("%s gets %+v, want %s", client, got, pop)
		}
	}
	if got := p.Lookup(netip.MustParseAddr("129.78.5.8")).Addr; got != netip.MustParseAddr("127.83.1.6") {
		t.Errorf("syd has the address %s", got)
	}
	prefixes := p.Prefixes()
	t.Logf("%d ranges, %d prefixes", len(p.starts), len(prefixes))
	next := uint64(0)
	for _, c := range prefixes {
		if uint64(valueOf(c.Prefix.Addr())) != next || c.Prefix != c.Prefix.Masked() {
			t.Fatalf("%s begins elsewhere than the one before ends", c.Prefix)
		}
		next += 1 << (32 - c.Prefix.Bits())
		if got := p.Lookup(c.Prefix.Addr()).Name; got != c.PoP || !p.Alike(c.Prefix) {
			t.Fatalf("%s is for %s, and its first address gets %s", c.Prefix, c.PoP, got)
		}
	}
	if next != 1<<32 {
		t.Errorf("the prefixes end at %d", next)
	}
	// The scope that hither tells is never one in which addresses get different PoPs.
	table := geo.New(nil, geo.Embedded())
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		a := addressOf(random.Uint32())
		if scope, _ := a.Prefix(table.Lookup(a).Bits); !p.Alike(scope) {
			t.Fatalf("in %s addresses get different PoPs", scope)
		}
	}
}

// TestAlike finds a prefix with two PoPs.
func TestAlike(t *testing.T) {
	p := &Places{PoPs: []PlacePoP{{Name: "a"}, {Name: "b"}}}
	p.add(0, 0)
	p.add(valueOf(netip.MustParseAddr("10.0.1.0")), 1)
	p.add(valueOf(netip.MustParseAddr("10.0.2.0")), 0)
	for prefix, alike := range map[string]bool{
		"0.0.0.0/0": false, "0.0.0.0/5": true, "10.0.0.0/23": false, "10.0.0.0/24": true, "10.0.1.0/24": true, "10.0.1.0/23": false,
		"10.0.2.0/23": true, "128.0.0.0/1": true, "255.255.255.255/32": true,
	} {
		if got := p.Alike(netip.MustParsePrefix(prefix)); got != alike {
			t.Errorf("%s: %v", prefix, got)
		}
	}
	if got := p.Prefixes(); got[len(got)-1].Prefix != netip.MustParsePrefix("128.0.0.0/1") {
		t.Errorf("the last prefix is %v", got[len(got)-1])
	}
}
