package proxy

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"hither/cache"
)

// This file answers from responses that lie in slices (see cache.Walk): whatever part a client asks for, what is stored of it
// comes from the store, and the rest from one request to the origin for each slice.

// course is courseOf, and the slice to ask for where a part is wanted of what is not stored, or lies in slices: it serves
// others as well, which the part alone would not.
func (p *Proxy) course(pl plan, v RequestView, look cache.Look) course {
	next := courseOf(v, look, pl.demand)
	if next.do == serveFresh && look.Object.Kind == cache.Manifest && p.lacks(pl, v, look.Object) {
		// What is not there is asked of the origin, and stored: two things that a request may forbid.
		switch asked := cache.ParseControl(v.Values("Cache-Control")); {
		case asked.OnlyIfCached:
			return course{do: refuseUncached}
		case asked.NoStore:
			return course{do: goPast, verdict: cache.Bypass, why: cache.ReasonNoStore}
		}
	}
	unknown := next.do == goPast && next.why == cache.ReasonRange
	if !unknown && (next.do != askOrigin || look.Object == nil || look.Object.Kind != cache.Manifest) {
		return next
	}
	from, ok := cache.RangeFrom(v.Values("Range"))
	switch {
	case !ok, v.Method() != http.MethodGet, p.cache.SliceSize(pl.policy) == 0:
		return next
	case !unknown && from >= look.Object.Length(): // a 416 would say nothing of whether it is still so
		return next
	case !unknown:
	case len(v.Values("Authorization")) > 0: // whose answer is rarely for others, and who could make one up
		return next
	case p.cache.Unsliced(look.Key, p.now()):
		return next
	}
	return course{do: askOrigin, solo: next.solo, ranged: true, from: from}
}

// lacks reports whether slices that the request needs are not stored.
func (p *Proxy) lacks(pl plan, v RequestView, o *cache.Object) bool {
	return v.Method() == http.MethodGet && p.cache.Lacks(o, pl.pick(v, o, p.cache.PeekEncoded).Selection)
}

// near is how far into a body that is arriving, and lies in no slices, a part may begin for which a client waits.
const near = 1 << 20

// answer answers with what is stored, whole or in slices. It returns lookAgain where those of one version cannot be had, and
// nothing was sent.
func (p *Proxy) answer(x *Exchange, pl plan, look cache.Look, verdict cache.Verdict, why cache.Reason) followed {
	s := p.served(pl, view{x.r}, look)
	if s.Object.Kind != cache.Manifest {
		p.serve(x, s, verdict, why)
		return answered
	}
	x.Verdict, x.Reason = verdict, why
	return p.walk(x, pl, s, nil, cache.Head{})
}

// walk answers with a part of a sliced response. r is the reader, and head the head, of the fill that it came by; nil and zero
// where it was stored.
func (p *Proxy) walk(x *Exchange, pl plan, s *Served, r *cache.Reader, head cache.Head) followed {
	if x.Method == http.MethodHead || s.Length == 0 {
		p.present(x, s, head.Leader, head.Stored)
		return answered
	}
	want := cache.Want{Request: pl.fields(x.r.Header), Policy: pl.policy, Fetch: p.fetch(x, pl, false)}
	w := p.cache.Walk(x.r.Context(), want, s.Object, r)
	defer w.Close()
	if x.Verdict == cache.Hit && p.cache.Lacks(s.Object, s.Selection) {
		x.Verdict, x.Reason, x.partial = cache.Miss, "", true
	}
	switch err := w.Open(s.First()); {
	case errors.Is(err, cache.ErrVersion), errors.Is(err, cache.ErrSlice):
		x.astray = err
		return lookAgain
	case errors.Is(err, cache.ErrRefused):
		p.forward(x, pl, cache.Bypass, cache.ReasonStatus)
		return answered
	case err != nil:
		p.refuse(x, err)
		return answered
	}
	if x.upstream == 0 {
		x.upstream, x.Wait = w.Upstream, w.Wait
	}
	switch {
	case w.Asked:
		x.Origin = pl.site.Origin
	case w.Joined && x.Verdict == cache.Miss:
		x.Reason = cache.ReasonCollapsed
	}
	p.present(x, s, head.Leader, w.Stored)
	err := p.send(x, s.Selection, w.Range, w.Live)
	if w.Asked {
		x.Origin = pl.site.Origin
	}
	if err != nil {
		x.breakOff(err)
	}
	return answered
}

// present sends the field section of a sliced response. led tells that this is the request for which it came.
func (p *Proxy) present(x *Exchange, s *Served, led, stored bool) {
	x.Site, x.Status, x.key = s.site.Name, s.Status, s.Object.Key
	h := x.w.Header()
	s.Object.Fields.CopyTo(h)
	x.selected(h, s.Selection, s.Object.Length())
	s.encoding.mark(h, s.Status)
	if age := int64(s.Age / time.Second); age > 0 || !led {
		h["Age"] = []string{strconv.FormatInt(age, 10)}
	}
	appendField(h, "Cache-Status", p.cacheStatus(x, s.TTL, stored))
	p.sign(x, h)
	x.begin(s.Status)
}

// slicesFailed is why a request that could not be answered from slices of one version goes past the cache at last.
func (x *Exchange) slicesFailed() cache.Reason {
	if x.astray != nil {
		return cache.ReasonVersion
	}
	return cache.ReasonVary
}
