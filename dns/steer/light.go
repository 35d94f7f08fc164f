package steer

import "math"

// How long a round trip takes over a distance. Both are of the Earth's mean radius, as geo.Distance is.
const (
	// lightKM is how far a round trip reaches in a millisecond in a vacuum: half of 299.79 km. Fibre has two thirds of it, so nothing
	// that runs over the ground is faster, and an RTT below is a lie or belongs to somebody elsewhere.
	//
	// Places are coarse: a database may know no more than the country. Where it puts a client too far away, what was truly measured
	// nearby looks too fast and is dropped, and the map decides as if nobody had measured. Where it puts one too near, a
	// claim may be by so much too low as the error takes light: 15 km for each 0.1 ms. The error never makes anything true
	// that is not, it makes the bound weaker.
	lightKM = 299.792 / 2

	// guessKM is the same in fibre (200 km/ms one way) that does not run straight: half as long again as the great circle, which is
	// about the middle of what is measured between towns.
	guessKM = 200.0 / 2 / 1.5

	// guessBase is what a client's own access adds, in milliseconds. With it the guess for a PoP next door is what a client in a
	// city has to the nearest PoP.
	guessBase = 10.0
)

// leastRTT is the bound of light in milliseconds.
func leastRTT(km float64) float64 { return km / lightKM }

// guessRTT stands for the round trip to a PoP that nobody has measured, in milliseconds.
func guessRTT(km float64) float64 { return guessBase + km/guessKM }

// km is the length of the great circle whose chord on the unit sphere has a square.
func kmOf(chord2 float64) float64 {
	return 2 * 6371.0088 * math.Asin(math.Sqrt(min(chord2/4, 1)))
}
