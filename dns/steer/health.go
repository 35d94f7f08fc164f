package steer

import (
	"math"
	"time"
)

// Health turns the probes of one address into a State. Rise and Fall are counts in a row, so that a lost packet takes nobody out and a
// lucky one puts nobody back. An address that goes up and down again and again is damped as in RFC 2439 sections 4.2 to 4.4: each fall
// adds 1 to a penalty that halves every HalfLife; above 3 the address is Flapping, and it is Up again when the penalty is
// below 0.75 and its probes succeed.
//
// So one fall, or three in a row, cost nothing but Rise probes. With the defaults a fourth fall within about a minute and a half is
// one too many, and after it an address stays out for two minutes without a fall. A PoP with several addresses is in the max of
// their States.
//
// Set the fields before the first probe. The zero Health has the defaults and is Up: what was never asked is taken as good. It is
// used by one goroutine at a time.
type Health struct {
	Rise        int           // successes in a row that bring an address up. 0 = 2
	Fall        int           // failures in a row that take it down. 0 = 3
	HalfLife    time.Duration // of the penalty. 0 = 1 minute; negative = no damping
	MaxSuppress time.Duration // how long it is Flapping after its last fall at most. 0 = 5 minutes; twice HalfLife or less = no damping

	down     bool    // what the counts say
	flapping bool    // the penalty came above suppress, and not yet below reuse
	row      int     // probes in a row that contradict down
	penalty  float64 // at since
	since    time.Time
}

// Thresholds of the penalty. RFC 2439 figure 4 has 1 per fall too, cuts off at 2 or more and reuses at 0.75. Three is the smallest
// whole number above which a deploy that is rolled back, and then done again, is not.
const (
	suppressAbove = 3
	reuseBelow    = 0.75
)

// Observe takes the outcome of a probe and says whether the State changed. now may not run backwards between calls; where it does,
// no time has passed.
func (h *Health) Observe(ok bool, now time.Time) (changed bool) {
	before := h.State()
	h.decay(now)
	if ok == h.down {
		h.row++
	} else {
		h.row = 0
	}
	switch {
	case h.down && h.row >= count(h.Rise, 2):
		h.down, h.row = false, 0
	case !h.down && h.row >= count(h.Fall, 3):
		h.down, h.row = true, 0
		h.fell()
	}
	if h.penalty < reuseBelow {
		h.flapping = false
	}
	return h.State() != before
}

// decay brings the penalty to now.
func (h *Health) decay(now time.Time) {
	if passed := now.Sub(h.since); h.penalty > 0 && passed > 0 {
		h.penalty *= math.Exp2(-passed.Seconds() / h.halfLife().Seconds())
	}
	if now.After(h.since) {
		h.since = now
	}
}

// fell adds a fall to the penalty, up to the value from which it decays to reuse in MaxSuppress (RFC 2439 section 4.2).
func (h *Health) fell() {
	if h.HalfLife < 0 {
		return
	}
	longest := h.MaxSuppress
	if longest <= 0 {
		longest = 5 * time.Minute
	}
	h.penalty = min(h.penalty+1, reuseBelow*math.Exp2(longest.Seconds()/h.halfLife().Seconds()))
	h.flapping = h.flapping || h.penalty > suppressAbove
}

func (h *Health) halfLife() time.Duration {
	if h.HalfLife <= 0 {
		return time.Minute
	}
	return h.HalfLife
}

// State is Up, Down or Flapping.
func (h *Health) State() State {
	switch {
	case h.down:
		return Down
	case h.flapping:
		return Flapping
	}
	return Up
}

// Up says whether the State is Up.
func (h *Health) Up() bool { return h.State() == Up }

func count(n, zero int) int {
	if n <= 0 {
		return zero
	}
	return n
}
