package proxy

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"hither/cache"
)

// mostVariants bounds the stored variants that an explanation lists.
const mostVariants = 10

// Explain tells what ServeHTTP would do with a request now, by the functions that it would
// decide with: planFor, Look, courseOf, Select. It asks no origin, and neither changes nor
// counts anything. It looks at the request's line, fields and TLS state, and whether it has
// a body; r is not kept.
func (p *Proxy) Explain(r *http.Request) Explanation {
	e := p.explaining(r)
	v := view{r}
	pl, err := p.planFor(v)
	if pl.site == nil {
		return e.refused(err)
	}
	e.planned(pl)
	if pl.key == (cache.Key{}) { // refused before there was one
		return e.refused(err)
	}
	if pl.bypass == "" {
		e.look(pl)
	}
	switch {
	case e.found.Suits(pl.demand) && e.found.Object.Kind != cache.Manifest:
		return e.hit()
	case p.loops(r, came(false)):
		return e.refused(errLoop)
	case pl.bypass != "":
		return e.past(cache.Bypass, pl.bypass)
	}
	return e.take(p.course(pl, v, e.found.Look))
}

// ExplainRedirect is Explain for Redirect.
func (p *Proxy) ExplainRedirect(r *http.Request) Explanation {
	e := p.explaining(r)
	to, err := p.redirection(view{r})
	if err != nil {
		return e.refused(err)
	}
	e.sited(to.site)
	e.Location = to.location
	e.settle(cache.Refused, reasonHTTPS, to.status, "plain http is sent on to https")
	return e.Explanation
}

// An explaining is an Explanation under way.
type explaining struct {
	Explanation
	p     *Proxy
	r     *http.Request
	now   time.Time
	pl    plan
	found cache.Found
	lacks bool // slices that the answer needs are not stored
}

func (p *Proxy) explaining(r *http.Request) *explaining {
	e := &explaining{p: p, r: r, now: p.now()}
	e.At = e.now.UTC()
	e.Asked = ExplainedAsked{Method: r.Method, Scheme: "http", Host: r.Host, Target: r.RequestURI}
	if r.TLS != nil {
		e.Asked.Scheme = "https"
	}
	return e
}

func (e *explaining) sited(s *Site) {
	_, host, parent := e.p.sites.Load().find(e.r.Host)
	if parent {
		host = "*." + host
	}
	e.Site = &ExplainedSite{Name: s.Name, Matched: host}
}

// planned tells what was decided from the request alone.
func (e *explaining) planned(pl plan) {
	e.pl = pl
	e.sited(pl.site)
	e.Rule = explainedRule(pl.site, pl.rule)
	if pl.key == (cache.Key{}) {
		return
	}
	e.Key = &ExplainedKey{
		Site: pl.key.Site, Class: "GET", Scheme: pl.key.Scheme, Path: pl.key.Target(),
		Normalised: pl.asked != (view{e.r}).Target(), Dropped: dropped(pl.asked, pl.key.Target()), Origin: pl.target,
	}
}

// dropped are the parameters of one query that another, made of it, does not have.
func dropped(from, to string) []string {
	_, from, _ = strings.Cut(from, "?")
	_, to, _ = strings.Cut(to, "?")
	left := make(map[string]int)
	for parameter := range strings.SplitSeq(to, "&") {
		left[parameter]++
	}
	var out []string
	for parameter := range strings.SplitSeq(from, "&") {
		switch {
		case left[parameter] > 0:
			left[parameter]--
		case parameter != "":
			out = append(out, parameter)
		}
	}
	return out
}

// look tells what is stored.
func (e *explaining) look(pl plan) {
	v := view{e.r}
	e.found = e.p.cache.Explain(pl.key, pl.fields(v), e.now)
	f := &e.found
	if f.Signpost != nil {
		e.Key.Vary = explainedChoices(f.Signpost.Choices(f.Own), false)
	}
	s := &ExplainedStored{Kind: "nothing", Filling: f.Filling, Variants: []ExplainedVariant{}}
	e.Stored = s
	list, total, known := e.p.cache.Variants(*f, mostVariants)
	if known {
		s.Total = &total
	}
	if o := f.Object; o != nil {
		s.Kind = "response"
		if f.Key != f.Own {
			s.Language = o.Fields.Get("Content-Language")
		}
		if i := slices.Index(list, o); i > 0 {
			list[0], list[i] = list[i], list[0]
		} else if i < 0 {
			list = append([]*cache.Object{o}, list...)
		}
		e.Freshness = explainedFreshness(pl.policy.Freshness(f.Look, e.now), f.Look)
		of := pl.pick(v, o, e.p.cache.PeekEncoded)
		e.part(of.Selection)
		e.slices(o, of.Selection)
		e.Encoding = explainedEncoding(of.encoding)
	}
	for _, o := range list[:min(len(list), mostVariants)] {
		s.Variants = append(s.Variants, e.variant(o))
	}
	if f.Marker != nil {
		left := millis(f.PassLeft)
		s.PassLeft = &left
		if f.Pass {
			s.Kind = "pass"
		}
	}
}

func (e *explaining) variant(o *cache.Object) ExplainedVariant {
	l := cache.Look{Object: o}.At(e.now)
	x := ExplainedVariant{
		Chosen: o == e.found.Object, Status: o.Status, Bytes: o.Length(), Type: o.Fields.Get("Content-Type"),
		Encoding: o.Fields.Get("Content-Encoding"), Language: o.Fields.Get("Content-Language"), ETag: o.Fields.Get("Etag"),
		LastModified: o.Fields.Get("Last-Modified"), Received: o.Received.UTC(), Age: millis(l.Age), TTL: millis(l.TTL),
	}
	x.Tags = o.Tags()
	if at := o.PurgedSoftly(); !at.IsZero() {
		at = at.UTC()
		x.SoftPurged = &at
	}
	if post := e.found.Signpost; post != nil {
		x.Vary = explainedChoices(post.Choices(o.Key), o.Key != e.found.Own)
	}
	return x
}

// part tells which part of the stored response answers; which field asked for it follows
// from the order in which fields are judged (RFC 9110 section 13.2.2).
func (e *explaining) part(s cache.Selection) {
	x := &ExplainedPart{Status: s.Status, Bytes: s.Length, Range: s.Range}
	if s.Multi != nil {
		for _, part := range s.Multi.Parts {
			x.Parts = append(x.Parts, part.Range)
		}
	}
	has := func(name string) bool { return len(e.r.Header[name]) > 0 }
	switch {
	case s.Status == http.StatusNotModified && has("If-None-Match"):
		x.Why = "If-None-Match has the stored ETag (RFC 9110 section 13.1.2)"
	case s.Status == http.StatusNotModified:
		x.Why = "not modified after If-Modified-Since (RFC 9110 section 13.1.3)"
	case s.Status == http.StatusPartialContent:
		x.Why = "Range (RFC 9110 section 14.2)"
	case s.Status == http.StatusRequestedRangeNotSatisfiable:
		x.Why = "Range lies outside of the content (RFC 9110 section 15.5.17)"
	case has("Range"):
		x.Why = "whole: a Range is not honoured here (its form, the method, or If-Range, RFC 9110 section 14.2)"
	case has("If-None-Match") || has("If-Modified-Since"):
		x.Why = "whole: the conditions name another version"
	default:
		x.Why = "whole: no condition, no range"
	}
	if e.r.Method == http.MethodHead {
		x.Bytes = 0
	}
	e.Part = x
}

// take tells a course that fill would take.
func (e *explaining) take(next course) Explanation {
	switch next.do {
	case serveFresh:
		return e.hit()
	case serveUpdating:
		e.asks()
		e.served(cache.Updating, "", "stale, within stale-while-revalidate: answered at once and validated behind (RFC 5861 section 3)")
		return e.perhaps()
	case refuseUncached:
		return e.refused(errOnlyIfCached)
	case goPast:
		return e.past(next.verdict, next.why)
	}
	if e.spoiled() {
		return e.refused(errTarget)
	}
	return e.ask(next)
}

// asks tells that the origin is asked, and with which conditions.
func (e *explaining) asks() {
	e.Origin = e.pl.site.Origin
	if o := e.found.Object; o != nil {
		for _, name := range [...]string{"If-None-Match", "If-Modified-Since"} {
			if value := o.Validators().Get(name); value != "" {
				e.Conditions = append(e.Conditions, name+": "+value)
			}
		}
	}
}

// spoiled reports whether the target cannot be asked for.
func (e *explaining) spoiled() bool {
	_, err := request(context.Background(), e.r.Method, e.pl.target, e.p.host(e.r), nil)
	return err != nil
}

// ask tells of a fill.
func (e *explaining) ask(next course) Explanation {
	e.asks()
	e.CacheStatusOpen = true
	joins := e.found.Filling && !next.solo
	x := Exchange{Verdict: cache.Miss}
	x.found(e.found.Look, e.pl.demand)
	e.Verdict, e.Why = "miss", "nothing is stored for this key: the origin is asked"
	if x.variant {
		e.Why = "other variants are stored, none for this request: the origin is asked"
	}
	if e.found.Object == nil {
		e.outcome(cache.Miss, nil, "the origin answers")
	} else {
		x.Verdict = cache.Expired
		e.Verdict, e.Why = "revalidate", e.stale()
		e.outcome(cache.Revalidated, nil, "the origin says 304")
		e.outcome(cache.Expired, nil, "the origin sends another response")
		if e.found.Object.Kind == cache.Manifest {
			e.outcome(cache.Miss, nil, "slices of one version cannot be had, and it is fetched anew")
		}
		if e.found.IfError() {
			e.outcome(cache.Stale, nil, "the origin fails: what is stored stands in (RFC 5861 section 4)")
		}
	}
	if joins {
		e.Why += "; that has begun already, and this request waits for the same answer"
		if e.found.Object != nil { // what was a stale object's fill may be none
			e.outcome(cache.Miss, nil, "what the fill brings is not for sharing")
		}
	}
	e.outcome(cache.Failed, nil, "the origin gives no answer")
	e.CacheStatus = e.p.cfg.Node + "; fwd=" + x.forwardWord()
	switch _, part := cache.RangeFrom(e.r.Header["Range"]); {
	case next.ranged:
		e.ranged(next.from)
	case part && e.p.cache.SliceSize(e.pl.policy) > 0: // the answer may be sliced as it comes, and the rest not be had
		e.unsliced()
	}
	return e.Explanation
}

// stale tells why what is stored is not used as it is.
func (e *explaining) stale() string {
	o := e.found.Object
	why := "stale: its age is not below its lifetime (RFC 9111 section 4.2)"
	if asked := e.found.Why(e.pl.demand); asked != "" {
		why = "fresh, but the request's " + asked + " wants it fresher or validated (RFC 9111 sections 5.2.1 and 5.4)"
	}
	if !o.PurgedSoftly().IsZero() {
		why = "purged softly: stale since then, whatever its lifetime"
	}
	if o.NoCache {
		why = "no-cache: stored, and validated for each use (RFC 9111 section 5.2.2.4)"
	}
	if o.Validators() == nil {
		return why + "; it has no validator, and is fetched anew"
	}
	return why
}

// past tells of a request that goes past the cache.
func (e *explaining) past(verdict cache.Verdict, why cache.Reason) Explanation {
	if fields := e.p.requestFields(e.r, e.pl); e.r.Method == http.MethodOptions && lastHop(fields) {
		status := http.StatusOK
		if e.p.cfg.Draining != nil && e.p.cfg.Draining() {
			status = http.StatusServiceUnavailable
		}
		e.settle(cache.Refused, why, status, "OPTIONS with Max-Forwards: 0 is about this node, which answers by itself and logs nothing (RFC 9110 section 7.6.2)")
		e.Log = nil
		return e.Explanation
	}
	if e.spoiled() {
		return e.refused(errTarget)
	}
	e.Origin = e.pl.site.Origin
	x := Exchange{Verdict: verdict, Reason: why}
	if e.Stored != nil {
		x.found(e.found.Look, e.pl.demand)
	}
	e.CacheStatus, e.CacheStatusOpen = e.p.cfg.Node+"; fwd="+x.forwardWord(), true
	e.Verdict, e.Reason, e.Why = verdict.String(), string(why), pastWords[why]
	e.outcome(verdict, &why, "the origin answers")
	e.outcome(cache.Failed, nil, "the origin gives no answer")
	return e.Explanation
}

var pastWords = map[cache.Reason]string{
	cache.ReasonMethod:       "answers to this method are not stored: the origin is asked",
	cache.ReasonRule:         "the site's rule says bypass: the origin is asked, nothing is stored",
	cache.ReasonRequestBody:  "a GET or HEAD with content: the origin is asked, nothing is stored",
	cache.ReasonKey:          "what chooses a variant is too long, ambiguous (a cookie sent twice), or kept from the origin by Connection: it is asked, nothing is stored",
	cache.ReasonPrecondition: "If-Match and If-Unmodified-Since are the origin's to judge (RFC 9111 section 4.3.2)",
	cache.ReasonNoStore:      "the request says no-store (RFC 9111 section 5.2.1.5), and nothing fresh is stored",
	cache.ReasonRange:        "a part is asked for of what is not stored: the origin answers, and parts are not stored",
	cache.ReasonHitForMiss:   "the last response could not be shared: for a while each request asks by itself",
}

// hit tells of an answer that no origin is asked for.
func (e *explaining) hit() Explanation {
	reason := suited(e.found.Look)
	why := "fresh: its age is below its lifetime (RFC 9111 section 4.2)"
	if reason == cache.ReasonMaxStale {
		why = "stale, and the request takes it by max-stale (RFC 9111 section 5.2.1.2)"
	}
	if e.lacks {
		return e.partly(why)
	}
	return e.served(cache.Hit, reason, why)
}

// served tells of an answer out of the cache.
func (e *explaining) served(verdict cache.Verdict, reason cache.Reason, why string) Explanation {
	e.settle(verdict, reason, e.Part.Status, why)
	x := Exchange{Verdict: verdict, Status: e.Part.Status}
	e.CacheStatus, e.CacheStatusOpen = e.p.cacheStatus(&x, e.found.TTL, false), wantsKey(e.r.Header)
	return e.Explanation
}

// refused tells of a *refusal.
func (e *explaining) refused(err error) Explanation {
	var no *refusal
	errors.As(err, &no)
	e.settle(cache.Refused, no.reason, no.status, no.text)
	return e.Explanation
}

// settle ends with what no origin has a part in.
func (e *explaining) settle(verdict cache.Verdict, reason cache.Reason, status int, why string) {
	e.Verdict, e.Reason, e.Status, e.Why = verdict.String(), string(reason), status, why
	e.Log = nil
	e.outcome(verdict, &reason, "always")
}

func (e *explaining) outcome(v cache.Verdict, reason *cache.Reason, when string) {
	x := ExplainedOutcome{Verdict: v.String(), When: when}
	if reason != nil {
		word := string(*reason)
		x.Reason = &word
	}
	e.Log = append(e.Log, x)
}
