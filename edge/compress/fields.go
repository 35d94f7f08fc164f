package compress

import (
	"net/http"
	"strings"

	"hither/cache"
)

// This file says what of a response's fields changes with its coding. Maps are changed, slices of values never: they may be
// others' as well.

// Weak is the entity-tag of the coded content whose bare content has the tag (RFC 9110 section 8.8.3.3). A strong tag
// promises the same bytes, which no two PoPs, releases of a library or settings keep; a weak one what is true, that they mean
// the same. A tag of its own ("…-gzip") would come back in If-Match and be nothing that the origin knows; by the weak one
// a client that has either form is answered 304, and no part of one is ever joined to the other.
func Weak(tag string) string {
	if tag == "" || strings.HasPrefix(tag, "W/") {
		return tag
	}
	return "W/" + tag
}

// acceptEncoding is the Vary of a response that has no other. Nobody writes to it.
var acceptEncoding = []string{"Accept-Encoding"}

// Vary adds Accept-Encoding to the fields that a response depends on (RFC 9110 section 12.5.5), unless it is there.
func Vary(h http.Header) {
	lines := h["Vary"]
	if len(lines) == 0 {
		h["Vary"] = acceptEncoding
		return
	}
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			if member = strings.Trim(member, " \t"); member == "*" || strings.EqualFold(member, acceptEncoding[0]) {
				return
			}
		}
	}
	h["Vary"] = append(lines[:len(lines):len(lines)], acceptEncoding[0])
}

// none is the Accept-Ranges of coded content: a client that lost a part of it had better ask for all (RFC 9110 section 14.3).
// Nobody writes to it.
var none = []string{"none"}

// Mark makes the fields of bare content those of the same in a coding. Content-Length is the caller's.
func Mark(h http.Header, c cache.Coding) {
	h["Content-Encoding"] = []string{c.String()}
	h["Accept-Ranges"] = none
	Weaken(h)
}

// Weaken makes the entity-tag that of coded content. So it stands in a 304 to a request that would get such content,
// whichever form the client has: a strong tag would have to be the one it stored (RFC 9111 section 4.3.4).
func Weaken(h http.Header) {
	if tags := h["Etag"]; len(tags) == 1 {
		h["Etag"] = []string{Weak(tags[0])}
	}
}

// Hides reports whether a request's Range must not be honoured, for a response that goes out coded to those who ask for
// that (RFC 9110 section 14.2). Parts are cut from the bare content: coded bytes may be others the next time.
// A client that names the strong tag in If-Range has bare content, and one without If-Range joins nothing. But a date is the
// same for both forms, and so no strong validator here (section 8.8.2.2): what the client has may be coded.
func Hides(request cache.FieldReader, want cache.Coding, bare bool) bool {
	if want == cache.Identity {
		return false
	}
	return !bare || Dated(request)
}

// Dated reports whether a request's If-Range is none that names one form of the content: a date, or a weak tag.
func Dated(request cache.FieldReader) bool {
	lines := request.Values("If-Range")
	return len(lines) > 0 && !strings.HasPrefix(strings.Trim(lines[0], " \t"), `"`)
}
