package cache

import (
	"net/http"
	"time"
)

// heuristicMost bounds a heuristic lifetime; RFC 9111 section 4.2.2 asks for a warning
// sign above a day.
const heuristicMost = 24 * time.Hour

// A Source says what gave a response its lifetime.
type Source uint8

const (
	SourceNone      Source = iota // nothing: the lifetime is 0
	SourceHeuristic               // a tenth of the time since Last-Modified (RFC 9111 section 4.2.2)
	SourceExpires                 // section 5.3
	SourceMaxAge                  // section 5.2.2.1
	SourceSMaxAge                 // section 5.2.2.10
	SourceRule                    // Policy.TTL
	SourceEarlier                 // of Freshness alone: it was judged by other rules than those of now
	SourceNegative                // Policy.Negative
)

var sourceWords = [...]string{"none", "heuristic", "expires", "max-age", "s-maxage", "rule", "earlier-rules", "negative"}

func (s Source) String() string { return sourceWords[s] }

// Explicit reports whether the lifetime was named, and is no guess.
func (s Source) Explicit() bool { return s >= SourceExpires }

// lifetime computes freshness_lifetime for a shared cache (RFC 9111 section 4.2.1): the
// first of s-maxage, max-age, Expires and a tenth of the time since Last-Modified. What
// is invalid is stale (section 4.2.1).
func lifetime(status int, h http.Header, c Control, received time.Time) (time.Duration, Source) {
	if c.SMaxAge.Set {
		return c.SMaxAge.Duration(), SourceSMaxAge
	}
	if c.MaxAge.Set {
		return c.MaxAge.Duration(), SourceMaxAge
	}
	date := dateOf(h, received)
	if lines := h["Expires"]; len(lines) > 0 && !c.Targeted {
		at, ok := parseDate(lines[0], received)
		if !ok || !at.After(date) { // "0" and the like: already expired (section 5.3)
			return 0, SourceExpires
		}
		return at.Sub(date), SourceExpires
	}
	if !heuristic[status] && !c.Public {
		return 0, SourceNone
	}
	modified, ok := parseDate(h.Get("Last-Modified"), received)
	if !ok || !modified.Before(date) {
		return 0, SourceNone
	}
	return min(date.Sub(modified)/10, heuristicMost), SourceHeuristic
}

// NamesLifetime reports whether a response's fields say for how long it is fresh: the lifetime is no guess.
func NamesLifetime(h http.Header) bool {
	c := controlOf(h)
	return c.SMaxAge.Set || c.MaxAge.Set || len(h["Expires"]) > 0 && !c.Targeted
}

// heuristic lists the statuses whose responses may be reused without explicit
// freshness (RFC 9110 section 15.1), less 206, which is not stored.
var heuristic = map[int]bool{200: true, 203: true, 204: true, 300: true, 301: true, 308: true, 404: true, 405: true, 410: true, 414: true, 501: true}

// negative lists the errors that Policy.Negative is about: those that say of the target, or of the server, what others
// would be told as well. The first four and 501 may be stored on a guess anyway (RFC 9110 section 15.1); 451 is about the
// target like them (RFC 7725), and the others tell that the server is in trouble, which more requests do not mend. Not
// among them are answers to what one client sent or is (400, 401, 403, 429).
var negative = map[int]bool{404: true, 405: true, 410: true, 414: true, 451: true, 500: true, 501: true, 502: true, 503: true, 504: true}

// understood lists the statuses of which we know all that they ask of a cache (RFC 9111 section 5.2.2.3): those whose
// meaning for a cache is the general one.
var understood = map[int]bool{
	200: true, 203: true, 204: true, 300: true, 301: true, 302: true, 303: true, 307: true, 308: true,
	400: true, 403: true, 404: true, 405: true, 410: true, 414: true, 451: true, 500: true, 501: true, 502: true, 503: true, 504: true,
}

// neverStored lists the statuses whose responses are about one request alone, or say so: RFC 9110 section 15.3.7 (206 is
// a part), 15.5.17 (416 is about a part), 15.5.20 (421), RFC 8470 section 5.2 (425), RFC 6585 sections 3 to 6 (428, 429,
// 431, 511). 304 selects what is stored, and is none itself.
var neverStored = map[int]Reason{
	http.StatusPartialContent: ReasonRange, http.StatusRequestedRangeNotSatisfiable: ReasonRange,
	http.StatusNotModified: ReasonStatus, http.StatusMisdirectedRequest: ReasonStatus, http.StatusTooEarly: ReasonStatus,
	http.StatusPreconditionRequired: ReasonStatus, http.StatusTooManyRequests: ReasonStatus,
	http.StatusRequestHeaderFieldsTooLarge: ReasonStatus, http.StatusNetworkAuthenticationRequired: ReasonStatus,
}

// maxAge bounds every age, so that sums of a false Date's age and a long storage time
// cannot overflow into a young one. RFC 9111 section 1.2.2 has the same bound.
const maxAge = maxDelta * time.Second

// terms are what corrected_initial_age is made of (RFC 9111 section 4.2.3).
type terms struct {
	date     time.Time     // date_value
	apparent time.Duration // apparent_age
	value    time.Duration // age_value
	delay    time.Duration // response_delay
}

// termsOf reads the terms of a response whose request was sent at request and whose
// field section came at received.
func termsOf(h http.Header, request, received time.Time) terms {
	t := terms{date: dateOf(h, received), delay: max(0, received.Sub(request))}
	t.apparent = max(0, received.Sub(t.date))
	if lines := h["Age"]; len(lines) > 0 {
		// The first member of the first line counts; what is no number is ignored
		// (section 5.1).
		first, _, _, _ := cutDirective(lines[0])
		if n, ok := parseDelta(first); ok {
			t.value = time.Duration(n) * time.Second
		}
	}
	return t
}

// initial is corrected_initial_age.
func (t terms) initial() time.Duration { return min(maxAge, max(t.apparent, t.value+t.delay)) }

// initialAge computes corrected_initial_age of a response.
func initialAge(h http.Header, request, received time.Time) time.Duration {
	return termsOf(h, request, received).initial()
}

// dateOf returns the Date field, or the time of receipt where there is none or it
// cannot be read (RFC 9110 section 6.6.1).
func dateOf(h http.Header, received time.Time) time.Time {
	if t, ok := parseDate(h.Get("Date"), received); ok {
		return t
	}
	return received
}

// clockSlack is how far our clock may be set back before nobody can tell any more how old a stored object is. That concerns what
// another process has stored: a running one counts by its monotonic clock.
const clockSlack = time.Minute

// ahead reports whether the object came at a time that our clock has not reached. Its age is then unknown, so it is stale: it may be
// validated, and stand in for an origin that fails.
func (o *Object) ahead(now time.Time) bool { return o.Received.Sub(now) > clockSlack }

// passes reports whether a Pass still holds.
func (o *Object) passes(now time.Time) bool { return !o.ahead(now) && o.currentAge(now) < o.Lifetime }

// currentAge computes current_age (RFC 9111 section 4.2.3). A clock that was set back
// makes an object no younger than it came.
func (o *Object) currentAge(now time.Time) time.Duration {
	return o.Age + o.resident(now)
}

// resident is resident_time.
func (o *Object) resident(now time.Time) time.Duration {
	return min(maxAge, max(0, now.Sub(o.Received)))
}
