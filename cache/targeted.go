package cache

import (
	"net/http"
	"strings"

	"github.com/dunglas/httpsfv"
)

// targets are the fields that speak to caches like this one alone, in the order of precedence (RFC 9213 section 2.2):
// to us, and to every CDN. Their values are Structured Fields, which Cache-Control's is not.
var targets = [...]string{"Hither-Cdn-Cache-Control", "Cdn-Cache-Control"}

// surrogate is the older field of the same kind (Edge Architecture Specification 1.0), for origins that know no other.
const surrogate = "Surrogate-Control"

// controlOf reads what a response says to a shared cache: the first targeted field that is not empty and well-formed, in
// whose presence Cache-Control and Expires mean nothing to us (RFC 9213 section 2.2); then Surrogate-Control; then
// Cache-Control.
func controlOf(h http.Header) Control {
	c, _ := controlIn(h)
	return c
}

// controlIn is controlOf, and the name of the field that it read.
func controlIn(h http.Header) (Control, string) {
	for _, name := range targets {
		if c, ok := parseTargeted(h[name]); ok {
			return c, name
		}
	}
	if c, ok := parseSurrogate(h[surrogate]); ok {
		return c, surrogate
	}
	return ParseControl(h["Cache-Control"]), "Cache-Control"
}

// parseTargeted reads a targeted field (RFC 9213 section 2.1). ok is false where the field is to be ignored: it is
// empty, or no Dictionary (RFC 9651 section 3.2). A directive whose value is of another type than it should be, and one
// that is not known, is ignored by itself.
func parseTargeted(lines []string) (c Control, ok bool) {
	if len(lines) == 0 {
		return c, false
	}
	d, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil || len(d.Names()) == 0 {
		return c, false
	}
	c.Targeted = true
	for _, name := range d.Names() {
		member, _ := d.Get(name)
		item, isItem := member.(httpsfv.Item)
		if !isItem {
			continue
		}
		switch v := item.Value.(type) {
		case bool:
			if v && !takesDelta(name) {
				c.apply(name, "", false)
			}
		case int64:
			if takesDelta(name) {
				c.applyDelta(name, max(0, min(v, maxDelta)))
			}
		case string:
			if name == "private" || name == "no-cache" { // qualified
				c.apply(name, v, true)
			}
		}
	}
	return c, true
}

// takesDelta reports whether a directive's argument is delta-seconds.
func takesDelta(name string) bool {
	switch name {
	case "max-age", "s-maxage", "stale-while-revalidate", "stale-if-error":
		return true
	}
	return false
}

// parseSurrogate reads Surrogate-Control: `max-age=600+30, no-store`. What is fresh for 600 s may be used stale for
// another 30. Directives meant for one kind of surrogate (`max-age=60;varnish`) are for that alone. A field without a
// directive that we know says nothing about reuse: it asks for processing (`content="ESI/1.0"`).
func parseSurrogate(lines []string) (c Control, ok bool) {
	for _, v := range lines {
		for v != "" {
			var name, arg string
			var hasArg bool
			name, arg, hasArg, v = cutDirective(v)
			if strings.ContainsRune(name, ';') || strings.ContainsRune(arg, ';') {
				continue
			}
			switch strings.ToLower(name) {
			case "no-store", "no-store-remote": // we may be remote from the origin's point of view
				c.NoStore, ok = true, true
			case "max-age":
				fresh, stale, _ := strings.Cut(arg, "+")
				c.MaxAge.first(trim(fresh), hasArg)
				if n, is := parseDelta(trim(stale)); is {
					c.WhileRevalidate = Delta{Set: true, Seconds: n}
					c.IfError = c.WhileRevalidate
				}
				ok = true
			}
		}
	}
	c.Targeted = ok
	return c, ok
}
