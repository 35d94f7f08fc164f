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
// Lines are combined with a comma and stripped of white space around commas, which
// changes no meaning (RFC 9111 section 4.1).
func variant(signpost *Object, request FieldReader) string {
	b := make([]byte, 0, 64)
	b = strconv.AppendUint(b, signpost.Epoch, 36)
	for _, name := range signpost.Vary {
		b = append(b, '\n')
		first := true
		for _, line := range request.Values(name) {
			for member := range strings.SplitSeq(line, ",") {
				if first {
					b = append(b, '=')
				} else {
					b = append(b, ',')
				}
				b = append(b, trim(member)...)
				first = false
			}
		}
	}
	return string(b)
}
