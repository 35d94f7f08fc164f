package reports

import (
	"math"
	"slices"

	"hither/bench/pairs"
)

// A Result is what was measured, by the name of the case.
type Result struct {
	Options
	Idle   Idle
	Pairs  map[string][]Pair
	Shares map[string]Share
}

// Idle is the share of a core that each edge has when nobody asks anything. What comes by the clock, reports and heartbeats, costs as much
// under load.
type Idle struct {
	Reports, Alone float64
}

// Cost is by how many per cent the edge's processor time for a request is more with reports: the spread over the pairs of a case.
func (r *Result) Cost(c string) pairs.Spread { return pairs.NewSpread(r.costs(c)) }

func (r *Result) costs(c string) (all []float64) {
	for _, p := range r.Pairs[c] {
		if p.Alone.CPU > 0 {
			all = append(all, (float64(p.Reports.CPU)/float64(p.Alone.CPU)-1)*100)
		}
	}
	return all
}

// most is what reports may cost, in per cent of an edge's processor time.
const most = 1

// A Verdict says whether what must hold does.
type Verdict struct {
	Claim string  `json:"claim"`
	Holds bool    `json:"holds"`
	Value float64 `json:"value"`
	Bound float64 `json:"bound"` // the most that holds
}

// Least is the least that a cost may be: the lower end of the interval in which the median of pairs lies with a confidence of 95 in 100, from their
// order alone. Where pairs differ by more than reports can cost, the median itself says nothing.
func (r *Result) Least(c string) float64 {
	all := r.costs(c)
	if len(all) == 0 {
		return math.NaN()
	}
	slices.Sort(all)
	return all[below(len(all))]
}

// LeastPairs is of how many pairs the order says anything with that confidence.
const LeastPairs = 6

// below is how many of n pairs the interval leaves out at each end: the largest k so that a fair coin shows at most k heads in n throws with
// a chance of 1 in 40 or less (the sign test); 0 where there is none.
func below(n int) (k int) {
	chance, sum := math.Exp2(-float64(n)), 0.0
	for k = 0; k < n/2; k++ {
		if sum += chance; sum > 0.025 {
			return max(k-1, 0)
		}
		chance *= float64(n-k) / float64(k+1)
	}
	return max(k-1, 0)
}

// Verdicts holds the result to what was promised.
func (r *Result) Verdicts() (all []Verdict) {
	idle := (r.Idle.Reports - r.Idle.Alone) * 100
	all = append(all, Verdict{"per cent of a core that an edge with a hub takes more than one without, nobody asking", r.Idle.Alone > 0 && idle <= most, idle, most})
	for _, c := range Cases() {
		share := r.Shares[c.Name]
		all = append(all, Verdict{"per cent of the edge's processor time in reports, " + c.Name + ", by its profile", share.Samples > 0 && share.Percent() <= most, share.Percent(), most})
		least := r.Least(c.Name)
		all = append(all, Verdict{"per cent that it takes more than one without a hub, " + c.Name + ", at least (95 in 100)", least <= most, orNothing(least), most})
	}
	return all
}

// orNothing is a number that JSON has.
func orNothing(x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return x
}
