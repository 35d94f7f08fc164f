package cache

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// A FieldReader gives the field lines of a request. http.Header is one.
type FieldReader interface {
	// Values returns all lines of the canonical name; the caller only reads them.
	Values(name string) []string
}

// varyNames returns the field names of a response's Vary, canonical, sorted and each
// once; star tells that a member is "*", which no request matches (RFC 9111
// section 4.1).
func varyNames(h http.Header) (names []string, star bool) {
	for _, line := range h["Vary"] {
		for member := range strings.SplitSeq(line, ",") {
			switch member = trim(member); member {
			case "":
			case "*":
				return nil, true
			default:
				names = append(names, http.CanonicalHeaderKey(member))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), false
}

// variant returns the Vary part of the key under which the signpost's response for
// this request lies: its epoch, then each field's combined value, told from absence.
// Several lines count as one with commas between (RFC 9110 section 5.3).
func variant(signpost *Object, request FieldReader) string {
	b := make([]byte, 0, 64)
	b = strconv.AppendUint(b, signpost.Epoch, 36)
	for _, name := range signpost.Vary {
		b = append(b, '\n')
		for i, line := range request.Values(name) {
			if i == 0 {
				b = append(b, '=')
			} else {
				b = append(b, ',')
			}
			b = appendFolded(b, name, line)
		}
	}
	return string(b)
}

// appendFolded appends a field line without the white space around its commas where that
// changes no meaning (RFC 9111 section 4.1): in the lists of the Accept fields, outside of
// quoted-strings. In others, as in a User-Agent's comment, it may be part of the value.
func appendFolded(b []byte, name, line string) []byte {
	if !strings.HasPrefix(name, "Accept") || strings.Contains(line, `"`) {
		return append(b, trim(line)...)
	}
	first := true
	for member := range strings.SplitSeq(line, ",") {
		if !first {
			b = append(b, ',')
		}
		b = append(b, trim(member)...)
		first = false
	}
	return b
}
