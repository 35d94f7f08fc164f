package steer

import (
	"math"
	"time"
)

// mostJudged is how many PoPs are compared for one prefix: the nearest on the map, those that stand in its order, and those that
// were measured. A PoP beyond that is farther than all of them.
const mostJudged = 2*ahead + mostSeen

// judged is a PoP as it is compared.
type judged struct {
	pop   int16
	ms    float64 // measured, else the guess
	guess float64
	from  *seen // nil where ms is the guess
}

// A verdict is the order of a prefix in the making.
type verdict struct {
	list [mostJudged]judged
	n    int
	mapn order7 // the order of the map
}

// counts says whether what was measured has a part in the order.
func (t *Times) counts(s *seen, second int64) bool {
	return s.pop >= 0 && s.sure && !s.dark && (s.probed || t.pops[s.pop].aside <= second)
}

// gather lists the PoPs that are compared for a prefix: first those of its order until now, then those of the map, then the rest. ok
// is false where round trips have no part in it: nobody knows the place, or the operator's prefix names a PoP.
func (t *Times) gather(r *record, second int64, v *verdict) (ok bool) {
	q := Question{Client: r.client()}
	q.Found = t.place(q.Client.Addr())
	var room scratch
	o := t.s.order(&q, &room)
	if o.unknown || o.named >= 0 {
		return false
	}
	o.fall = math.MaxInt // fallbacks come into the order of an answer, behind its first
	add := func(pop int16) {
		for i := range v.list[:v.n] {
			if v.list[i].pop == pop {
				return
			}
		}
		guess := guessRTT(kmOf(o.from.chord2(&t.s.pops[pop].at)))
		j := judged{pop: pop, ms: guess, guess: guess}
		for i := range r.seen {
			if s := &r.seen[i]; s.pop == pop && t.counts(s, second) {
				j.ms, j.from = float64(s.ms), s
			}
		}
		v.list[v.n] = j
		v.n++
	}
	for _, p := range r.list {
		if p >= 0 && t.s.pops[p].Weight > 0 {
			add(p)
		}
	}
	for i := range v.mapn {
		v.mapn[i] = -1
	}
	for n := 0; n < ahead; {
		i, _ := o.next()
		if i < 0 {
			break
		}
		if t.s.pops[i].Weight > 0 { // it is in no answer, wherever it stands
			v.mapn[n] = int16(i)
			n++
			add(int16(i))
		}
	}
	for i := range r.seen {
		if p := r.seen[i].pop; p >= 0 && t.s.pops[p].Weight > 0 {
			add(p)
		}
	}
	return v.n > 0
}

// better says whether ms beats was by enough to change an order.
func better(ms, was float64) bool { return was-ms >= max(gain, gainPart*was) }

// judge brings the order of a prefix to now.
func (t *Times) judge(r *record, second int64) {
	var v verdict
	r.waits = waitsNot
	before, differed := r.list, r.differs
	fallen := before[0] >= 0 && t.pops[before[0]].aside > second
	if fallen { // whoever came first by a lie has nothing from having been there
		r.forget()
	}
	if !t.gather(r, second, &v) {
		r.forget()
		r.differs = false
		t.dirty = t.dirty || differed
		return
	}
	if r.empty() { // what was known is forgotten: the map again
		r.list = v.mapn
		t.change(r, before[0], MoveAged, second)
	} else {
		first, why := t.first(r, &v, fallen, second)
		if fallen {
			why = MoveAside
		}
		one := v.list[first]
		copy(v.list[1:first+1], v.list[:first]) // those before it keep their order
		v.list[0] = one
		v.rest()
		for i := range r.list {
			r.list[i] = -1
			if i < v.n {
				r.list[i] = v.list[i].pop
			}
		}
		was := before[0]
		if was < 0 {
			was = v.mapn[0]
		}
		t.change(r, was, why, second)
	}
	r.differs = r.list != v.mapn
	t.dirty = t.dirty || differed != r.differs || r.differs && before != r.list
}

// first is the place in v of the PoP that is to be first, and why it is where it was not.
func (t *Times) first(r *record, v *verdict, fallen bool, second int64) (int, Move) {
	held := &v.list[0]
	var passed [mostJudged]bool
	for {
		best := 0
		for i := range v.list[:v.n] {
			if !passed[i] && v.list[i].ms < v.list[best].ms {
				best = i
			}
		}
		b := &v.list[best]
		switch {
		case best == 0:
			return 0, ""
		case !better(b.ms, held.ms):
			r.wait(waitsGain)
			return 0, ""
		case r.changed != 0 && second-int64(r.changed) < int64(stay/time.Second) && !fallen:
			r.wait(waitsStay)
			return 0, ""
		case b.from == nil || better(b.guess, held.ms): // the map speaks for it as well
			return best, MoveAway
		case b.from.probed:
			return best, MoveProbe
		case t.mayPull(int(b.pop), second):
			t.pulled(int(b.pop), second)
			return best, MoveReport
		}
		r.wait(waitsBudget)
		passed[best] = true // somebody else may be better too
	}
}

// wait notes why the best is not first; the reason of the best of all stands.
func (r *record) wait(why Waits) {
	if r.waits == waitsNot {
		r.waits = why
	}
}

// change notes that the first of a prefix is another than was.
func (t *Times) change(r *record, was int16, why Move, second int64) {
	if was >= 0 && was != r.list[0] {
		r.changed = uint32(second)
		t.moved(t.s.pops[r.list[0]].Name, why)
	}
}

// forget makes the order that of the map.
func (r *record) forget() {
	for i := range r.list {
		r.list[i] = -1
	}
}

// rest orders those behind the first, each place held by who had it unless another is better by enough. There a PoP's own word only
// pushes it back: else all clients of a PoP that goes down would be for who claims to be second.
func (v *verdict) rest() {
	for i := 1; i < v.n; i++ {
		if s := v.list[i].from; s != nil && !s.probed {
			v.list[i].ms = max(v.list[i].ms, v.list[i].guess)
		}
	}
	for at := 1; at < v.n-1; at++ {
		best := at
		for i := at + 1; i < v.n; i++ {
			if v.list[i].ms < v.list[best].ms {
				best = i
			}
		}
		if best != at && better(v.list[best].ms, v.list[at].ms) {
			one := v.list[best]
			copy(v.list[at+1:best+1], v.list[at:best])
			v.list[at] = one
		}
	}
}

// View is what changes in the orders now, and whether it is another than the last one that was made. The prefixes that explore change with
// the minute of the clock, so all servers have the same ones do it at the same time.
func (t *Times) View(now time.Time) (v *View, changed bool) {
	second := t.second(now)
	slice := second / int64(exploreSlice/time.Second)
	if !t.dirty && slice == t.slice {
		return nil, false
	}
	turn := slice != t.slice
	t.slice, t.dirty = slice, false
	var four, six []entry
	for at := range t.records {
		r := &t.records[at]
		if r.key == none {
			continue
		}
		e := entry{key: r.key &^ sixBit, change: change{list: r.list}}
		if int64(mix(r.key)%exploreOf) == slice%exploreOf && t.explores(r, second) {
			e.list[0], e.list[1], e.explore = e.list[1], e.list[0], true
			if turn {
				t.moved(t.s.pops[e.list[0]].Name, MoveExplore)
			}
		}
		switch {
		case !r.differs && !e.explore:
		case r.key&sixBit != 0:
			six = append(six, e)
		default:
			four = append(four, e)
		}
	}
	return makeView(four, six), true
}

// explores says whether the second of a prefix is near enough to be tried.
func (t *Times) explores(r *record, second int64) bool {
	var v verdict
	if !t.gather(r, second, &v) || v.n < 2 || v.list[0].pop != r.list[0] || v.list[1].pop != r.list[1] {
		return false
	}
	return v.list[1].ms <= v.list[0].ms+exploreWorst
}
