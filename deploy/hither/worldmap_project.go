package main

import (
	"math"

	"hither/dns/geo"
)

// Size of the map in pixels. Its height follows from the projection.
const (
	mapWidth = 1160
	mapScale = mapWidth / (2 * 2.706629983696)
	mapTop   = 1.317362759157 // y of the North Pole
)

var mapHeight = math.Ceil(2 * mapTop * mapScale)

// A pixel is a place in the picture, from the upper left corner of the map.
type pixel struct{ x, y float64 }

// project is the Equal Earth projection (Šavrič, Patterson, Jenny 2018, equations 4 and 5): areas are true.
func project(c coordinate) pixel {
	const a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
	theta := math.Asin(math.Sqrt(3) / 2 * math.Sin(c.lat*math.Pi/180))
	t2 := theta * theta
	t6 := t2 * t2 * t2
	x := 2 * math.Sqrt(3) * c.lon * math.Pi / 180 * math.Cos(theta) / (3 * (a1 + 3*a2*t2 + t6*(7*a3+9*a4*t2)))
	y := theta * (a1 + a2*t2 + t6*(a3+a4*t2))
	return pixel{mapWidth/2 + mapScale*x, mapScale * (mapTop - y)}
}

// place is where a point is on the map.
func place(p geo.Point) pixel { return project(coordinate{turn(p.Lon - middle), p.Lat}) }

// line projects a line whose pieces are straight in degrees, as curved as the map has them.
func line(points []coordinate) []pixel {
	var out []pixel
	for i, c := range points {
		if i > 0 {
			last := points[i-1]
			steps := math.Ceil(max(math.Abs(c.lon-last.lon), math.Abs(c.lat-last.lat)) / 2)
			for n := 1.0; n < steps; n++ {
				out = append(out, project(coordinate{last.lon + (c.lon-last.lon)*n/steps, last.lat + (c.lat-last.lat)*n/steps}))
			}
		}
		out = append(out, project(c))
	}
	return out
}

// longestStep is how far in pixels two points of a great circle 1.5° apart can be on the map, but for those near a pole: that is a
// line there, and a way past it would be drawn as a streak.
const longestStep = 12

// greatCircle is the shortest way between two places, in the pieces that the edge of the map and the poles leave of it.
func greatCircle(a, b geo.Point) [][]pixel {
	u, v := unit(a), unit(b)
	angle := math.Acos(max(-1, min(1, u[0]*v[0]+u[1]*v[1]+u[2]*v[2])))
	if s := math.Sin(angle); s < 1e-6 {
		return nil // the same place, or its antipode to which all ways are the shortest
	}
	var pieces [][]pixel
	var piece []pixel
	var last coordinate
	steps := math.Ceil(angle / (1.5 * math.Pi / 180))
	for n := 0.0; n <= steps; n++ {
		f, g := math.Sin((1-n/steps)*angle)/math.Sin(angle), math.Sin(n/steps*angle)/math.Sin(angle)
		x, y, z := f*u[0]+g*v[0], f*u[1]+g*v[1], f*u[2]+g*v[2]
		c := coordinate{turn(math.Atan2(y, x)*180/math.Pi - middle), math.Atan2(z, math.Hypot(x, y)) * 180 / math.Pi}
		east := last.lon + turn(c.lon-last.lon) // where c is without a jump
		switch from, to := project(last), project(coordinate{east, c.lat}); {
		case n == 0:
		case math.Hypot(to.x-from.x, to.y-from.y) > longestStep:
			pieces, piece = append(pieces, piece), nil
		case math.Abs(east) > 180:
			side := math.Copysign(180, east)
			lat := last.lat + (c.lat-last.lat)*(side-last.lon)/(east-last.lon)
			pieces = append(pieces, append(piece, project(coordinate{side, lat})))
			piece = []pixel{project(coordinate{-side, lat})}
		}
		piece = append(piece, project(c))
		last = c
	}
	return append(pieces, piece)
}

func unit(p geo.Point) [3]float64 {
	sinLat, cosLat := math.Sincos(p.Lat * math.Pi / 180)
	sinLon, cosLon := math.Sincos(p.Lon * math.Pi / 180)
	return [3]float64{cosLat * cosLon, cosLat * sinLon, sinLat}
}
