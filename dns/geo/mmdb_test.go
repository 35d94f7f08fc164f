package geo_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/oschwald/maxminddb-golang/v2"

	"hither/dns/geo"
)

type fields = map[string]any

func open(t testing.TB, m *mmdb) geo.Database {
	t.Helper()
	db, err := geo.OpenMMDB(m.bytes())
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestTrees(t *testing.T) {
	fra, iad, sin := fields{"lat": 50.0, "lng": 8.0}, fields{"lat": 39.0, "lng": -77.0}, fields{"lat": 1.0, "lng": 104.0}
	full := func(size int) *mmdb {
		m := &mmdb{kind: "test", six: true, size: size}
		m.add("192.0.2.0/24", fra)
		m.add("192.0.3.0/24", fra)
		m.add("198.51.100.128/25", iad)
		m.add("2001:db8::/32", sin)
		m.add("2001:db8:1::/48", iad)
		m.add("2a00::1/128", fra)
		m.alias = []string{"2002::/16", "::ffff:0:0/96"}
		return m
	}
	wide := &mmdb{kind: "test", six: true, size: 24} // one network around all of IPv4, and its record again elsewhere
	wide.add("::/64", fra)
	wide.add("2001:db8::/32", fra)
	all := &mmdb{kind: "test", six: true, size: 24}
	all.add("::/0", fra)
	four := &mmdb{kind: "test", size: 32}
	four.add("0.0.0.0/1", fra)
	four.add("128.0.0.0/1", fra)

	only6 := &mmdb{kind: "test", six: true, size: 24}
	only6.add("2001:db8::/32", fra)

	for _, c := range []struct {
		m       *mmdb
		client  string
		lat     float64
		bits    int
		matched string
	}{
		{full(24), "192.0.2.9", 50, 23, "192.0.2.0/23"},
		{full(28), "192.0.3.9", 50, 23, "192.0.2.0/23"},
		{full(32), "::ffff:192.0.2.9", 50, 96 + 23, "192.0.2.0/23"},
		{full(32), "198.51.100.200", 39, 25, "198.51.100.128/25"},
		{full(32), "198.51.100.100", 0, 25, "198.51.100.0/25"},
		{full(32), "2001:db8:8000::1", 1, 33, "2001:db8:8000::/33"},
		{full(32), "2001:db8:1::1", 39, 48, "2001:db8:1::/48"},
		{full(32), "2a00::1", 50, 128, "2a00::1/128"},
		{full(32), "2a00::", 0, 128, "2a00::/128"},
		{full(32), "2002:c000:209::1", 0, 15, "2002::/15"}, // 6to4 is not followed
		{wide, "192.0.2.1", 50, 0, "0.0.0.0/0"},
		{wide, "::1", 50, 64, "::/64"}, // IPv4-mapped addresses stand in it and say the same
		{wide, "::ffff:192.0.2.1", 50, 64, "0.0.0.0/0"},
		{wide, "2001:db8::1", 50, 32, "2001:db8::/32"},
		{all, "192.0.2.1", 50, 0, "0.0.0.0/0"},
		{all, "2001:db8::1", 50, 0, "::/0"},
		{all, "::ffff:192.0.2.1", 50, 0, "0.0.0.0/0"},
		{only6, "2001:db8::1", 50, 32, "2001:db8::/32"},
		{only6, "192.0.2.1", 0, 0, "0.0.0.0/0"},
		{only6, "::ffff:192.0.2.1", 0, 3, "0.0.0.0/0"},
		{four, "192.0.2.1", 50, 0, "0.0.0.0/0"},
		{four, "::ffff:192.0.2.1", 50, 96, "0.0.0.0/0"},
		{four, "2001:db8::1", 0, 3, "2000::/3"},
	} {
		f := geo.New(nil, open(t, c.m)).Lookup(netip.MustParseAddr(c.client))
		if f.Point.Lat != c.lat || f.Bits != c.bits || f.Matched.String() != c.matched {
			t.Errorf("%s: %+v, want latitude %v, /%d, %s", c.client, f, c.lat, c.bits, c.matched)
		}
	}
}

func TestOwnPrefixesBeatTheFile(t *testing.T) {
	m := &mmdb{kind: "test", six: true, size: 24}
	m.add("10.0.0.0/8", fields{"lat": 50.0, "lng": 8.0})
	table := geo.New(map[netip.Prefix]geo.Spot{
		netip.MustParsePrefix("10.1.0.0/16"): {PoP: "iad"},
		netip.MustParsePrefix("10.2.0.0/16"): {Point: &geo.Point{Lat: 50, Lon: 8}},
		netip.MustParsePrefix("10.3.0.0/16"): {},
	}, open(t, m))
	for client, want := range map[string]geo.Found{
		"10.1.2.3":   {PoP: "iad", Source: geo.SourcePrefix, Matched: netip.MustParsePrefix("10.1.0.0/16"), Bits: 16},
		"10.2.2.3":   {Point: geo.Point{Lat: 50, Lon: 8}, Source: geo.SourcePrefix, Matched: netip.MustParsePrefix("10.2.0.0/16"), Bits: 16},
		"10.3.2.3":   {Point: geo.Point{Lat: 50, Lon: 8}, Source: geo.SourceMMDB, Matched: netip.MustParsePrefix("10.0.0.0/8"), Bits: 16},
		"10.128.2.3": {Point: geo.Point{Lat: 50, Lon: 8}, Source: geo.SourceMMDB, Matched: netip.MustParsePrefix("10.0.0.0/8"), Bits: 9},
		"11.0.0.1":   {Matched: netip.MustParsePrefix("11.0.0.0/8"), Bits: 8},
	} {
		if got := table.Lookup(netip.MustParseAddr(client)); got != want {
			t.Errorf("%s: %+v, want %+v", client, got, want)
		}
	}
}

func TestBadFiles(t *testing.T) {
	asn := &mmdb{kind: "GeoLite2-ASN", six: true, size: 24}
	asn.add("1.0.0.0/8", fields{"autonomous_system_number": uint32(13335), "autonomous_system_organization": "X"})
	shared := &mmdb{kind: "test", size: 24, share: true}
	shared.add("1.0.0.0/8", fields{"lat": 1.0, "lng": 2.0})
	m := &mmdb{kind: "test", six: true, size: 24}
	m.add("10.0.0.0/8", fields{"lat": 50.0, "lng": 8.0})
	good := m.bytes()
	changed := func(at int, b byte) []byte {
		d := append([]byte(nil), good...)
		d[at] = b
		return d
	}
	for _, c := range []struct {
		what, says string
		data       []byte
	}{
		{"nothing", "invalid MaxMind DB file", nil},
		{"text", "invalid MaxMind DB file", []byte(strings.Repeat("not a database\n", 100))},
		{"no metadata", "invalid MaxMind DB file", good[:len(good)-200]},
		{"cut metadata", "reading mmdb", good[:len(good)-20]},
		{"cut in front", "reading mmdb", good[40:]},
		{"a loop in the tree", "cycle", changed(2, 0)},
		{"a record outside", "reading mmdb", changed(0, 0x7f)},
		{"separator", "separator", changed(104*6+3, 1)},
		{"no places", "no record gives a place", asn.bytes()},
		{"shared nodes", "parts of it are shared", shared.bytes()},
	} {
		db, err := geo.OpenMMDB(c.data)
		if err == nil || db != nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "geo: reading mmdb") {
			t.Errorf("%s: %v, %v, want an error with %q", c.what, db, err, c.says)
		}
	}
	var invalid maxminddb.InvalidDatabaseError
	if _, err := geo.OpenMMDB(changed(2, 0)); !errors.As(err, &invalid) {
		t.Errorf("%v does not wrap the library's error", err)
	}
}

// A file that knows cities is right about each of them: the nearest PoP of the place it was made with, and the prefix.
func TestHundredOfHundred(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 15))
	truth := map[netip.Prefix]geo.Point{}
	m := &mmdb{kind: "DBIP-City-Lite", six: true, size: 28}
	for i := range 120_000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i), 0}), 24) // neighbours
		if i%3 == 0 {
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, byte(i >> 16), byte(i >> 8), byte(i)}), 40+rng.IntN(80))
		}
		at := geo.Point{Lat: rng.Float64()*140 - 60, Lon: rng.Float64()*360 - 180}
		truth[p] = at
		m.entries = append(m.entries, mmdbEntry{p, fields{"country": fields{"iso_code": "DE"}, "location": fields{"latitude": at.Lat, "longitude": at.Lon}}})
	}
	table := geo.New(nil, open(t, m))
	for p, at := range truth {
		f := table.Lookup(inside(rng, p))
		if f.Point != at || nearest(f.Point) != nearest(at) || f.Matched != p || f.Bits != p.Bits() {
			t.Fatalf("%s at %v: %+v", p, at, f)
		}
	}
}

// inside is a random address of p.
func inside(rng *rand.Rand, p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= byte(rng.IntN(2)) << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func FuzzMMDB(f *testing.F) {
	for _, size := range []int{24, 28, 32} {
		m := &mmdb{kind: "DBIP-City-Lite", six: true, size: size, alias: []string{"2002::/16"}}
		m.add("10.0.0.0/8", fields{"lat": "50", "lng": "8", "country": "DE"})
		m.add("2001:db8::/32", fields{"country": fields{"iso_code": "DE"}, "location": fields{"latitude": 50.0, "longitude": 8.0}})
		f.Add(m.bytes(), []byte{10, 1, 2, 3})
	}
	four := &mmdb{kind: "test", size: 24}
	four.add("0.0.0.0/0", fields{"loc": "50,8"})
	f.Add(four.bytes(), []byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, data, address []byte) {
		db, err := geo.OpenMMDB(data)
		if err != nil {
			return
		}
		a, ok := netip.AddrFromSlice(address)
		if !ok {
			return
		}
		check(t, geo.New(nil, db), a)
	})
}

// check tells what any table must: that the answer is on Earth, and that its prefix is around the address and of its answer.
func check(t *testing.T, table *geo.Table, a netip.Addr) {
	t.Helper()
	found := table.Lookup(a)
	p, err := a.Prefix(found.Bits)
	if err != nil || !found.Matched.Contains(a.Unmap()) && !found.Matched.Contains(a) {
		t.Fatalf("%s: %+v", a, found)
	}
	if !(found.Point.Lat >= -90 && found.Point.Lat <= 90 && found.Point.Lon >= -180 && found.Point.Lon <= 180) {
		t.Fatalf("%s is at %v", a, found.Point)
	}
	for _, other := range []netip.Addr{p.Addr(), inside(rand.New(rand.NewPCG(1, 2)), p)} {
		if again := table.Lookup(other); again.Point != found.Point || again.Source != found.Source || again.Bits != found.Bits {
			t.Fatalf("%s: %+v, but %s in the same prefix: %+v", a, found, other, again)
		}
	}
}
