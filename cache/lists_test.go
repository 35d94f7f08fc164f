package cache

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// A list of preferences is read or left as a whole; what is read does not depend on how it is cut into lines, is in order, and says
// no more than was written.
func FuzzPreferences(f *testing.F) {
	for _, s := range []string{"gzip, br;q=0.5", "en-GB;q=1.000,*;q=0", "a;q=.5", "a;;q=1", ",,", "a;q=1.0000", "A;Q=0.123 ,b", "x\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var room [mostPreferences]preference
		list, ok := parsePreferences([]string{line}, &room)
		canonical, fits := appendPreferences([]byte("x"), []string{line})
		if ok != fits || !ok && string(canonical) != "x" {
			t.Fatalf("%q: %v, then %v and %q", line, ok, fits, canonical)
		}
		if !ok {
			return
		}
		for i, p := range list {
			if p.weight < 0 || p.weight > 1000 || p.name == "" || p.name != strings.ToLower(p.name) || !strings.Contains(strings.ToLower(line), p.name) {
				t.Errorf("%q: member %+v", line, p)
			}
			if i > 0 && (list[i-1].weight < p.weight || list[i-1].weight == p.weight && list[i-1].name >= p.name) {
				t.Errorf("%q: %+v stands behind %+v", line, p, list[i-1])
			}
		}
		again, ok := appendPreferences([]byte("x"), strings.Split(line, ","))
		if !ok || string(again) != string(canonical) {
			t.Errorf("%q is %q, and cut at its commas %q", line, canonical, again)
		}
		if most := mostWanted([]string{line}); most != "" && (len(list) == 0 || list[0].name != most || most == "*") {
			t.Errorf("%q: %q is wanted most, of %+v", line, most, list)
		}
	})
}

// Folding a line takes away white space and nothing else, and a second time nothing; two lines are one with a comma between where no
// quote and no comment of the first is left open.
func FuzzFolded(f *testing.F) {
	for _, s := range []string{"a , b", `"a , b" , c`, "x (a , b) , c", `"a\" , b`, "(a(b)c , d) , e", `\ , "`, " \t,\t "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		folded := string(appendFolded(nil, line))
		if again := string(appendFolded(nil, folded)); again != folded {
			t.Errorf("%q becomes %q, and that %q", line, folded, again)
		}
		bare := func(s string) string { return strings.NewReplacer(" ", "", "\t", "").Replace(s) }
		if bare(folded) != bare(line) {
			t.Errorf("%q becomes %q", line, folded)
		}
		if !strings.ContainsAny(line, `"()\`) && strings.ContainsAny(folded, ",") {
			for member := range strings.SplitSeq(folded, ",") {
				if member != trim(member) {
					t.Errorf("%q becomes %q", line, folded)
				}
			}
		}
	})
}

// Vary names fields, each once and in order, or everything.
func FuzzVaryNames(f *testing.F) {
	for _, s := range []string{"Accept, accept", "*", "a,*", ", ,", "\x00", "a b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		names, star := varyNames(http.Header{"Vary": {line}})
		everything := slices.ContainsFunc(strings.Split(line, ","), func(m string) bool { return trim(m) == "*" })
		if star != everything || star && names != nil {
			t.Errorf("%q: %q, everything %v", line, names, star)
		}
		if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) || slices.Contains(names, "") {
			t.Errorf("%q: %q", line, names)
		}
	})
}

// What a request demands is within bounds, and nothing is fresher for it: what suits a demand suits none as well, unless it asks
// for what is stale.
func FuzzDemandOf(f *testing.F) {
	f.Add("max-age=5, min-fresh=3", "")
	f.Add("max-stale", "no-cache")
	f.Add("", "no-cache")
	f.Fuzz(func(t *testing.T, control, pragma string) {
		h := http.Header{"Pragma": {pragma}}
		if control != "" {
			h["Cache-Control"] = []string{control}
		}
		d := DemandOf(h)
		for _, delta := range []Delta{d.MaxAge, d.MinFresh, d.MaxStale} {
			if delta.Seconds < 0 || delta.Seconds > maxDelta || !delta.Set && delta.Seconds != 0 {
				t.Errorf("%q: %+v", control, delta)
			}
		}
		for _, age := range []time.Duration{0, 30 * time.Second, 90 * time.Second} {
			l := Look{Object: &Object{Age: age, Lifetime: time.Minute, Received: noon}}.At(noon)
			if l.Suits(d) && !l.Fresh() && !d.MaxStale.Set {
				t.Errorf("%q: what is stale suits it", control)
			}
			if l.Why(d) != "" && l.Suits(d) {
				t.Errorf("%q: suits, and %s is in the way", control, l.Why(d))
			}
		}
	})
}
