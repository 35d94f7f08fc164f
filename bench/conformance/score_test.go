package conformance

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// TestScore gives every outcome once, from what the suite's client writes.
func TestScore(t *testing.T) {
	cases := []Case{
		{ID: "good", Kind: Required, Group: "one"},
		{ID: "bad", Kind: Required, Group: "one"},
		{ID: "setup", Kind: Optimal, Group: "one"},
		{ID: "retry", Kind: Optimal, Group: "one"},
		{ID: "abort", Kind: Required, Group: "two"},
		{ID: "literal", Kind: Required, Group: "two"},
		{ID: "gone", Kind: Required, Group: "two"},
		{ID: "leans", Kind: Required, Group: "two", Needs: []string{"good", "bad"}},
		{ID: "leans-far", Kind: Optimal, Group: "two", Needs: []string{"leans"}},
		{ID: "leans-well", Kind: Optimal, Group: "two", Needs: []string{"good", "yes"}},
		{ID: "leans-on-browser", Kind: Optimal, Group: "two", Needs: []string{"browser"}},
		{ID: "leans-setup", Kind: Required, Group: "two", Needs: []string{"no"}},
		{ID: "gone-leans", Kind: Required, Group: "two", Needs: []string{"bad"}},
		{ID: "yes", Kind: Check, Group: "three"},
		{ID: "no", Kind: Check, Group: "three"},
		{ID: "browser", Kind: Required, Group: "three", Browser: true},
		{ID: "wordless", Kind: Required, Group: "three"},
	}
	results, err := readResults([]byte(`ERROR: Unknown header item
{
  "good": true, "bad": ["Assertion", "Response 2 comes from cache"], "setup": ["Setup", "Response 1 status is 502, not 200"],
  "retry": ["Setup", "retry"], "abort": ["AbortError", "This operation was aborted"], "literal": false,
  "leans": true, "leans-far": true, "leans-well": true, "leans-on-browser": true, "leans-setup": ["Setup", "x"],
  "yes": true, "no": ["Assertion", "not so"], "wordless": ["TypeError", null]
}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"good": "pass", "bad": "fail: Response 2 comes from cache", "setup": "setup: Response 1 status is 502, not 200",
		"retry": "retry: retry", "abort": "harness: This operation was aborted", "literal": "harness", "gone": "untested",
		"leans": "dependency: needs bad", "leans-far": "dependency: needs leans", "leans-well": "pass",
		"leans-on-browser": "dependency: needs browser", "leans-setup": "dependency: needs no", "gone-leans": "untested",
		"yes": "pass", "no": "fail: not so", "wordless": "fail",
	}
	scored := score(cases, results)
	if len(scored) != len(want) {
		t.Errorf("%d cases are scored, want %d: those for browsers do not count", len(scored), len(want))
	}
	for _, s := range scored {
		if got := s.why(); got != want[s.ID] {
			t.Errorf("%s: %q, want %q", s.ID, got, want[s.ID])
		}
	}
	for _, c := range []struct {
		kind  Kind
		group string
		want  string
	}{
		{Required, "", "1/9"}, {Optimal, "", "1/5"}, {Check, "", "1/2"}, {Required, "one", "1/2"}, {Check, "one", "-"},
	} {
		if got := Tally(scored, c.kind, c.group).String(); got != c.want {
			t.Errorf("%s of group %q: %s, want %s", c.kind, c.group, got, c.want)
		}
	}
}

func TestReadResults(t *testing.T) {
	for _, c := range []struct{ out, why string }{
		{"", "no results"},
		{"Error: nothing\n", "no results"},
		{"warning {\n", "no results"},
		{"{\n \"a\": true,\n", "unexpected EOF"},
		{"{\n \"a\": true\n}\nmore\n", "something follows"},
		{"{\n \"a\": true\n}\n{\n}\n", "something follows"},
		{"{\n \"a\": 1\n}\n", "want true, false or"},
		{"{\n \"a\": null\n}\n", "want true, false or"},
		{"{\n \"a\": []\n}\n", "want true, false or"},
		{"{\n \"a\": [\"x\", \"y\", \"z\"]\n}\n", "want true, false or"},
		{"{\n \"a\": [null]\n}\n", "want true, false or"},
		{"{\n \"a\": {}\n}\n", "want true, false or"},
	} {
		if r, err := readResults([]byte(c.out)); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%q: %v, %v; want an error with %q", c.out, r, err, c.why)
		}
	}
	for _, out := range []string{"{}\n", "a {}\n{}\n"} {
		if r, err := readResults([]byte(out)); err != nil || len(r) > 0 {
			t.Errorf("%q: %v, %v", out, r, err)
		}
	}
}

func FuzzReadResults(f *testing.F) {
	f.Add([]byte("x\n{\n \"a\": true, \"b\": [\"Setup\", \"retry\"]\n}\n"))
	f.Add([]byte("{\n \"a\": [null, 1]\n}\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		r, err := readResults(out)
		if err != nil {
			return
		}
		for id := range r {
			if s := score([]Case{{ID: id, Kind: Required}}, r); len(s) != 1 || s[0].Outcome == Untested || s[0].Outcome == Dependency {
				t.Errorf("%q: %v", id, s)
			}
		}
	})
}

// TestMerge holds runs against each other: a case passes only if it did in all.
func TestMerge(t *testing.T) {
	run := func(outcomes ...Outcome) []Scored {
		var r []Scored
		for i, o := range outcomes {
			r = append(r, Scored{Case: Case{ID: fmt.Sprint(i)}, Outcome: o})
		}
		return r
	}
	last := run(Pass, Setup, Fail, Pass)
	last[1].Said = "why"
	got, different := merge([][]Scored{run(Pass, Pass, Fail, Fail), run(Pass, Pass, Fail, Pass), last})
	want := run(Pass, Setup, Fail, Fail)
	want[1].Said = "why"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if want := []Difference{{"1", []Outcome{Pass, Pass, Setup}, []string{"", "", "why"}}, {"3", []Outcome{Fail, Pass, Pass}, []string{"", "", ""}}}; !reflect.DeepEqual(different, want) {
		t.Errorf("differences %v, want %v", different, want)
	}
	if got := different[0].String(); got != "the runs do not agree on 1: pass | pass | setup: why" {
		t.Errorf("in words: %s", got)
	}
	if _, different := merge([][]Scored{run(Pass, Fail)}); len(different) > 0 {
		t.Errorf("one run differs from itself: %v", different)
	}
}

// TestFlatten refuses what cannot be scored.
func TestFlatten(t *testing.T) {
	one := func(tests string) []group {
		var g []group
		if err := json.Unmarshal([]byte(`[{"id": "g", "tests": `+tests+`}]`), &g); err != nil {
			t.Fatal(err)
		}
		return g
	}
	got, err := flatten(one(`[{"id": "a", "requests": []}, {"id": "b", "kind": "check", "depends_on": ["a"], "browser_only": true}]`))
	if want := []Case{{ID: "a", Group: "g", Kind: Required}, {ID: "b", Group: "g", Kind: Check, Needs: []string{"a"}, Browser: true}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, c := range []struct{ tests, why string }{
		{`[]`, "no cases"},
		{`[{}]`, `the id ""`},
		{`[{"id": "a b"}]`, `the id "a b"`},
		{`[{"id": 7}]`, "group g"},
		{`[{"id": "a"}, {"id": "a"}]`, "twice"},
		{`[{"id": "a", "kind": "nice"}]`, `kind "nice"`},
		{`[{"id": "a", "depends_on": ["b"]}]`, "needs b, which is not there"},
		{`[{"id": "a", "depends_on": ["b"]}, {"id": "b", "depends_on": ["a"]}]`, "needs itself"},
	} {
		if got, err := flatten(one(c.tests)); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, %v; want an error with %q", c.tests, got, err, c.why)
		}
	}
}
