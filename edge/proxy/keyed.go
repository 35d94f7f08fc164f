package proxy

import (
	"net/http"
	"strings"

	"hither/cache"
)

// keyField is the request field by which a client of a trusted address asks which key its answer is stored under: its value
// is "key". No origin sees it.
const keyField = "Hither-Cache-Status"

// wantsKey reports whether a request asks for the key.
func wantsKey(h http.Header) bool {
	lines := h[keyField]
	return len(lines) == 1 && trimmed(lines[0]) == "key"
}

// mostKey bounds the bytes of a key that is told.
const mostKey = 1 << 10

// appendKey appends the key parameter of Cache-Status (RFC 9211 section 2.7), where the request may have it and has a key:
// site, scheme, target, and what chose the variant.
func (x *Exchange) appendKey(b []byte) []byte {
	k := x.key
	if !x.keyed || k == (cache.Key{}) {
		return b
	}
	scheme := k.Scheme
	if scheme == "" {
		scheme = "http+https"
	}
	text := k.Site + " " + scheme + " " + k.Target()
	if _, chosen, ok := strings.Cut(k.Vary, "\n"); ok { // behind the signpost's epoch
		text += " " + strings.ReplaceAll(chosen, "\n", " ")
	}
	b = append(b, "; key="...)
	return appendString(b, text[:min(len(text), mostKey)])
}

// appendString appends text as a String of Structured Fields (RFC 9651 section 4.1.6). What that cannot hold is
// percent-encoded.
func appendString(b []byte, text string) []byte {
	const hex = "0123456789ABCDEF"
	b = append(b, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c > '~':
			b = append(b, '%', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
