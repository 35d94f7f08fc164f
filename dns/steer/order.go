package steer

import (
	"math"

	"hither/dns/geo"
)

// An order yields the PoPs of a site in the order for one client, one by one, each once. States, drain and load have no part in it.
// There are three kinds:
//
//   - by distance: places by the distance of their nearest PoP from the client, ties by name; within a place by weight (see enter);
//   - by the operator's prefix: the PoP it names, then by distance from that PoP;
//   - for a place nobody knows: the Snapshot's list, and nothing else.
//
// In the first, those that the View names for the client's prefix go before all others: they were found to be nearer in time. In the
// first two the fallback of the first PoP comes before the rest.
type order struct {
	s *Snapshot
	q *Question

	from    vector    // what distances are measured from
	dist    []float64 // of places: square of the chord; +Inf where no PoP serves the site, or all of them have been yielded
	score   []float64 // of PoPs of the place that was entered: lower is earlier
	done    []bool    // of PoPs: yielded
	place   int       // entered, or -1
	shared  bool      // that place has several PoPs with weights
	first   int       // whose fallback counts, or -1
	named   int       // the PoP of the operator's prefix, until it was yielded; or -1
	timed   *change   // what the View says of the client's prefix; nil = nothing
	turn    int       // how much of timed has been read
	depends int       // leading bits of the client's address for which that holds
	fall    int       // how much of first's fallback has been read
	listed  int       // how much of the list for unknown places has been read
	unknown bool
	key     uint64
	hashed  bool // so far the order depended on the hash of the client
}

// scratch is room for the lists of an order. Up to that many PoPs an answer allocates nothing.
type scratch struct {
	dist, score [64]float64
	done        [64]bool
}

// floats and bools return room for n, in the scratch room where it fits.
func floats(room []float64, n int) []float64 {
	if n > len(room) {
		return make([]float64, n)
	}
	return room[:n]
}

func bools(room []bool, n int) []bool {
	if n > len(room) {
		return make([]bool, n)
	}
	return room[:n]
}

// order begins the order for a question.
func (s *Snapshot) order(q *Question, room *scratch) order {
	o := order{s: s, q: q, place: -1, first: -1, named: -1}
	o.key, _ = key(q.Client)
	from, known := s.base(&q.Found)
	if !known {
		o.unknown = true
		return o
	}
	if q.Found.PoP != "" {
		o.named = s.index[q.Found.PoP]
		o.first = o.named
	} else if s.view != nil {
		o.timed, o.depends = s.view.find(q.Client)
	}
	n := len(s.pops)
	o.from = vectorOf(from)
	o.score, o.done = floats(room.score[:], n), bools(room.done[:], n)
	o.dist = floats(room.dist[:], len(s.places))
	for i := range o.dist {
		o.dist[i] = math.Inf(1)
	}
	for i := range s.pops {
		p := &s.pops[i]
		if o.serves(i) {
			o.dist[p.place] = min(o.dist[p.place], o.from.chord2(&p.at))
		}
	}
	return o
}

// base is the point from which distances are measured; known is false where there is none.
func (s *Snapshot) base(f *geo.Found) (from geo.Point, known bool) {
	switch {
	case f.Source == geo.SourceNone:
		return geo.Point{}, false
	case f.PoP != "":
		i, ok := s.index[f.PoP]
		if !ok {
			return geo.Point{}, false
		}
		return s.pops[i].At, true
	}
	return f.Point, valid(f.Point)
}

func (o *order) serves(i int) bool {
	return o.q.Site == nil || i < len(o.q.Site) && o.q.Site[i]
}

// next yields the next PoP, or -1 after the last.
func (o *order) next() (int, Reason) {
	if o.unknown {
		for o.listed < len(o.s.unknown) {
			i := o.s.unknown[o.listed]
			if o.listed++; o.serves(i) {
				return i, ReasonUnknown
			}
		}
		return -1, ""
	}
	if i := o.named; i >= 0 {
		o.named = -1
		if o.serves(i) {
			o.done[i] = true
			return i, ReasonPrefix
		}
	}
	if o.timed != nil && o.first < 0 {
		if i, why := o.inTime(); i >= 0 {
			o.first = i
			return i, why
		}
	}
	if o.first >= 0 {
		for list := o.s.pops[o.first].fallback; o.fall < len(list); {
			i := list[o.fall]
			if o.fall++; !o.done[i] && o.serves(i) {
				o.done[i] = true
				return i, ReasonFallback
			}
		}
	}
	if o.timed != nil {
		if i, why := o.inTime(); i >= 0 {
			return i, why
		}
	}
	i, why := o.nearest()
	if i >= 0 {
		o.done[i] = true
		if o.first < 0 {
			o.first = i
		}
	}
	return i, why
}

// inTime is the next PoP of those that the View names.
func (o *order) inTime() (int, Reason) {
	for o.turn < ahead {
		i := int(o.timed.list[o.turn])
		if o.turn++; i < 0 || i >= len(o.done) {
			break
		}
		if o.done[i] || !o.serves(i) {
			continue
		}
		o.done[i] = true
		if o.timed.explore && o.turn == 1 {
			return i, ReasonExplore
		}
		return i, ReasonRTT
	}
	o.turn = ahead
	return -1, ""
}

// nearest is the next PoP by distance and weight.
func (o *order) nearest() (int, Reason) {
	why := ReasonDistance
	if o.first < 0 {
		why = ReasonNearest
	}
	for {
		if o.place < 0 && !o.enter() {
			return -1, ""
		}
		best := -1
		for _, i := range o.s.places[o.place].members {
			if o.done[i] || !o.serves(i) {
				continue
			}
			if best < 0 || o.score[i] < o.score[best] || o.score[i] == o.score[best] && o.s.pops[i].Name < o.s.pops[best].Name {
				best = i
			}
		}
		if best < 0 {
			o.dist[o.place], o.place = math.Inf(1), -1
			continue
		}
		if o.shared && o.s.pops[best].Weight > 0 {
			why = ReasonWeight
		}
		return best, why
	}
}

// enter goes to the nearest place that is left. Its PoPs are ordered by weighted rendezvous hashing: each draws a number for the
// client, exponentially distributed with its weight as the rate, and the lowest is first. So a PoP is first for its weight's part
// of the clients; when one weight grows, clients move to that PoP only, and when it shrinks, from it only. Weight 0 is last.
func (o *order) enter() bool {
	best := -1
	for i, d := range o.dist {
		if d < math.Inf(1) && (best < 0 || d < o.dist[best] || d == o.dist[best] && o.s.places[i].name < o.s.places[best].name) {
			best = i
		}
	}
	if best < 0 {
		return false
	}
	o.place = best
	weighted := 0
	members := o.s.places[best].members
	for _, i := range members {
		if o.serves(i) && !o.done[i] && o.s.pops[i].Weight > 0 {
			weighted++
		}
	}
	o.shared = weighted > 1
	o.hashed = o.hashed || o.shared
	for _, i := range members {
		p := &o.s.pops[i]
		switch {
		case p.Weight == 0:
			o.score[i] = math.Inf(1)
		case o.shared:
			o.score[i] = -math.Log(draw(o.key, p.hash, saltWeight)) / float64(p.Weight)
		default:
			o.score[i] = 0
		}
	}
	return true
}
