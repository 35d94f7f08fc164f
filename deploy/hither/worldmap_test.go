//go:build !nogeo

package main

import (
	"encoding/xml"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"

	"hither/dns/geo"
	"hither/dns/server"
)

// world is a document with each country of the embedded table at the nearest of some PoPs.
func world(pops ...server.MapPoP) mapDocument {
	m := mapDocument{Network: "demo", Revision: 3, Site: "www", PoPs: pops, Unknown: []string{"fra", "iad"}}
	for _, c := range geo.Countries() {
		at := server.MapCountry{Country: c.Code, Lat: c.Point.Lat, Lon: c.Point.Lon, Weight: c.Weight, Distances: make(map[string]float64)}
		for _, p := range pops {
			km := math.Round(geo.Distance(c.Point, geo.Point{Lat: p.Lat, Lon: p.Lon}))
			at.Distances[p.PoP] = km
			if p.Up && !p.Draining && (at.Distance == nil || km < *at.Distance) {
				at.PoP, at.Distance = p.PoP, &km
			}
		}
		m.Countries = append(m.Countries, at)
	}
	return m
}

var three = []server.MapPoP{
	{PoP: "fra", Lat: 50.11, Lon: 8.68, City: "Frankfurt", Up: true},
	{PoP: "iad", Lat: 38.95, Lon: -77.45, City: "Ashburn", Up: true},
	{PoP: "sin", Lat: 1.35, Lon: 103.99, City: "Singapore", Up: true},
}

var twelve = append(three[:3:3],
	server.MapPoP{PoP: "lax", Lat: 33.94, Lon: -118.41, City: "Los Angeles", Up: true},
	server.MapPoP{PoP: "gru", Lat: -23.43, Lon: -46.47, City: "São Paulo", Up: true},
	server.MapPoP{PoP: "jnb", Lat: -26.13, Lon: 28.23, City: "Johannesburg", Up: true},
	server.MapPoP{PoP: "akl", Lat: -37.01, Lon: 174.79, City: "Auckland", Up: true},
	server.MapPoP{PoP: "nrt", Lat: 35.77, Lon: 140.39, City: "Tokyo", Up: true},
	server.MapPoP{PoP: "lhr", Lat: 51.47, Lon: -0.45, City: "London", Up: false},
	server.MapPoP{PoP: "ams", Lat: 52.31, Lon: 4.76, City: "Amsterdam", Up: true, Draining: true},
	server.MapPoP{PoP: "bom", Lat: 19.09, Lon: 72.87, City: "Mumbai", Up: true},
	server.MapPoP{PoP: "syd", Lat: -33.95, Lon: 151.18, City: "Sydney", Up: true},
)

func draw(t *testing.T, m mapDocument) string {
	t.Helper()
	var b strings.Builder
	if err := worldMap(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// elements reads a picture as XML and returns the attributes of all elements by their name.
func elements(t *testing.T, svg string) map[string][]map[string]string {
	t.Helper()
	all := make(map[string][]map[string]string)
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok {
			attributes := make(map[string]string)
			for _, a := range e.Attr {
				attributes[a.Name.Local] = a.Value
			}
			all[e.Name.Local] = append(all[e.Name.Local], attributes)
		}
	}
}

func TestWorldMapIsWhole(t *testing.T) {
	for name, m := range map[string]mapDocument{"three": world(three...), "twelve": world(twelve...), "no PoPs": world(), "nothing": {}} {
		t.Run(name, func(t *testing.T) {
			svg := draw(t, m)
			all := elements(t, svg)
			ids := make(map[string]bool)
			for _, g := range all["g"] {
				if id := g["id"]; id != "" && ids[id] {
					t.Errorf("%s is there twice", id)
				} else {
					ids[id] = true
				}
			}
			for _, c := range m.Countries {
				if !ids["country-"+c.Country] {
					t.Errorf("%s is missing", c.Country)
				}
			}
			for _, p := range m.PoPs {
				if !ids["pop-"+p.PoP] {
					t.Errorf("%s is missing", p.PoP)
				}
			}
			for _, bad := range []string{"NaN", "Inf", "%!", "href", "url(", "@import"} {
				if strings.Contains(svg, bad) {
					t.Errorf("%s in the picture", bad)
				}
			}
			for _, c := range all["circle"] {
				x, y := parse(t, c["cx"]), parse(t, c["cy"])
				if x < 0 || x > mapWidth || y < 0 || y > mapHeight+300 {
					t.Errorf("a dot at %v, %v", x, y)
				}
			}
			if len(m.Countries) > 0 && len(m.Countries) < 200 {
				t.Errorf("the table has %d countries", len(m.Countries))
			}
		})
	}
}

func parse(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// No piece of a line is long: what crosses the edge of the map comes back on the other side, and is not drawn across.
func TestNoLineAcrossTheMap(t *testing.T) {
	m := world(twelve...)
	for i := range m.Countries { // each to a PoP that is far away, many across the edge and past the poles
		m.Countries[i].PoP = m.PoPs[i%len(m.PoPs)].PoP
	}
	longest := make(map[string]float64)
	for _, p := range elements(t, draw(t, m))["path"] {
		class, _, _ := strings.Cut(p["class"], " ")
		for _, piece := range strings.Split(p["d"], "M")[1:] {
			var last pixel
			for i, at := range strings.Split(strings.TrimSuffix(piece, "Z"), "L") {
				x, y, _ := strings.Cut(at, " ")
				here := pixel{parse(t, x), parse(t, y)}
				if i > 0 {
					longest[class] = max(longest[class], math.Hypot(here.x-last.x, here.y-last.y))
				}
				last = here
			}
		}
	}
	for _, class := range []string{"sea", "land", "grid", "way", "edge"} {
		if longest[class] == 0 || longest[class] > longestStep+1 {
			t.Errorf("%s: the longest piece has %.1f pixels", class, longest[class])
		}
	}
}

func TestLand(t *testing.T) {
	rings, err := land(landTopology)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		lat, lon float64
		land     bool
	}{
		{"Berlin", 52.5, 13.4, true}, {"Denver", 39.7, -105, true}, {"Alice Springs", -23.7, 133.9, true},
		{"Chukotka, west of 180°", 67, 178, true}, {"Chukotka, east of it", 66.5, -175, true}, {"Fiji", -16.7, 179.3, true},
		{"South Pole", -89.9, 0, true}, {"Antarctica, at the edge of the map", -87, -168.9, true}, {"Antarctica, on the other side", -87, -169.1, true},
		{"North Pole", 89.9, 0, false}, {"Atlantic", 0, -30, false}, {"Pacific", 0, -150, false}, {"Pacific, at the edge", 0, -169, false},
		{"Caspian Sea", 42, 51, false}, {"south of Africa", -50, 20, false}, {"Bering Strait", 65.8, -168.9, false},
	} {
		in := false // an odd number of borders to the east
		x, y := turn(test.lon-middle), test.lat
		for _, ring := range rings {
			for i, b := range ring {
				a := ring[(i+len(ring)-1)%len(ring)]
				if (a.lat > y) != (b.lat > y) && x < a.lon+(y-a.lat)/(b.lat-a.lat)*(b.lon-a.lon) {
					in = !in
				}
			}
		}
		if in != test.land {
			t.Errorf("%s: land is %v", test.name, in)
		}
	}
}

// An island on both sides of the edge, 10° by 10°, of two arcs: the second one is told backwards.
func TestLandAcrossTheEdge(t *testing.T) {
	rings, err := land([]byte(`{"objects":{"land":{"geometries":[{"type":"MultiPolygon","arcs":[[[0,-2]]]}]}},
		"transform":{"scale":[1,1],"translate":[-174,0]},"arcs":[[[0,0],[10,0],[0,10]],[[0,0],[0,10],[10,0]]]}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(rings) != 2 {
		t.Fatalf("%d parts: %v", len(rings), rings)
	}
	for n, want := range []struct{ west, east, area float64 }{{-180, -175, 50}, {175, 180, 50}} {
		var area float64
		west, east := 180.0, -180.0
		for i, b := range rings[n] {
			a := rings[n][(i+len(rings[n])-1)%len(rings[n])]
			area += (a.lon*b.lat - b.lon*a.lat) / 2
			west, east = min(west, b.lon), max(east, b.lon)
		}
		if math.Abs(area-want.area) > 1e-6 || math.Abs(west-want.west) > 1e-6 || math.Abs(east-want.east) > 1e-6 {
			t.Errorf("part %d is %.1f large, from %.1f to %.1f; want %+v", n, area, west, east, want)
		}
	}
}

func TestLandRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, bad := range []string{
		``, `{`, `[]`,
		`{"objects":{"land":{"geometries":[{"type":"Point","arcs":[]}]}}}`,
		`{"objects":{"land":{"geometries":[{"type":"MultiPolygon","arcs":[[[1]]]}]}},"arcs":[[[0,0]]]}`,
		`{"objects":{"land":{"geometries":[{"type":"MultiPolygon","arcs":[[[-2]]]}]}},"arcs":[[[0,0]]]}`,
	} {
		if _, err := land([]byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

// A cell of the map has the same part of the map's area as the cell of the Earth that it shows.
func TestAreasAreTrue(t *testing.T) {
	const d = 0.01
	density := func(lat, lon float64) float64 {
		sw, se, nw := project(coordinate{lon, lat}), project(coordinate{lon + d, lat}), project(coordinate{lon, lat + d})
		area := math.Abs((se.x-sw.x)*(nw.y-sw.y) - (nw.x-sw.x)*(se.y-sw.y))
		return area / (math.Sin((lat+d)*math.Pi/180) - math.Sin(lat*math.Pi/180))
	}
	want := density(0, 0)
	for lat := -85.0; lat <= 85; lat += 5 {
		for lon := -180.0; lon < 180; lon += 20 {
			if got := density(lat, lon); math.Abs(got/want-1) > 0.002 {
				t.Errorf("at %v, %v areas are %.4f of what they should be", lat, lon, got/want)
			}
		}
	}
	for _, c := range []coordinate{{-180, 0}, {180, 0}, {0, 90}, {0, -90}} {
		if p := project(c); p.x < -0.01 || p.x > mapWidth+0.01 || p.y < -0.01 || p.y > mapHeight {
			t.Errorf("%v is at %v, outside the map", c, p)
		}
	}
}

func TestWorldMapRefusesPlacesOffTheEarth(t *testing.T) {
	for want, m := range map[string]mapDocument{
		"map: PoP fra: no place on Earth: latitude 91, longitude 0":        {PoPs: []server.MapPoP{{PoP: "fra", Lat: 91}}},
		"map: country DE: no place on Earth: latitude 0, longitude 1e+300": {Countries: []server.MapCountry{{Country: "DE", Lon: 1e300}}},
		"map: country DE: no place on Earth: latitude NaN, longitude 0":    {Countries: []server.MapCountry{{Country: "DE", Lat: math.NaN()}}},
	} {
		if err := worldMap(io.Discard, m); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestLongNames(t *testing.T) {
	if got := shortened("fra, " + strings.Repeat("ü", 40)); got != "fra, "+strings.Repeat("ü", 26)+"…" {
		t.Errorf("got %s", got)
	}
	if got := shortened("fra, Frankfurt"); got != "fra, Frankfurt" {
		t.Errorf("got %s", got)
	}
}

// PoPs that share a colour are far apart.
func TestColours(t *testing.T) {
	got := colours(twelve)
	for i, p := range twelve {
		for j, q := range twelve[:i] {
			if km := geo.Distance(geo.Point{Lat: p.Lat, Lon: p.Lon}, geo.Point{Lat: q.Lat, Lon: q.Lon}); got[i] == got[j] && km < 5000 {
				t.Errorf("%s and %s have one colour, %.0f km apart", p.PoP, q.PoP, km)
			}
		}
	}
}

func km(v float64) *float64 { return &v }

// small has what a network can show: a PoP that is down and a name to be escaped, a way across the edge of the map, a country that
// nobody serves.
var small = mapDocument{
	Network: "a<b", Revision: 3, Site: "www", Unknown: []string{"fra", "akl"},
	PoPs: []server.MapPoP{
		{PoP: "fra", Lat: 50.11, Lon: 8.68, City: "Frankfurt", Up: true},
		{PoP: "lhr", Lat: 51.47, Lon: -0.45, City: "London & \"about\""},
		{PoP: "akl", Lat: -37.01, Lon: 174.79, Up: true, Draining: true},
	},
	Countries: []server.MapCountry{
		{Country: "DE", Lat: 50.9, Lon: 9.8, Weight: 0.03, PoP: "fra", Distance: km(118)},
		{Country: "FR", Lat: 47.6, Lon: 2.6, Weight: 0.02, PoP: "fra", Distance: km(526)},
		{Country: "PF", Lat: -17.5, Lon: -149.5, Weight: 0, PoP: "akl", Distance: km(4094)},
		{Country: "ZZ", Lat: 0, Lon: 0, Weight: 0.01},
	},
}

// The picture of a small network but for its ground, which other tests look at.
func TestWorldMapOfASmallNetwork(t *testing.T) {
	svg := draw(t, small)
	_, got, _ := strings.Cut(svg[strings.Index(svg, `<path class="edge"`):], "\n")
	if got != smallPicture {
		t.Errorf("got\n%s\nwant\n%s", got, smallPicture)
	}
	head, _, _ := strings.Cut(svg, "\n<style>")
	if want := `<title id="title">Which PoP clients get, by country: network a&lt;b, site www</title>`; !strings.HasSuffix(head, want) {
		t.Errorf("got %s\nwant %s", head, want)
	}
}

func TestMapTable(t *testing.T) {
	var b strings.Builder
	mapTable(&b, small)
	want := `POP  STATE     COUNTRIES  ADDRESSES  MEDIAN   P90      MAX      FARTHEST
fra  up        2          83.3 %     118 km   526 km   526 km   FR
lhr  down      0          0.0 %      -        -        -        -
akl  draining  1          0.0 %      4094 km  4094 km  4094 km  PF
-    -         1          16.7 %     -        -        -        -
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestQuantile(t *testing.T) {
	ten := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for _, test := range []struct {
		values []float64
		p      int
		want   float64
	}{
		{ten, 50, 5}, {ten, 90, 9}, {ten, 100, 10}, {ten, 0, 1}, {ten[:1], 50, 1}, {ten[:1], 90, 1}, {ten[:3], 50, 2}, {nil, 50, 0},
	} {
		if got := quantile(test.values, test.p); got != test.want {
			t.Errorf("%d of 100 of %v: %v, want %v", test.p, test.values, got, test.want)
		}
	}
}

const smallPicture = `<path class="way s0" d="M576.8 77.5L573.8 80.2"/>
<path class="way s0" d="M557.2 88.8L561.3 86.5L565.4 84.3L569.6 82.2L573.8 80.2"/>
<path class="way s2" d="M74.3 357.6L71.8 361.6L69.2 365.5L66.7 369.3L64.3 373.1L61.8 376.8L59.4 380.5L57 384.1L54.5 387.7L52.1 391.2L49.7 394.6L47.3 398L44.8 401.3L42.4 404.6L39.9 407.7L38 410.1M1122 410.1L1120.7 410.8L1114.3 413.8L1108 416.7L1101.6 419.6L1095.1 422.3L1088.7 425L1082.2 427.6L1075.7 430.1L1069.2 432.5L1062.7 434.7L1056.2 436.9"/>
<g id="country-DE"><title>DE: fra, 118 km, 50.0 % of addresses</title><circle class="country f0" cx="576.8" cy="77.5" r="24"/></g>
<g id="country-FR"><title>FR: fra, 526 km, 33.3 % of addresses</title><circle class="country f0" cx="557.2" cy="88.8" r="19.6"/></g>
<g id="country-ZZ"><title>ZZ: no PoP, 16.7 % of addresses</title><circle class="country none" cx="544.6" cy="282.3" r="13.9"/></g>
<g id="country-PF"><title>PF: akl, 4,094 km, 0.0 % of addresses</title><circle class="country f2" cx="74.3" cy="357.6" r="2.2"/></g>
<text class="code" x="576.8" y="81" style="fill:#fff">DE</text>
<text class="code" x="557.2" y="92.3" style="fill:#fff">FR</text>
<text class="code" x="544.6" y="285.8" style="fill:#fff">ZZ</text>
<g id="pop-fra"><title>fra, Frankfurt</title><circle class="halo" cx="573.8" cy="80.2" r="9"/><circle class="pop f0 s0" cx="573.8" cy="80.2" r="5.5"/></g>
<g id="pop-lhr"><title>lhr, London &amp; &#34;about&#34; (down)</title><circle class="halo" cx="549.9" cy="75.6" r="9"/><circle class="pop out s1" cx="549.9" cy="75.6" r="5.5"/></g>
<g id="pop-akl"><title>akl (draining)</title><circle class="halo" cx="1056.2" cy="436.9" r="9"/><circle class="pop out s2" cx="1056.2" cy="436.9" r="5.5"/></g>
<text class="label" x="584.8" y="84.2" text-anchor="start">fra</text>
<text class="label" x="538.9" y="79.6" text-anchor="end">lhr</text>
<text class="label" x="1067.2" y="440.9" text-anchor="start">akl</text>
</g>
<g><circle class="pop f0 s0" cx="28" cy="674" r="5.5"/><text class="name" x="44" y="679">fra, Frankfurt</text><text x="44" y="697">2 countries, 83.3 % of addresses</text><text class="quiet small" x="44" y="714">median 118 km, farthest 526 km (FR)</text></g>
<g><circle class="pop out s1" cx="314" cy="674" r="5.5"/><text class="name" x="330" y="679">lhr, London &amp; &#34;about&#34; (down)</text><text x="330" y="697">0 countries, 0.0 % of addresses</text></g>
<g><circle class="pop out s2" cx="600" cy="674" r="5.5"/><text class="name" x="616" y="679">akl (draining)</text><text x="616" y="697">1 country, 0.0 % of addresses</text><text class="quiet small" x="616" y="714">median 4,094 km, farthest 4,094 km (PF)</text></g>
<text class="quiet" x="20" y="761">Grey: 1 country without a PoP. Hollow: a PoP that is down or drains. Clients whose place nobody knows: fra, akl. Map: Natural Earth. Equal Earth projection.</text>
</svg>
`
