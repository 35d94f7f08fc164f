package proxy

import (
	"net/http"
	"time"
)

// This file is what a shield does otherwise: a PoP through which the others of its network fetch from an origin. They come by
// a listener of their own and have proved themselves there, so that what they say of their clients is true. They have checked
// the TLS policy, and they encode by themselves.

// Inner answers what other PoPs of the network send. It is the proxy's handler but for this: the TLS server name is that of
// the node, and names no site; X-Forwarded-For, Forwarded and Early-Data are believed, and nothing is added to the first two;
// tags stay in answers; nothing is encoded; nothing is answered stale while it is validated, for that is for the one to do whom
// a client waits for; the origin is asked by Site.Direct; and CDN-Loop has this network once already.
func (p *Proxy) Inner() http.Handler { return inner{p} }

type inner struct{ p *Proxy }

func (h inner) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.p.answerTo(w, r, true) }

// innerView is a request of another PoP as a RequestView.
type innerView struct{ view }

func (v innerView) Inner() bool { return true }

// Early is what the PoP says by the field of RFC 8470 section 5.1: its client may still be one who replays.
func (v innerView) Early() bool {
	lines := v.Request.Header["Early-Data"]
	return len(lines) == 1 && lines[0] == "1"
}

// ageOf is the Age of an answer out of the cache. What a purge made stale here is to be stale at another PoP as well: it is told
// to be as old as it would be stale by its age.
func (x *Exchange) ageOf(s *Served) time.Duration {
	if x.Inner && s.TTL <= 0 {
		return max(s.Age, s.Object.Lifetime-s.TTL)
	}
	return s.Age
}

// view is the request as its listener has it.
func (x *Exchange) view() RequestView {
	if x.Inner {
		return innerView{view{x.r}}
	}
	return view{x.r}
}

// came is how often a request that comes by the listener has gone by this network rightly.
func came(inner bool) int {
	if inner {
		return 1
	}
	return 0
}
