package proxy

import (
	"errors"
	"strings"
	"testing"

	"hither/cache"
)

// Whatever form an operator gives a URL, what is purged is the key that requests for it find.
func TestPurgeOf(t *testing.T) {
	sites := NewSites()
	sites.Add(&Site{Name: "www", Rules: []Rule{{Path: "/d*", Query: QueryKey{Drop: []string{"utm_*"}}}}}, "www.test", "*.img.test")
	p := New(Config{Sites: sites})
	for _, c := range []struct {
		kind, value string
		path        string
	}{
		{"url", "https://WWW.test:8443/a/../b%7e?c=%c3#d", "/b~?c=%C3"},
		{"url", "http://x.img.test", "/"},
		{"url", "www.test?q", "/?q"},
		{"url", "www.test//a", "//a"},
		{"url", "www.test#/d", "/"},
		{"url", "www.test/d?utm_a=1&b=2", "/d?b=2"},
		{"prefix", "www.test/d?utm_a=1", "/d?utm_a=1"},
		{"prefix", "www.test", "/"},
		{"host", "www.test.", ""},
		{"host", "https://www.test", ""},
	} {
		got, err := p.PurgeOf(c.kind, c.value, true)
		if err != nil || got.Site != "www" || got.Value != c.path || !got.Soft || got.Kind.String() != c.kind {
			t.Errorf("%s %s: %+v, %v", c.kind, c.value, got, err)
		}
	}
	for _, c := range []struct{ kind, value, says string }{
		{"", "", "one of"}, {"all", "x", "no value"}, {"url", "", "no site"}, {"url", "/a", "no site"}, {"host", "www.test/", "the host alone"},
		{"url", "gopher://www.test/", "neither"}, {"url", "www.test/\n", "malformed"}, {"prefix", "www.test/%", "malformed"},
		{"tag", "", "names one"}, {"tag", " a", "blank"}, {"tag", "a\x7f", "control"}, {"tag", strings.Repeat("a", cache.MostTag+1), "1024"},
		{"url", strings.Repeat("a", 10000), "no site"},
	} {
		_, err := p.PurgeOf(c.kind, c.value, false)
		if err == nil || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 400 {
			t.Errorf("%s %.40q: %v", c.kind, c.value, err)
		}
	}
	var unknown UnknownHostError
	if _, err := p.PurgeOf("host", "nobody.test", false); !errors.As(err, &unknown) || unknown != "nobody.test" {
		t.Error(err)
	}
}

// What an operator names is some site's key or refused, and never a panic.
func FuzzPurgeOf(f *testing.F) {
	f.Add("https://www.test/a?b#c")
	f.Add("www.test:1?%zz")
	sites := NewSites()
	sites.Add(&Site{Name: "www"}, "www.test")
	p := New(Config{Sites: sites})
	f.Fuzz(func(t *testing.T, value string) {
		got, err := p.PurgeOf("url", value, false)
		if err != nil {
			return
		}
		if again, err := cache.NormalizeTarget(got.Value); err != nil || again != got.Value || got.Site != "www" {
			t.Errorf("%q: %+v, %v", value, got, err)
		}
	})
}
