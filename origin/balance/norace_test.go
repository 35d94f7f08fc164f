//go:build !race

package balance

const (
	picks = 200_000 // of a distribution
	seeds = 3       // that each script is played with
)
