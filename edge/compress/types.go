package compress

import "strings"

// Types is a set of media types (RFC 9110 section 8.3.1). The zero Types is empty.
type Types struct {
	exact  map[string]bool
	major  map[string]bool // what stands before the slash
	suffix map[string]bool // what follows the last "+" (RFC 6838 section 4.2.8)
}

// DefaultTypes are patterns of what shrinks: text, what is like text, and formats that have no coding of their own. Images,
// films, archives, woff and woff2 do.
var DefaultTypes = []string{
	"text/*", "*+json", "*+xml", "*+text",
	"application/javascript", "application/json", "application/wasm", "application/x-javascript", "application/x-ndjson",
	"application/xml", "application/xml-dtd", "application/rtf", "application/manifest+json",
	"font/otf", "font/ttf", "font/collection", "application/vnd.ms-fontobject",
	"image/bmp", "image/vnd.microsoft.icon", "image/x-icon",
}

// NewTypes makes the set of patterns: "text/css" is one type, "text/*" all that begin so, "*+json" all with that suffix.
// Parameters are no part of them.
func NewTypes(patterns []string) Types {
	t := Types{exact: make(map[string]bool), major: make(map[string]bool), suffix: make(map[string]bool)}
	for _, p := range patterns {
		p = strings.ToLower(p)
		if major, ok := strings.CutSuffix(p, "/*"); ok {
			t.major[major] = true
		} else if suffix, ok := strings.CutPrefix(p, "*+"); ok {
			t.suffix[suffix] = true
		} else {
			t.exact[p] = true
		}
	}
	return t
}

// Has reports whether the type of a Content-Type value is in the set, whatever its parameters and case.
func (t *Types) Has(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.Trim(media, " \t"))
	major, minor, ok := strings.Cut(media, "/")
	if !ok || major == "" || minor == "" {
		return false
	}
	if t.exact[media] || t.major[major] {
		return true
	}
	plus := strings.LastIndexByte(minor, '+')
	return plus >= 0 && t.suffix[minor[plus+1:]]
}
