package balance

import (
	"math"
	"math/rand/v2"
)

// room is how much more than its share of the requests in flight an instance may have.
const room = 1.25

// boundedHash is consistent hashing with bounded loads: Mirrokni, Thorup, Zadimoghaddam, 2016. The order of instances for
// a hash is weighted rendezvous (-w/ln h: Schindelhauer, Schomaker, 2005), and the first that has not more than its share
// in flight, and a quarter, takes the request. Without a hash one is drawn at random.
type boundedHash struct{ stateless }

func (boundedHash) Choose(c []candidate, q Query, r *rand.Rand, _ *drawn) (int, Why) {
	key, why := q.Hash, Hash
	if !q.Hashed {
		key, why = r.Uint64(), Draw
	}
	key = mix(key)
	total, weights := 1.0, 0.0
	for i := range c {
		total += float64(c[i].InFlight)
		weights += c[i].Weight
	}
	best, most := 0, math.Inf(-1)
	for i := range c {
		if float64(c[i].InFlight+1) > math.Ceil(room*total*c[i].Weight/weights) {
			continue
		}
		h := fraction(mix(key ^ c[i].hash))
		if score := -c[i].Weight / math.Log(h+math.SmallestNonzeroFloat64); score > most {
			best, most = i, score
		}
	}
	return best, why
}
