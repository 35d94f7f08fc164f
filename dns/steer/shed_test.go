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
		if got := (Shedding{}).Next(Share{Part: test.share}, test.load).Part; math.Abs(got-test.want) > 1e-12 {
			t.Errorf("%s: Next(%v, %v) = %v, want %v", test.what, test.share, test.load, got, test.want)
		}
	}
	wide := Shedding{Begin: 0.5, End: 0.3, Step: 2}
	for load, want := range map[float64]float64{0.8: 0.75, 0.25: 0.2, 0.01: 0} {
		if got := wide.Next(Share{Part: 0.5}, load).Part; math.Abs(got-want) > 1e-12 {
			t.Errorf("target 0.4: Next(0.5, %v) = %v, want %v", load, got, want)
		}
	}
}

func TestSheddingIsMonotoneAndBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share, load := rapid.Float64Range(0, 0.9), rapid.Float64Range(0, 4)
		s, l := share.Draw(t, "share"), load.Draw(t, "load")
		way := rapid.Int8Range(-1, 1).Draw(t, "way")
		next := (Shedding{}).Next(Share{s, way}, l).Part
		if !(next >= 0 && next <= 0.9 && (1-next)*1.1 >= 1-s-1e-12 && (1-s)*1.1 >= 1-next-1e-12) {
			t.Fatalf("Next(%v, %v) = %v", s, l, next)
		}
		if s2 := share.Draw(t, "other share"); s2 >= s && (Shedding{}).Next(Share{s2, way}, l).Part < next-1e-12 {
			t.Errorf("share %v: %v; share %v: less", s, next, s2)
		}
		if l2 := load.Draw(t, "other load"); l2 >= l && (Shedding{}).Next(Share{s, way}, l2).Part < next-1e-12 {
			t.Errorf("load %v: %v; load %v: less", l, next, l2)
		}
	})
}

// A share that has begun to change goes on until the load is at the target, in the one direction.
func TestSheddingGoesOn(t *testing.T) {
	for _, test := range []struct {
		what       string
		from       Share
		load, want float64
		way        int8
	}{
		{"rises on within the band", Share{0.3, 1}, 0.85, 1 - 0.7*0.8/0.85, 0},
		{"rises on, a step", Share{0.3, 1}, 0.89, 1 - 0.7/1.1, 1},
		{"has risen far enough", Share{0.3, 1}, 0.75, 0.3, 0},
		{"falls on within the band", Share{0.3, -1}, 0.75, 1 - 0.7*0.8/0.75, 0},
		{"falls on, a step", Share{0.3, -1}, 0.71, 1 - 0.7*1.1, -1},
		{"has fallen far enough", Share{0.3, -1}, 0.85, 0.3, 0},
		{"turns round below", Share{0.3, 1}, 0.6, 1 - 0.7*1.1, -1},
		{"turns round above", Share{0.3, -1}, 1, 1 - 0.7/1.1, 1},
		{"begins", Share{}, 0.95, 1 - 1/1.1, 1},
		{"unknown ends it", Share{0.3, 1}, -1, 1 - 0.7*1.1, 0},
	} {
		if got := (Shedding{}).Next(test.from, test.load); math.Abs(got.Part-test.want) > 1e-12 || got.Way != test.way {
			t.Errorf("%s: Next(%v, %v) = %v, want %v %v", test.what, test.from, test.load, got, test.want, test.way)
		}
	}
}

// Clients who are worth a steady load, from whatever share on: the load comes to the middle of the band, the share stands still there, and it goes
// back to none where the PoP can take them all. So it is if the measured load is one call late, too.
func TestSheddingSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.Float64Range(0, 8).Draw(t, "load of all clients")
		share := Share{Part: rapid.Float64Range(0, 0.9).Draw(t, "share")}
		late := rapid.Bool().Draw(t, "late")
		began := math.Abs(all*(1-share.Part)-0.8) > 0.1+1e-9 // else it rests where it is
		before := share
		step := func() {
			measured := share
			if late {
				measured = before
			}
			before, share = share, Shedding{}.Next(share, all*(1-measured.Part))
		}
		for range 60 {
			step()
		}
		settled := share
		for range 10 {
			if step(); share.Part != settled.Part {
				t.Fatalf("share goes from %v to %v", settled, share)
			}
		}
		left := all * (1 - share.Part)
		if left > 0.9+1e-3 || all < 0.7 && share.Part > 0 || share.Part > 0 && left < 0.7-1e-3 {
			t.Errorf("settles at a share of %v and a load of %v", share.Part, left)
		}
		if began && share.Part > 0 && (left < 0.8/1.1-1e-3 || left > 0.8*1.1+1e-3) {
			t.Errorf("settles at a load of %v, at the edge of the band", left)
		}
	})
}

// A server that begins takes over what others send on, where a load says that there is something to be sent on.
func TestSheddingTaken(t *testing.T) {
	part := func(parts ...float64) (list []Share) {
		for _, p := range parts {
			list = append(list, Share{Part: p})
		}
		return list
	}
	own := Share{Part: 0.2}
	for _, test := range []struct {
		what   string
		others []Share
		load   float64
		want   Share
	}{
		{"nobody", nil, 0.8, own},
		{"one", []Share{{0.3, 1}}, 0.8, Share{0.3, 1}},
		{"one that sends nothing on", part(0), 0.8, Share{}},
		{"one says much", part(0.9), 0.8, Share{Part: 0.5}},
		{"the lesser of two", part(0.9, 0.3), 0.8, Share{Part: 0.3}},
		{"the middle of three", part(0.9, 0, 0.3), 1.5, Share{Part: 0.3}},
		{"two that say much", part(0.9, 0.9), 0.8, Share{Part: 0.9}},
		{"no load", part(0.3), 0.69, own},
		{"a load that is unknown", part(0.3), -1, own},
		{"no number", part(0.3), math.NaN(), own},
		{"nonsense", []Share{{Part: 7}, {Part: -0.1}, {Part: math.NaN()}, {0.3, 2}, {0.3, -2}}, 0.8, own},
	} {
		if got := (Shedding{}).Taken(own, test.others, test.load); got != test.want {
			t.Errorf("%s: %v, want %v", test.what, got, test.want)
		}
	}
}

// Shares that rest come together, whoever of them moves, and a word moves them by a step at most, within the band, in no other direction than to another's.
func TestSheddingJoined(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.OneOf(rapid.Float64Range(0, 0.9), rapid.SampledFrom([]float64{0, 0.9, 0.3, 7, -1, math.NaN()}))
		share := rapid.Custom(func(t *rapid.T) Share {
			return Share{part.Draw(t, "part"), rapid.SampledFrom([]int8{0, 0, 0, 1, -1, 3}).Draw(t, "way")}
		})
		s := Share{rapid.Float64Range(0, 0.9).Draw(t, "own"), rapid.Int8Range(-1, 1).Draw(t, "way")}
		others := rapid.SliceOfN(share, 0, 5).Draw(t, "others")
		load := rapid.Float64Range(-1, 2).Draw(t, "load")
		got := Shedding{}.Joined(s, others, load)
		least, most := s.Part, s.Part
		for _, o := range others {
			if o.Way == 0 && o.Part >= 0 && o.Part <= 0.9 {
				least, most = min(least, o.Part), max(most, o.Part)
			}
		}
		if got.Part < least-1e-12 || got.Part > most+1e-12 || got.Way != s.Way {
			t.Fatalf("Joined(%v, %v, %v) = %v", s, others, load, got)
		}
		if (1-got.Part)*1.1 < 1-s.Part-1e-12 || (1-s.Part)*1.1 < 1-got.Part-1e-12 || got != s && (s.Way != 0 || load < 0.7 || load > 0.9) {
			t.Fatalf("Joined(%v, %v, %v) = %v", s, others, load, got)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Share { return Share{Part: rapid.Float64Range(0, 0.9).Draw(t, "part")} }), 2, 5).Draw(t, "shares")
		for range 30 {
			next := make([]Share, len(all))
			for i := range all {
				others := append(append([]Share(nil), all[:i]...), all[i+1:]...)
				next[i] = Shedding{}.Joined(all[i], others, 0.8)
			}
			all = next
		}
		for _, s := range all {
			if s != all[0] {
				t.Fatalf("they come to %v", all)
			}
		}
	})
}
