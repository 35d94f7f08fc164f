package far

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Strangers is what became of the requests of clients that were never there before.
type Strangers struct {
	Requests   int
	Handshakes int             // that the edge made with the origin meanwhile, by its own count
	Opened     int             // TCP connections that it began to open to the origin, counted on the wire
	First      []time.Duration // byte of each answer, from when the client began to connect
}

// Percentile is the smallest first byte that a share of all does not exceed (nearest rank); zero if there is none.
func (s Strangers) Percentile(share float64) time.Duration {
	if len(s.First) == 0 {
		return 0
	}
	all := slices.Sorted(slices.Values(s.First))
	return all[max(int(math.Ceil(share*float64(len(all))))-1, 0)]
}

// A Transfer is a large answer, or what of it had come in a time.
type Transfer struct {
	Bytes int64
	Took  time.Duration // since it was asked for
}

// Rate is in bits per second.
func (t Transfer) Rate() float64 {
	if t.Took <= 0 {
		return 0
	}
	return float64(t.Bytes) * 8 / t.Took.Seconds()
}

// A Result is what was measured.
type Result struct {
	Options
	Congestion string // what TCP uses when nobody asks for another
	Strangers  Strangers
	Flow, One  []Transfer // TCP alone, and one answer through the edge
	Parallel   []Transfer // answers at once, until the first of them was whole
	Lossy      []Transfer // the same with loss
}

// Limit is how long a stranger's first byte takes by distance alone.
func (r *Result) Limit() time.Duration { return r.limit() }

// Median is the middle one of some transfers' rates.
func Median(ts []Transfer) float64 {
	if len(ts) == 0 {
		return 0
	}
	rates := make([]float64, len(ts))
	for i, t := range ts {
		rates[i] = t.Rate()
	}
	slices.Sort(rates)
	return rates[(len(rates)-1)/2]
}

// Sum is the rate of transfers at once together.
func Sum(ts []Transfer) (rate float64) {
	for _, t := range ts {
		rate += t.Rate()
	}
	return rate
}

// Evenness is what the slowest of transfers at once had of the fastest.
func Evenness(ts []Transfer) float64 {
	if len(ts) == 0 {
		return 0
	}
	least, most := math.Inf(1), 0.0
	for _, t := range ts {
		least, most = min(least, t.Rate()), max(most, t.Rate())
	}
	if most == 0 {
		return 0
	}
	return least / most
}

// A Verdict says whether what must hold does.
type Verdict struct {
	Claim string  `json:"claim"`
	Holds bool    `json:"holds"`
	Value float64 `json:"value"`
	Bound float64 `json:"bound"`
	Least bool    `json:"least,omitempty"` // the bound is the least that holds, and not the most
}

// What must hold.
const (
	firstRatio = 1.05
	oneShare   = 0.85
	evenShare  = 0.80
	lossyShare = 0.70
)

// Verdicts holds the result to what was promised.
func (r *Result) Verdicts() []Verdict {
	flow := Median(r.Flow)
	most := func(claim string, value, bound float64) Verdict {
		return Verdict{Claim: claim, Holds: value <= bound, Value: value, Bound: bound}
	}
	least := func(claim string, value, bound float64) Verdict {
		return Verdict{Claim: claim, Holds: value >= bound, Value: value, Bound: bound, Least: true}
	}
	first := most("first byte over the client's handshake and both distances, median", ratio(float64(r.Strangers.Percentile(0.5)), float64(r.Limit())), firstRatio)
	first.Holds = first.Holds && first.Value > 0
	return []Verdict{
		most(fmt.Sprintf("handshakes with the origin for %d uncached requests", r.Strangers.Requests), float64(r.Strangers.Handshakes), 0),
		most("connections opened to it meanwhile, on the wire", float64(r.Strangers.Opened), 0),
		first,
		least("rate of one large answer over that of TCP alone, medians", ratio(Median(r.One), flow), oneShare),
		least(fmt.Sprintf("slowest over fastest of %d at once", len(r.Parallel)), Evenness(r.Parallel), evenShare),
		least(fmt.Sprintf("rate of %d with %v %% loss over that of TCP alone without", len(r.Lossy), r.Loss*100), ratio(Sum(r.Lossy), flow), lossyShare),
	}
}

// ratio is 0 where something was not measured.
func ratio(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}
