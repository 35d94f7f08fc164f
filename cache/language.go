package cache

import (
	"slices"
	"strings"
	"time"
)

const acceptLanguage = "Accept-Language"

// A response that varies on Accept-Language and says by Content-Language which one language it is in answers every request
// that wants that language more than any other: whatever else its list has, no better representation exists for it (RFC
// 9110 section 12.5.4; RFC 9111 section 4.1 lets a cache match by what the field means). So a page of one language is not a
// variant for each list that browsers make of their users' settings.

// languageOf is the Language to store beside a variant; nil where there is none.
func languageOf(o, signpost *Object, request FieldReader) *Object {
	if !o.answers() || signpost == nil || !slices.Contains(signpost.Vary, acceptLanguage) {
		return nil
	}
	language := contentLanguage(o)
	if language == "" {
		return nil
	}
	k := o.Key
	k.Vary = variantIn(signpost, request, language)
	return &Object{Key: k, Kind: Language, Vary: []string{o.Key.Vary}}
}

// contentLanguage is the one language that a response is in, in lower case; "" where it names none or several.
func contentLanguage(o *Object) string {
	lines := o.Fields.Values("Content-Language")
	if len(lines) != 1 || lines[0] == "" || strings.ContainsAny(lines[0], ", \t*") {
		return ""
	}
	return strings.ToLower(lines[0])
}

// inLanguage looks for a fresh variant in the language that the request wants most. k is the key of its exact variant,
// of which nothing is stored.
func inLanguage(stored getter, k Key, signpost *Object, request FieldReader, now time.Time) (l Look) {
	if !slices.Contains(signpost.Vary, acceptLanguage) {
		return l
	}
	language := mostWanted(request.Values(acceptLanguage))
	if language == "" {
		return l
	}
	k.Vary = variantIn(signpost, request, language)
	lead := stored.Get(k)
	if lead == nil || lead.Kind != Language {
		return l
	}
	k.Vary = lead.Vary[0]
	o := stored.Get(k)
	if o == nil || !o.answers() || contentLanguage(o) != language {
		return l
	}
	if l = (Look{Key: k, Object: o}).At(now); !l.Fresh() {
		return Look{} // what is revalidated is the request's own variant
	}
	return l
}

// mostWanted is the language range that has the greatest weight, in lower case; "" where there is no one such.
func mostWanted(lines []string) string {
	list, ok := parsePreferences(lines, new([mostPreferences]preference))
	if !ok || len(list) == 0 || list[0].weight == 0 || list[0].name == "*" || len(list) > 1 && list[1].weight == list[0].weight {
		return ""
	}
	return list[0].name
}
