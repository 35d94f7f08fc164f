//go:build race

package balance

// The race detector has nothing to find where one goroutine picks, and makes that ten times slower.
const (
	picks = 50_000 // of a distribution
	seeds = 1      // that each script is played with
)
