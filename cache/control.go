package cache

import (
	"strings"
	"time"
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
	MustRevalidate                    bool // or proxy-revalidate
	OnlyIfCached                      bool // of a request

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
		c.NoCache = true
	case "private":
		c.Private = true
	case "public":
		c.Public = true
	case "must-revalidate", "proxy-revalidate":
		c.MustRevalidate = true
	case "only-if-cached":
		c.OnlyIfCached = true
	case "max-age":
		c.MaxAge.first(arg, hasArg)
	case "s-maxage":
		c.SMaxAge.first(arg, hasArg)
	case "stale-while-revalidate":
		c.WhileRevalidate.first(arg, hasArg)
	case "stale-if-error":
		c.IfError.first(arg, hasArg)
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
// token or a quoted-string whose commas do not separate.
func cutDirective(v string) (name, arg string, hasArg bool, rest string) {
	quoted, equals, end := false, -1, len(v)
scan:
	for i := 0; i < len(v); i++ {
		switch {
		case quoted && v[i] == '\\':
			i++
		case v[i] == '"' && equals >= 0: // a quote can only open an argument
			quoted = !quoted
		case quoted:
		case v[i] == '=' && equals < 0:
			equals = i
		case v[i] == ',':
			end = i
			break scan
		}
	}
	if end < len(v) {
		rest = v[end+1:]
	}
	if equals < 0 {
		return trim(v[:end]), "", false, rest
	}
	return trim(v[:equals]), strings.Trim(trim(v[equals+1:end]), `"`), true, rest
}

// trim removes optional white space (RFC 9110 section 5.6.3).
func trim(s string) string { return strings.Trim(s, " \t") }
