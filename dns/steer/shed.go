package steer

import "math"

// Shedding is how much of its clients a loaded PoP sends on. The zero Shedding has the defaults.
//
// Let k be the part of its clients that a PoP keeps, and L the load measured meanwhile. All of them would be a load of L/k; so the load
// becomes the target T for
//
//	k' = k T / L
//
// T lies in the middle between End and Begin. Between them the share stays as it is: a load that came to T stays there, and noise of
// less than half that distance moves nobody. Above Begin the share never falls, below End it never rises.
type Shedding struct {
	Begin float64 // load above which it begins, or rises. 0 = 0.9
	End   float64 // load below which it falls, to nothing at last. 0 = 0.7

	// Step bounds what one call does: k is multiplied or divided by 1+Step at most. 0 = 0.1.
	//
	// A share moves clients only as their answers expire, and a load is smoothed over 10 s; until then L belongs to an older k.
	// Call Next every TTL plus 10 s. A call that comes too early goes one step too far, which is harmless as long as
	// (1+Step)² is less than Begin/End: 1.21 is less than 1.29, so the load cannot jump over the band between them, back and forth.
	Step float64
}

// keepLeast is the least part a PoP keeps: with a tenth of its clients the load still tells how much all of them would be.
const keepLeast = 0.1

// Next is the share to send on, 0 to 0.9, from the share until now and the load measured with it (1.0 is full). It grows with both.
// Load that is unknown (NaN or negative) lets the share fall by a step: nothing is known that would justify it. It is pure.
func (c Shedding) Next(share, load float64) float64 {
	begin, end, step := orElse(c.Begin, 0.9), orElse(c.End, 0.7), 1+orElse(c.Step, 0.1)
	keep := 1.0
	if share > 0 {
		keep = max(1-share, keepLeast)
	}
	want := keep * (begin + end) / 2 / load
	switch {
	case math.IsNaN(load) || load < 0:
		keep = min(keep*step, 1)
	case load > begin:
		keep = max(min(want, keep), keep/step, keepLeast)
	case load < end:
		keep = min(max(want, keep), keep*step, 1)
	}
	return 1 - keep
}

func orElse(v, zero float64) float64 {
	if v == 0 {
		return zero
	}
	return v
}
