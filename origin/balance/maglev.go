package balance

import (
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// tableSize is a prime far above a hundred times the instances: then shares are equal to a percent.
const tableSize = 65537

// mostPlaces is how many places of the table a hash is led to before it goes to the instance that has the largest part of
// its share: who may be chosen has a hundredth of the weights or less when it comes to that.
const mostPlaces = 1000

// maglev is consistent hashing by a table: Eisenbud et al., Maglev, NSDI 2016, section 3.4. Every instance fills the
// table in an order of its own, as many places as its weight says; a request's hash is a place. From an instance that may
// not be chosen the hash of the hash leads on: the next place would do so unevenly, as the orders are arithmetic
// progressions. One with a part of its share keeps that part of its places' requests, always the same ones. Without a hash
// a place is drawn at random.
type maglev struct {
	all   []candidate
	table []int16 // place -> index in all
	where []int   // index in all -> in the candidates, -1 = not there; memory for Choose
}

func (a *maglev) Changed(all []candidate) {
	if a.all != nil && slices.EqualFunc(a.all, all, func(i, j candidate) bool { return i.ID == j.ID && i.Weight == j.Weight }) {
		return
	}
	a.all, a.table = all, nil
	heaviest := 0.0
	for i := range all {
		heaviest = max(heaviest, all[i].Weight)
	}
	if heaviest == 0 {
		return
	}
	a.table = make([]int16, tableSize)
	for n := range a.table {
		a.table[n] = -1
	}
	at, step, turns := make([]uint64, len(all)), make([]uint64, len(all)), make([]float64, len(all))
	for i := range all {
		at[i] = xxhash.Sum64String(all[i].ID) % tableSize
		step[i] = xxhash.Sum64String("step "+all[i].ID)%(tableSize-1) + 1
	}
	for filled := 0; ; {
		for i := range all {
			if turns[i] += all[i].Weight / heaviest; turns[i] < 1 {
				continue
			}
			turns[i]--
			for a.table[at[i]] >= 0 {
				at[i] = (at[i] + step[i]) % tableSize
			}
			a.table[at[i]] = int16(i)
			if filled++; filled == tableSize {
				return
			}
		}
	}
}

func (a *maglev) Took([]candidate, int) {}

func (a *maglev) Choose(c []candidate, q Query, r *rand.Rand, _ *drawn) (int, Why) {
	key, why := q.Hash, Hash
	if !q.Hashed {
		key, why = r.Uint64(), Draw
	}
	a.where = a.where[:0]
	n, first, most := 0, 0, 0.0
	for i := range a.all {
		for n < len(c) && strings.Compare(c[n].ID, a.all[i].ID) < 0 {
			n++
		}
		if n < len(c) && c[n].ID == a.all[i].ID {
			a.where = append(a.where, n)
			if c[n].Share > most {
				first, most = n, c[n].Share
			}
		} else {
			a.where = append(a.where, -1)
		}
	}
	place := key
	for range mostPlaces {
		place = mix(place)
		i := a.where[a.table[place%tableSize]]
		if i >= 0 && c[i].Share >= most*fraction(mix(key^c[i].hash)) {
			return i, why
		}
	}
	return first, why
}

// mix spreads the bits of x: the finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// fraction returns x as a number from 0 to below 1.
func fraction(x uint64) float64 { return float64(x>>11) / (1 << 53) }
