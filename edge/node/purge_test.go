package node

import "testing"

// The document tells how long the PoPs took that have done it, and is complete only where all have.
func TestJoin(t *testing.T) {
	done := func(ms float64) PoPPurge { return PoPPurge{State: "done", MS: ms} }
	hundred := make([]PoPPurge, 100)
	for i := range hundred {
		hundred[i] = done(float64(100 - i))
	}
	for _, c := range []struct {
		pops     []PoPPurge
		complete bool
		p50, p99 float64
	}{
		{nil, false, 0, 0},
		{[]PoPPurge{done(4)}, true, 4, 4},
		{[]PoPPurge{done(9), done(1)}, true, 1, 9},
		{[]PoPPurge{done(3), done(2), done(1)}, true, 2, 3},
		{hundred, true, 50, 99},
		{[]PoPPurge{done(5), {State: "away", MS: 100}}, false, 5, 5},
		{[]PoPPurge{{State: "failed"}}, false, 0, 0},
	} {
		if p := Join(PurgeCall{Kind: "all"}, c.pops); p.Complete != c.complete || p.P50 != c.p50 || p.P99 != c.p99 || p.Kind != "all" {
			t.Errorf("%d pops: %v %v %v, want %+v", len(c.pops), p.Complete, p.P50, p.P99, c)
		}
	}
}
