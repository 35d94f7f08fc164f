package main

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"hither/dns/geo"
)

// town is a place where clients are, weighted against the others of its country.
type town struct {
	at     geo.Point
	weight float64
}

// towns has the towns of each country: those of the weights, else its one row in zone.tab.
func (in *input) towns() (map[string][]town, error) {
	towns := map[string][]town{}
	err := each(in.weights, func(n int, text string) error {
		f := strings.Fields(text)
		if len(f) < 5 || len(f[0]) != 2 {
			return fmt.Errorf("weights:%d: not code, latitude, longitude, weight, name", n)
		}
		var v [3]float64
		for i := range v {
			var err error
			if v[i], err = strconv.ParseFloat(f[i+1], 64); err != nil {
				return fmt.Errorf("weights:%d: %w", n, err)
			}
		}
		if math.Abs(v[0]) > 90 || math.Abs(v[1]) > 180 || !(v[2] > 0) {
			return fmt.Errorf("weights:%d: not on Earth, or of no weight", n)
		}
		towns[f[0]] = append(towns[f[0]], town{geo.Point{Lat: v[0], Lon: v[1]}, v[2]})
		return nil
	})
	if err != nil {
		return nil, err
	}
	rows := map[string][]town{}
	err = each(in.zones, func(n int, text string) error {
		f := strings.Split(text, "\t")
		if len(f) < 3 || len(f[0]) != 2 {
			return fmt.Errorf("zones:%d: not code, coordinates, zone", n)
		}
		at, err := iso6709(f[1])
		if err != nil {
			return fmt.Errorf("zones:%d: %w", n, err)
		}
		rows[f[0]] = append(rows[f[0]], town{at, 1})
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, code := range slices.Sorted(maps.Keys(rows)) {
		switch {
		case len(towns[code]) > 0:
		case len(rows[code]) > 1:
			return nil, fmt.Errorf("zones: %s has %d rows, and weights do not say where its people are", code, len(rows[code]))
		default:
			towns[code] = rows[code]
		}
	}
	return towns, nil
}

var coordinates = regexp.MustCompile(`^([+-])(\d\d)(\d\d)(\d\d)?([+-])(\d{3})(\d\d)(\d\d)?$`)

// iso6709 reads the coordinates of zone.tab: degrees, minutes and perhaps seconds, +DDMM+DDDMM or +DDMMSS+DDDMMSS.
func iso6709(s string) (geo.Point, error) {
	m := coordinates.FindStringSubmatch(s)
	if m == nil {
		return geo.Point{}, fmt.Errorf("%q are not coordinates", s)
	}
	angle := func(part []string) float64 {
		v := 0.0
		for i, digits := range part[1:] {
			n, _ := strconv.Atoi(digits) // seconds may be missing, and then they are 0
			v += float64(n) / []float64{1, 60, 3600}[i]
		}
		if part[0] == "-" {
			return -v
		}
		return v
	}
	return geo.Point{Lat: angle(m[1:5]), Lon: angle(m[5:9])}, nil
}

// place makes a country of each code, weighted by its IPv4 addresses.
func place(towns map[string][]town, four []geo.Range) []geo.Country {
	addresses, all := map[string]float64{}, 0.0
	for _, r := range four {
		first, last := r.First.As4(), r.Last.As4()
		n := float64(binary.BigEndian.Uint32(last[:])) - float64(binary.BigEndian.Uint32(first[:])) + 1
		addresses[r.Country] += n
		all += n
	}
	var countries []geo.Country
	for _, code := range slices.Sorted(maps.Keys(towns)) {
		c := geo.Country{Code: code, Point: median(towns[code])}
		if all > 0 {
			c.Weight = addresses[code] / all
		}
		countries = append(countries, c)
	}
	return countries
}

// median is the point with the least mean distance to the towns, to 1/64 degree.
//
// Two PoPs divide the Earth along a great circle. A random great circle parts two points with a probability proportional to
// their distance (Crofton's formula), so the point that has the least mean distance to all clients is the one that is most
// often on the same side as a client is: nearest to the same PoP, whatever the PoPs are. A centroid is not: a few far clients,
// who are lost anyway, draw it away from the many.
func median(towns []town) geo.Point {
	cost := func(p geo.Point) float64 {
		sum := 0.0
		for _, t := range towns {
			sum += t.weight * geo.Distance(p, t.at)
		}
		return sum
	}
	best, least := towns[0].at, math.Inf(1)
	for _, t := range towns {
		if c := cost(t.at); c < least {
			best, least = t.at, c
		}
	}
	if len(towns) == 1 {
		return best
	}
	// The cost has no hollow but one within a country, so walking downhill with ever smaller steps ends there.
	for step := 8.0; step >= 1.0/64; {
		next := best
		for _, d := range []geo.Point{{Lat: step}, {Lat: -step}, {Lon: step}, {Lon: -step}} {
			p := geo.Point{Lat: best.Lat + d.Lat, Lon: best.Lon + d.Lon}
			if c := cost(p); c < least && math.Abs(p.Lat) <= 90 && math.Abs(p.Lon) <= 180 {
				next, least = p, c
			}
		}
		if next == best {
			step /= 2
		}
		best = next
	}
	return best
}
