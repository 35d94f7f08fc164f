// Package steer decides which PoPs answer a client, and says why. Distance orders the PoPs, or what was measured of the way to them;
// health, drain, weight 0 and load strike some of them out, and never change the order of the others. It is pure: no sockets, no
// clock, no chance; the same question to the same Snapshot gets the same answer, on every server.
//
// What is learned over time stands apart and makes Snapshots: [Health] from probes, [Shedding] from loads, [Times] from round trips.
package steer

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"

	"hither/dns/geo"
)

// State says whether a PoP can be reached at its addresses of one family. States are ordered so that the max of several
// addresses' states is the state of the PoP: one address that works is enough.
type State uint8

const (
	Absent   State = iota // the PoP has no address of the family
	Down                  // its probes fail
	Flapping              // its probes succeed, but it went up and down too often (see Health)
	Up                    // its probes succeed, or there was none yet
)

// String is the word that logs and `hither explain dns` use.
func (s State) String() string { return stateWords[s] }

var stateWords = [...]string{Absent: "absent", Down: "down", Flapping: "flapping", Up: "up"}

// A PoP is one place where edges stand, with what is known of its state.
type PoP struct {
	Name string
	At   geo.Point

	// V4 and V6 are the states of its addresses by family. A PoP with neither is in no answer.
	V4, V6 State

	// Weight is its part of the clients of a place that it shares with other PoPs (see Place). 0 = in no answer, also when all
	// others are down: what an operator took out is not ready to be put back by an accident elsewhere. The one exception is a
	// site all of whose PoPs have weight 0, which is answered as if all weights were equal.
	Weight int

	// Fallback names the PoPs which take over, in this order, where this one is first in a client's order and struck out.
	// Those it does not name follow by distance. Empty: all by distance. It does not count in the order for unknown places,
	// which says itself who is next.
	Fallback []string

	// Draining: it still answers, and gets new clients only where no other PoP is up.
	Draining bool

	// Revoked: the fleet does not take its identity any more, so that it has nothing but what it stored. It gets new clients only where every other PoP
	// is down.
	Revoked bool

	// Load as CONTRACTS has it: 1.0 is full. It decides nothing and is for Explain; Shed comes from it. NaN or negative: unknown.
	Load float64

	// Shed is the part of its clients that it sends on, 0 to 1 (see Shedding). NaN and negative count as 0, above 1 as 1.
	Shed float64
}

// Place is the distance in kilometres within which PoPs are one place: a client is about as far from each of them (50 km are half a
// millisecond of round trip in fibre), so they share its clients by weight and not by distance. In the order of the list a PoP joins
// the first place all of whose PoPs are that near, else it begins a place of its own. Where a place stands in the order is said by
// the nearest of its PoPs, whatever their state.
const Place = 50

// A Snapshot is all that decides answers, prepared once. It never changes, so it may be used concurrently; a new state of one
// PoP is a new Snapshot. The zero Snapshot and a nil *Snapshot have no PoPs.
type Snapshot struct {
	pops    []pop
	places  []place
	index   map[string]int
	unknown []int // all PoPs in the order for unknown places
	view    *View // what measured round trips change; nil = nothing
}

// pop is a PoP prepared.
type pop struct {
	PoP
	at       vector
	hash     uint64 // of the name
	place    int
	fallback []int
}

// place is a set of PoPs that share clients.
type place struct {
	members []int
	name    string // the lowest of its PoPs' names: ties between places are broken by it
}

// New prepares a Snapshot. unknown names PoPs in the order for clients whose place nobody knows; those not named follow in the
// order of pops. Indices of PoPs in questions and answers are those of pops. The error tells all mistakes: names that are missing,
// double or unknown, places that are none, negative weights.
func New(pops []PoP, unknown []string) (*Snapshot, error) {
	s := &Snapshot{pops: make([]pop, len(pops)), index: make(map[string]int, len(pops))}
	var wrong []error
	mistake := func(format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("steer: "+format, args...))
	}
	for i, p := range pops {
		if _, twice := s.index[p.Name]; twice {
			mistake("PoP %q: named twice", p.Name)
		}
		s.index[p.Name] = i
		switch {
		case p.Name == "":
			mistake("PoP %d: no name", i)
		case !valid(p.At):
			mistake("PoP %q: no place on Earth: latitude %v, longitude %v", p.Name, p.At.Lat, p.At.Lon)
		case p.Weight < 0:
			mistake("PoP %q: weight %d is negative", p.Name, p.Weight)
		}
		if !(p.Shed > 0) {
			p.Shed = 0
		}
		p.Shed = min(p.Shed, 1)
		s.pops[i] = pop{PoP: p, at: vectorOf(p.At), hash: hashName(p.Name)}
	}
	named := func(of string, names []string, self string) []int {
		var list []int
		for _, name := range names {
			i, ok := s.index[name]
			switch {
			case !ok:
				mistake("%s: no PoP %q", of, name)
			case name == self:
				mistake("%s: names itself", of)
			case slices.Contains(list, i):
				mistake("%s: names %q twice", of, name)
			default:
				list = append(list, i)
			}
		}
		return list
	}
	for i := range s.pops {
		p := &s.pops[i]
		p.fallback = named(fmt.Sprintf("fallback of PoP %q", p.Name), p.Fallback, p.Name)
	}
	s.unknown = named("order for unknown places", unknown, "")
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	for i := range s.pops {
		if !slices.Contains(s.unknown, i) {
			s.unknown = append(s.unknown, i)
		}
		s.settle(i)
	}
	return s, nil
}

// settle puts a PoP into its place.
func (s *Snapshot) settle(i int) {
	p := &s.pops[i]
	far := func(j int) bool { return geo.Distance(p.At, s.pops[j].At) > Place }
	for n := range s.places {
		if l := &s.places[n]; !slices.ContainsFunc(l.members, far) {
			l.members = append(l.members, i)
			l.name = min(l.name, p.Name)
			p.place = n
			return
		}
	}
	p.place = len(s.places)
	s.places = append(s.places, place{[]int{i}, p.Name})
}

// Len is the number of PoPs.
func (s *Snapshot) Len() int {
	if s == nil {
		return 0
	}
	return len(s.pops)
}

// PoP is the PoP with an index, 0 to Len-1, as New got it.
func (s *Snapshot) PoP(i int) PoP { return s.pops[i].PoP }

// Index is the index of the PoP with a name; ok is false where there is none.
func (s *Snapshot) Index(name string) (i int, ok bool) {
	if s == nil {
		return 0, false
	}
	i, ok = s.index[name]
	return i, ok
}

func valid(p geo.Point) bool { return math.Abs(p.Lat) <= 90 && math.Abs(p.Lon) <= 180 } // NaN is not

// vector is a place on the unit sphere. The square of the chord between two grows with the distance, and costs no
// trigonometry per PoP.
type vector [3]float64

func vectorOf(p geo.Point) vector {
	sinLat, cosLat := math.Sincos(p.Lat * math.Pi / 180)
	sinLon, cosLon := math.Sincos(p.Lon * math.Pi / 180)
	return vector{cosLat * cosLon, cosLat * sinLon, sinLat}
}

func (a *vector) chord2(b *vector) float64 {
	x, y, z := a[0]-b[0], a[1]-b[1], a[2]-b[2]
	return x*x + y*y + z*z
}

func hashName(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}
