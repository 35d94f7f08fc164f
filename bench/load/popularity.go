package load

import (
	"math"
	"sort"
)

// A popularity says which of n things the ith request is for. It is not changed once made.
type popularity struct {
	n    uint64
	seed uint64
	upTo []float64 // the share of the things up to each; nil: all in turn
}

// newPopularity gives the kth thing a share in proportion to k to the power of -zipf.
func newPopularity(n int, zipf float64, seed uint64) *popularity {
	p := &popularity{n: uint64(n), seed: seed}
	if zipf == 0 || n == 1 {
		return p
	}
	p.upTo = make([]float64, n)
	sum := 0.0
	for i := range p.upTo {
		sum += math.Pow(float64(i+1), -zipf)
		p.upTo[i] = sum
	}
	for i := range p.upTo {
		p.upTo[i] /= sum
	}
	return p
}

// at is the thing that request i is for, whoever makes it.
func (p *popularity) at(i int64) int {
	if p.upTo == nil {
		return int(uint64(i) % p.n)
	}
	share := float64(scramble(p.seed, uint64(i))>>11) / (1 << 53)
	return min(sort.Search(len(p.upTo), func(k int) bool { return p.upTo[k] > share }), len(p.upTo)-1)
}

// scramble is the ith number of SplitMix64 (Steele, Lea and Flood, 2014) from a seed: any of them at once, so that whoever
// asks first does not matter.
func scramble(seed, i uint64) uint64 {
	z := seed + (i+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
