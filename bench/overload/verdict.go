package overload

import (
	"fmt"
	"slices"
)

// A Verdict is whether something that must hold does.
type Verdict struct {
	Claim string  `json:"claim"`
	Holds bool    `json:"holds"`
	Value float64 `json:"value"` // of the worst round
	Bound float64 `json:"bound"`
	Why   string  `json:"why,omitempty"` // it does not hold, where the value does not say it
}

// What must hold. A round in which the server answered more than its best rate, and a little, has not found that.
const (
	beyond       = 1.05
	answersAbove = 0.9     // of the best rate, at 1.5 x
	growth       = 8 << 20 // bytes above what the server had after its warm-up: some collections' worth of a Go heap of its size
)

// Verdicts judges a result. A claim for which nothing was measured does not hold.
func (r Result) Verdicts() []Verdict {
	return []Verdict{r.lost(), r.kept(), r.flat(), r.proper()}
}

// rows are those of a phase.
func (r Result) rows(phase string) []Row {
	return slices.DeleteFunc(slices.Clone(r.Rows), func(row Row) bool { return row.Phase != phase })
}

func (r Result) lost() Verdict {
	v := Verdict{Claim: "no question lost at 0.9 x the rate where it saturates"}
	rows := r.rows(PhaseBelow)
	for _, row := range rows {
		v.Value += float64(row.Lost)
	}
	v.Holds = v.Value <= v.Bound
	// It is one of two clients that must have sent so much: the other says what a client of its kind sees.
	for i := range r.Rounds {
		if !slices.ContainsFunc(rows, func(row Row) bool { return row.Round == i+1 && offeredAsAsked(row) }) {
			v.Holds, v.Why = false, fmt.Sprintf("no client sent as much in round %d", i+1)
		}
	}
	return r.saturated(r.measured(v, rows))
}

func (r Result) kept() Verdict {
	v := Verdict{Claim: "at 1.5 x that rate it answers at least 0.9 of its best rate", Bound: answersAbove}
	rows := r.rows(PhaseAbove)
	for i, row := range rows {
		part := 0.0
		if n := row.Round; n >= 1 && n <= len(r.Rounds) && r.Rounds[n-1].Best > 0 {
			part = row.Rate() / r.Rounds[n-1].Best
		}
		if i == 0 || part < v.Value {
			v.Value = part
		}
		if !offeredAsAsked(row) {
			v.Why = fmt.Sprintf("the client sent %.0f a second of %.0f in round %d", row.Offered(), row.Asked, row.Round)
		}
	}
	v.Holds = v.Value >= v.Bound && v.Why == ""
	return r.saturated(r.measured(v, rows))
}

func (r Result) flat() Verdict {
	v := Verdict{Claim: "its memory grows by at most 8 MiB, in bytes", Bound: growth}
	for i, row := range r.Rows {
		if grown := float64(row.Server.RSSMost - r.Rows[0].Server.RSSBefore); i == 0 || grown > v.Value {
			v.Value = grown
		}
	}
	v.Holds = v.Value <= v.Bound
	return r.measured(v, r.Rows)
}

func (r Result) proper() Verdict {
	v := Verdict{Claim: "every answer is NOERROR with a record"}
	for _, row := range r.Rows {
		v.Value += float64(row.Empty)
		for code, n := range row.Rcodes {
			if code != "NOERROR" {
				v.Value += float64(n)
			}
		}
	}
	v.Holds = v.Value <= v.Bound
	return r.measured(v, r.Rows)
}

// measured withdraws a verdict for which there are no rows, or not of all rounds.
func (r Result) measured(v Verdict, rows []Row) Verdict {
	for i := range r.Rounds {
		if !slices.ContainsFunc(rows, func(row Row) bool { return row.Round == i+1 && row.Sent > 0 }) {
			v.Holds, v.Why = false, fmt.Sprintf("not measured in round %d", i+1)
		}
	}
	if len(r.Rounds) == 0 {
		v.Holds, v.Why = false, "not measured"
	}
	return v
}

// saturated withdraws a verdict on rates around saturation where that was not found.
func (r Result) saturated(v Verdict) Verdict {
	for i, round := range r.Rounds {
		most := 0.0
		for _, row := range r.Rows {
			if row.Round == i+1 {
				most = max(most, row.Rate())
			}
		}
		switch {
		case !round.Saturated:
			v.Holds, v.Why = false, fmt.Sprintf("in round %d no client could ask for more than was answered", i+1)
		case most > beyond*round.Best:
			v.Holds, v.Why = false, fmt.Sprintf("in round %d it answered %.0f a second after its best was taken for %.0f: was the machine quiet?", i+1, most, round.Best)
		}
	}
	return v
}

func offeredAsAsked(row Row) bool { return row.Offered() >= asAsked*row.Asked }
