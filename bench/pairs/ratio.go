package pairs

import "slices"

// A Spread is the median of figures, and their range.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// NewSpread is zero where there are no figures.
func NewSpread(v []float64) Spread {
	if len(v) == 0 {
		return Spread{}
	}
	v = slices.Sorted(slices.Values(v))
	return Spread{Median: (v[(len(v)-1)/2] + v[len(v)/2]) / 2, Min: v[0], Max: v[len(v)-1]}
}

// Ratios compares ours with a peer in a case, pair by pair: ours divided by the peer's of what of a row. It is nil where nothing was
// measured, and leaves out pairs in which the peer's is 0.
func (r Result) Ratios(c, peer string, what func(Row) float64) []float64 {
	type two struct{ ours, theirs *Row }
	pairs := make(map[int]*two)
	var order []int
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Case != c || row.Peer != peer {
			continue
		}
		if pairs[row.Pair] == nil {
			pairs[row.Pair] = new(two)
			order = append(order, row.Pair)
		}
		if row.Ours {
			pairs[row.Pair].ours = row
		} else {
			pairs[row.Pair].theirs = row
		}
	}
	var ratios []float64
	for _, n := range order {
		if p := pairs[n]; p.ours != nil && p.theirs != nil && what(*p.theirs) != 0 {
			ratios = append(ratios, what(*p.ours)/what(*p.theirs))
		}
	}
	return ratios
}

// Figures are what of all rows of a server in a case: ours, where peer is "".
func (r Result) Figures(c, peer string, what func(Row) float64) []float64 {
	var v []float64
	for _, row := range r.Rows {
		if row.Case == c && (peer == "" && row.Ours || row.Peer == peer && !row.Ours) {
			v = append(v, what(row))
		}
	}
	return v
}
