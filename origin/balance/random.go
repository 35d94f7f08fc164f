package balance

import "math/rand/v2"

// random draws by weight: folklore.
type random struct{ stateless }

func (random) Choose(c []candidate, _ Query, r *rand.Rand, _ *drawn) (int, Why) {
	return draw(c, r, -1), Draw
}
