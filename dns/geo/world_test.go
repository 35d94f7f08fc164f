//go:build !nogeo

package geo_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"hither/dns/geo"
)

// cities has the places of each country in testdata.
func cities(t testing.TB) map[string][]geo.Point {
	t.Helper()
	f, err := os.Open("testdata/cities.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := map[string][]geo.Point{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var code string
		var p geo.Point
		if _, err := fmt.Sscan(lines.Text(), &code, &p.Lat, &p.Lon); err == nil {
			at[code] = append(at[code], p)
		}
	}
	if len(at) < 130 {
		t.Fatalf("cities of %d countries, want 130", len(at))
	}
	return at
}

// sets are PoPs, one per continent, as operators may choose them.
var sets = map[string][]geo.Point{
	"fra iad sin":             pops[:3],
	"fra iad sin gru jnb syd": pops,
	"fra iad sin gru syd":     {pops[0], pops[1], pops[2], pops[3], pops[5]},
	"lon ord nrt eze cpt mel": {{Lat: 51.5, Lon: -0.1}, {Lat: 41.9, Lon: -87.6}, {Lat: 35.7, Lon: 139.7}, {Lat: -34.6, Lon: -58.4}, {Lat: -33.9, Lon: 18.4}, {Lat: -37.8, Lon: 145}},
	"waw dfw hkg bog nbo akl": {{Lat: 52.2, Lon: 21}, {Lat: 32.9, Lon: -97}, {Lat: 22.3, Lon: 114.2}, {Lat: 4.7, Lon: -74.1}, {Lat: -1.3, Lon: 36.8}, {Lat: -36.8, Lon: 174.8}},
	"mad sjc bom scl los syd": {{Lat: 40.4, Lon: -3.7}, {Lat: 37.3, Lon: -121.9}, {Lat: 19.1, Lon: 72.9}, {Lat: -33.4, Lon: -70.7}, {Lat: 6.5, Lon: 3.4}, {Lat: -33.9, Lon: 151.2}},
}

// Wherever the PoPs are, the client in a city, of which the table knows the country alone, gets the PoP that is nearest to it.
func TestNearestByCountry(t *testing.T) {
	for name, set := range sets {
		sum, n := 0.0, 0
		for code, places := range cities(t) {
			here, right := nearestOf(set, point(t, code)), 0
			for _, p := range places {
				if nearestOf(set, p) == here {
					right++
				} else {
					t.Logf("%s: not for %v in %s", name, p, code)
				}
			}
			sum += float64(right) / float64(len(places))
			n++
		}
		t.Logf("%s: %.1f %% of %d countries", name, 100*sum/float64(n), n)
		if sum/float64(n) < 0.92 {
			t.Errorf("%s: %.1f %% of clients get their nearest PoP, want 92", name, 100*sum/float64(n))
		}
	}
}

// The same by addresses: random ones, each in all cities of the country that the table says.
func TestNearestByAddress(t *testing.T) {
	table, places := geo.New(nil, geo.Embedded()), cities(t)
	for name, set := range sets {
		rng := rand.New(rand.NewPCG(20, 26)) // the same addresses for each
		sum, n := 0.0, 0
		for range 20_000 {
			f := table.Lookup(netip.AddrFrom4([4]byte{byte(1 + rng.IntN(223)), byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(256))}))
			there := places[f.Country]
			for _, p := range there {
				if nearestOf(set, p) == nearestOf(set, f.Point) {
					sum += 1 / float64(len(there))
				}
			}
			if len(there) > 0 {
				n++
			}
		}
		t.Logf("%s: %.1f %% of %d addresses", name, 100*sum/float64(n), n)
		if n < 10_000 || sum/float64(n) < 0.92 {
			t.Errorf("%s: %.1f %% of %d addresses get their nearest PoP, want 92 of more than 10000", name, 100*sum/float64(n), n)
		}
	}
}

// The committed table: whose data it is, what it holds, and addresses that everybody knows.
func TestEmbedded(t *testing.T) {
	atlas, ok := geo.Embedded().(*geo.Atlas)
	if !ok {
		t.Fatalf("Embedded is a %T", geo.Embedded())
	}
	licence, err := os.ReadFile("LICENSE.table")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"IPFire", "CC BY-SA 4.0", "25 Jun 2026", "zone.tab", "public domain"} {
		if !strings.Contains(atlas.Notes(), word) || !strings.Contains(string(licence), word) {
			t.Errorf("%q is not in the table's notes and in LICENSE.table:\n%s", word, atlas.Notes())
		}
	}
	info, err := os.Stat("table.bin")
	if err != nil || info.Size() > 1<<20 {
		t.Errorf("table.bin: %v, %v: want at most 1 MiB", info, err)
	}
	total := 0.0
	for _, c := range geo.Countries() {
		total += c.Weight
	}
	if len(geo.Countries()) < 245 || total < 0.9999 || total > 1.0001 || !slices.IsSortedFunc(geo.Countries(), func(c, d geo.Country) int { return strings.Compare(c.Code, d.Code) }) {
		t.Errorf("%d countries, weights add up to %v", len(geo.Countries()), total)
	}
	table := geo.New(nil, geo.Embedded())
	for client, country := range map[string]string{
		"193.0.6.139": "NL", "2001:67c:2e8::1": "NL", // RIPE NCC
		"202.12.29.175": "AU", "2001:dc0::1": "AU", // APNIC
		"200.3.14.10":    "UY", // LACNIC
		"192.149.252.75": "US", // ARIN
		"192.168.1.1":    "", "10.1.1.1": "", "127.0.0.1": "", "::1": "", "fe80::1": "", "2001:db8::1": "",
		"2002:c100:68b::1": "", "64:ff9b::c100:68b": "", // 6to4 and NAT64 of 193.0.6.139
	} {
		f := table.Lookup(netip.MustParseAddr(client))
		if f.Country != country || (f.Source == geo.SourceEmbedded) != (country != "") {
			t.Errorf("%s: %+v, want %q", client, f, country)
		}
		if country != "" && f.Point != point(t, country) {
			t.Errorf("%s is at %v, %s at %v", client, f.Point, country, point(t, country))
		}
	}
}

func point(t testing.TB, code string) geo.Point {
	t.Helper()
	for _, c := range geo.Countries() {
		if c.Code == code {
			return c.Point
		}
	}
	t.Fatalf("no country %s", code)
	return geo.Point{}
}
