package proxy

import (
	"net/http"

	"hither/cache"
)

// What the edge does next for a request of which it has looked up what is stored.
type action uint8

const (
	askOrigin      action = iota // by a fill that is joined or begun; validates what is stored
	serveFresh                   // what is stored is fresh, or as fresh as the request wants it
	serveUpdating                // what is stored is stale, and is validated behind the answer
	refuseUncached               // nothing fresh is stored, and only that was wanted
	goPast                       // to the origin, past the cache
)

// A course is an action with its reasons. Explain tells it, and fill takes it.
type course struct {
	do      action
	verdict cache.Verdict // goPast: for the log
	why     cache.Reason  // goPast, serveFresh: likewise
	// solo: neither wait for another request's answer, nor let others wait for this one's.
	solo bool
	// ranged: ask for the slice that holds the byte at from.
	ranged bool
	from   int64
}

// courseOf decides from the request, what it demands of stored responses, and what is stored for it. It is a pure function.
func courseOf(v RequestView, look cache.Look, demand cache.Demand) course {
	if look.Suits(demand) {
		return course{do: serveFresh, why: suited(look)}
	}
	asked := cache.ParseControl(v.Values("Cache-Control"))
	if asked.OnlyIfCached {
		return course{do: refuseUncached}
	}
	if verdict, why := past(v, look, asked); why != "" {
		return course{do: goPast, verdict: verdict, why: why}
	}
	if look.Behind(demand) && !v.Inner() { // another PoP has something stale of its own, or has a client that wants it fresh
		// A revalidation behind an answer is waited for by nobody, and one is enough.
		return course{do: serveUpdating}
	}
	// Nobody gains by waiting for the answer to what is validated for each request; that to
	// an authorized one is rarely for others.
	return course{solo: len(v.Values("Authorization")) > 0 || look.Object != nil && !look.Object.Shareable()}
}

// suited is the reason for the log of a hit: what is stale is one because the request takes it.
func suited(look cache.Look) cache.Reason {
	if look.Fresh() {
		return ""
	}
	return cache.ReasonMaxStale
}

// past tells why a request that found nothing fresh goes past the cache.
func past(v RequestView, look cache.Look, asked cache.Control) (cache.Verdict, cache.Reason) {
	switch {
	case look.Pass:
		return cache.Miss, cache.ReasonHitForMiss
	case asked.NoStore:
		return cache.Bypass, cache.ReasonNoStore
	case look.Object != nil:
		return 0, ""
	case v.Method() == http.MethodHead: // its answer has no content to store
		return cache.Miss, cache.ReasonMethod
	case len(v.Values("Range")) > 0:
		return cache.Bypass, cache.ReasonRange
	}
	return 0, ""
}
