package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
)

// landTopology is the outline of the continents at 1:110 million: Natural Earth, in the public domain, as TopoJSON of world-atlas
// 2.0.2.
//
//go:embed land-110m.json
var landTopology []byte

// A coordinate is a place in degrees, its longitude counted from the middle of the map.
type coordinate struct{ lon, lat float64 }

// middle is the meridian in the middle of the map. The edge is then at 169° W, in the Bering Strait, where it cuts no land but
// Antarctica.
const middle = 11

// land returns the continents as rings to be filled by the even-odd rule, within the map: -180 to 180. In the file, rings
// run on across the antimeridian, and that around the South Pole does not come to the pole.
func land(topology []byte) ([][]coordinate, error) {
	var t struct {
		Objects struct {
			Land struct {
				Geometries []struct {
					Type string    `json:"type"`
					Arcs [][][]int `json:"arcs"`
				} `json:"geometries"`
			} `json:"land"`
		} `json:"objects"`
		Arcs      [][][2]float64 `json:"arcs"`
		Transform struct {
			Scale     [2]float64 `json:"scale"`
			Translate [2]float64 `json:"translate"`
		} `json:"transform"`
	}
	if err := json.Unmarshal(topology, &t); err != nil {
		return nil, fmt.Errorf("map: outline of the continents: %w", err)
	}
	arcs := make([][]coordinate, len(t.Arcs))
	for i, a := range t.Arcs {
		var x, y float64 // each position is told as the difference to the one before
		for _, d := range a {
			x, y = x+d[0], y+d[1]
			arcs[i] = append(arcs[i], coordinate{x*t.Transform.Scale[0] + t.Transform.Translate[0] - middle, y*t.Transform.Scale[1] + t.Transform.Translate[1]})
		}
	}
	var rings [][]coordinate
	for _, g := range t.Objects.Land.Geometries {
		if g.Type != "MultiPolygon" {
			return nil, fmt.Errorf("map: outline of the continents: a geometry of type %q", g.Type)
		}
		for _, polygon := range g.Arcs {
			for _, ring := range polygon {
				var points []coordinate
				for _, i := range ring {
					back := i < 0
					if back {
						i = ^i // the arc, from its end
					}
					if i >= len(arcs) {
						return nil, fmt.Errorf("map: outline of the continents: no arc %d", i)
					}
					for n := range arcs[i] {
						if back {
							n = len(arcs[i]) - 1 - n
						}
						points = append(points, arcs[i][n])
					}
				}
				rings = append(rings, onMap(points)...)
			}
		}
	}
	return rings, nil
}

// turn is an angle between -180 and 180.
func turn(degrees float64) float64 { return degrees - 360*math.Round(degrees/360) }

// onMap returns what is on the map of a ring that may cross its edge, or go around a pole.
func onMap(ring []coordinate) [][]coordinate {
	if len(ring) == 0 {
		return nil
	}
	// Follow it without a jump.
	whole := []coordinate{{turn(ring[0].lon), ring[0].lat}}
	for _, c := range append(ring[1:], ring[0]) {
		last := whole[len(whole)-1]
		whole = append(whole, coordinate{last.lon + turn(c.lon-last.lon), c.lat})
	}
	around := whole[len(whole)-1].lon - whole[0].lon
	if math.Abs(around) < 180 {
		var parts [][]coordinate
		for _, shift := range []float64{-360, 0, 360} {
			if part := cut(shifted(whole, shift)); len(part) > 0 {
				parts = append(parts, part)
			}
		}
		return parts
	}
	// It goes around a pole: let it run from edge to edge and beyond, and close it by way of the pole.
	var long []coordinate
	for _, shift := range []float64{-around, 0, around} {
		long = append(long, shifted(whole, shift)...)
	}
	pole := math.Copysign(90, ring[0].lat)
	long = append(long, coordinate{long[len(long)-1].lon, pole}, coordinate{long[0].lon, pole})
	return [][]coordinate{cut(long)}
}

func shifted(ring []coordinate, by float64) []coordinate {
	out := make([]coordinate, len(ring))
	for i, c := range ring {
		out[i] = coordinate{c.lon + by, c.lat}
	}
	return out
}

// cut keeps what of a ring is between -180 and 180 (Sutherland and Hodgman, once for each side).
func cut(ring []coordinate) []coordinate {
	for _, side := range []float64{-1, 1} {
		var kept []coordinate
		for i, c := range ring {
			last := ring[(i+len(ring)-1)%len(ring)]
			in, was := c.lon*side <= 180, last.lon*side <= 180
			if in != was {
				part := (side*180 - last.lon) / (c.lon - last.lon)
				kept = append(kept, coordinate{side * 180, last.lat + part*(c.lat-last.lat)})
			}
			if in {
				kept = append(kept, c)
			}
		}
		ring = kept
	}
	return ring
}
