package steer

import (
	"math"

	"hither/dns/geo"
)

// A Candidate is a PoP as a question sees it.
type Candidate struct {
	Index      int
	PoP        string
	DistanceKM float64 // from the client's place, or from the PoP that the operator's prefix names; NaN where nobody knows the place
	State      State   // of its addresses of the family asked
	Draining   bool
	Revoked    bool
	Load       float64 // NaN or negative: unknown
	Weight     int
	Rank       int    // in the client's order, from 1; 0 where it does not serve the site
	Struck     Strike // "" where it is fit for an answer
	Reason     Reason // of its rank; "" where it has none
}

// A Decision is an Answer with all that led to it.
type Decision struct {
	Answer
	Candidates []Candidate // by rank; then those that do not serve the site
}

// Pick answers a question. The PoPs are appended to dst[:0], and up to 64 PoPs nothing is allocated but what dst has no room for. It
// may be called concurrently.
func (s *Snapshot) Pick(q Question, dst []int) Answer {
	return s.decide(&q, dst[:0], nil)
}

// Explain answers a question as Pick does, and says why. It may be called concurrently.
func (s *Snapshot) Explain(q Question) Decision {
	var d Decision
	d.Answer = s.decide(&q, nil, &d.Candidates)
	return d
}

// decide answers a question: first the order, then who is struck out of it. Where list is not nil, it goes to the end of the order
// and notes all candidates.
func (s *Snapshot) decide(q *Question, dst []int, list *[]Candidate) Answer {
	a := Answer{PoPs: dst}
	if s == nil {
		return a
	}
	var room scratch
	o := s.order(q, &room)
	r := s.rule(q, &o)
	a.AllDown = r.allDown
	wanted, whole := max(q.Answers, 1), false
	hashed := false // when the answer was whole
	for rank := 1; ; rank++ {
		i, why := o.next()
		if i < 0 {
			break
		}
		struck := r.strike(i)
		if struck == "" && !whole {
			if len(a.PoPs) == 0 {
				a.Reason = r.reason(why)
			}
			a.PoPs = append(a.PoPs, i)
		}
		if !whole {
			whole, hashed = len(a.PoPs) == wanted, o.hashed || r.hashed
		}
		if list != nil {
			*list = append(*list, s.candidate(q, i, rank, struck, why))
		} else if whole {
			break
		}
	}
	if hashed && len(a.PoPs) > 0 {
		_, a.HashBits = key(q.Client)
	}
	a.TimeBits = uint8(o.depends)
	if list != nil {
		for i := range s.pops {
			if !o.serves(i) {
				*list = append(*list, s.candidate(q, i, 0, StrikeSite, ""))
			}
		}
	}
	return a
}

func (s *Snapshot) candidate(q *Question, i, rank int, struck Strike, why Reason) Candidate {
	p := &s.pops[i]
	c := Candidate{
		Index: i, PoP: p.Name, DistanceKM: math.NaN(), State: p.state(q.Family), Draining: p.Draining, Revoked: p.Revoked, Load: p.Load, Weight: p.Weight,
		Rank: rank, Struck: struck, Reason: why,
	}
	if from, known := s.base(&q.Found); known {
		c.DistanceKM = geo.Distance(from, p.At)
	}
	return c
}

func (p *pop) state(family int) State {
	switch family {
	case 4:
		return p.V4
	case 6:
		return p.V6
	}
	return Absent
}
