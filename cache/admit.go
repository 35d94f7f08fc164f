package cache

import (
	"net/http"
	"time"
)

// A Policy is what a site says about reuse beside its responses' own words.
type Policy struct {
	SetCookie bool  // responses that set cookies may be stored
	MaxObject int64 // largest body stored, in bytes; 0 = the store's own limit

	// The windows of RFC 5861 for responses that name none. They do not apply where
	// the response forbids stale use (RFC 9111 section 4.2.4).
	WhileRevalidate, IfError time.Duration

	// TTL, where set, replaces the lifetime that the response's fields give. It does
	// not make a response storable that may not be stored.
	TTL *time.Duration
}

// refuses tells why a response must not be stored or shared with another request,
// whatever its lifetime (RFC 9111 section 3); "" where it may be.
func (p Policy) refuses(request, h http.Header, status int, c Control) Reason {
	_, star := varyNames(h)
	asked := ParseControl(request["Cache-Control"])
	switch {
	case c.NoStore || asked.NoStore:
		return ReasonNoStore
	case c.Private:
		return ReasonPrivate
	case status == http.StatusPartialContent || status == http.StatusRequestedRangeNotSatisfiable:
		return ReasonRange
	case !understood[status]:
		return ReasonStatus
	case len(request["Authorization"]) > 0 && !c.Public && !c.MustRevalidate && !c.SMaxAge.Set: // section 3.5
		return ReasonAuthorization
	case len(h["Set-Cookie"]) > 0 && !p.SetCookie:
		return ReasonSetCookie
	case star:
		return ReasonVaryStar
	}
	return ""
}

// admit makes the object, without its body, that a response's field section will be
// stored as, or tells why it will not be. h is the end-to-end part of the fields.
func (p Policy) admit(k Key, request http.Header, status int, h http.Header, sent, received time.Time) (*Object, Reason) {
	c := ParseControl(h["Cache-Control"])
	if why := p.refuses(request, h, status, c); why != "" {
		return nil, why
	}
	o := &Object{Key: k, Status: status, Request: sent, Received: received, NoCache: c.NoCache}
	o.Vary, _ = varyNames(h)
	o.Age = initialAge(h, sent, received)
	p.judge(o, h, c)
	o.Fields = storedFields(h)
	useful := o.Lifetime > o.Age && !o.NoCache
	useful = useful || o.WhileRevalidate > 0 || o.IfError > 0 && status < 500 || hasValidator(h)
	switch {
	case status >= 500 && o.Lifetime <= o.Age:
		return o, ReasonOriginError
	case !useful:
		return o, ReasonNoLifetime
	}
	return o, ""
}

// judge sets the times that h and the policy give o.
func (p Policy) judge(o *Object, h http.Header, c Control) {
	o.Lifetime, _ = lifetime(o.Status, h, c, o.Received)
	if p.TTL != nil {
		o.Lifetime = o.Age + *p.TTL
	}
	o.WhileRevalidate, o.IfError = 0, 0
	if c.NoCache || c.MustRevalidate {
		return
	}
	// s-maxage implies proxy-revalidate (section 5.2.2.10), which silences the site's
	// windows; windows that the same response names are its explicit leave.
	if !c.SMaxAge.Set {
		o.WhileRevalidate, o.IfError = p.WhileRevalidate, p.IfError
	}
	if c.WhileRevalidate.Set {
		o.WhileRevalidate = c.WhileRevalidate.Duration()
	}
	if c.IfError.Set {
		o.IfError = c.IfError.Duration()
	}
}

// storedFields drops what a hit computes itself.
func storedFields(h http.Header) Fields {
	kept := make(http.Header, len(h))
	for name, values := range h {
		switch name {
		case "Age", "Content-Length":
		default:
			kept[name] = values
		}
	}
	return NewFields(kept)
}

func hasValidator(h http.Header) bool {
	return h.Get("Etag") != "" || h.Get("Last-Modified") != ""
}

// refresh makes the object that o becomes by a 304 response (RFC 9111 sections 3.2 and
// 4.3.4). It returns nil where the 304 speaks of another representation than o's.
func (p Policy) refresh(o *Object, fresh http.Header, sent, received time.Time) *Object {
	stored := o.Fields.Header()
	if tag, mine := fresh.Get("Etag"), stored.Get("Etag"); tag != "" && mine != "" && !weakMatch(tag, mine) {
		return nil
	}
	for name, values := range fresh {
		switch name {
		case "Content-Length", "Content-Encoding", "Content-Type", "Content-Range":
		default:
			stored[name] = values
		}
	}
	if _, ok := fresh["Age"]; !ok {
		delete(stored, "Age")
	}
	c := ParseControl(stored["Cache-Control"])
	next := &Object{Key: o.Key, Status: o.Status, Body: o.Body, Request: sent, Received: received, NoCache: c.NoCache}
	next.Age = initialAge(stored, sent, received)
	p.judge(next, stored, c)
	next.Fields = storedFields(stored)
	return next
}
