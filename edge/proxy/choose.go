package proxy

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"hither/cache"
)

// Choosers are parts of the request that choose a variant of a rule's targets, whether or not the response says Vary: to
// the cache they are further names of Vary. The zero Choosers choose nothing.
type Choosers struct {
	// names are canonical names of fields, and those that cookies go by: see cookieName. Sorted, each once.
	names   []string
	cookies map[string]string // the cookie, by its name in names
	device  bool
	// suffix is what the primary key of such a target has behind the target: so nothing that was stored under another
	// choice, or under none, answers under this one. No target has a newline.
	suffix string
}

// DeviceField is the request field in which the origin is told the class of the client's device, where a rule chooses by
// it: mobile, tablet or desktop. A client's own is dropped, always.
const DeviceField = "Hither-Device"

// mostChosen bounds the bytes of the values that choose: each list of them may be a stored response of its own.
const mostChosen = 512

// Choose returns the choosers of a rule: request fields by canonical name, cookies by name, and the device's class.
func Choose(headers, cookies []string, device bool) Choosers {
	c := Choosers{device: device}
	c.names = append(c.names, headers...)
	for _, cookie := range cookies {
		if c.cookies == nil {
			c.cookies = make(map[string]string, len(cookies))
		}
		c.cookies[cookieName(cookie)] = cookie
		c.names = append(c.names, cookieName(cookie))
	}
	if device {
		c.names = append(c.names, DeviceField)
	}
	slices.Sort(c.names)
	c.names = slices.Compact(c.names)
	for _, name := range c.names {
		c.suffix += "\n" + name
	}
	return c
}

// cookiePrefix begins the names of cookies among those of Vary. No field has a semicolon in its name.
const cookiePrefix = "Cookie;"

func cookieName(cookie string) string { return cookiePrefix + cookie }

// Choosable reports whether a field of this canonical name may choose: the origin sees it as the client sent it, and it is
// no condition, range or credential, which are judged otherwise, and no Cookie, which is chosen by one.
func Choosable(name string) bool {
	switch name {
	case "Cookie", "Authorization", "Range", "Cache-Control", "Pragma", "Connection", "Expect", "Content-Length", "Max-Forwards", "Trailer":
		return false
	}
	return !strings.HasPrefix(name, "If-") && !opaqueMerged(name) && !overriding[name] && !slices.Contains(hopByHop[:], name) &&
		!isSpoofable(http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-")))
}

// reader is what the request's fields are read through when a variant is chosen.
func (c *Choosers) reader(f cache.FieldReader) cache.FieldReader {
	if len(c.cookies) == 0 && !c.device {
		return f
	}
	return chosen{f, c}
}

// chosen adds the choosers that are no fields of the request to those that are.
type chosen struct {
	cache.FieldReader
	by *Choosers
}

func (r chosen) Values(name string) []string {
	if name == DeviceField && r.by.device {
		return []string{deviceOf(r.FieldReader)}
	}
	if cookie, ok := r.by.cookies[name]; ok {
		if value, sent, _ := cookieOf(r.FieldReader.Values("Cookie"), cookie); sent {
			return []string{value}
		}
		return nil
	}
	return r.FieldReader.Values(name)
}

// plain reports whether what chooses is short, and says one thing to all who read it.
func (c *Choosers) plain(f cache.FieldReader) bool {
	n := 0
	for _, name := range c.names {
		if cookie, ok := c.cookies[name]; ok {
			value, _, plain := cookieOf(f.Values("Cookie"), cookie)
			if n += len(value); !plain {
				return false
			}
		} else if name != DeviceField {
			for _, line := range f.Values(name) {
				n += len(line)
			}
		}
	}
	return n <= mostChosen
}

// cookieOf finds a cookie by its name, in the letters that it has (RFC 6265 section 5.4). plain is false where two
// parsers might find different values: the name comes twice, or without a value, or with white space in that, or is there for those who decode names
// or take commas for separators.
func cookieOf(lines []string, cookie string) (value string, sent, plain bool) {
	plain = true
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			name, v, ok := strings.Cut(pair, "=")
			if name = trimmed(name); name != cookie {
				plain = plain && !mayBe(name, v, cookie)
				continue
			}
			plain = plain && ok && !sent && !strings.ContainsAny(v, " \t") && !mayBe("", v, cookie)
			if !sent {
				value, sent = v, true
			}
		}
	}
	return value, sent, plain
}

func trimmed(s string) string { return strings.Trim(s, " \t") }

// mayBe reports whether some parser may find the cookie in a pair that is not called so.
func mayBe(name, value, cookie string) bool {
	if strings.Contains(name, "%") {
		if decoded, err := url.PathUnescape(name); err != nil || strings.TrimSpace(decoded) == cookie {
			return true
		}
	}
	if !httpguts.ValidHeaderFieldName(name) && strings.Contains(name, cookie) {
		return true
	}
	for i, part := range strings.Split(value, ",") {
		if name, _, ok := strings.Cut(part, "="); i > 0 && ok && strings.TrimSpace(name) == cookie {
			return true
		}
	}
	return false
}

// Classes of devices.
const (
	mobile  = "mobile"
	tablet  = "tablet"
	desktop = "desktop"
)

func deviceOf(f cache.FieldReader) string {
	if lines := f.Values("User-Agent"); len(lines) > 0 {
		return device(lines[0])
	}
	return desktop
}

// device is the class of the device that a User-Agent speaks of: by the words that browsers have in it for this purpose,
// in their letters. Tablets: iPad, Tablet, Kindle, Silk (of Fire tablets), PlayBook, and Android without Mobile (which is
// how its makers tell the two apart). Mobile: Mobi (Mobile, Mobi), iPhone, iPod, Opera Mini, BlackBerry, Windows Phone.
// Whatever else there is counts as desktop: televisions, programs, and an iPad that says it is a Macintosh.
func device(agent string) string {
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(agent, w) })
	}
	switch {
	case has("iPad", "Tablet", "Kindle", "Silk/", "PlayBook") && !has("Tablet PC"):
		return tablet // "Tablet PC 2.0" is in Internet Explorer's on machines with a pen
	case has("Mobi", "iPhone", "iPod", "Opera Mini", "BlackBerry", "Windows Phone"):
		return mobile
	case has("Android"):
		return tablet
	}
	return desktop
}
