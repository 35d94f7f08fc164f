package balance

import (
	"math/rand/v2"
	"time"
)

// responseTime gives shares in proportion to speed: the weight by the latency. The name is that of Netflix Ribbon's
// WeightedResponseTimeRule.java, whose weight is the sum of all latencies less the own; with 1, 1, 20 and 20 ms the fast
// ones get a third each there, and 48 % here. Without a guard against fast failures it sends most to who fails fastest.
type responseTime struct{ stateless }

func (responseTime) Choose(c []candidate, _ Query, r *rand.Rand, _ *drawn) (int, Why) {
	total := 0.0
	for i := range c {
		total += speed(&c[i])
	}
	x := r.Float64() * total
	for i := range c {
		s := speed(&c[i])
		if x < s {
			return i, Draw
		}
		x -= s
	}
	return len(c) - 1, Draw
}

func speed(c *candidate) float64 { return c.Weight / float64(max(c.Latency, time.Microsecond)) }
