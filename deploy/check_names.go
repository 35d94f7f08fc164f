package deploy

import (
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

// maxPattern is the longest path pattern of a rule: each is matched against each
// request.
const maxPattern = 1024

// checkSite checks one site; domains are the trust domains that have a PoP.
func (l *loader) checkSite(path string, s *Site, domains map[string]bool) {
	if l.given(path + ".origin") {
		l.refers(path+".origin", s.Origin, "origins", "origin")
	}
	if !l.names["pops"].unsure && !domains[s.Trust] && !l.bad[path+".trust"] {
		l.wrong(path+".trust", "no PoP is of the trust domain %s, so nobody would serve site %s", quote(s.Trust), quote(s.Name))
	}
	l.checkSlice(path+".cache.slice", s.Cache.Slice)
	if c := &s.Compress; c.Min > c.Max {
		at := path + ".compress.min"
		if !l.given(at) {
			at = path + ".compress.max"
		}
		l.wrong(at, "min (%v) is more than max (%v), so nothing would be encoded; to turn it off, write `codings: []`", c.Min, c.Max)
	}
	for i := range s.Rules {
		r, here := &s.Rules[i], fmt.Sprintf("%s.rules[%d]", path, i)
		if r.Slice != nil {
			l.checkSlice(here+".slice", *r.Slice)
		}
		if at := here + ".path"; l.given(at) {
			switch {
			case !strings.HasPrefix(r.Path, "/") && !strings.HasPrefix(r.Path, "*"):
				l.wrong(at, "%s does not begin with / or *, so it would match nothing", quote(r.Path))
			case strings.ContainsAny(r.Path, "?#"):
				l.wrong(at, "%s: a pattern is held against the path alone; for the query there is `key`", quote(r.Path))
			case len(r.Path) > maxPattern:
				l.wrong(at, "the pattern is longer than %d bytes", maxPattern)
			}
		}
		if r.Key.Query.Drop != nil && r.Key.Query.Keep != nil {
			l.wrong(here+".key.query", "has both drop and keep; write one of them")
		}
		l.checkChoosers(here+".key", &r.Key)
		if r.Bypass {
			if means := r.storing(); len(means) > 0 {
				l.wrong(here+".bypass", "nothing is stored for these paths, so %s means nothing; leave one of them out", means[0])
			}
		}
	}
}

// The bounds of a slice: below, a large body is thousands of requests to the origin; above, a client that wants a part waits
// for what it does not want, and few slices fit into a cache.
const (
	leastSlice = 64 << 10
	mostSlice  = 64 << 20
)

// checkSlice checks the size of slices at path.
func (l *loader) checkSlice(path string, size Size) {
	if l.given(path) && size != 0 && (size < leastSlice || size > mostSlice) {
		l.wrong(path, "%v is not between %v and %v; 0B stores no slices", size, Size(leastSlice), Size(mostSlice))
	}
}

// mostChoosers bounds the fields and cookies of a rule: each multiplies the variants.
const mostChoosers = 8

// checkChoosers checks the fields and cookies that choose variants.
func (l *loader) checkChoosers(path string, k *RuleKey) {
	if n := len(k.Headers) + len(k.Cookies); n > mostChoosers {
		l.wrong(path, "%d headers and cookies choose; at most %d may, since each multiplies what is stored", n, mostChoosers)
	}
	for _, list := range []struct {
		key, noun string
		names     []string
		same      func(string) string
	}{
		{"headers", "field", k.Headers, http.CanonicalHeaderKey},
		{"cookies", "cookie", k.Cookies, strings.Clone},
	} {
		first := map[string]bool{}
		for i, name := range list.names {
			at := fmt.Sprintf("%s.%s[%d]", path, list.key, i)
			switch {
			case !l.given(at):
			case !httpguts.ValidHeaderFieldName(name) || len(name) > maxName:
				l.wrong(at, "%s cannot be the name of a %s; write 1 to %d letters, digits and hyphens", quote(name), list.noun, maxName)
			case first[list.same(name)]:
				l.wrong(at, "%s is there twice", quote(name))
			case list.key == "headers" && list.same(name) == "Cookie":
				l.wrong(at, "all cookies together are hardly ever the same; name those that count in `cookies`")
			}
			first[list.same(name)] = true
		}
	}
}

// storing are the keys of a rule that are given and speak of what is stored.
func (r *Rule) storing() (keys []string) {
	for _, k := range []struct {
		key   string
		given bool
	}{
		{"ttl", r.TTL != nil}, {"negative", r.Negative != nil}, {"set_cookie", r.SetCookie != ""}, {"max_object", r.MaxObject != nil}, {"slice", r.Slice != nil},
		{"stale_while_revalidate", r.StaleWhileRevalidate != nil}, {"stale_if_error", r.StaleIfError != nil},
	} {
		if k.given {
			keys = append(keys, k.key)
		}
	}
	return keys
}

// checkHosts finds hosts that belong to two sites or to no zone.
func (l *loader) checkHosts() {
	type seen struct{ site, path string }
	first := map[string]seen{}
	for i := range l.network.Sites {
		s := &l.network.Sites[i]
		for j, h := range s.Hosts {
			path := fmt.Sprintf("sites[%d].hosts[%d]", i, j)
			if !l.given(path) {
				continue
			}
			if before, again := first[h]; again {
				l.wrong(path, "host %s is in site %s (line %d) already", quote(h), quote(before.site), l.find(before.path).line)
				continue
			}
			first[h] = seen{s.Name, path}
			if s.DNS == "own" && len(l.network.Zones) > 0 && !l.names["zones"].unsure && !l.inZone(strings.TrimPrefix(h, "*.")) {
				l.wrong(path, "host %s is in no zone of this file%s; if other servers answer for it, give the site `dns: elsewhere`", quote(h), l.zoneNames())
			}
		}
	}
}

// inZone says whether the name is in any zone of the file.
func (l *loader) inZone(name string) bool {
	zones := l.names["zones"].set
	for !zones[name] {
		_, above, ok := strings.Cut(name, ".")
		if !ok {
			return false
		}
		name = above
	}
	return true
}

// zoneNames is the part of a message that lists the zones, when they are few.
func (l *loader) zoneNames() string {
	zones := l.names["zones"].list
	if len(zones) > 5 {
		return ""
	}
	return " (" + strings.Join(zones, ", ") + ")"
}

// within says whether the name is the zone's own or below it.
func within(name, zone string) bool {
	return name == zone || strings.HasSuffix(name, "."+zone)
}

func (l *loader) checkZone(path string, z *Zone) {
	if len(l.network.DNS.Servers) == 0 && !l.names["dns.servers"].unsure {
		l.wrong(path, "nobody would answer for zone %s; name a server in `dns.servers`", quote(z.Name))
	}
	if z.SOA.Expire <= z.SOA.Refresh {
		at := path + ".soa.expire"
		if !l.given(at) {
			at = path + ".soa.refresh"
		}
		l.wrong(at, "expire (%v) is not longer than refresh (%v), so secondary servers would give the zone up", z.SOA.Expire, z.SOA.Refresh)
	}
	if l.bad[path+".name"] {
		return
	}
	for i, r := range z.Records {
		if here := fmt.Sprintf("%s.records[%d]", path, i); l.given(here) {
			if err := checkRecord(r, z.Name); err != nil {
				l.wrong(here, "%v", err)
			}
		}
	}
	first := map[string]string{}
	for i := range z.Steered {
		s, here := &z.Steered[i], fmt.Sprintf("%s.steered[%d]", path, i)
		if l.given(here + ".site") {
			l.refers(here+".site", s.Site, "sites", "site")
		}
		if !l.given(here + ".name") {
			continue
		}
		full, err := Absolute(s.Name, z.Name)
		if err == nil {
			err = checkHost(full)
		}
		if before, again := first[full]; err == nil && again {
			err = fmt.Errorf("%s is steered already (line %d)", quote(s.Name), l.find(before).line)
		}
		if err != nil {
			l.wrong(here+".name", "%v", err)
			continue
		}
		first[full] = here + ".name"
	}
}

// Absolute returns the full name, without the last dot, of a name written in a zone:
// `www` or `@` relative to it, `www.example.org.` absolute. The error says that the
// name is outside the zone, or looks as if its last dot was forgotten.
func Absolute(name, zone string) (string, error) {
	switch full, absolute := strings.CutSuffix(name, "."); {
	case name == "":
		return "", fmt.Errorf("is empty; write a name relative to the zone, or @ for the zone itself")
	case name == "@":
		return zone, nil
	case absolute && within(full, zone):
		return full, nil
	case absolute:
		return "", fmt.Errorf("%s is outside the zone %s", quote(name), zone)
	case within(name, zone):
		short := strings.TrimSuffix(strings.TrimSuffix(name, zone), ".")
		if short == "" {
			short = "@"
		}
		return "", fmt.Errorf("%s without a last dot means %s; write %s or %s", quote(name), quote(name+"."+zone), quote(short), quote(name+"."))
	default:
		return name + "." + zone, nil
	}
}

// maxRecord is the longest record line: more than a record of 65535 bytes (RFC 1035
// section 3.2.1) takes in hexadecimal would be junk.
const maxRecord = 1 << 17

// checkRecord checks what can be seen without knowing record types: one line with an
// owner inside the zone, and data. The rest is for the part that serves it.
func checkRecord(line, zone string) error {
	words := strings.Fields(line)
	switch {
	case len(line) > maxRecord:
		return fmt.Errorf("the record is longer than %d bytes", maxRecord)
	case !utf8.ValidString(line) || strings.ContainsAny(line, "\r\n"):
		return fmt.Errorf("a record is one line")
	case strings.HasPrefix(line, "$"):
		return fmt.Errorf("%s is a directive; it belongs in a zone file, named by `file`", quote(line))
	case len(words) < 3 || line[0] == ' ' || line[0] == '\t':
		return fmt.Errorf("%s is not a record; write NAME TTL TYPE DATA, such as `ns1 300 A 192.0.2.1`", quote(line))
	}
	_, err := Absolute(words[0], zone)
	return err
}

func (l *loader) checkDNS() {
	d := &l.network.DNS
	for i := range d.Servers {
		path := fmt.Sprintf("dns.servers[%d]", i)
		l.checkAddresses(path+".addresses", d.Servers[i].Addresses)
		l.bound(path+".bind", d.Servers[i].Bind)
	}
	for prefix, spot := range d.Geo.Prefixes {
		if path := prefixPath(prefix); spot.Place == nil && l.given(path) {
			l.refers(path, spot.PoP, "pops", "PoP")
		}
	}
	l.pops("dns.unknown", d.Unknown, "")
	if d.Probe.Timeout > d.Probe.Interval {
		at := "dns.probe.timeout"
		if !l.given(at) {
			at = "dns.probe.interval"
		}
		l.wrong(at, "a timeout of %v is longer than the interval of %v; probes would pile up", d.Probe.Timeout, d.Probe.Interval)
	}
}
