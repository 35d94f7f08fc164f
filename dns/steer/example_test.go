package steer_test

import (
	"fmt"
	"net/netip"
	"time"

	"hither/dns/geo"
	"hither/dns/steer"
)

var pops = []steer.PoP{
	{Name: "fra", At: geo.Point{Lat: 50.11, Lon: 8.68}, V4: steer.Down, Weight: 1},
	{Name: "iad", At: geo.Point{Lat: 38.95, Lon: -77.45}, V4: steer.Up, V6: steer.Up, Weight: 1},
	{Name: "sin", At: geo.Point{Lat: 1.35, Lon: 103.99}, V4: steer.Up, Weight: 1},
}

// Berlin's nearest PoP is down, so it gets the next.
func ExampleSnapshot_Pick() {
	s, err := steer.New(pops, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	berlin := geo.Found{Source: geo.SourceEmbedded, Point: geo.Point{Lat: 52.52, Lon: 13.40}, Bits: 20}
	a := s.Pick(steer.Question{Client: netip.MustParsePrefix("192.0.2.0/24"), Found: berlin, Family: 4}, make([]int, 0, 1))
	for _, i := range a.PoPs {
		fmt.Println(s.PoP(i).Name, a.Reason, "scope", max(berlin.Bits, a.HashBits))
	}
	// Output: iad nearest scope 20
}

func ExampleSnapshot_Explain() {
	s, err := steer.New(pops, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	berlin := geo.Found{Source: geo.SourceEmbedded, Point: geo.Point{Lat: 52.52, Lon: 13.40}}
	d := s.Explain(steer.Question{Found: berlin, Family: 4})
	for _, c := range d.Candidates {
		fmt.Printf("%d. %s %.0f km %s %q\n", c.Rank, c.PoP, c.DistanceKM, c.Reason, c.Struck)
	}
	fmt.Println(s.PoP(d.PoPs[0]).Name, "is the", d.Reason.Text())
	// Output:
	// 1. fra 423 km nearest "down"
	// 2. iad 6732 km distance ""
	// 3. sin 9928 km distance ""
	// iad is the nearest healthy by distance
}

func ExampleHealth() {
	h := steer.Health{Rise: 2, Fall: 3}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, ok := range []bool{false, false, false, true, true} {
		if h.Observe(ok, now) {
			fmt.Println(h.State())
		}
		now = now.Add(2 * time.Second)
	}
	// Output:
	// down
	// up
}

func ExampleShedding() {
	var share steer.Share
	for range 5 { // all its clients would be 1.2 times what the PoP can bear
		share = steer.Shedding{}.Next(share, 1.2*(1-share.Part))
		fmt.Printf("%.2f ", share.Part)
	}
	// Output: 0.09 0.17 0.25 0.32 0.33
}
