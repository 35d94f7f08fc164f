package cache

import (
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSuits(t *testing.T) {
	for _, test := range []struct {
		rule     string
		request  http.Header
		response string
		age      time.Duration // of a response that is fresh for 60 s
		want     bool
	}{
		{"RFC 9111 4.2: fresh", nil, "max-age=60", 59 * time.Second, true},
		{"RFC 9111 4.2: stale", nil, "max-age=60", 60 * time.Second, false},
		{"RFC 9111 5.2.1.4", fields("Cache-Control", "no-cache"), "max-age=60", 0, false},
		{"in any case", fields("Cache-Control", "foo, NO-CACHE"), "max-age=60", 0, false},
		{"with max-stale", fields("Cache-Control", "no-cache, max-stale"), "max-age=60", 90 * time.Second, false},
		{"RFC 9111 5.4", fields("Pragma", "no-cache"), "max-age=60", 0, false},
		{"Pragma is nothing beside Cache-Control", fields("Pragma", "no-cache", "Cache-Control", "max-age=50"), "max-age=60", 0, true},
		{"nor is another Pragma", fields("Pragma", "foo"), "max-age=60", 0, true},
		{"RFC 9111 5.2.1.1", fields("Cache-Control", "max-age=10"), "max-age=60", 10 * time.Second, true},
		{"older", fields("Cache-Control", "max-age=10"), "max-age=60", 10*time.Second + 1, false},
		{"max-age=0", fields("Cache-Control", "max-age=0"), "max-age=60", time.Second, false},
		{"a malformed one", fields("Cache-Control", "max-age=x"), "max-age=60", time.Second, false},
		{"one above the lifetime", fields("Cache-Control", "max-age=100"), "max-age=60", 70 * time.Second, false},
		{"unless with max-stale", fields("Cache-Control", "max-age=100, max-stale=20"), "max-age=60", 70 * time.Second, true},
		{"which it still bounds", fields("Cache-Control", "max-age=65, max-stale=20"), "max-age=60", 70 * time.Second, false},
		{"RFC 9111 5.2.1.3", fields("Cache-Control", "min-fresh=10"), "max-age=60", 50 * time.Second, true},
		{"less", fields("Cache-Control", "min-fresh=10"), "max-age=60", 51 * time.Second, false},
		{"RFC 9111 5.2.1.2", fields("Cache-Control", "max-stale=10"), "max-age=60", 70 * time.Second, true},
		{"more", fields("Cache-Control", "max-stale=10"), "max-age=60", 70*time.Second + 1, false},
		{"of any age", fields("Cache-Control", "max-stale"), "max-age=60", 10000 * time.Hour, true},
		{"malformed", fields("Cache-Control", "max-stale=x"), "max-age=60", 61 * time.Second, false},
		{"RFC 9111 5.2.2.2", fields("Cache-Control", "max-stale"), "max-age=60, must-revalidate", 61 * time.Second, false},
		{"RFC 9111 5.2.2.8", fields("Cache-Control", "max-stale"), "max-age=60, proxy-revalidate", 61 * time.Second, false},
		{"RFC 9111 5.2.2.10", fields("Cache-Control", "max-stale"), "s-maxage=60", 61 * time.Second, false},
		{"RFC 9111 5.2.2.4", fields("Cache-Control", "max-stale"), "max-age=60, no-cache", 1 * time.Second, false},
		{"RFC 8246: a fresh response that does not change", fields("Cache-Control", "max-age=0"), "max-age=60, immutable", time.Second, true},
		{"but a stale one is as any", fields("Cache-Control", "max-age=0, max-stale"), "max-age=60, immutable", 61 * time.Second, false},
		{"no-cache wants it validated", fields("Cache-Control", "no-cache"), "max-age=60, immutable", time.Second, false},
		{"and min-fresh is about what is left", fields("Cache-Control", "max-age=0, min-fresh=60"), "max-age=60, immutable", time.Second, false},
		{"min-fresh wants it fresh", fields("Cache-Control", "min-fresh=0, max-stale"), "max-age=60", 61 * time.Second, false},
	} {
		h := fields("Date", "@", "Etag", `"1"`, "Cache-Control", test.response)
		o, why := Policy{}.admit(Key{}, http.Header{}, 200, h, noon, noon)
		if why != "" {
			t.Fatalf("%s: %s", test.rule, why)
		}
		request := test.request
		if request == nil {
			request = http.Header{}
		}
		if got := (Look{Object: o}).At(noon.Add(test.age)).Suits(DemandOf(request)); got != test.want {
			t.Errorf("%s: %v, want %v", test.rule, got, test.want)
		}
	}
	if (Look{}).Suits(Demand{MaxStale: Delta{true, noBound}}) {
		t.Error("nothing suits")
	}
}

// Without max-stale no demand takes more than none does, and Why names a directive just where a fresh object does not suit.
func TestDemandsNarrow(t *testing.T) {
	delta := func(t *rapid.T, label string) Delta {
		return Delta{Set: rapid.Bool().Draw(t, label), Seconds: rapid.Int64Range(0, 100).Draw(t, label+" seconds")}
	}
	rapid.Check(t, func(t *rapid.T) {
		o := &Object{Fields: NewFields(http.Header{}), Received: noon, Lifetime: time.Duration(rapid.IntRange(0, 100).Draw(t, "lifetime")) * time.Second, NoCache: rapid.Bool().Draw(t, "no-cache")}
		l := Look{Object: o}.At(noon.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "age")) * time.Second))
		d := Demand{Validate: rapid.Bool().Draw(t, "validate"), MaxAge: delta(t, "max-age"), MinFresh: delta(t, "min-fresh")}
		if l.Suits(d) && !l.Fresh() {
			t.Fatal("it suits, and is not fresh")
		}
		if (l.Why(d) != "") != (l.Fresh() && !l.Suits(d)) {
			t.Fatalf("fresh %v, suits %v, why %q", l.Fresh(), l.Suits(d), l.Why(d))
		}
		if l.Suits(Demand{}) != l.Fresh() {
			t.Fatal("no demand is not freshness")
		}
	})
}
