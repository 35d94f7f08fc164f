package balance

import (
	"math/rand/v2"
	"strings"
)

// roundRobin takes the instances in turn, each as often as any other: folklore, and nginx without weights. Weights and
// scores change nothing; only who may be chosen counts. The turn is an ID, so it survives a change of the list.
type roundRobin struct{ last string }

func (*roundRobin) Changed([]candidate) {}

func (a *roundRobin) Choose(c []candidate, _ Query, _ *rand.Rand, _ *drawn) (int, Why) {
	for i := range c {
		if strings.Compare(c[i].ID, a.last) > 0 {
			return i, Turn
		}
	}
	return 0, Turn
}

func (a *roundRobin) Took(c []candidate, i int) { a.last = c[i].ID }
