package steer

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestShedding(t *testing.T) {
	for _, test := range []struct {
		what              string
		share, load, want float64
	}{
		{"idle", 0, 0, 0},
		{"busy", 0, 0.9, 0},
		{"begins, by a step at most", 0, 0.95, 1 - 1/1.1},
		{"far above", 0, 2, 1 - 1/1.1},
		{"stays in between from above", 0.3, 0.9, 0.3},
		{"stays in between from below", 0.3, 0.7, 0.3},
		{"falls by a step at most", 0.3, 0.69, 1 - 0.7*1.1},
		{"far below", 0.3, 0.2, 1 - 0.7*1.1},
		{"ends", 0.05, 0.1, 0},
		{"ends where all of it is gone", 0.05, 0, 0},
		{"unknown by NaN", 0.3, math.NaN(), 1 - 0.7*1.1},
		{"unknown by a negative load", 0.05, -1, 0},
		{"keeps a tenth", 0.89, 9, 0.9},
		{"absurd load", 0.5, math.Inf(1), 1 - 0.5/1.1},
		{"absurd share", 7, 1, 0.9},
		{"no share", math.NaN(), 0.8, 0},
	} {
		if got := (Shedding{}).Next(test.share, test.load); math.Abs(got-test.want) > 1e-12 {
			t.Errorf("%s: Next(%v, %v) = %v, want %v", test.what, test.share, test.load, got, test.want)
		}
	}
	wide := Shedding{Begin: 0.5, End: 0.3, Step: 2}
	for load, want := range map[float64]float64{0.8: 0.75, 0.25: 0.2, 0.01: 0} {
		if got := wide.Next(0.5, load); math.Abs(got-want) > 1e-12 {
			t.Errorf("target 0.4: Next(0.5, %v) = %v, want %v", load, got, want)
		}
	}
}

func TestSheddingIsMonotoneAndBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share, load := rapid.Float64Range(0, 0.9), rapid.Float64Range(0, 4)
		s, l := share.Draw(t, "share"), load.Draw(t, "load")
		next := (Shedding{}).Next(s, l)
		if !(next >= 0 && next <= 0.9 && (1-next)*1.1 >= 1-s-1e-12 && (1-s)*1.1 >= 1-next-1e-12) {
			t.Fatalf("Next(%v, %v) = %v", s, l, next)
		}
		if s2 := share.Draw(t, "other share"); s2 >= s && (Shedding{}).Next(s2, l) < next-1e-12 {
			t.Errorf("share %v: %v; share %v: less", s, next, s2)
		}
		if l2 := load.Draw(t, "other load"); l2 >= l && (Shedding{}).Next(s, l2) < next-1e-12 {
			t.Errorf("load %v: %v; load %v: less", l, next, l2)
		}
	})
}

// Clients who are worth a steady load, from whatever share on: the load comes below Begin, the share stands still there, and it goes
// back to none where the PoP can take them all. So it is if the measured load is one call late, too.
func TestSheddingSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.Float64Range(0, 8).Draw(t, "load of all clients")
		share := rapid.Float64Range(0, 0.9).Draw(t, "share")
		late := rapid.Bool().Draw(t, "late")
		before := share
		step := func() {
			measured := share
			if late {
				measured = before
			}
			before, share = share, Shedding{}.Next(share, all*(1-measured))
		}
		for range 60 {
			step()
		}
		settled := share
		for range 10 {
			if step(); math.Abs(share-settled) > 1e-3 {
				t.Fatalf("share goes from %v to %v", settled, share)
			}
		}
		if left := all * (1 - share); left > 0.9+1e-3 || all < 0.7 && share > 0 || share > 0 && left < 0.7-1e-3 {
			t.Errorf("settles at a share of %v and a load of %v", share, left)
		}
	})
}
