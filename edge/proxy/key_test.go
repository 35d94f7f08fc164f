package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hither/cache"
)

// respell writes a normal target in another way that means the same (RFC 3986 section 6.2.2): letters and digits encoded, hex digits
// in either case, and dot segments that lead nowhere.
func respell(t *rapid.T, target string) string {
	var b strings.Builder
	path, query, hasQuery := strings.Cut(target, "?")
	write := func(s string) {
		for i := 0; i < len(s); i++ {
			c := s[i]
			switch {
			case c == '%': // two digits follow
				encoded := s[i : i+3]
				if rapid.Bool().Draw(t, "lower") {
					encoded = strings.ToLower(encoded)
				}
				b.WriteString(encoded)
				i += 2
			case ('a' <= c && c <= 'z' || '0' <= c && c <= '9') && rapid.IntRange(0, 9).Draw(t, "encode") == 0:
				const digits = "0123456789abcdef"
				b.WriteByte('%')
				b.WriteByte(digits[c>>4])
				b.WriteByte(digits[c&15])
			default:
				b.WriteByte(c)
			}
		}
	}
	if rapid.Bool().Draw(t, "dots") {
		b.WriteString("/x/..")
	}
	write(path)
	if hasQuery {
		b.WriteByte('?')
		write(query)
	}
	return b.String()
}

// targets are normal ones, with the parameters that rules are about.
var targets = rapid.Custom(func(t *rapid.T) string {
	raw := "/" + rapid.StringMatching(`[ab/]{0,4}(%2F|%C3%A4)?`).Draw(t, "path")
	if rapid.Bool().Draw(t, "has query") {
		raw += "?" + strings.Join(rapid.SliceOfN(rapid.StringMatching(`(utm_[a-c]|[a-c])?(=[0-9a-c%]{0,2})?`), 0, 5).Draw(t, "query"), "&")
	}
	target, err := cache.NormalizeTarget(raw)
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return target
})

// The key is a function of what the origin is asked, and the other way round: requests of one key ask the origin for the same, and
// neither the host's alias, its case and port, nor the spelling of the target matter.
func TestKeyProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		site := &Site{Name: "www", MergeSchemes: rapid.Bool().Draw(t, "merged"), Rules: []Rule{{Path: "/a*", Query: QueryKey{
			Drop: rapid.SliceOfN(rapid.SampledFrom([]string{"utm_*", "b", "c*", "*"}), 0, 2).Draw(t, "drop"),
			Sort: rapid.Bool().Draw(t, "sort"),
		}}}}
		if rapid.Bool().Draw(t, "keeps") {
			site.Rules[0].Query.Keep = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "utm_*"}), 0, 2).Draw(t, "keep")
		}
		sites := NewSites()
		sites.Add(site, "www.test", "*.alias.test")
		p := newProxy(sites)
		plan := func(host, target string, plain bool) plan {
			pl, err := p.planFor(asked{method: http.MethodGet, authority: host, name: "www.test", target: target, plain: plain})
			if err != nil || pl.bypass != "" {
				t.Fatalf("%s%s: %v, %q", host, target, err, pl.bypass)
			}
			return pl
		}
		one, other := targets.Draw(t, "one"), targets.Draw(t, "other")
		a, b := plan("www.test", one, false), plan("www.test", other, false)
		if (a.key == b.key) != (a.target == b.target) {
			t.Errorf("%s and %s have keys %q and %q, and the origin is asked for %s and %s", one, other, a.key.Path, b.key.Path, a.target, b.target)
		}
		if again := plan("www.test", a.target, false); again.key != a.key {
			t.Errorf("%s asks the origin for %s, which has another key: %q, %q", one, a.target, a.key.Path, again.key.Path)
		}
		respelled := respell(t, one)
		if c := plan("X1.Alias.TEST.:8443", respelled, false); c.key != a.key || c.target != a.target {
			t.Errorf("%s written as %s: %q becomes %q", one, respelled, a.key.Path, c.key.Path)
		}
		if c := plan("www.test", one, true); (c.key == a.key) != site.MergeSchemes {
			t.Errorf("%s without TLS: %+v and %+v, merged %v", one, a.key, c.key, site.MergeSchemes)
		}
	})
}

// Of a query only parameters that may go go, the rest stays in its order or in that of names, and a second time changes nothing.
func FuzzQueryKey(f *testing.F) {
	f.Add("/a?b=1&utm_a&&c=2", "utm_*", "b", true)
	f.Add("/?&&=&*", "*", "", false)
	f.Add("/a?b?c&d", "", "", true)
	f.Fuzz(func(t *testing.T, raw, drop, keep string, sort bool) {
		target, err := cache.NormalizeTarget(raw)
		if err != nil {
			return
		}
		k := QueryKey{Sort: sort}
		if drop != "" {
			k.Drop = strings.Split(drop, " ")
		}
		if keep != "" {
			k.Keep = strings.Split(keep, " ")
		}
		got := k.apply(target)
		if again := k.apply(got); again != got {
			t.Errorf("%q becomes %q, and that becomes %q", target, got, again)
		}
		if again, err := cache.NormalizeTarget(got); err != nil || again != got {
			t.Errorf("%q becomes %q, which is not normal: %q, %v", target, got, again, err)
		}
		path, query, _ := strings.Cut(target, "?")
		gotPath, gotQuery, _ := strings.Cut(got, "?")
		count := map[string]int{}
		for parameter := range strings.SplitSeq(query, "&") {
			count[parameter]++
		}
		for parameter := range strings.SplitSeq(gotQuery, "&") {
			if count[parameter]--; parameter != "" && count[parameter] < 0 {
				t.Errorf("%q becomes %q: where is %q from?", target, got, parameter)
			}
		}
		if path != gotPath {
			t.Errorf("%q becomes %q", target, got)
		}
	})
}

// An authority is some site's, whatever its case, or nobody's; what a wildcard matches can stand in a field for the origin.
func FuzzSitesOf(f *testing.F) {
	for _, s := range []string{"www.test", "WWW.test:8443", "a.img.test", "a.b.img.test", "[::1]:1", "[::1]", ":", "x@img.test", "a,b.img.test", "img.test.", ""} {
		f.Add(s)
	}
	www, img := &Site{Name: "www"}, &Site{Name: "img"}
	sites := NewSites()
	sites.Add(www, "www.test", "[::1]")
	sites.Add(img, "*.img.test")
	p := newProxy(sites)
	f.Fuzz(func(t *testing.T, authority string) {
		site, _, parent := sites.find(authority)
		if other := sites.Of(lowerASCII(authority)); other != site {
			t.Errorf("%q is %v's, in lower case %v's", authority, site, other)
		}
		if site == nil {
			return
		}
		host := p.host(&http.Request{Host: authority})
		if parent && strings.ContainsAny(host, " \t\r\n\"',;/\\@?#%()<>[]{}") || !strings.HasSuffix(host, ":8443") {
			t.Errorf("%q is told the origin as %q", authority, host)
		}
	})
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// What Location or Content-Location names on this site is a normal target; what it names elsewhere is nothing.
func FuzzSameSite(f *testing.F) {
	for _, s := range []string{"/new", "new", "../x?y", "https://www.test/a", "https://www.test:8443/a", "//alias.test/b", "https://other.test/", "http://www.test/", "https://[", "?%zz", "#", "mailto:x", "https:/a", "https:a"} {
		f.Add(s)
	}
	site := &Site{Name: "www"}
	sites := NewSites()
	sites.Add(site, "www.test", "alias.test")
	sites.Add(&Site{Name: "other"}, "other.test")
	p := newProxy(sites)
	f.Fuzz(func(t *testing.T, line string) {
		r := httptest.NewRequest(http.MethodPost, "https://www.test/dir/page?q", nil)
		target, ok := p.sameSite(&Exchange{r: r}, plan{site: site, target: "/dir/page?q"}, []string{line})
		if !ok {
			return
		}
		if again, err := cache.NormalizeTarget(target); err != nil || again != target {
			t.Errorf("%q is %q, and that is %q, %v", line, target, again, err)
		}
		if strings.Contains(line, "other.test/") && strings.HasPrefix(strings.TrimPrefix(line, "https:"), "//other.test/") {
			t.Errorf("%q is another site's, and taken for %q", line, target)
		}
	})
}
