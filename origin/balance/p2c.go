package balance

import (
	"math/rand/v2"
	"slices"
	"time"
)

// p2c is the power of two choices on peak-EWMA: of two instances drawn at random, the one where the request will be done
// sooner. Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001; the cost as in Finagle's
// PeakEwma.scala.
//
// The draws are by weight: drawn as equals, two bad ones of four would be the pair in a sixth of all picks, and weight in
// the cost alone would turn an idle 2:1 into 1:0.
type p2c struct{ stateless }

// farSlower is how many times the median cost an instance may have that was drawn twice, which makes it a pair by itself: of
// two instances each is so in a quarter of all picks, and by then one that hangs would have taken every place at the origin.
const farSlower = 2

func (p2c) Choose(c []candidate, _ Query, r *rand.Rand, d *drawn) (int, Why) {
	mean := 0.0
	for i := range c {
		mean += c[i].Weight / float64(len(c))
	}
	i, j := draw(c, r, -1), draw(c, r, -1)
	if i == j && cost(&c[i], mean) > farSlower*middle(c, mean) {
		if j = draw(c, r, i); j < 0 {
			j = i
		}
	}
	if i == j {
		d.n, d.at[0], d.cost[0] = 1, i, cost(&c[i], mean)
		return i, LowestCost
	}
	x, y := cost(&c[i], mean), cost(&c[j], mean)
	if y < x || y == x && r.IntN(2) == 0 {
		i, j, x, y = j, i, y, x
	}
	d.n, d.at, d.cost = 2, [2]int{i, j}, [2]float64{x, y}
	return i, LowestCost
}

// cost is the milliseconds until the instance will have answered one more request: those in flight count by weight.
func cost(c *candidate, mean float64) float64 {
	l := float64(max(c.Latency, time.Microsecond)) / float64(time.Millisecond)
	return l * (1 + float64(c.InFlight)*mean/c.Weight)
}

// middle is the median cost, the lower of two.
func middle(c []candidate, mean float64) float64 {
	var room [16]float64
	l := room[:0]
	for i := range c {
		l = append(l, cost(&c[i], mean))
	}
	slices.Sort(l)
	return l[(len(l)-1)/2]
}
