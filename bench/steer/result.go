package steer

import "time"

// Counts are what became of clients.
type Counts struct {
	First     int   // that were sent to the nearest PoP on the map at first
	Stayed    int   // that are there at the end
	Elsewhere int   // that are not where they were at first
	Moves     int   // from one PoP to another, of all
	Backs     int   // of them, those to the PoP where the client was at first
	Explored  int   // times that the DNS server has had a prefix try another PoP
	Visits    int   // connections with a request
	Failed    int   // of them
	Because   error // the first of those; nil = none
}

// Flaps are moves beyond those that had to be: one of each client that is elsewhere, and there and back of each that explored.
func (c Counts) Flaps() int { return max(c.Moves-c.Elsewhere-2*c.Explored, 0) }

// Far is of a PoP that is near on the map and far in time.
type Far struct {
	Counts
	Lost time.Duration // from when the first client came until the last one had left
}

// Load is of a PoP with more clients than it is made for.
type Load struct {
	Counts
	Capacity int           // requests a second
	Most     float64       // the most that its load was; 1 is full
	Settled  time.Duration // from when the first client came until the load was, and stayed, below the bound
	Kept     float64       // its mean load after that
	Late     int           // moves after that
}

// A Result is what was measured; nil is a part that was left out.
type Result struct {
	Options
	Far  *Far
	Load *Load
}

// A Verdict says whether what must hold does.
type Verdict struct {
	Claim string  `json:"claim"`
	Holds bool    `json:"holds"`
	Value float64 `json:"value"`
	Bound float64 `json:"bound"`
	Least bool    `json:"least,omitempty"` // the bound is the least that holds, and not the most
}

// Verdicts holds the result to what was promised.
func (r *Result) Verdicts() (all []Verdict) {
	most := func(claim string, value, bound float64) {
		all = append(all, Verdict{Claim: claim, Holds: value <= bound, Value: value, Bound: bound})
	}
	least := func(claim string, value, bound float64) {
		all = append(all, Verdict{Claim: claim, Holds: value >= bound, Value: value, Bound: bound, Least: true})
	}
	if f := r.Far; f != nil {
		least("far in time: clients that came to it first", float64(f.First), float64(r.Clients))
		most("far in time: seconds until it had lost the last client", f.Lost.Seconds(), lostLimit.Seconds())
		most("far in time: clients that it has in the end", float64(f.Stayed), 0)
		most("far in time: moves of clients but for one of each, and exploring", float64(f.Flaps()), 0)
		most("far in time: visits that failed", float64(f.Failed), 0)
	}
	if l := r.Load; l != nil {
		least("overload: the most that its load was", l.Most, 1)
		most("overload: its load in the end: it sheds what it must", l.Kept, loadMost)
		least("overload: its load in the end: it sheds no more", l.Kept, loadLeast)
		most("overload: moves of clients but for one of each that was sent on, and exploring", float64(l.Flaps()), 0)
		most("overload: visits that failed", float64(l.Failed), 0)
	}
	return all
}
