package cache

import (
	"net/http"
	"testing"
	"time"
)

func TestControlOf(t *testing.T) {
	delta := func(n int64) Delta { return Delta{Set: true, Seconds: n} }
	for _, test := range []struct {
		rule string
		h    http.Header
		want Control
	}{
		{"RFC 9213 2.2: instead of Cache-Control", fields("Cache-Control", "no-store", "Cdn-Cache-Control", "max-age=60"), Control{MaxAge: delta(60), Targeted: true}},
		{"ours comes first", fields("Hither-Cdn-Cache-Control", "max-age=1", "Cdn-Cache-Control", "max-age=2"), Control{MaxAge: delta(1), Targeted: true}},
		{"RFC 9213 2.1: an empty one is ignored", fields("Hither-Cdn-Cache-Control", "", "Cdn-Cache-Control", "max-age=2"), Control{MaxAge: delta(2), Targeted: true}},
		{"what is no Dictionary is ignored", fields("Cdn-Cache-Control", "max-age=60, &&&", "Cache-Control", "no-store"), Control{NoStore: true}},
		{"as a whole, over lines", fields("Cdn-Cache-Control", "max-age=60", "Cdn-Cache-Control", "Max-Age=60", "Cache-Control", "no-store"), Control{NoStore: true}},
		{"a value of the wrong type is no directive", fields("Cdn-Cache-Control", `max-age="60", no-store="x", s-maxage=1.5, private=7`), Control{Targeted: true}},
		{"nor is a delta without a value", fields("Cdn-Cache-Control", "max-age, no-cache"), Control{NoCache: true, Targeted: true}},
		{"a negative delta is none left", fields("Cdn-Cache-Control", "max-age=-1"), Control{MaxAge: delta(0), Targeted: true}},
		{"RFC 9111 1.2.2: a large one", fields("Cdn-Cache-Control", "max-age=99999999999"), Control{MaxAge: delta(maxDelta), Targeted: true}},
		{"false is absence", fields("Cdn-Cache-Control", "no-store=?0, max-age=1"), Control{MaxAge: delta(1), Targeted: true}},
		{"parameters of a directive mean nothing", fields("Cdn-Cache-Control", "max-age=1;x=2"), Control{MaxAge: delta(1), Targeted: true}},
		{"the last of several counts (RFC 9651 4.2.2)", fields("Cdn-Cache-Control", "max-age=1, max-age=2"), Control{MaxAge: delta(2), Targeted: true}},
		{"an inner list is no directive", fields("Cdn-Cache-Control", "private=(a b), max-age=1"), Control{MaxAge: delta(1), Targeted: true}},
		{"qualified private", fields("Cdn-Cache-Control", `private="a"`), Control{Without: "A", Targeted: true}},
		{"Surrogate-Control", fields("Surrogate-Control", "max-age=60", "Cache-Control", "no-store"), Control{MaxAge: delta(60), Targeted: true}},
		{"with what may be stale", fields("Surrogate-Control", "max-age=60+30"), Control{MaxAge: delta(60), WhileRevalidate: delta(30), IfError: delta(30), Targeted: true}},
		{"that is older than RFC 9213", fields("Surrogate-Control", "max-age=60", "Cdn-Cache-Control", "no-store"), Control{NoStore: true, Targeted: true}},
		{"that of another surrogate", fields("Surrogate-Control", "max-age=60;varnish, no-store;squid", "Cache-Control", "max-age=1"), Control{MaxAge: delta(1)}},
		{"that asks for processing alone", fields("Surrogate-Control", `content="ESI/1.0"`, "Cache-Control", "max-age=1"), Control{MaxAge: delta(1)}},
	} {
		if got := controlOf(test.h); got != test.want {
			t.Errorf("%s: %v\n got %+v\nwant %+v", test.rule, test.h, got, test.want)
		}
	}
}

// Expires is not for us where a targeted field speaks (RFC 9213 section 2.2), even where that names no lifetime.
func TestTargetedLifetime(t *testing.T) {
	for _, test := range []struct {
		targeted string
		want     time.Duration
	}{{"max-age=5", 5 * time.Second}, {"public", 10 * time.Second}} {
		h := fields("Expires", "@1h", "Date", "@", "Last-Modified", "@-100s", "Cdn-Cache-Control", test.targeted)
		if got, _ := lifetime(200, h, controlOf(h), noon); got != test.want {
			t.Errorf("%s: lifetime %v, want %v", test.targeted, got, test.want)
		}
	}
}

func FuzzControlOf(f *testing.F) {
	for _, s := range []string{"max-age=60", `private="a"`, "max-age=60+30;x", "a=(1 2);q", ":", "max-age=999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		for _, name := range []string{"Cdn-Cache-Control", "Surrogate-Control"} {
			c := controlOf(http.Header{name: {line}})
			for _, d := range []Delta{c.MaxAge, c.SMaxAge, c.WhileRevalidate, c.IfError} {
				if d.Seconds < 0 || d.Seconds > maxDelta || !d.Set && d.Seconds != 0 {
					t.Errorf("%s: delta %+v out of bounds", name, d)
				}
			}
		}
	})
}
