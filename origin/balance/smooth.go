package balance

import "math/rand/v2"

// smooth is smooth weighted round robin: nginx, ngx_http_upstream_round_robin.c, 2012. Whoever has waited longest for its
// weight is next, so that a heavy instance is spread out: 5:1:1 gives a a b a c a a.
type smooth struct {
	credit map[string]float64
}

// Changed forgets the credit of those that are gone.
func (a *smooth) Changed(all []candidate) {
	credit := make(map[string]float64, len(all))
	for i := range all {
		credit[all[i].ID] = a.credit[all[i].ID]
	}
	a.credit = credit
}

func (a *smooth) Choose(c []candidate, _ Query, _ *rand.Rand, _ *drawn) (int, Why) {
	best, most := 0, 0.0
	for i := range c {
		if credit := a.credit[c[i].ID] + c[i].Weight; i == 0 || credit > most {
			best, most = i, credit
		}
	}
	return best, Turn
}

func (a *smooth) Took(c []candidate, i int) {
	total := 0.0
	for n := range c {
		a.credit[c[n].ID] += c[n].Weight
		total += c[n].Weight
	}
	a.credit[c[i].ID] -= total
}
