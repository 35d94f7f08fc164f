package steer

import (
	"net/netip"
	"time"
)

// A Sight is what is known of the way between a client's prefix and a PoP.
type Sight struct {
	PoP     string
	MS      float64       // measured; where From is SightGuess, what the map lets expect
	From    string        // SightReport, SightProbe or SightGuess
	Samples float64       // of what was measured, faded
	Age     time.Duration // since the last
	Unused  string        // why it has no part in the order, or does not stand first although it is best; "" where neither is so
}

// Words of a Sight.
const (
	SightReport = "report" // the PoP's own word
	SightProbe  = "probe"  // this server's own
	SightGuess  = "guess"  // by the map

	UnusedSamples = "too few samples"
	UnusedLight   = "less than light needs"
	UnusedAside   = "its word is set aside"
	UnusedGain    = "not better by enough"
	UnusedStay    = "the first changed just now"
	UnusedBudget  = "its own word has moved all that it may"
	UnusedPlace   = "the place is the operator's word, or unknown"
)

// Sights tells all that is known of a client's prefix, the PoPs of its order first; nothing where less than a /24 or a /48 was told of it, or
// nothing was ever measured there.
func (t *Times) Sights(client netip.Prefix, now time.Time) []Sight {
	second := t.second(now)
	k, six, told := keyOf(client)
	if !client.IsValid() || told < hashBits4 || six && told < hashBits6 {
		return nil
	}
	r := t.of(keyed(k, six))
	if r == nil {
		return nil
	}
	var v verdict
	counts := t.gather(r, second, &v)
	var out []Sight
	known := func(s *seen) Sight {
		x := Sight{PoP: t.s.pops[s.pop].Name, MS: float64(s.ms), From: SightReport, Samples: float64(s.n), Age: time.Duration(second-int64(s.at)) * time.Second}
		if s.probed {
			x.From = SightProbe
		}
		switch {
		case !counts:
			x.Unused = UnusedPlace
		case s.dark:
			x.Unused = UnusedLight
		case !s.probed && t.pops[s.pop].aside > second:
			x.Unused = UnusedAside
		case !s.sure:
			x.Unused = UnusedSamples
		}
		return x
	}
	best := -1
	for i := range v.list[:v.n] {
		j := &v.list[i]
		x := Sight{PoP: t.s.pops[j.pop].Name, MS: j.guess, From: SightGuess}
		for n := range r.seen {
			if s := &r.seen[n]; s.pop == j.pop {
				x = known(s)
			}
		}
		if best < 0 || j.ms < v.list[best].ms {
			best = i
		}
		out = append(out, x)
	}
	if !counts {
		for n := range r.seen {
			if s := &r.seen[n]; s.pop >= 0 {
				out = append(out, known(s))
			}
		}
		return out
	}
	if best > 0 && out[best].Unused == "" {
		out[best].Unused = map[Waits]string{waitsGain: UnusedGain, waitsStay: UnusedStay, waitsBudget: UnusedBudget}[r.waits]
	}
	return out
}

// Standing is what a server knows of a PoP as one that tells of round trips.
type Standing struct {
	Aside  bool    // it lied, and its word does not count for a while
	Probe  float64 // what this server's own probes take to connect, smoothed, in milliseconds; 0 = none did
	Pulled int     // prefixes that changed to it by its own word within the last minute
}

// Standing returns that of a PoP by index.
func (t *Times) Standing(pop int, now time.Time) Standing {
	second := t.second(now)
	t.mayPull(pop, second)
	p := &t.pops[pop]
	return Standing{Aside: p.aside > second, Probe: p.probe, Pulled: int(p.sum)}
}
