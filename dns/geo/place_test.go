package geo_test

import (
	"math"
	"testing"

	"hither/dns/geo"
)

func TestDistance(t *testing.T) {
	fra, iad, sin := geo.Point{Lat: 50.11, Lon: 8.68}, geo.Point{Lat: 38.95, Lon: -77.45}, geo.Point{Lat: 1.35, Lon: 103.99}
	for _, c := range []struct {
		a, b geo.Point
		km   float64
	}{
		{fra, fra, 0},
		{fra, iad, 6553}, {fra, sin, 10262}, {iad, sin, 15537},
		{geo.Point{Lat: 90}, geo.Point{Lat: -90, Lon: 77}, 20015.1},
		{geo.Point{Lon: 0}, geo.Point{Lon: 180}, 20015.1},
		{geo.Point{Lon: 179.5}, geo.Point{Lon: -179.5}, 111.2},
		{geo.Point{Lat: 1}, geo.Point{Lat: -1}, 222.4},
		{geo.Point{Lat: 13.7, Lon: 42.1}, geo.Point{Lat: -13.7, Lon: -137.9}, 20015.1},
	} {
		if d := geo.Distance(c.a, c.b); math.Abs(d-c.km) > max(0.1, c.km/1000) || d != geo.Distance(c.b, c.a) {
			t.Errorf("%v to %v: %.1f km and back %.1f, want %.1f", c.a, c.b, d, geo.Distance(c.b, c.a), c.km)
		}
	}
}

// pops are one per continent: Frankfurt, Ashburn, Singapore, Sao Paulo, Johannesburg, Sydney.
var pops = []geo.Point{
	{Lat: 50.11, Lon: 8.68}, {Lat: 38.95, Lon: -77.45}, {Lat: 1.35, Lon: 103.99},
	{Lat: -23.43, Lon: -46.47}, {Lat: -26.14, Lon: 28.25}, {Lat: -33.95, Lon: 151.18},
}

func nearest(p geo.Point) int { return nearestOf(pops, p) }

func nearestOf(pops []geo.Point, p geo.Point) int {
	best := 0
	for i := range pops {
		if geo.Distance(pops[i], p) < geo.Distance(pops[best], p) {
			best = i
		}
	}
	return best
}
