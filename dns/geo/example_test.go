//go:build !nogeo

package geo_test

import (
	"fmt"
	"net/netip"

	"hither/dns/geo"
)

// The operator's word first, else the table of countries in the program.
func Example() {
	table := geo.New(map[netip.Prefix]geo.Spot{
		netip.MustParsePrefix("10.0.0.0/8"):  {PoP: "fra"},
		netip.MustParsePrefix("10.9.0.0/16"): {Point: &geo.Point{Lat: 1.35, Lon: 103.99}},
	}, geo.Embedded())
	for _, client := range []string{"10.1.2.3", "10.9.2.3", "193.0.6.139", "192.168.1.1"} {
		f := table.Lookup(netip.MustParseAddr(client))
		fmt.Printf("%s: %s %s%v of %s, scope /%d\n", client, f.Source, f.PoP, f.Point, f.Matched, f.Bits)
	}
	// Output:
	// 10.1.2.3: prefix fra{0 0} of 10.0.0.0/8, scope /13
	// 10.9.2.3: prefix {1.35 103.99} of 10.9.0.0/16, scope /16
	// 193.0.6.139: embedded {52.3667 4.9} of 193.0.0.0/20, scope /20
	// 192.168.1.1: none {0 0} of 192.168.0.0/16, scope /16
}

func ExampleOpenMMDB() {
	_, err := geo.OpenMMDB([]byte("not a database"))
	fmt.Println(err)
	// Output:
	// geo: reading mmdb: error opening database: invalid MaxMind DB file
}

func ExampleDistance() {
	frankfurt, singapore := geo.Point{Lat: 50.11, Lon: 8.68}, geo.Point{Lat: 1.35, Lon: 103.99}
	fmt.Printf("%.0f km\n", geo.Distance(frankfurt, singapore))
	// Output:
	// 10270 km
}
