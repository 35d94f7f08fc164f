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
// this request lies: its epoch, then each field's value, told from absence, and written so that values of one meaning are
// one (RFC 9111 section 4.1). Several lines count as one with commas between (RFC 9110 section 5.3).
func variant(signpost *Object, request FieldReader) string {
	return variantIn(signpost, request, "")
}

// variantIn is variant for a request of which it is only known, and where language is not "" only matters, that it wants
// that language most.
func variantIn(signpost *Object, request FieldReader, language string) string {
	b := make([]byte, 0, 64)
	b = strconv.AppendUint(b, signpost.Epoch, 36)
	for _, name := range signpost.Vary {
		b = append(b, '\n')
		lines := request.Values(name)
		if name == acceptLanguage && language != "" {
			b = append(b, '~') // no list of languages begins so
			b = append(b, language...)
			continue
		}
		if len(lines) == 0 {
			continue
		}
		b = append(b, '=')
		switch name {
		case "Accept-Encoding", acceptLanguage:
			if canonical, ok := appendPreferences(b, lines); ok {
				b = canonical
				continue
			}
		}
		for i, line := range lines {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendFolded(b, line)
		}
	}
	return string(b)
}

// appendFolded appends a field line without the white space around the commas that separate members (RFC 9111 section
// 4.1). Inside of a quoted-string or a comment, as in a User-Agent, it is part of the value.
func appendFolded(b []byte, line string) []byte {
	line = trim(line)
	quoted, depth := false, 0
	begin := len(b)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && (quoted || depth > 0) && i+1 < len(line):
			b = append(b, c)
			i++
			c = line[i]
		case quoted:
			quoted = c != '"'
		case c == '"' && depth == 0:
			quoted = true
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == ',' && depth == 0:
			for len(b) > begin && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
				b = b[:len(b)-1]
			}
			for i+1 < len(line) && (line[i+1] == ' ' || line[i+1] == '\t') {
				i++
			}
		}
		b = append(b, c)
	}
	return b
}
