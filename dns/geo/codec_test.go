package geo_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hither/dns/geo"
)

func small(t testing.TB) *geo.Atlas {
	t.Helper()
	a, err := geo.NewAtlas("whose data", []geo.Country{{Code: "FR", Point: geo.Point{Lat: 48.86, Lon: 2.35}, Weight: 0.25}, {Code: "DE", Point: geo.Point{Lat: 50, Lon: 8}, Weight: 0.75}},
		[]geo.Range{
			{First: netip.MustParseAddr("0.0.0.0"), Last: netip.MustParseAddr("9.255.255.255"), Country: "DE"},
			{First: netip.MustParseAddr("10.0.0.0"), Last: netip.MustParseAddr("255.255.255.255"), Country: "FR"},
			{First: netip.MustParseAddr("2001:db8::1"), Last: netip.MustParseAddr("2001:db8::1"), Country: "FR"},
			{First: netip.MustParseAddr("fe00::"), Last: netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), Country: "DE"},
		})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAtlas(t *testing.T) {
	a, err := geo.DecodeAtlas(small(t).Encode())
	if err != nil {
		t.Fatal(err)
	}
	if c := a.Countries(); len(c) != 2 || c[0] != (geo.Country{Code: "DE", Point: geo.Point{Lat: 50, Lon: 8}, Weight: 0.75}) || a.Notes() != "whose data" {
		t.Errorf("%v, %q", c, a.Notes())
	}
	table := geo.New(nil, a)
	for client, want := range map[string]string{"9.1.2.3": "DE", "10.0.0.0": "FR", "255.255.255.255": "FR", "2001:db8::1": "FR", "2001:db8::": "", "fe00::": "DE", "fdff::": ""} {
		if f := table.Lookup(netip.MustParseAddr(client)); f.Country != want {
			t.Errorf("%s: %+v, want %q", client, f, want)
		}
	}
}

// What is encoded is decoded, whatever runs there are.
func TestAtlasRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, _ := world(t)
		a, err := geo.NewAtlas(strings.Join(rapid.SliceOf(rapid.StringMatching("[a-z]{1,9}")).Draw(t, "notes"), "\n"),
			[]geo.Country{{Code: "AA"}, {Code: "BB", Point: geo.Point{Lat: -90, Lon: 180}}, {Code: "CC", Weight: 1}}, r.ranges)
		if err != nil {
			t.Fatal(err)
		}
		b, err := geo.DecodeAtlas(a.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Encode(), b.Encode()) || a.Notes() != b.Notes() {
			t.Errorf("%q and %q", a.Encode(), b.Encode())
		}
		for _, c := range r.changes() {
			if c.IsValid() && a.Lookup(c) != b.Lookup(c) {
				t.Errorf("%s: %+v and %+v", c, a.Lookup(c), b.Lookup(c))
			}
		}
	})
}

func TestAtlasRefuses(t *testing.T) {
	one := []geo.Country{{Code: "DE", Point: geo.Point{Lat: 50, Lon: 8}}}
	at := netip.MustParseAddr
	for _, c := range []struct {
		says      string
		notes     string
		countries []geo.Country
		ranges    []geo.Range
	}{
		{"empty line", "a\n\nb", one, nil},
		{"two letters", "", []geo.Country{{Code: "DEU"}}, nil},
		{"stands twice", "", append(one, one...), nil},
		{"not on Earth", "", []geo.Country{{Code: "DE", Point: geo.Point{Lat: 91}}}, nil},
		{"not a share", "", []geo.Country{{Code: "DE", Weight: 2}}, nil},
		{"no country", "", one, []geo.Range{{First: at("::1"), Last: at("::2"), Country: "FR"}}},
		{"not a range", "", one, []geo.Range{{First: at("::1"), Country: "DE"}}},
		{"precedes", "", one, []geo.Range{{First: at("::1"), Last: at("::2"), Country: "DE"}, {First: at("1.0.0.0"), Last: at("1.0.0.0"), Country: "DE"}}},
	} {
		if _, err := geo.NewAtlas(c.notes, c.countries, c.ranges); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want an error with %q", err, c.says)
		}
	}
	good := small(t).Encode()
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 0x10
		if _, err := geo.DecodeAtlas(bad); err == nil {
			t.Errorf("byte %d changed, no error", at)
		}
		if _, err := geo.DecodeAtlas(good[:at]); err == nil {
			t.Errorf("cut at %d, no error", at)
		}
	}
}

func FuzzTable(f *testing.F) {
	f.Add(small(f).Encode(), []byte{10, 1, 2, 3})
	f.Add([]byte("hither geo table 1\n\n"), []byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, data, address []byte) {
		if len(data) > 4 { // behind the checksum is what the fuzzer is to reach
			data = binary.BigEndian.AppendUint32(data[:len(data)-4:len(data)-4], crc32.ChecksumIEEE(data[:len(data)-4]))
		}
		a, err := geo.DecodeAtlas(data)
		if err != nil {
			return
		}
		if again, err := geo.DecodeAtlas(a.Encode()); err != nil || again.Notes() != a.Notes() {
			t.Fatalf("encoded again: %v", err)
		}
		if client, ok := netip.AddrFromSlice(address); ok {
			check(t, geo.New(nil, a), client)
		}
	})
}

func FuzzPrefixes(f *testing.F) {
	f.Add("10.0.0.0/8 10.1.0.0/16 ::/0", []byte{10, 1, 2, 3})
	f.Add("0.0.0.0/0 ::ffff:10.0.0.0/104 2001:db8::/32 2001:db8::1/128", netip.MustParseAddr("2001:db8::2").AsSlice())
	f.Fuzz(func(t *testing.T, text string, address []byte) {
		own := map[netip.Prefix]geo.Spot{}
		for i, field := range strings.Fields(text) {
			if p, err := netip.ParsePrefix(field); err == nil {
				own[p] = []geo.Spot{{PoP: "fra"}, {PoP: "iad"}, {Point: &geo.Point{Lat: 1}}}[i%3]
			}
		}
		if client, ok := netip.AddrFromSlice(address); ok {
			check(t, geo.New(own, small(t)), client)
			check(t, geo.New(own, nil), client)
		}
	})
}
