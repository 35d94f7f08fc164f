package purge

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A Purge is one that every PoP has said it has done.
type Purge struct {
	// Gone is for each PoP the time from when the order was sent until the answer that a look-up there finds nothing.
	Gone []time.Duration

	Receipt time.Duration // from then until whoever ordered it was told that every PoP has done it
	Told    Told
	Found   int // PoPs where a look-up after that found it all the same
}

// A Result is what was measured.
type Result struct {
	Options
	Purges []Purge
}

// Gone are the times of all purges at all PoPs, the shortest first; pop >= 0 chooses one PoP.
func (r *Result) Gone(pop int) []time.Duration {
	var all []time.Duration
	for _, p := range r.Purges {
		for i, d := range p.Gone {
			if pop < 0 || i == pop {
				all = append(all, d)
			}
		}
	}
	slices.Sort(all)
	return all
}

// Receipts are how long whoever ordered a purge waited, the shortest first.
func (r *Result) Receipts() []time.Duration {
	var all []time.Duration
	for _, p := range r.Purges {
		all = append(all, p.Receipt)
	}
	slices.Sort(all)
	return all
}

// Found counts look-ups that found an object after its receipts.
func (r *Result) Found() (n int) {
	for _, p := range r.Purges {
		n += p.Found
	}
	return n
}

// Percentile is the smallest of sorted times that a share of all does not exceed (nearest rank); zero if there is none.
func Percentile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(int(math.Ceil(share*float64(len(sorted))))-1, 0)]
}

// A Verdict says whether what must hold does.
type Verdict struct {
	Claim string  `json:"claim"`
	Holds bool    `json:"holds"`
	Value float64 `json:"value"`
	Bound float64 `json:"bound"` // the most that holds
}

// beyond is what a purge may take above the way to the PoP.
const beyond = 50 * time.Millisecond

// Limit is how long a purge may take: the way to the PoP, and beyond.
func (o Options) Limit() time.Duration { return o.Distance/2 + beyond }

// Verdicts holds the result to what was promised.
func (r *Result) Verdicts() []Verdict {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	gone, limit := Percentile(r.Gone(-1), 0.99), r.Limit()
	n := len(r.Gone(-1))
	return []Verdict{
		{"milliseconds from the order until a look-up at the PoP finds nothing, p99", n > 0 && gone <= limit, ms(gone), ms(limit)},
		{fmt.Sprintf("of %d look-ups after the receipt, those that found the object", n), n > 0 && r.Found() == 0, float64(r.Found()), 0},
	}
}
