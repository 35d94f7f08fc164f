// Package compress decides which stored responses an edge sends in which content coding, and makes the coded content
// behind the answers that want it: Brotli, Zstandard and gzip (RFC 9110 sections 8.4 and 12.5.3). What it decides are pure
// functions of fields. It encodes and never decodes: what an origin encoded is passed on as it is.
package compress

import (
	"net/http"
	"strings"

	"hither/cache"
)

// A Policy is what a site says of encoding. The zero Policy encodes nothing. It is not changed once it is in use.
type Policy struct {
	// Codings are those that are made here, in the order that decides where a request wants several as much.
	Codings []cache.Coding
	Types   Types // of content that is encoded
	// Min and Max bound the bytes of content that is encoded. Below Min nothing is gained that a client could notice, above
	// Max one response would take the processor for too long.
	Min, Max int64
}

// A Reason is the word for why a response goes out in the coding in which it came; "" where it need not.
type Reason string

const (
	Off         Reason = "off"          // the site encodes nothing
	Status      Reason = "status"       // another than 200
	Type        Reason = "type"         // none of the site's types
	Small       Reason = "small"        // fewer bytes than the site's least
	Large       Reason = "large"        // more than its most
	Coded       Reason = "coded"        // the origin encoded it (RFC 9110 section 8.4)
	Part        Reason = "part"         // it is a part (section 14.4)
	NoTransform Reason = "no-transform" // section 7.7; RFC 9111 sections 5.2.1.6 and 5.2.2.6
	Digest      Reason = "digest"       // a digest or signature covers the content as it came (RFC 9530, RFC 9421)

	NotAsked Reason = "not-asked" // the request wants no coding that is made here, or Identity as much as any
	Ranged   Reason = "range"     // parts are those of the content as it came: see Hides
	Sliced   Reason = "slices"    // it lies in pieces, as it came
	NotYet   Reason = "not-yet"   // it is being made, or will be
	NoGain   Reason = "no-gain"   // it was made, and is hardly smaller
)

// Refuses tells why a response with these stored fields and a content of size bytes, -1 where that is not known yet, is not
// encoded here. Where it may be, the response depends on Accept-Encoding, whatever one request then gets.
func (p *Policy) Refuses(status int, fields cache.Fields, size int64) Reason {
	switch {
	case len(p.Codings) == 0:
		return Off
	case status != http.StatusOK:
		return Status
	case size >= 0 && size < p.Min:
		return Small
	case size > p.Max:
		return Large
	}
	media := ""
	for name, value := range fields.All() {
		switch name {
		case "Content-Encoding":
			return Coded
		case "Content-Range":
			return Part
		case "Content-Digest", "Content-Md5", "Digest", "Repr-Digest", "Signature":
			return Digest
		case "Cache-Control", "Cdn-Cache-Control", "Hither-Cdn-Cache-Control", "Surrogate-Control":
			if forbids(value) {
				return NoTransform
			}
		case "Content-Type":
			if media != "" {
				return Type
			}
			media = value
		}
	}
	if !p.Types.Has(media) {
		return Type
	}
	return ""
}

// Asked tells which of the policy's codings a request wants most: see Negotiate. why is set with Identity. bare is false
// where the request refuses content without a coding.
func (p *Policy) Asked(request cache.FieldReader) (want cache.Coding, bare bool, why Reason) {
	for _, line := range request.Values("Cache-Control") {
		if forbids(line) {
			return cache.Identity, true, NoTransform
		}
	}
	want, bare = Negotiate(request.Values("Accept-Encoding"), p.Codings)
	if want == cache.Identity {
		why = NotAsked
	}
	return want, bare, why
}

// forbids reports whether directives have no-transform among them.
func forbids(directives string) bool {
	const word = "no-transform"
	// Most lines are short of it, and parsing takes longer than looking.
	for i := 0; i+len(word) <= len(directives); i++ {
		if directives[i]|0x20 == 'n' && strings.EqualFold(directives[i:i+len(word)], word) {
			return cache.ParseControl([]string{directives}).NoTransform
		}
	}
	return false
}
