package geo

import "math"

// earthRadius is the mean radius of the Earth (IUGG R1) in kilometres.
const earthRadius = 6371.0088

// Point is a place on the Earth: degrees north and east. The zero Point lies in the Gulf of Guinea and is a valid place.
type Point struct{ Lat, Lon float64 }

// Distance is the length in kilometres of the great circle from a to b on a sphere of the Earth's mean radius; it is at
// most 0.6 % off the true ellipsoid. It is symmetric and never negative.
func Distance(a, b Point) float64 {
	const radians = math.Pi / 180
	lat := math.Sin((b.Lat - a.Lat) * radians / 2)
	lon := math.Sin((b.Lon - a.Lon) * radians / 2)
	h := lat*lat + math.Cos(a.Lat*radians)*math.Cos(b.Lat*radians)*lon*lon
	return 2 * earthRadius * math.Asin(math.Sqrt(min(h, 1))) // rounding takes antipodes above 1
}
