package main

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"io"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hither/dns/geo"
)

const header = `# Location Database Export
#
# Generated: Mon, 01 Jun 2026 00:00:00 GMT
# Vendor:    Test Project
# License:   CC BY-SA 4.0
`

// tiny is an input in which each rule happens once.
func tiny() input {
	return input{
		geoip: []byte(header + `
16777216,16777471,DE
16777472,16777727,DE
16777728,16777983,FR
16777984,16778239,??
16778240,16778495,UK
16778496,16778751,ZZ
`),
		geoip6: []byte(header + `
2001::,2001:0:ffff:ffff:ffff:ffff:ffff:ffff,FR
2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,FR
2001:db9::,2001:db9:ffff:ffff:ffff:ffff:ffff:fffe,DE
2002::,2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff,DE
`),
		zones: []byte("# a comment\nDE\t+5230+01322\tEurope/Berlin\tmost of Germany\nDE\t+4742+00841\tEurope/Busingen\nFR\t+4852+00220\tEurope/Paris\n" +
			"GB\t+513030-0000731\tEurope/London\nMW\t-1547+03500\tAfrica/Blantyre\n"),
		weights: []byte("# a comment\nDE 50 8 10 Frankfurt\nDE 54 10 1 Kiel\nEU 50 5 1 somewhere\n"),
	}
}

func TestTable(t *testing.T) {
	in := tiny()
	atlas, err := in.atlas()
	if err != nil {
		t.Fatal(err)
	}
	table := geo.New(nil, atlas)
	for client, want := range map[string]geo.Found{
		"1.0.1.255":   {Country: "DE", Point: geo.Point{Lat: 50, Lon: 8}, Bits: 23, Matched: netip.MustParsePrefix("1.0.0.0/23")},
		"1.0.2.0":     {Country: "FR", Point: geo.Point{Lat: 48.8667, Lon: 2.3333}, Bits: 24, Matched: netip.MustParsePrefix("1.0.2.0/24")},
		"1.0.4.1":     {Country: "GB", Point: geo.Point{Lat: 51.5083, Lon: -0.1253}, Bits: 24, Matched: netip.MustParsePrefix("1.0.4.0/24")},
		"1.0.3.1":     {Bits: 24, Matched: netip.MustParsePrefix("1.0.3.0/24")},
		"1.0.5.1":     {Bits: 24, Matched: netip.MustParsePrefix("1.0.5.0/24")},
		"2001:db8::1": {Country: "FR", Point: geo.Point{Lat: 48.8667, Lon: 2.3333}, Bits: 32, Matched: netip.MustParsePrefix("2001:db8::/32")},
		"2001:db9::1": {Country: "DE", Point: geo.Point{Lat: 50, Lon: 8}, Bits: 33, Matched: netip.MustParsePrefix("2001:db9::/33")},
		"2001::1":     {Bits: 21, Matched: netip.MustParsePrefix("2001::/21")},
		"2002:100::1": {Bits: 15, Matched: netip.MustParsePrefix("2002::/15")},
	} {
		if want.Country != "" {
			want.Source = geo.SourceEmbedded
		}
		if got := table.Lookup(netip.MustParseAddr(client)); got != want {
			t.Errorf("%s: %+v, want %+v", client, got, want)
		}
	}
	codes, weights := "", 0.0
	for _, c := range atlas.Countries() {
		codes += c.Code + " "
		weights += c.Weight
		if c.Code == "DE" && c.Weight != 0.5 {
			t.Errorf("DE weighs %v, want half of the addresses", c.Weight)
		}
	}
	if codes != "DE EU FR GB MW " || math.Abs(weights-1) > 1e-9 {
		t.Errorf("countries %sof %v", codes, weights)
	}
	for _, word := range []string{"Test Project", "01 Jun 2026", "CC BY-SA 4.0", "zone.tab", "public domain"} {
		if !strings.Contains(atlas.Notes(), word) {
			t.Errorf("the notes do not say %q:\n%s", word, atlas.Notes())
		}
	}
}

// The program writes the same bytes each time, and these are what the table's format says.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	in := tiny()
	args := []string{"-o", filepath.Join(dir, "out")}
	for name, data := range map[string][]byte{"geoip": in.geoip, "geoip6": in.geoip6, "zones": realZones()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-"+name, filepath.Join(dir, name))
	}
	var made [2][]byte
	for i := range made {
		var said bytes.Buffer
		if err := run(args, &said); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(said.String(), "countries") {
			t.Errorf("it says %q", said.String())
		}
		data, err := os.ReadFile(filepath.Join(dir, "out"))
		if err != nil {
			t.Fatal(err)
		}
		made[i] = data
	}
	if !bytes.Equal(made[0], made[1]) || !bytes.HasPrefix(made[0], []byte("hither geo table 1\nranges: Test Project, ")) {
		t.Errorf("two runs: %q and %q", made[0], made[1])
	}
	if again, err := geo.DecodeAtlas(made[0]); err != nil || !bytes.Equal(again.Encode(), made[0]) {
		t.Errorf("decoded and encoded again it differs: %v", err)
	}

	for _, wrong := range [][]string{nil, {"-o", "x"}, append(args, "more"), {"-nothing"}, append(args, "-zones", filepath.Join(dir, "absent"))} {
		if err := run(wrong, io.Discard); err == nil {
			t.Errorf("run %q: no error", wrong)
		}
	}
}

// realZones has the one row of a country that the committed weights leave to zone.tab.
func realZones() []byte { return []byte("AD\t+4230+00131\tEurope/Andorra\n") }

// TestBytes holds the format: what is written once must be read for ever.
func TestBytes(t *testing.T) {
	atlas, err := geo.NewAtlas("a note", []geo.Country{{Code: "DE", Point: geo.Point{Lat: 50, Lon: -8.5}, Weight: 1}}, []geo.Range{
		{First: netip.MustParseAddr("1.0.0.0"), Last: netip.MustParseAddr("1.0.0.255"), Country: "DE"},
		{First: netip.MustParseAddr("2001:db8::"), Last: netip.MustParseAddr("2001:db8::ff"), Country: "DE"},
	})
	if err != nil {
		t.Fatal(err)
	}
	data := atlas.Encode()
	before, deflated, _ := bytes.Cut(data, []byte("\n\n"))
	body, err := io.ReadAll(flate.NewReader(bytes.NewReader(deflated)))
	if err != nil || string(before) != "hither geo table 1\na note" {
		t.Fatalf("%q, %v", before, err)
	}
	if sum := crc32.ChecksumIEEE(data[:len(data)-4]); sum != binary.BigEndian.Uint32(data[len(data)-4:]) {
		t.Errorf("the last four bytes are not the checksum %x", sum)
	}
	// The country; three runs of IPv4: 2^24 and 2^8 apart; three of IPv6: 2001:db8:: is 0x40021b7 << 99.
	want := strings.ReplaceAll("01 4445 0007a120 fffeb3f8 3ff0000000000000 03 1808 01 01 000100 03 6308 b7c38020 01 000100", " ", "")
	if got := hex.EncodeToString(body); got != want {
		t.Errorf("encoded\n%s, want\n%s", got, want)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		what, says string
		change     func(*input)
	}{
		{"an empty file", "empty", func(in *input) { in.geoip = nil }},
		{"no licence", "whose data is it", func(in *input) { in.geoip = []byte("16777216,16777471,DE\n") }},
		{"two licences", "but geoip has", func(in *input) { in.geoip6 = bytes.ReplaceAll(in.geoip6, []byte("CC BY-SA"), []byte("CC BY")) }},
		{"fields", "geoip:6: not first,last,country", func(in *input) { in.geoip = []byte(header + "1,2\n") }},
		{"first", "geoip:6: ", func(in *input) { in.geoip = []byte(header + "x,2,DE\n") }},
		{"last", "geoip6:6: ", func(in *input) { in.geoip6 = []byte(header + "::1,2001:g::,DE\n") }},
		{"order", "overlaps or precedes", func(in *input) { in.geoip = []byte(header + "5,6,DE\n1,2,DE\n") }},
		{"overlap", "overlaps or precedes", func(in *input) { in.geoip = []byte(header + "1,6,DE\n6,7,DE\n") }},
		{"family", "geoip:6: 2001:: is not IPv4", func(in *input) { in.geoip = []byte(header + "2001::,2001::1,DE\n") }},
		{"family", "geoip6:6: 0.0.0.5 is not IPv6", func(in *input) { in.geoip6 = []byte(header + "5,2001::1,DE\n") }},
		{"upside down", "not a range", func(in *input) { in.geoip = []byte(header + "6,1,DE\n") }},
		{"both families", "geoip:6: ::1 is not IPv4", func(in *input) { in.geoip = []byte(header + "1,::1,DE\n") }},
		{"coordinates", "zones:1: ", func(in *input) { in.zones = []byte("DE\t5230+01322\tEurope/Berlin\n") }},
		{"row", "zones:1: ", func(in *input) { in.zones = []byte("DE +5230+01322 Europe/Berlin\n") }},
		{"rows without weights", "DE has 2 rows", func(in *input) { in.weights = []byte("EU 50 5 1 somewhere\n") }},
		{"weights", "weights:1: not code", func(in *input) { in.weights = []byte("DE 50 8 1\n") }},
		{"weights", "weights:2: ", func(in *input) { in.weights = []byte("# x\nDE 50 east 1 Berlin\n") }},
		{"weights", "weights:1: not on Earth", func(in *input) { in.weights = []byte("DE 50 8 0 Berlin\n") }},
		{"weights", "weights:1: not on Earth", func(in *input) { in.weights = []byte("DE 91 8 1 Berlin\n") }},
	} {
		in := tiny()
		c.change(&in)
		if _, err := in.atlas(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error with %q", c.what, err, c.says)
		}
	}
}

func TestMedian(t *testing.T) {
	at := func(lat, lon, weight float64) town { return town{geo.Point{Lat: lat, Lon: lon}, weight} }
	for _, c := range []struct {
		what  string
		towns []town
		want  geo.Point
		km    float64
	}{
		{"one", []town{at(1, 2, 3)}, geo.Point{Lat: 1, Lon: 2}, 0},
		{"more than half", []town{at(55, 37, 60), at(43, 132, 20), at(55, 83, 39)}, geo.Point{Lat: 55, Lon: 37}, 5},
		{"a square", []town{at(1, 1, 1), at(1, -1, 1), at(-1, 1, 1), at(-1, -1, 1)}, geo.Point{}, 5},
		{"on a line", []town{at(0, 0, 1), at(0, 10, 1), at(0, 70, 1)}, geo.Point{Lon: 10}, 5},
	} {
		if got := median(c.towns); geo.Distance(got, c.want) > c.km {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}
