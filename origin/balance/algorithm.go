package balance

import (
	"math/rand/v2"
	"strings"
	"time"
)

// algorithm chooses among those that may be chosen. One file each; the balancer's lock is held.
type algorithm interface {
	// Changed gives all instances, by ID, with the weights of the file: for tables.
	Changed(all []candidate)

	// Choose returns the index of one of c, which is never empty and sorted by ID, and fills d with how. It changes
	// nothing, so that Explain can ask it what Pick would be told.
	Choose(c []candidate, q Query, r *rand.Rand, d *drawn) (int, Why)

	// Took says that c[i] was chosen and is being used: for turns.
	Took(c []candidate, i int)
}

// candidate is an instance that may be chosen.
type candidate struct {
	ID       string
	Weight   float64       // effective: the file's, times slow start, times goodness
	Share    float64       // Weight by the file's weight, above 0 and at most 1
	Latency  time.Duration // of its first bytes; 0 = nobody in its group was measured
	InFlight int

	hash uint64 // of the ID
	at   *instance
}

func byID(i, j candidate) int { return strings.Compare(i.ID, j.ID) }

// drawn is what an algorithm compared, for Explain: indices of candidates and their costs, the chosen one first.
type drawn struct {
	n    int
	at   [2]int
	cost [2]float64
}

// p2cEWMA is the default.
const p2cEWMA = "p2c-ewma"

// algorithms in the order in which they are listed.
var algorithms = []struct {
	name   string
	hashes bool // goes by Query.Hash
	make   func() algorithm
}{
	{p2cEWMA, false, func() algorithm { return p2c{} }},
	{"round-robin", false, func() algorithm { return new(roundRobin) }},
	{"weighted-round-robin", false, func() algorithm { return new(smooth) }},
	{"least-requests", false, func() algorithm { return leastRequests{} }},
	{"random", false, func() algorithm { return random{} }},
	{"weighted-response-time", false, func() algorithm { return responseTime{} }},
	{"maglev", true, func() algorithm { return new(maglev) }},
	{"bounded-hash", true, func() algorithm { return boundedHash{} }},
}

// Algorithms returns the names that Config.Algorithm may have.
func Algorithms() []string {
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = a.name
	}
	return names
}

// stateless is embedded by algorithms that keep nothing between picks.
type stateless struct{}

func (stateless) Changed([]candidate)   {}
func (stateless) Took([]candidate, int) {}

// draw returns the index of one of c with a probability in proportion to its weight, never except (-1 = anyone).
func draw(c []candidate, r *rand.Rand, except int) int {
	total := 0.0
	for i := range c {
		if i != except {
			total += c[i].Weight
		}
	}
	x, last := r.Float64()*total, -1
	for i := range c {
		if i == except {
			continue
		}
		if last = i; x < c[i].Weight {
			break
		}
		x -= c[i].Weight
	}
	return last
}
