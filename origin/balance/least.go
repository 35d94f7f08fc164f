package balance

import "math/rand/v2"

// leastRequests takes the instance with the fewest requests in flight for its weight, one of them at random: HAProxy's
// leastconn, Envoy's LEAST_REQUEST over all hosts.
type leastRequests struct{ stateless }

func (leastRequests) Choose(c []candidate, _ Query, r *rand.Rand, d *drawn) (int, Why) {
	best, least, equal := 0, 0.0, 1
	for i := range c {
		switch load := float64(c[i].InFlight+1) / c[i].Weight; {
		case i == 0 || load < least:
			best, least, equal = i, load, 1
		case load == least:
			if equal++; r.IntN(equal) == 0 {
				best = i
			}
		}
	}
	d.n, d.at[0], d.cost[0] = 1, best, least
	return best, LowestCost
}
