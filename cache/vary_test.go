package cache

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestVaryNames(t *testing.T) {
	for _, test := range []struct {
		lines []string
		names []string
		star  bool
	}{
		{nil, nil, false},
		{[]string{"accept-encoding"}, []string{"Accept-Encoding"}, false},
		{[]string{"b, A", "a,, B "}, []string{"A", "B"}, false},
		{[]string{"A", "*"}, nil, true},
		{[]string{"A, *"}, nil, true},
		{[]string{", ,"}, nil, false},
	} {
		names, star := varyNames(http.Header{"Vary": test.lines})
		if !slices.Equal(names, test.names) || star != test.star {
			t.Errorf("%q: %q, %v", test.lines, names, star)
		}
	}
}

func TestVariant(t *testing.T) {
	post := func(names ...string) *Object { return &Object{Vary: names, Epoch: 7} }
	for _, test := range []struct {
		rule string
		post *Object
		a, b http.Header
		same bool
	}{
		{"RFC 9111 4.1: equal values", post("Accept"), fields("Accept", "x"), fields("Accept", "x", "Other", "y"), true},
		{"different values", post("Accept"), fields("Accept", "x"), fields("Accept", "y"), false},
		{"case counts", post("Accept"), fields("Accept", "x"), fields("Accept", "X"), false},
		{"order counts", post("Accept"), fields("Accept", "x,y"), fields("Accept", "y,x"), false},
		{"white space around commas does not", post("Accept"), fields("Accept", "x ,\ty"), fields("Accept", "x,y"), true},
		{"nor lines", post("Accept"), fields("Accept", "x", "Accept", "y"), fields("Accept", "x, y"), true},
		{"absent is not empty", post("Accept"), fields(), fields("Accept", ""), false},
		{"RFC 9111 4.1: absent from both", post("Accept"), fields("X", "1"), fields("X", "2"), true},
		{"white space in a quoted-string counts", post("Accept"), fields("Accept", `x;a="1, 2"`), fields("Accept", `x;a="1,2"`), false},
		{"and in a comment", post("User-Agent"), fields("User-Agent", "a (b, c)"), fields("User-Agent", "a (b,c)"), false},
		{"a quoted-pair ends neither", post("X"), fields("X", `"a\", b"`), fields("X", `"a\",b"`), false},
		{"a list that nobody knows is one, too", post("X"), fields("X", " 1, 2 "), fields("X", "1,2"), true},
		{"behind a comment, too", post("X"), fields("X", "1 (x, y) , 2"), fields("X", "1 (x, y),2"), true},
		{"RFC 9110 12.5.4: the order of languages does not count", post("Accept-Language"), fields("Accept-Language", "en, de"), fields("Accept-Language", "de,en"), true},
		{"nor does their case", post("Accept-Language"), fields("Accept-Language", "en-GB"), fields("Accept-Language", "EN-gb"), true},
		{"nor do zeros of a weight", post("Accept-Language"), fields("Accept-Language", "en;q=0.5,de;q=1"), fields("Accept-Language", "de , en; Q=0.500"), true},
		{"nor a repetition", post("Accept-Language"), fields("Accept-Language", "en, en"), fields("Accept-Language", "en"), true},
		{"weights do", post("Accept-Language"), fields("Accept-Language", "en;q=0.5, de"), fields("Accept-Language", "en, de;q=0.5"), false},
		{"0 is a weight", post("Accept-Encoding"), fields("Accept-Encoding", "gzip;q=0"), fields("Accept-Encoding", "gzip"), false},
		{"RFC 9110 8.4.1: codings alike", post("Accept-Encoding"), fields("Accept-Encoding", "gzip, BR"), fields("Accept-Encoding", "br", "Accept-Encoding", "gzip"), true},
		{"what is no weight stays as it is", post("Accept-Encoding"), fields("Accept-Encoding", "gzip;q=2, br"), fields("Accept-Encoding", "br, gzip;q=2"), false},
		{"an empty list is a list", post("Accept-Encoding"), fields("Accept-Encoding", ""), fields("Accept-Encoding", " , "), true},
		{"a value does not move to the next field", post("A", "B"), fields("A", "x"), fields("B", "x"), false},
		{"nor melt with it", post("A", "B"), fields("A", "xy", "B", ""), fields("A", "x", "B", "y"), false},
	} {
		a, b := variant(test.post, test.a), variant(test.post, test.b)
		if (a == b) != test.same {
			t.Errorf("%s: %q and %q", test.rule, a, b)
		}
	}
	r := fields("Accept", "x")
	if variant(&Object{Vary: []string{"Accept"}, Epoch: 1}, r) == variant(&Object{Vary: []string{"Accept"}, Epoch: 2}, r) {
		t.Error("another epoch has the same variants")
	}
}

// Two requests have the same variant if and only if each field is absent from both, or
// its lines, joined and without white space around commas, are equal.
func TestVariantProperty(t *testing.T) {
	names := []string{"Accept", "X"}
	request := rapid.Custom(func(t *rapid.T) http.Header {
		h := make(http.Header)
		for _, name := range names {
			if lines := rapid.SliceOfN(rapid.StringMatching(`[ab, \t=]{0,5}`), 0, 3).Draw(t, name); len(lines) > 0 {
				h[name] = lines
			}
		}
		return h
	})
	folded := func(lines []string) string {
		members := strings.Split(strings.Join(lines, ","), ",")
		for i := range members {
			members[i] = strings.Trim(members[i], " \t")
		}
		return strings.Join(members, ",")
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := request.Draw(t, "a"), request.Draw(t, "b")
		want := true
		for _, name := range names {
			want = want && (len(a[name]) == 0) == (len(b[name]) == 0) && folded(a[name]) == folded(b[name])
		}
		post := &Object{Vary: names, Epoch: 1}
		if got := variant(post, a) == variant(post, b); got != want {
			t.Errorf("%v and %v: same variant %v, want %v", a, b, got, want)
		}
	})
}
