package cache

import (
	"net/http"
	"slices"
	"time"
)

// refresh makes the object that o becomes by a 304 response (RFC 9111 sections 3.2 and
// 4.3.4). It returns nil where the 304 speaks of another representation than o's. The
// reason, where there is one, tells why the outcome answers only the request that asked. mine is the object for that request:
// see [Object.own].
func (p Policy) refresh(o *Object, request FieldReader, fresh http.Header, sent, received time.Time) (next, mine *Object, why Reason) {
	stored := o.Fields.Header()
	if !confirms(stored, fresh) {
		return nil, nil, ""
	}
	delete(stored, "Date") // not the old one, from which a 304 without Date would look old
	for name, values := range fresh {
		switch name {
		case "Content-Length", "Content-Encoding", "Content-Type", "Content-Range":
		case "Etag":
			// Equal by weak comparison, but what is stored came with the stored one: a strong
			// tag may be that of an encoding the stored content does not have.
			if len(stored["Etag"]) == 0 {
				stored[name] = values
			}
		default:
			stored[name] = values
		}
	}
	c := controlOf(stored)
	all := stored
	stored = c.shared(stored)
	next = &Object{Key: o.Key, Kind: o.Kind, Status: o.Status, Body: o.Body, Request: sent, Received: received, NoCache: c.NoCache, Epoch: o.Epoch}
	next.Age = initialAge(stored, sent, received)
	next.tags, _ = tagsOf(stored)
	p.judge(next, stored, c)
	next.Fields = storedFields(stored, received)
	return next, next.own(all), p.refuses(request, stored, o.Status, c)
}

// confirms reports whether a 304 with the fields fresh selects the stored response: by
// entity-tag where both have one, else by date; one without validators does, for it
// answers a request about this response alone. A 304 that varies on other fields than
// what is stored would make the key wrong, and confirms nothing.
func confirms(stored, fresh http.Header) bool {
	if _, ok := fresh["Vary"]; ok {
		was, _ := varyNames(stored)
		is, star := varyNames(fresh)
		if !star && !slices.Equal(was, is) {
			return false
		}
	}
	if mine, tag := stored.Get("Etag"), fresh.Get("Etag"); mine != "" && tag != "" {
		return weakMatch(mine, tag)
	}
	mine, date := stored.Get("Last-Modified"), fresh.Get("Last-Modified")
	return mine == "" || date == "" || mine == date
}
