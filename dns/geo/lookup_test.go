package geo_test

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"hither/dns/geo"
)

// reference answers by looking at everything.
type reference struct {
	own    map[netip.Prefix]geo.Spot
	ranges []geo.Range
	points map[string]geo.Point
}

// lookup has no Matched and no Bits.
func (r *reference) lookup(a netip.Addr) geo.Found {
	a = a.Unmap()
	best, found := -1, geo.Found{}
	for p, s := range r.own {
		if p.Contains(a) && p.Bits() > best {
			best, found = p.Bits(), geo.Found{Source: geo.SourcePrefix, PoP: s.PoP}
			if s.Point != nil {
				found.Point = *s.Point
			}
		}
	}
	if best >= 0 {
		return found
	}
	for _, g := range r.ranges {
		if g.First.BitLen() == a.BitLen() && !a.Less(g.First) && !g.Last.Less(a) {
			return geo.Found{Source: geo.SourceEmbedded, Point: r.points[g.Country], Country: g.Country}
		}
	}
	return geo.Found{}
}

// changes are all addresses at which an answer may differ from that of the address before: it is constant between them.
func (r *reference) changes() []netip.Addr {
	at := []netip.Addr{netip.IPv6Unspecified(), netip.IPv4Unspecified(), netip.MustParseAddr("::1:0:0:0")}
	for p := range r.own {
		at = append(at, p.Addr(), last(p).Next())
	}
	for _, g := range r.ranges {
		at = append(at, g.First, g.Last.Next())
	}
	for _, a := range slices.Clone(at) { // IPv4 stands among IPv6, too
		if a.Is4() {
			at = append(at, netip.AddrFrom16(a.As16()))
		}
	}
	return at
}

func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// few draws addresses from few values, so that entries touch, nest and repeat, at both ends of the space, too.
func few(t *rapid.T, four bool) netip.Addr {
	octet := rapid.SampledFrom([]byte{0, 0, 1, 2, 127, 128, 254, 255, 255})
	if four {
		return netip.AddrFrom4([4]byte{octet.Draw(t, "a"), octet.Draw(t, "b"), 0, octet.Draw(t, "d")})
	}
	var b [16]byte
	switch rapid.IntRange(0, 3).Draw(t, "where") {
	case 0: // around the block of IPv4
		b[9], b[10], b[11] = octet.Draw(t, "9"), octet.Draw(t, "10"), octet.Draw(t, "11")
	case 1:
		for i := range b {
			b[i] = 255
		}
	default:
		b[0], b[7], b[8] = octet.Draw(t, "0"), octet.Draw(t, "7"), octet.Draw(t, "8")
	}
	b[15] = octet.Draw(t, "15")
	if a := netip.AddrFrom16(b); !a.Is4In6() {
		return a
	}
	return netip.IPv6Unspecified()
}

func world(t *rapid.T) (*reference, *geo.Table) {
	r := &reference{own: map[netip.Prefix]geo.Spot{}, points: map[string]geo.Point{"AA": {Lat: 1}, "BB": {Lat: 1}, "CC": {Lat: 3}}}
	spots := []geo.Spot{{PoP: "fra"}, {PoP: "iad"}, {Point: &geo.Point{Lat: 1}}}
	for range rapid.IntRange(0, 6).Draw(t, "prefixes") {
		four := rapid.Bool().Draw(t, "four")
		a := few(t, four)
		p := netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits")).Masked()
		if p.Contains(netip.MustParseAddr("::ffff:0:1")) && p.Bits() >= 96 {
			continue // that would be IPv4, written as the reference does not read it
		}
		r.own[p] = rapid.SampledFrom(spots).Draw(t, "spot")
	}
	for _, four := range []bool{true, false} {
		var ends []netip.Addr
		for range 2 * rapid.IntRange(0, 5).Draw(t, "ranges") {
			ends = append(ends, few(t, four))
		}
		if rapid.Bool().Draw(t, "all") && four {
			ends = []netip.Addr{netip.IPv4Unspecified(), netip.MustParseAddr("255.255.255.255")}
		}
		slices.SortFunc(ends, netip.Addr.Compare)
		ends = slices.Compact(ends)
		for i := 0; i+1 < len(ends); {
			g := geo.Range{First: ends[i], Last: ends[i+1], Country: rapid.SampledFrom([]string{"AA", "BB", "CC"}).Draw(t, "country")}
			if i += 2; i+1 < len(ends) && rapid.Bool().Draw(t, "touch") { // the next range begins where this one ends
				i--
				ends[i] = g.Last.Next()
				if !ends[i].IsValid() || !ends[i].Less(ends[i+1]) {
					i++
				}
			}
			r.ranges = append(r.ranges, g)
		}
	}
	// An IPv6 range over the block of IPv4 says nothing of IPv4, as an IPv6 prefix does.
	atlas, err := geo.NewAtlas("", []geo.Country{{Code: "AA", Point: r.points["AA"]}, {Code: "BB", Point: r.points["BB"]}, {Code: "CC", Point: r.points["CC"]}}, r.ranges)
	if err != nil {
		t.Fatal(err)
	}
	return r, geo.New(r.own, atlas)
}

func answer(f geo.Found) geo.Found {
	f.Matched, f.Bits = netip.Prefix{}, 0
	return f
}

// The answer is the reference's, it is everywhere the same in the prefix of that length, and nowhere in a shorter one.
func TestLookupIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for range 10 {
			exact(t)
		}
	})
}

func exact(t *rapid.T) {
	r, table := world(t)
	changes := r.changes()
	clients := append(slices.Clone(changes), few(t, true), few(t, false), netip.MustParseAddr("::ffff:1.2.3.4"))
	for _, c := range changes {
		if c.IsValid() {
			clients = append(clients, c.Prev())
		}
	}
	for _, a := range clients {
		if !a.IsValid() {
			continue
		}
		found, want := table.Lookup(a), r.lookup(a)
		if answer(found) != want {
			t.Fatalf("%s: %+v, want %+v", a, found, want)
		}
		p, err := a.Prefix(found.Bits)
		if err != nil {
			t.Fatalf("%s: %+v: %v", a, found, err)
		}
		at := []netip.Addr{p.Addr(), last(p)}
		for _, c := range changes {
			if p.Contains(c) {
				at = append(at, c)
			}
		}
		for _, b := range at {
			if r.lookup(b) != want {
				t.Fatalf("%s: /%d, but %s there is %+v, not %+v", a, found.Bits, b, r.lookup(b), want)
			}
		}
		if found.Bits == 0 {
			continue
		}
		around, _ := a.Prefix(found.Bits - 1)
		differs := r.lookup(around.Addr()) != want
		for _, c := range changes {
			differs = differs || around.Contains(c) && r.lookup(c) != want
		}
		if !differs {
			t.Fatalf("%s: /%d, but all of %s is %+v", a, found.Bits, around, want)
		}
	}
}
