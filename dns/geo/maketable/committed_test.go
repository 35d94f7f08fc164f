//go:build !nogeo

package main

import (
	"testing"

	"hither/dns/geo"
)

// The committed table was made with the committed weights.
func TestCommitted(t *testing.T) {
	in := input{zones: realZones(), weights: weights}
	towns, err := in.towns()
	if err != nil {
		t.Fatal(err)
	}
	points := map[string]geo.Point{}
	for _, c := range geo.Countries() {
		points[c.Code] = c.Point
	}
	for code, of := range towns {
		if p := median(of); geo.Distance(p, points[code]) > 3 { // two steps of the search, for machines that round otherwise
			t.Errorf("%s: %v by the weights, %v in dns/geo/table.bin: run maketable", code, p, points[code])
		}
	}
}
