package steer

import (
	"cmp"
	"math"
	"slices"
)

// Shedding is how much of its clients a loaded PoP sends on. The zero Shedding has the defaults.
//
// Let k be the part of its clients that a PoP keeps, and L the load measured meanwhile. All of them would be a load of L/k; so the load
// becomes the target T for
//
//	k' = k T / L
//
// T lies in the middle between End and Begin. Between them a share that rests stays as it is: noise of less than half that distance moves
// nobody. Above Begin the share never falls, below End it never rises; and one that has begun to change goes on to T, for at the edge
// of the band it would rest where noise tips it over.
type Shedding struct {
	Begin float64 // load above which it begins, or rises. 0 = 0.9
	End   float64 // load below which it falls, to nothing at last. 0 = 0.7

	// Step bounds what one call does: k is multiplied or divided by 1+Step at most. 0 = 0.1.
	//
	// A share moves clients only as their answers expire, and a load is smoothed over 10 s; until then L belongs to an older k.
	// Call Next every TTL plus 10 s. A call that comes too early goes one step too far, which is harmless as long as
	// (1+Step)² is less than Begin/End: 1.21 is less than 1.29, so the load cannot jump over the band between them, back and forth.
	Step float64
}

// keepLeast is the least part a PoP keeps: with a tenth of its clients the load still tells how much all of them would be.
const keepLeast = 0.1

// A Share is how much of its clients a PoP sends on. The zero Share is none of them.
type Share struct {
	Part float64 // 0 to 0.9
	Way  int8    // 1 = it rises to the target, -1 = it falls there, 0 = it rests
}

// Next is the share to send on, from the one until now and the load measured with it (1.0 is full). Its part grows with both.
// Load that is unknown (NaN or negative) lets it fall by a step: nothing is known that would justify it. It is pure.
func (c Shedding) Next(s Share, load float64) Share {
	begin, end, step := orElse(c.Begin, 0.9), orElse(c.End, 0.7), 1+orElse(c.Step, 0.1)
	keep := 1.0
	if s.Part > 0 {
		keep = max(1-s.Part, keepLeast)
	}
	want := keep * (begin + end) / 2 / load
	s.Way = s.next(load, begin, end)
	switch {
	case math.IsNaN(load) || load < 0:
		keep = min(keep*step, 1)
	case s.Way > 0:
		s.Way = limited(want < keep/step, 1)
		keep = max(min(want, keep), keep/step, keepLeast)
	case s.Way < 0:
		s.Way = limited(want > keep*step, -1)
		keep = min(max(want, keep), keep*step, 1)
	}
	s.Part = 1 - keep
	return s
}

// mostTaken is the part that is taken over at most on the word of one other server: what twice as many clients as a PoP can take ask for. Where more
// is to be sent on, the rest comes by steps.
const mostTaken = 0.5

// Taken is the share of a server that has just begun, by what the others say that they send on of the same PoP: the lesser one in the middle, so
// that of two or more no one alone has it send on more than another does; of one alone, mostTaken at most. Where the load is unknown or
// below End, at which the others' shares fall, it is s, what the server had until now. It is pure.
func (c Shedding) Taken(s Share, others []Share, load float64) Share {
	others = sensible(others)
	if !(load >= orElse(c.End, 0.7)) || len(others) == 0 {
		return s
	}
	s = others[(len(others)-1)/2]
	if len(others) == 1 {
		s.Part = min(s.Part, mostTaken)
	}
	return s
}

// Joined brings a share that rests nearer to those at which other servers rest: to the greater one in the middle of all, its own among them, by a
// step at most. Shares that rest do not come together by themselves, as the load is right with them. It does so while the load is
// between End and Begin alone: outside of them Next leads, so nobody's word takes a load farther than a step out of the band. It is pure.
func (c Shedding) Joined(s Share, others []Share, load float64) Share {
	begin, end, step := orElse(c.Begin, 0.9), orElse(c.End, 0.7), 1+orElse(c.Step, 0.1)
	if s.Way != 0 || !(load >= end && load <= begin) {
		return s
	}
	all := sensible(append([]Share{s}, others...))
	all = slices.DeleteFunc(all, func(o Share) bool { return o.Way != 0 })
	if len(all) == 0 {
		return s
	}
	keep, want := 1-s.Part, 1-all[len(all)/2].Part
	if want >= keep/step && want <= keep*step {
		return all[len(all)/2] // and not nearly that: equal shares stay equal
	}
	s.Part = 1 - min(max(want, keep/step), keep*step)
	return s
}

// sensible are the shares of a list that can be meant, the least first.
func sensible(list []Share) (out []Share) {
	for _, s := range list {
		if s.Part >= 0 && s.Part <= 1-keepLeast && s.Way >= -1 && s.Way <= 1 {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Share) int { return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Way, b.Way)) })
	return out
}

// next is the way on: what the load asks for, else on to the target.
func (s Share) next(load, begin, end float64) int8 {
	switch {
	case math.IsNaN(load) || load < 0:
		return 0
	case load > begin:
		return 1
	case load < end:
		return -1
	}
	return s.Way
}

// limited is the way on of a share that a step did not take to its target, and none of one that is there.
func limited(yes bool, way int8) int8 {
	if yes {
		return way
	}
	return 0
}

func orElse(v, zero float64) float64 {
	if v == 0 {
		return zero
	}
	return v
}
