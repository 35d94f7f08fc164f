package cache

import (
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// maxDelta is the largest delta-seconds value that is told from its overflow
// (RFC 9111 section 1.2.2).
const maxDelta = 1<<31 - 1

// Control holds the Cache-Control directives of a response that matter to a shared
// cache (RFC 9111 section 5.2.2, RFC 5861). Where a directive is repeated the first
// one counts (section 4.2.1). A qualified no-cache or private counts as unqualified,
// which a cache may always do (sections 5.2.2.4 and 5.2.2.7).
type Control struct {
	NoStore, NoCache, Private, Public bool
	MustRevalidate, ProxyRevalidate   bool
	MustUnderstand                    bool
	NoTransform                       bool // also of a request (sections 5.2.1.6 and 5.2.2.6)
	Immutable                         bool // RFC 8246

	// Without names the fields that are not for others, canonical and with commas between: what private and no-cache
	// are qualified with. The latter might be reused after a validation (sections 5.2.2.4 and 5.2.2.7); dropping them is simpler, and
	// as right.
	Without string

	OnlyIfCached       bool  // of a request
	MinFresh, MaxStale Delta // likewise

	// Targeted: these come from a field for caches like this one, so that Expires means nothing (RFC 9213 section 2.2).
	Targeted bool

	MaxAge, SMaxAge          Delta
	WhileRevalidate, IfError Delta
}

// A Delta is a delta-seconds argument. The zero Delta is a directive that was absent.
type Delta struct {
	Set     bool
	Seconds int64 // 0 where the argument was not a number: such a response is stale (section 4.2.1)
}

// Duration returns the delta as a time span.
func (d Delta) Duration() time.Duration { return time.Duration(d.Seconds) * time.Second }

// ParseControl reads the values of Cache-Control field lines. Directives that it does
// not know are ignored (section 5.2.3).
func ParseControl(values []string) Control {
	var c Control
	for _, v := range values {
		for v != "" {
			var name, arg string
			var hasArg bool
			name, arg, hasArg, v = cutDirective(v)
			c.apply(strings.ToLower(name), arg, hasArg)
		}
	}
	return c
}

func (c *Control) apply(name, arg string, hasArg bool) {
	switch name {
	case "no-store":
		c.NoStore = true
	case "no-cache":
		c.NoCache = !c.qualified(arg) || c.NoCache
	case "private":
		c.Private = !c.qualified(arg) || c.Private
	case "public":
		c.Public = true
	case "must-revalidate":
		c.MustRevalidate = true
	case "proxy-revalidate":
		c.ProxyRevalidate = true
	case "immutable":
		c.Immutable = true
	case "no-transform":
		c.NoTransform = true
	case "must-understand":
		c.MustUnderstand = true
	case "only-if-cached":
		c.OnlyIfCached = true
	case "max-age":
		c.MaxAge.first(arg, hasArg)
	case "min-fresh":
		c.MinFresh.first(arg, hasArg)
	case "max-stale":
		if !hasArg && !c.MaxStale.Set {
			c.MaxStale = Delta{Set: true, Seconds: noBound}
		}
		c.MaxStale.first(arg, hasArg)
	case "s-maxage":
		c.SMaxAge.first(arg, hasArg)
	case "stale-while-revalidate":
		c.WhileRevalidate.first(arg, hasArg)
	case "stale-if-error":
		c.IfError.first(arg, hasArg)
	}
}

// qualified notes the fields that a directive names, and reports whether it is about these alone. What is no list of field names is
// no qualification, and the directive then about all of the response.
func (c *Control) qualified(arg string) bool {
	var names []string
	for name := range strings.SplitSeq(arg, ",") {
		if name = trim(name); name == "" {
			continue
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return false
		}
		names = append(names, http.CanonicalHeaderKey(name))
	}
	if len(names) == 0 {
		return false
	}
	if c.Without != "" {
		names = append(names, c.Without)
	}
	c.Without = strings.Join(names, ",")
	return true
}

// applyDelta is apply for an argument that has been read.
func (c *Control) applyDelta(name string, seconds int64) {
	d := Delta{Set: true, Seconds: seconds}
	switch name {
	case "max-age":
		c.MaxAge = d
	case "s-maxage":
		c.SMaxAge = d
	case "stale-while-revalidate":
		c.WhileRevalidate = d
	case "stale-if-error":
		c.IfError = d
	}
}

func (d *Delta) first(arg string, ok bool) {
	if d.Set {
		return
	}
	d.Set = true
	if ok {
		d.Seconds, _ = parseDelta(arg)
	}
}

// parseDelta reads 1*DIGIT; what is too large becomes maxDelta (section 1.2.2).
func parseDelta(s string) (seconds int64, ok bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		if seconds = seconds*10 + int64(s[i]-'0'); seconds > maxDelta {
			seconds = maxDelta
		}
	}
	return seconds, true
}

// cutDirective takes the first list member off v: a name with an optional argument, a
// token or a quoted-string, whose commas do not separate. A quote that is not where a
// quoted-string begins, or that nothing closes, is a letter like others: else it would
// hide a no-store behind it.
func cutDirective(v string) (name, arg string, hasArg bool, rest string) {
	end := strings.IndexAny(v, ",=")
	if end < 0 {
		return trim(v), "", false, ""
	}
	name = trim(v[:end])
	if v[end] == ',' {
		return name, "", false, v[end+1:]
	}
	v = strings.TrimLeft(v[end+1:], " \t")
	if arg, after, ok := cutQuoted(v); ok {
		_, rest, _ = strings.Cut(after, ",")
		return name, arg, true, rest
	}
	arg, rest, _ = strings.Cut(v, ",")
	return name, trim(arg), true, rest
}

// cutQuoted takes a quoted-string off v (RFC 9110 section 5.6.4). What follows it must be
// the end or a comma. The content is returned as it stands: no directive that is read
// here has use for a quoted-pair.
func cutQuoted(v string) (content, after string, ok bool) {
	if v == "" || v[0] != '"' {
		return "", "", false
	}
	for i := 1; i < len(v); i++ {
		switch v[i] {
		case '\\':
			i++
		case '"':
			after = strings.TrimLeft(v[i+1:], " \t")
			return v[1:i], after, after == "" || after[0] == ','
		}
	}
	return "", "", false
}

// trim removes optional white space (RFC 9110 section 5.6.3).
func trim(s string) string { return strings.Trim(s, " \t") }
