package cache

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Policy is what a site says about reuse beside its responses' own words.
type Policy struct {
	SetCookie bool  // responses that set cookies may be stored
	MaxObject int64 // largest body stored as one object, in bytes; 0 = the store's own limit
	Slice     int64 // size of the slices in which larger bodies are stored, in bytes; 0 = not at all. See [Cache.SliceSize]

	// The windows of RFC 5861 for responses that name none. They apply to what has been
	// fresh, and not where the response forbids stale use (RFC 9111 section 4.2.4).
	WhileRevalidate, IfError time.Duration

	// TTL, where set, replaces the lifetime that the response's fields give, unless the
	// response is an error other than 404 and 410, or of a status that has no meaning for a cache
	// (202): what one malformed request provoked is not to be everybody's answer for so long. It does not make a response storable
	// that may not be stored.
	TTL *time.Duration

	// Negative, where set, is the lifetime of an error that names none itself, in the place of a guess: of those in
	// negative. TTL then means no errors. It gives no leave to store, and none of the site's windows of stale use.
	Negative *time.Duration

	// Choose names, canonical, sorted and each once, what of a request chooses among the responses of a target beside the
	// fields that they name in Vary. All responses under one primary key must have the same.
	Choose []string

	// Opaque, where set, reports of a canonical request field name that the origin sees
	// it otherwise than the client sent it. A response that varies on such a field is
	// not reused, as if it varied on everything.
	Opaque func(name string) bool
}

// refuses tells why a response must not be stored or shared with another request,
// whatever its lifetime (RFC 9111 section 3); "" where it may be.
func (p Policy) refuses(request FieldReader, h http.Header, status int, c Control) Reason {
	vary, star := varyNames(h)
	asked := ParseControl(request.Values("Cache-Control"))
	switch {
	case asked.NoStore, c.NoStore && !(c.MustUnderstand && understood[status]): // section 5.2.2.3
		return ReasonNoStore
	case c.Private:
		return ReasonPrivate
	case neverStored[status] != "":
		return neverStored[status]
	case c.MustUnderstand && !understood[status]:
		return ReasonStatus
	case len(request.Values("Authorization")) > 0 && !c.Public && !c.MustRevalidate && !c.SMaxAge.Set: // section 3.5
		return ReasonAuthorization
	case len(h["Set-Cookie"]) > 0 && !p.SetCookie:
		return ReasonSetCookie
	case !tagsFit(h):
		return ReasonTags
	case star || p.Opaque != nil && slices.ContainsFunc(vary, p.Opaque):
		return ReasonVaryStar
	}
	return ""
}

// admit makes the object, without its body, that a response's field section will be
// stored as, or tells why it will not be. h is the end-to-end part of the fields.
func (p Policy) admit(k Key, request FieldReader, status int, h http.Header, sent, received time.Time) (*Object, Reason) {
	c := controlOf(h)
	h = c.shared(h)
	if why := p.refuses(request, h, status, c); why != "" {
		return nil, why
	}
	o := &Object{Key: k, Status: status, Request: sent, Received: received, NoCache: c.NoCache}
	o.Vary, _ = varyNames(h)
	if len(p.Choose) > 0 {
		o.Vary = append(o.Vary, p.Choose...)
		slices.Sort(o.Vary)
		o.Vary = slices.Compact(o.Vary)
	}
	o.tags, _ = tagsOf(h)
	o.Age = initialAge(h, sent, received)
	explicit := p.judge(o, h, c)
	o.Fields = storedFields(h, received)
	switch {
	case status >= 500 && o.Lifetime <= o.Age:
		return o, ReasonOriginError
	case !explicit && !c.Public && !heuristic[status]: // the last condition of section 3
		return o, ReasonNoLifetime
	case !o.Shareable() && o.WhileRevalidate == 0 && o.IfError == 0 && !hasValidator(h):
		return o, ReasonNoLifetime
	}
	return o, ""
}

// Shareable reports whether the response was fresh when it came, so that it could answer
// more than the request that fetched it.
func (o *Object) Shareable() bool { return !o.NoCache && o.Lifetime > o.Age }

// judge sets the times that h and the policy give o. explicit tells that the lifetime was
// named by either.
func (p Policy) judge(o *Object, h http.Header, c Control) (explicit bool) {
	t := p.times(o, h, c)
	o.Lifetime, o.WhileRevalidate, o.IfError = t.lifetime, t.whileRevalidate.d, t.ifError.d
	return t.source.Explicit()
}

// times are what a response's fields and the policy say of its use.
type times struct {
	lifetime                 time.Duration
	source                   Source
	whileRevalidate, ifError grace
}

// A grace is a window of RFC 5861, and a word for what set or closed it.
type grace struct {
	d  time.Duration
	by Reach
}

// times judges o, whose status, age and time of receipt are known, by its fields h.
func (p Policy) times(o *Object, h http.Header, c Control) (t times) {
	t.lifetime, t.source = lifetime(o.Status, h, c, o.Received)
	named := t.source.Explicit()
	switch {
	case p.Negative != nil && negative[o.Status]:
		if !named {
			t.lifetime, t.source = o.Age+*p.Negative, SourceNegative
		}
	case p.TTL != nil && (understood[o.Status] && o.Status < 400 || o.Status == http.StatusNotFound || o.Status == http.StatusGone):
		t.lifetime, t.source = o.Age+*p.TTL, SourceRule
	}
	if by := closedBy(c); by != "" {
		t.whileRevalidate.by, t.ifError.by = by, by
		return t
	}
	// s-maxage implies proxy-revalidate (section 5.2.2.10), which silences the site's
	// windows; windows that the same response names are its explicit leave. What was
	// never fresh may be one user's page that nobody marked: the site's windows would
	// hand it to others.
	switch {
	case c.SMaxAge.Set:
		t.whileRevalidate.by, t.ifError.by = "s-maxage", "s-maxage"
	case t.source == SourceNegative:
		t.whileRevalidate.by, t.ifError.by = "negative", "negative"
	case t.lifetime <= 0:
		t.whileRevalidate.by, t.ifError.by = "never-fresh", "never-fresh"
	default:
		t.whileRevalidate, t.ifError = grace{p.WhileRevalidate, BySite}, grace{p.IfError, BySite}
	}
	if c.WhileRevalidate.Set {
		t.whileRevalidate = grace{c.WhileRevalidate.Duration(), ByResponse}
	}
	if c.IfError.Set {
		t.ifError = grace{c.IfError.Duration(), ByResponse}
	}
	return t
}

// Reach says what set a window of stale use, or closed it: the response, the site, or
// the directive that forbids stale use (RFC 9111 section 4.2.4); s-maxage implies one of
// them, and what was never fresh, or an error that is kept by Policy.Negative, gets none of the site's.
type Reach string

const (
	ByResponse Reach = "response"
	BySite     Reach = "site"
	ByEarlier  Reach = "earlier-rules" // of Freshness alone: as SourceEarlier
)

// closedBy is the directive that forbids all stale use, or "".
func closedBy(c Control) Reach {
	switch {
	case c.NoCache:
		return "no-cache"
	case c.MustRevalidate:
		return "must-revalidate"
	case c.ProxyRevalidate:
		return "proxy-revalidate"
	}
	return ""
}

// storedFields drops what a hit computes itself, and adds a Date where the origin sent
// none (RFC 9110 section 6.6.1).
func storedFields(h http.Header, received time.Time) Fields {
	kept := make(http.Header, len(h)+1)
	for name, values := range h {
		switch name {
		case "Age", "Content-Length":
		default:
			kept[name] = values
		}
	}
	if len(kept["Date"]) == 0 {
		kept["Date"] = []string{received.UTC().Format(http.TimeFormat)}
	}
	return NewFields(kept)
}

func hasValidator(h http.Header) bool {
	return h.Get("Etag") != "" || h.Get("Last-Modified") != ""
}

// shared returns the fields of h that are for others as well. Those by which the response is chosen, judged and purged always are.
func (c Control) shared(h http.Header) http.Header {
	if c.Without == "" {
		return h
	}
	h = maps.Clone(h)
	for name := range strings.SplitSeq(c.Without, ",") {
		switch name {
		case "Vary", "Cache-Control", "Date", "Age", surrogateKey, cacheTag:
		default:
			delete(h, name)
		}
	}
	return h
}

// own is o for the request whose answer it is, with the fields that are for that alone; o itself where there are none.
func (o *Object) own(h http.Header) *Object {
	if o == nil || controlOf(h).Without == "" {
		return o
	}
	return &Object{
		Key: o.Key, Kind: o.Kind, Status: o.Status, Fields: storedFields(h, o.Received), Body: o.Body, Request: o.Request, Received: o.Received,
		Age: o.Age, Lifetime: o.Lifetime, NoCache: o.NoCache, WhileRevalidate: o.WhileRevalidate, IfError: o.IfError, Epoch: o.Epoch,
	}
}
