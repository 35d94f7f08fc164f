package proxy

import (
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hither/cache"
)

func TestSitesOf(t *testing.T) {
	a, b, c := &Site{Name: "a"}, &Site{Name: "b"}, &Site{Name: "c"}
	sites := NewSites()
	sites.Add(a, "www.example.org", "127.0.0.1", "[::1]")
	sites.Add(b, "*.example.org")
	sites.Add(c, "deep.b.example.org")
	for authority, want := range map[string]*Site{
		"www.example.org":                        a,
		"www.example.org:8443":                   a,
		"WWW.Example.ORG":                        a,
		"www.example.org.":                       a,
		"www.example.org.:443":                   a,
		"127.0.0.1:80":                           a,
		"[::1]":                                  a,
		"[::1]:443":                              a,
		"x.example.org":                          b,
		"X_1-y.example.org":                      b,
		"deep.b.example.org":                     c,
		"x.b.example.org":                        nil, // a wildcard stands for one label
		"example.org":                            nil,
		".example.org":                           nil,
		`x".example.org`:                         nil, // goes into fields for the origin
		"x y.example.org":                        nil,
		"x@y.example.org":                        nil,
		"*.example.org":                          nil,
		"www.example.org:":                       a,
		"www.example.org..":                      nil,
		"www.example.com":                        nil,
		"":                                       nil,
		":443":                                   nil,
		strings.Repeat("x", 64) + ".example.org": nil,
		strings.Repeat("x", 63) + ".example.org.": b,
	} {
		if got := sites.Of(authority); got != want {
			t.Errorf("%q: %v, want %v", authority, got, want)
		}
	}
}

func TestRuleMatches(t *testing.T) {
	for _, test := range []struct {
		path, target string
		want         bool
	}{
		{"/a", "/a", true},
		{"/a", "/a?b", true}, // the path alone
		{"/a", "/ab", false},
		{"/a*", "/ab?c", true},
		{"*", "/anything", true},
		{"*.css", "/x/y.css", true},
		{"*.css", "/x?y.css", false},
		{"/a*a", "/a", false}, // one letter is not two
		{"/a*b*c", "/axxbyyc", true},
		{"/a*b*c", "/axxc", false},
		{"/a*b*b", "/ab", false},
	} {
		r := &Rule{Path: test.path}
		if got := r.matches(test.target); got != test.want {
			t.Errorf("%s against %s: %v", test.path, test.target, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		pattern := "/" + rapid.StringMatching(`[ab*]{0,6}`).Draw(t, "pattern")
		path := "/" + rapid.StringMatching(`[ab]{0,8}`).Draw(t, "path")
		want := regexp.MustCompile("^" + strings.ReplaceAll(pattern, "*", ".*") + "$").MatchString(path)
		if got := (&Rule{Path: pattern}).matches(path); got != want {
			t.Errorf("%s against %s: %v", pattern, path, got)
		}
	})
}

func TestQueryKey(t *testing.T) {
	for _, test := range []struct {
		key      QueryKey
		in, want string
	}{
		{QueryKey{}, "/a?b=1&&c", "/a?b=1&&c"},
		{QueryKey{Drop: []string{"utm_*", "x"}}, "/a?utm_a=1&b=2&x&y=x", "/a?b=2&y=x"},
		{QueryKey{Drop: []string{"*"}}, "/a?b=1", "/a"},
		{QueryKey{Keep: []string{"b"}}, "/a?c=1&b=2&b=3", "/a?b=2&b=3"}, // order and number stay
		{QueryKey{Keep: []string{}}, "/a?c=1", "/a"},
		{QueryKey{Keep: []string{"*"}, Drop: []string{"c"}}, "/a?c=1&b=2", "/a?b=2"},
		{QueryKey{Drop: []string{"x"}}, "/a", "/a"},
		{QueryKey{Sort: true}, "/a?b=2&a=9&&b=1&B", "/a?B&a=9&b=2&b=1"}, // bytes; those of one name stay as they are
		{QueryKey{Sort: true}, "/a?b&b=&b-x=1", "/a?b&b=&b-x=1"},        // the name, not the parameter: "=" is above "-"
		{QueryKey{Sort: true, Keep: []string{"a", "b"}}, "/a?c&b&a", "/a?a&b"},
		{QueryKey{Sort: true}, "/a?", "/a"},
		{QueryKey{Sort: true}, "/a", "/a"},
	} {
		if got := test.key.apply(test.in); got != test.want {
			t.Errorf("%+v of %s = %s, want %s", test.key, test.in, got, test.want)
		}
	}
}

// Every order of parameters of different names is one; those of one name keep theirs, and nothing is lost.
func TestQuerySorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parameters := rapid.SliceOfN(rapid.StringMatching(`[a-c][a-b-]?(=[0-9]?)?`), 1, 8).Draw(t, "parameters")
		shuffled := rapid.Permutation(parameters).Draw(t, "shuffled")
		k := QueryKey{Sort: true}
		sorted := k.apply("/?" + strings.Join(shuffled, "&"))
		if again := k.apply(sorted); again != sorted {
			t.Fatalf("%s sorted again is %s", sorted, again)
		}
		of := func(list []string, name string) (out []string) {
			for _, p := range list {
				if nameOf(p) == name {
					out = append(out, p)
				}
			}
			return out
		}
		got := strings.Split(strings.TrimPrefix(sorted, "/?"), "&")
		if len(got) != len(parameters) {
			t.Fatalf("%d parameters became %d: %s", len(parameters), len(got), sorted)
		}
		same := true
		for i, p := range got {
			if i > 0 && nameOf(got[i-1]) > nameOf(p) {
				t.Fatalf("%s is not sorted", sorted)
			}
			if !slices.Equal(of(got, nameOf(p)), of(shuffled, nameOf(p))) {
				t.Fatalf("%s of %s: those named %s changed places", sorted, shuffled, nameOf(p))
			}
			same = same && slices.Equal(of(parameters, nameOf(p)), of(shuffled, nameOf(p)))
		}
		if other := k.apply("/?" + strings.Join(parameters, "&")); (other == sorted) != same {
			t.Fatalf("%s and %s of %s", sorted, other, parameters)
		}
	})
}

// What is dropped is told, in whatever order the key has the rest.
func TestDropped(t *testing.T) {
	for _, test := range []struct{ from, to, want string }{
		{"/a?b&c=1&b", "/a?b&b", "c=1"},
		{"/a?c&b&&a", "/a?a&b&c", ""},
		{"/a?z&b&a&z", "/a?a&b", "z z"},
		{"/a?b&b", "/a?b", "b"},
		{"/a", "/a", ""},
	} {
		if got := strings.Join(dropped(test.from, test.to), " "); got != test.want {
			t.Errorf("%s to %s: %s, want %s", test.from, test.to, got, test.want)
		}
	}
}

// A rule replaces what it names of its site's policy, and nothing else.
func TestRuleChanges(t *testing.T) {
	site := cache.Policy{SetCookie: true, MaxObject: 9, WhileRevalidate: 1, IfError: 2, TTL: new(time.Duration), Negative: new(time.Duration)}
	got := site
	(&Rule{}).change(&got)
	if !reflect.DeepEqual(got, site) {
		t.Errorf("an empty rule made %+v of %+v", got, site)
	}
	second, no, most := time.Second, false, int64(7)
	(&Rule{TTL: &second, Negative: &second, WhileRevalidate: &second, IfError: &second, SetCookie: &no, MaxObject: &most}).change(&got)
	if want := (cache.Policy{MaxObject: 7, WhileRevalidate: second, IfError: second, TTL: &second, Negative: &second}); !reflect.DeepEqual(got, want) {
		t.Errorf("a full rule made %+v, want %+v", got, want)
	}
}

// asked is a RequestView made of its values.
type asked struct {
	method, authority, target, name string
	fields                          http.Header
	content, early, plain, inner    bool
}

func (a asked) Method() string              { return a.method }
func (a asked) Authority() string           { return a.authority }
func (a asked) Target() string              { return a.target }
func (a asked) Values(name string) []string { return a.fields[name] }
func (a asked) Content() bool               { return a.content }
func (a asked) ServerName() string          { return a.name }
func (a asked) Early() bool                 { return a.early }
func (a asked) Secure() bool                { return !a.plain }
func (a asked) Inner() bool                 { return a.inner }

func newProxy(sites *Sites) *Proxy {
	return New(Config{
		Node: "fra", Cache: cache.New(cache.Config{Store: new(shelf), Now: func() time.Time { return noon }}),
		Sites: sites, Port: 8443, Now: func() time.Time { return noon },
	})
}

func TestPlanFor(t *testing.T) {
	www := &Site{Name: "www", Policy: "main", EarlyData: true, Rules: []Rule{{Path: "/never*", Bypass: true}}}
	late := &Site{Name: "late", Policy: "main"}
	merged := &Site{Name: "merged", Policy: "main", MergeSchemes: true}
	strict := &Site{Name: "strict", Policy: "mutual"}
	sites := NewSites()
	for _, s := range []*Site{www, late, merged, strict} {
		sites.Add(s, s.Name+".test")
	}
	p := newProxy(sites)
	get := func(change func(*asked)) asked {
		a := asked{method: "GET", authority: "www.test", target: "/", name: "www.test"}
		change(&a)
		return a
	}
	for _, test := range []struct {
		rule   string
		v      asked
		err    error
		bypass cache.Reason
		key    string // site, scheme, path
	}{
		{"a GET", get(func(a *asked) {}), nil, "", "www https /"},
		{"HEAD has GET's key", get(func(a *asked) { a.method = "HEAD" }), nil, "", "www https /"},
		{"host and port are not part of it", get(func(a *asked) { a.authority = "WWW.test:8443" }), nil, "", "www https /"},
		{"plain", get(func(a *asked) { a.plain, a.name = true, "" }), nil, "", "www http /"},
		{"merged schemes", get(func(a *asked) { a.authority, a.plain = "merged.test", true }), nil, "", "merged  /"},
		{"normalised", get(func(a *asked) { a.target = "/a/../%62" }), nil, "", "www https /b"},
		{"unsafe", get(func(a *asked) { a.method = "POST" }), nil, cache.ReasonMethod, "www https /"},
		{"OPTIONS", get(func(a *asked) { a.method = "OPTIONS" }), nil, cache.ReasonMethod, "www https /"},
		{"OPTIONS *", get(func(a *asked) { a.method, a.target = "OPTIONS", "*" }), nil, cache.ReasonMethod, "www https *"},
		{"GET *", get(func(a *asked) { a.target = "*" }), errTarget, "", ""},
		{"malformed", get(func(a *asked) { a.target = "/%00" }), errTarget, "", ""},
		{"content", get(func(a *asked) { a.content = true }), nil, cache.ReasonRequestBody, "www https /"},
		{"If-Match", get(func(a *asked) { a.fields = http.Header{"If-Match": {"*"}} }), nil, cache.ReasonPrecondition, "www https /"},
		{"If-Unmodified-Since", get(func(a *asked) { a.fields = http.Header{"If-Unmodified-Since": {"x"}} }), nil, cache.ReasonPrecondition, "www https /"},
		{"a rule", get(func(a *asked) { a.target = "/never" }), nil, cache.ReasonRule, "www https /never"},
		{"an encoded path does not escape its rule", get(func(a *asked) { a.target = "/%6eever" }), nil, cache.ReasonRule, "www https /never"},
		{"TRACE", get(func(a *asked) { a.method = "TRACE" }), errMethod, "", ""},
		{"CONNECT", get(func(a *asked) { a.method, a.target = "CONNECT", "www.test:443" }), errMethod, "", ""},
		{"RFC 9110 15.5.20: same policy, other name", get(func(a *asked) { a.name = "late.test" }), nil, "", "www https /"},
		{"another policy", get(func(a *asked) { a.name = "strict.test" }), errOtherPolicy, "", ""},
		{"the other way", get(func(a *asked) { a.authority = "strict.test" }), errOtherPolicy, "", ""},
		{"no server name", get(func(a *asked) { a.name = "" }), errOtherPolicy, "", ""},
		{"unknown server name", get(func(a *asked) { a.name = "x.test" }), errOtherPolicy, "", ""},
		{"another PoP asks by its node's name", get(func(a *asked) { a.inner, a.name = true, "fra.edge.demo.hither.internal" }), nil, "", "www https /"},
		{"and for no other's sites", get(func(a *asked) { a.inner, a.authority = true, "x.test" }), errUnknownHost, "", ""},
		{"unknown host", get(func(a *asked) { a.authority = "x.test" }), errUnknownHost, "", ""},
		{"RFC 8470: early and safe", get(func(a *asked) { a.early = true }), nil, "", "www https /"},
		{"early and unsafe", get(func(a *asked) { a.early, a.method = true, "POST" }), errTooEarly, "", ""},
		{"early where the site says off", get(func(a *asked) { a.early, a.authority = true, "late.test" }), errTooEarly, "", ""},
	} {
		pl, err := p.planFor(test.v)
		if err != test.err && (err != nil || test.err != nil) {
			t.Errorf("%s: error %v, want %v", test.rule, err, test.err)
			continue
		}
		if err != nil {
			if s, _ := p.Hit(test.v, noon); s != nil {
				t.Errorf("%s: a hit for what is refused", test.rule)
			}
			continue
		}
		if merged := pl.policy.Opaque("X-Forwarded-Proto"); merged != (pl.key.Scheme == "") || !pl.policy.Opaque("X-Real-Ip") {
			t.Errorf("%s: X-Forwarded-Proto is opaque: %v", test.rule, merged)
		}
		if key := pl.key.Site + " " + pl.key.Scheme + " " + pl.key.Path; key != test.key || pl.bypass != test.bypass || pl.key.Class != cache.ClassGet {
			t.Errorf("%s: key %q, bypass %q; want %q, %q", test.rule, key, pl.bypass, test.key, test.bypass)
		}
	}
}

func TestClient(t *testing.T) {
	p := newProxy(NewSites())
	p.cfg.Trusted = prefixes("10.0.0.0/8", "::1/128")
	for _, test := range []struct {
		peer string
		xff  []string
		want string
	}{
		{"192.0.2.1:1234", nil, "192.0.2.1"},
		{"192.0.2.1:1234", []string{"6.6.6.6"}, "192.0.2.1"}, // a client's own word
		{"10.0.0.1:1234", nil, "10.0.0.1"},
		{"10.0.0.1:1234", []string{"6.6.6.6, 192.0.2.9"}, "192.0.2.9"}, // what the trusted one saw
		{"10.0.0.1:1234", []string{"6.6.6.6", "192.0.2.9 ,10.0.0.2"}, "192.0.2.9"},
		{"10.0.0.1:1234", []string{"10.0.0.3"}, "10.0.0.3"},
		{"10.0.0.1:1234", []string{"192.0.2.9, unknown"}, "10.0.0.1"},
		{"[::1]:1234", []string{"2001:db8::1"}, "2001:db8::1"},
		{"[::ffff:192.0.2.1]:1234", nil, "192.0.2.1"},
		{"pipe", nil, "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: test.peer, Header: http.Header{"X-Forwarded-For": test.xff}}
		if got := p.client(r, false).String(); got != test.want {
			t.Errorf("%s %q: %s, want %s", test.peer, test.xff, got, test.want)
		}
	}
}
