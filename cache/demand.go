package cache

import "time"

// A Demand is what a request's own directives say of the stored responses that may answer it (RFC 9111 section 5.2.1). They
// are advice, which a site may take or leave. The zero Demand takes what is fresh.
type Demand struct {
	Validate bool  // no-cache, or Pragma: no-cache where there is no Cache-Control (section 5.4)
	MaxAge   Delta // section 5.2.1.1: no older than that; a malformed one is 0. Of no weight where the response is immutable
	MinFresh Delta // section 5.2.1.3: fresh for so long yet
	MaxStale Delta // section 5.2.1.2: stale for no longer than that; without an argument for as long as it may be
}

// DemandOf reads a request's directives.
func DemandOf(request FieldReader) (d Demand) {
	lines := request.Values("Cache-Control")
	if len(lines) == 0 {
		for _, line := range request.Values("Pragma") {
			d.Validate = d.Validate || ParseControl([]string{line}).NoCache
		}
		return d
	}
	c := ParseControl(lines)
	return Demand{Validate: c.NoCache, MaxAge: c.MaxAge, MinFresh: c.MinFresh, MaxStale: c.MaxStale}
}

// Suits reports whether the object may answer a request of this demand without the origin. What its response, or the site
// by NoCache, forbids to use stale, no demand allows (section 4.2.4).
func (l Look) Suits(d Demand) bool {
	switch {
	case l.Object == nil, l.Object.NoCache, d.Validate:
		return false
	case l.tooOld(d):
		return false
	case d.MinFresh.Set && l.TTL < d.MinFresh.Duration():
		return false
	case l.TTL > 0:
		return true
	}
	return d.MaxStale.Set && -l.TTL <= d.MaxStale.Duration() && l.Object.mayBeStale()
}

// tooOld reports whether the object is older than the demand allows. While it is fresh an immutable response has no age that
// mattered: only no-cache says that a validation is wanted in spite of it (RFC 8246 section 2).
func (l Look) tooOld(d Demand) bool {
	return d.MaxAge.Set && l.Age > d.MaxAge.Duration() && !(l.TTL > 0 && l.Object.immutable())
}

func (o *Object) immutable() bool { return controlOf(o.Fields.Header()).Immutable }

// mayBeStale reports whether the response leaves it to the cache to use it stale: s-maxage implies proxy-revalidate
// (section 5.2.2.10).
func (o *Object) mayBeStale() bool {
	c := controlOf(o.Fields.Header())
	return closedBy(c) == "" && !c.SMaxAge.Set
}

// Behind reports whether a request of this demand may have the object while it is revalidated (RFC 5861 section 3): one that
// names what it takes does not want it.
func (l Look) Behind(d Demand) bool { return d == Demand{} && l.Updating() }

// Why names the directive for which a fresh object does not suit; "" where it is none that keeps it.
func (l Look) Why(d Demand) string {
	switch {
	case !l.Fresh() || l.Suits(d):
		return ""
	case d.Validate:
		return "no-cache"
	case l.tooOld(d):
		return "max-age"
	}
	return "min-fresh"
}

// noBound is the argument of a max-stale that has none.
const noBound = int64(maxAge / time.Second)
