package compress

import "hither/cache"

// Negotiate returns the one of offered codings that lines of Accept-Encoding give the greatest weight; among equals the
// first offered (RFC 9110 section 12.5.3). It is Identity where that is wanted more, where no offered coding is acceptable,
// and where there is no such field or it is malformed: such a client may have anything, and is told to have asked for nothing.
// bare reports whether content without a coding is acceptable.
//
// "*" stands for what is not named. Of a coding that is named twice the lower weight counts: what is refused once is
// refused. Two requests that cache counts as one variant negotiate the same.
func Negotiate(lines []string, offered []cache.Coding) (best cache.Coding, bare bool) {
	if len(lines) == 0 || len(offered) == 0 {
		return cache.Identity, true
	}
	const unnamed = -1
	var weights [4]int // by coding
	for i := range weights {
		weights[i] = unnamed
	}
	star := unnamed
	lower := func(w *int, weight int) {
		if *w == unnamed || weight < *w {
			*w = weight
		}
	}
	ok := cache.EachPreference(lines, func(name string, weight int) {
		if name == "*" {
			lower(&star, weight)
		} else if name == "x-gzip" { // section 8.4.1.3
			lower(&weights[cache.Gzip], weight)
		} else if c, known := cache.ParseCoding(name); known {
			lower(&weights[c], weight)
		}
	})
	if !ok {
		return cache.Identity, true
	}
	for i := range weights {
		if weights[i] == unnamed {
			weights[i] = star
		}
	}
	most := 0
	for _, c := range offered {
		if weights[c] > most {
			best, most = c, weights[c]
		}
	}
	if weights[cache.Identity] > most {
		best = cache.Identity
	}
	return best, weights[cache.Identity] != 0
}
