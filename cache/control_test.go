package cache

import (
	"strings"
	"testing"
)

func TestParseControl(t *testing.T) {
	delta := func(n int64) Delta { return Delta{Set: true, Seconds: n} }
	for _, test := range []struct {
		rule  string
		lines []string
		want  Control
	}{
		{"RFC 9111 5.2: names do not depend on case", []string{"No-Store, PRIVATE"}, Control{NoStore: true, Private: true}},
		{"RFC 9110 5.3: lines are one list", []string{"no-cache", "public"}, Control{NoCache: true, Public: true}},
		{"RFC 9110 5.6.1: empty members are ignored", []string{", ,no-store,,"}, Control{NoStore: true}},
		{"RFC 9111 5.2: token argument", []string{"max-age=60"}, Control{MaxAge: delta(60)}},
		{"RFC 9111 5.2: quoted argument", []string{`max-age="60"`}, Control{MaxAge: delta(60)}},
		{"white space that should not be there", []string{"max-age = 60 , s-maxage =\t7"}, Control{MaxAge: delta(60), SMaxAge: delta(7)}},
		{"RFC 9111 4.2.1: the first of several counts", []string{"max-age=1, max-age=2", "max-age=3"}, Control{MaxAge: delta(1)}},
		{"RFC 9111 4.2.1: not a number is stale", []string{"max-age=x"}, Control{MaxAge: delta(0)}},
		{"RFC 9111 4.2.1: negative is stale", []string{"max-age=-1"}, Control{MaxAge: delta(0)}},
		{"RFC 9111 4.2.1: fraction is stale", []string{"max-age=1.5"}, Control{MaxAge: delta(0)}},
		{"no argument is stale", []string{"max-age"}, Control{MaxAge: delta(0)}},
		{"empty argument is stale", []string{"max-age="}, Control{MaxAge: delta(0)}},
		{"RFC 9111 1.2.2: overflow is the largest", []string{"max-age=99999999999999999999"}, Control{MaxAge: delta(maxDelta)}},
		{"RFC 9111 5.2.2.4: qualified no-cache is about fields", []string{`no-cache="set-cookie, X"`}, Control{Without: "Set-Cookie,X"}},
		{"RFC 9111 5.2.2.7: qualified private too", []string{`private="X", max-age=5`}, Control{Without: "X", MaxAge: delta(5)}},
		{"with or without quotes", []string{`private=X`}, Control{Without: "X"}},
		{"both", []string{`private="X", no-cache="Y"`}, Control{Without: "Y,X"}},
		{"unqualified beside qualified", []string{`private="X", private, no-cache, no-cache=Y`}, Control{Private: true, NoCache: true, Without: "Y,X"}},
		{"what names no field qualifies nothing", []string{`private="", no-cache="a b"`}, Control{Private: true, NoCache: true}},
		{"nor does half a list", []string{`private="X, ("`}, Control{Private: true}},
		{"commas in a quoted-string do not separate", []string{`ext="a, no-store, b", max-age=5`}, Control{MaxAge: delta(5)}},
		{"quoted-pair does not end it", []string{`ext="a\", no-store", max-age=5`}, Control{MaxAge: delta(5)}},
		{"an unclosed quote hides nothing", []string{`ext="a, no-store`}, Control{NoStore: true}},
		{"a quote in the middle of a token hides nothing", []string{`max-age=60", no-store, x="`}, Control{MaxAge: delta(0), NoStore: true}},
		{"a quoted-string with a tail hides nothing", []string{`ext="a"b, no-store, c="d"`}, Control{NoStore: true}},
		{"RFC 9111 5.2.3: unknown ones are ignored", []string{"community, foo=bar, max-age=5"}, Control{MaxAge: delta(5)}},
		{"RFC 8246", []string{"max-age=5, Immutable"}, Control{MaxAge: delta(5), Immutable: true}},
		{"a prefix is another name", []string{"no-storex, xprivate"}, Control{}},
		{"RFC 9111 5.2.2.2, 5.2.2.8", []string{"must-revalidate, proxy-revalidate"}, Control{MustRevalidate: true, ProxyRevalidate: true}},
		{"RFC 5861", []string{"stale-while-revalidate=30, stale-if-error=40"}, Control{WhileRevalidate: delta(30), IfError: delta(40)}},
		{"RFC 9111 5.2.1.7", []string{"only-if-cached"}, Control{OnlyIfCached: true}},
		{"RFC 9111 5.2.2.6", []string{"max-age=5", "No-Transform"}, Control{MaxAge: delta(5), NoTransform: true}},
	} {
		if got := ParseControl(test.lines); got != test.want {
			t.Errorf("%s: ParseControl(%q)\n got %+v\nwant %+v", test.rule, test.lines, got, test.want)
		}
	}
}

func FuzzParseControl(f *testing.F) {
	for _, s := range []string{"", "max-age=60", `private="a, b", no-store`, `x="\`, `a=",",b`, "s-maxage=00000000000000000001", "=,=\"", "no-store=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c := ParseControl([]string{line})
		for _, d := range []Delta{c.MaxAge, c.SMaxAge, c.WhileRevalidate, c.IfError} {
			if d.Seconds < 0 || d.Seconds > maxDelta || !d.Set && d.Seconds != 0 {
				t.Errorf("delta %+v out of bounds", d)
			}
		}
		// What forbids reuse can be hidden in a quoted-string only.
		if !strings.Contains(line, `"`) {
			want := false
			for member := range strings.SplitSeq(line, ",") {
				name, _, _ := strings.Cut(member, "=")
				want = want || strings.EqualFold(trim(name), "no-store")
			}
			if c.NoStore != want {
				t.Errorf("NoStore = %v, want %v", c.NoStore, want)
			}
		}
		// What follows in the next line is read whatever this one holds.
		if !ParseControl([]string{line, "no-store"}).NoStore {
			t.Error("the second line was not read")
		}
	})
}
