package cache

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNormalizeTarget(t *testing.T) {
	for _, test := range []struct{ rule, in, want string }{
		{"normal already", "/a/b;c=d/@:!$&'()*+,~-._?x=/?", "/a/b;c=d/@:!$&'()*+,~-._?x=/?"},
		{"RFC 3986 6.2.2.2: unreserved are decoded", "/%41%7e%2D?%61=%62", "/A~-?a=b"},
		{"RFC 3986 6.2.2.1: digits in upper case", "/%c3%a4%2f", "/%C3%A4%2F"},
		{"reserved stay encoded", "/a%2Fb%3Fc%23", "/a%2Fb%3Fc%23"},
		{"and as they are", "/a+b", "/a+b"},
		{"double encoding is another resource", "/%2541", "/%2541"},
		{"what may not stand in a URI", "/a b\\ü\"<>", "/a%20b%5C%C3%BC%22%3C%3E"},
		{"RFC 3986 5.2.4: dots", "/a/./b/../c", "/a/c"},
		{"at the end", "/a/b/..", "/a/"},
		{"one at the end", "/a/.", "/a/"},
		{"above the root", "/../../a", "/a"},
		{"hidden by encoding", "/a/%2e%2E/b", "/b"},
		{"no dots", "/.a/..b/c..", "/.a/..b/c.."},
		{"empty segments are segments", "//a//b/", "//a//b/"},
		{"and .. takes one", "/a//../b", "/a/b"},
		{"the query is none of it", "/a?/../b", "/a?/../b"},
		{"an empty query is not none", "/a?", "/a?"},
		{"a lone % in the query", "/a?%&%4&%zz&%41", "/a?%25&%254&%25zz&A"},
		{"NUL in the query is the application's", "/a?%00", "/a?%00"},
		{"brackets", "/a?b[]=1", "/a?b%5B%5D=1"},
	} {
		got, err := NormalizeTarget(test.in)
		if err != nil || got != test.want {
			t.Errorf("%s: %q = %q, %v, want %q", test.rule, test.in, got, err, test.want)
		}
	}
	for _, in := range []string{"", "a", "*", "http://a/", "/\x00", "/a\nb", "/a\x7f", "/a#b", "/a?b#c", "/%", "/%4", "/%zz", "/%00", "/a%00b", "?a"} {
		if got, err := NormalizeTarget(in); err != ErrTarget {
			t.Errorf("%q = %q, %v, want ErrTarget", in, got, err)
		}
	}
	target := "/assets/app.js?v=1"
	if n := testing.AllocsPerRun(100, func() { NormalizeTarget(target) }); n != 0 {
		t.Errorf("a normal target takes %v allocations", n)
	}
}

// sameMeaning compares what two parsers that decode see: the path's segments, dots removed,
// and the query's bytes.
func sameMeaning(t interface{ Errorf(string, ...any) }, in, out string) {
	if again, err := NormalizeTarget(out); err != nil || again != out {
		t.Errorf("%q becomes %q, and that becomes %q, %v", in, out, again, err)
	}
	u, err := url.ParseRequestURI(out)
	if err != nil {
		t.Errorf("%q becomes %q: %v", in, out, err)
		return
	}
	if u.RequestURI() != out {
		t.Errorf("%q becomes %q, which net/url writes as %q", in, out, u.RequestURI())
	}
	path, query, hasQuery := strings.Cut(in, "?")
	want, got := segments(path), segments(u.EscapedPath())
	if strings.Join(want, "\x00") != strings.Join(got, "\x00") {
		t.Errorf("%q becomes %q: segments %q become %q", in, out, want, got)
	}
	if hasQuery != (u.RawQuery != "" || u.ForceQuery) || lenient(query) != lenient(u.RawQuery) {
		t.Errorf("%q becomes %q: query %q becomes %q", in, out, query, u.RawQuery)
	}
}

// segments decodes each segment and then resolves dots, by a way of its own.
func segments(path string) []string {
	var out []string
	parts := strings.Split(path, "/")[1:]
	for i, s := range parts {
		s = lenient(s)
		if s == "." || s == ".." {
			if s == ".." && len(out) > 0 {
				out = out[:len(out)-1]
			}
			if i == len(parts)-1 {
				out = append(out, "")
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// lenient decodes percent-encodings and leaves alone what is none.
func lenient(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if i+2 < len(s) && s[i] == '%' {
			if u, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(u)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func TestNormalizeTargetKeepsMeaning(t *testing.T) {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{"/", "//", "/.", "/..", "/%2e", "/%2E%2e/", "%2F", "%2f", "%25", "%41", "%00", "%", "?", "&", "=", "+", ";", " ", "ä", "a", "~", "[", "|", "\\"}),
		rapid.StringMatching(`[a-zA-Z0-9%/.?]{0,4}`),
	)
	rapid.Check(t, func(t *rapid.T) {
		in := "/" + strings.Join(rapid.SliceOf(piece).Draw(t, "pieces"), "")
		if out, err := NormalizeTarget(in); err == nil {
			sameMeaning(t, in, out)
		}
	})
}

func FuzzNormalizeTarget(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/%2F?%zz", "//x", "/a?b?c", "/..", "/%C3%a4", "/a;b=c/.;/", "/?"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out, err := NormalizeTarget(in)
		if err != nil {
			if out != "" || err != ErrTarget {
				t.Errorf("%q, %v", out, err)
			}
			return
		}
		sameMeaning(t, in, out)
	})
}
