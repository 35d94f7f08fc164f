package limit

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// gradient finds how many requests an origin can have at once before they queue inside it, from nothing but the latency of
// its good answers: Gradient2 of Netflix' concurrency-limits (Gradient2Limit.java as of its pull requests 88 and 92),
// which compares a short mean of the latency with a long one, multiplies the limit by their ratio and adds a root of it.
// What differs, and why:
//
//   - The long mean is bounded by 1.25 times the least latency that is known. Theirs follows steady overload for as long as
//     it lasts, and the limit with it (Netflix/concurrency-limits#134, comment of 2024; #165 for Vegas).
//   - The least is what three windows in a row showed, so that one window of cheap answers sets nothing. It is forgotten
//     only after ten minutes without a busy window, or after five at the floor: no baseline is taken under load
//     (envoyproxy/envoy#11579, #10647). Envoy's filter takes it in a window at three requests and answers 503 meanwhile
//     (#8337, #46532); nothing is refused here in order to measure.
//   - It starts like TCP: doubled per window until the latency grows. By roots alone the way from 20 to 400 takes minutes.
//     After a baseline was forgotten at the floor it starts again.
//   - Refusals by the origin count (429, 503, first byte too late): an origin that only ever times out has an even latency,
//     which Gradient2 takes for room (Netflix/concurrency-limits#137).
type gradient struct {
	floor, ceiling float64
	limit          float64
	starting       bool

	window
	least, long time.Duration   // 0 = not known
	shorts      []time.Duration // the last three
	atFloor     int             // windows in a row
	calmSince   time.Time       // no window was busy since
	calmLeast   time.Duration   // of those
	last        Window
}

// window is what was seen since the last change.
type window struct {
	begun      time.Time
	good       []time.Duration // a sample of at most maxSamples, by Vitter's algorithm R
	goods, all int
	overloaded int
	peak       int  // most in flight
	turnedAway bool // somebody found no place
}

const (
	initial    = 20   // theirs
	tolerance  = 1.5  // theirs: the ratio of short to long that is still the mix of requests and not a queue
	smoothing  = 0.2  // theirs
	longWindow = 600  // theirs, in windows
	drift      = 1.25 // long to least; with the tolerance, an origin queues less than as long again as it works
	minSamples = 10   // theirs
	maxSamples = 512  // the median of so many is within 5 % of the ranks of that of all, with 95 % certainty
	minWindow  = 250 * time.Millisecond
	forget     = 10 * time.Minute
)

func newGradient(cfg Config) gradient {
	g := gradient{limit: float64(cfg.Initial), starting: true}
	g.bound(cfg)
	return g
}

func (g *gradient) bound(cfg Config) {
	g.floor, g.ceiling = float64(cfg.Floor), float64(cfg.Ceiling)
	g.limit = min(max(g.limit, g.floor), g.ceiling)
}

// sample takes one request into account that ended.
func (g *gradient) sample(now time.Time, s Sample) {
	if g.begun.IsZero() {
		g.begun = now
	}
	g.all++
	if s.Overloaded {
		g.overloaded++
	}
	if s.Good && s.FirstByte > 0 {
		g.goods++
		if len(g.good) < maxSamples {
			g.good = append(g.good, s.FirstByte)
		} else if i := rand.IntN(g.goods); i < maxSamples {
			g.good[i] = s.FirstByte
		}
	}
	if now.Sub(g.begun) >= max(minWindow, g.long) && g.all >= minSamples {
		g.end(now)
	}
}

// end changes the limit by what the window showed, and begins the next.
func (g *gradient) end(now time.Time) {
	w := g.window
	g.window = window{begun: now, good: w.good[:0]}
	busy := w.turnedAway || float64(w.peak) >= g.limit/2
	var short time.Duration
	if w.goods >= minSamples/2 {
		slices.Sort(w.good)
		short = w.good[len(w.good)/2]
		g.learn(now, short, busy)
	}
	g.last = Window{FirstByte: short, Requests: w.all, Good: w.goods, Overloaded: w.overloaded, Busy: busy}

	switch {
	case w.overloaded*10 > w.all:
		g.limit, g.starting = g.limit*.9, false
	case !busy || short == 0: // it says nothing of a limit that was not reached
	case g.starting && float64(short) <= drift*float64(g.least):
		g.limit *= 2
	default:
		g.starting = false
		slope := min(1, max(.5, tolerance*float64(g.long)/float64(short)))
		g.limit = (1-smoothing)*g.limit + smoothing*(g.limit*slope+math.Sqrt(g.limit))
	}
	g.limit = min(max(g.limit, g.floor), g.ceiling)

	if g.limit > g.floor || !busy || short == 0 {
		g.atFloor = 0
	} else if g.atFloor++; g.atFloor >= 5 {
		// Few are under way and it is as slow as ever: that is its latency now.
		g.least, g.long, g.shorts, g.atFloor, g.starting = short, short, nil, 0, true
	}
}

// learn moves the baseline.
func (g *gradient) learn(now time.Time, short time.Duration, busy bool) {
	if g.least == 0 {
		g.least, g.long = short, short
	}
	g.shorts = append(g.shorts, short)
	if len(g.shorts) > 3 {
		g.shorts = slices.Delete(g.shorts, 0, 1)
	}
	if shown := slices.Max(g.shorts); len(g.shorts) == 3 && shown < g.least {
		g.least = shown
	}
	switch {
	case busy:
		g.calmSince, g.calmLeast = time.Time{}, 0
	case g.calmSince.IsZero():
		g.calmSince, g.calmLeast = now, short
	default:
		g.calmLeast = min(g.calmLeast, short)
		if now.Sub(g.calmSince) >= forget {
			g.least, g.calmSince = g.calmLeast, time.Time{}
			g.long = max(g.long, g.least)
		}
	}
	g.long += (short - g.long) * 2 / (longWindow + 1)
	if g.long > 2*short {
		g.long = g.long * 9 / 10
	}
	g.long = min(g.long, time.Duration(drift*float64(g.least)))
}
