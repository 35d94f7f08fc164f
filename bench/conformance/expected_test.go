package conformance

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

const expectedText = `# a comment

least required 2 of 3
least optimal 1 of 2

required cookie
    It is the site's
    setting.
optimal part
	Nobody knows.
`

func TestReadExpected(t *testing.T) {
	e, err := ReadExpected("file", []byte(expectedText))
	if err != nil {
		t.Fatal(err)
	}
	want := &Expected{
		Least: map[Kind]Count{Required: {2, 3}, Optimal: {1, 2}},
		Exceptions: []Exception{
			{Required, "cookie", "It is the site's setting.", 6},
			{Optimal, "part", "Nobody knows.", 9},
		},
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("got %+v, want %+v", e, want)
	}
	if e.Find("part") != &e.Exceptions[1] || e.Find("other") != nil {
		t.Error("Find does not find, or finds what is not there")
	}
}

// TestReadExpectedWrong tells all mistakes at once, with their lines.
func TestReadExpectedWrong(t *testing.T) {
	const least = "least required 2 of 3\nleast optimal 1 of 2\n"
	for _, c := range []struct {
		text string
		why  []string
	}{
		{"", []string{"least required", "least optimal"}},
		{"least required 2 of 3\n", []string{"file: it does not say", "least optimal"}},
		{least + "least optimal 1 of 2\n", []string{"file:3: least optimal stands here a second time"}},
		{least + "required a\n\n    a reason after an empty line\n", []string{"file:3: a has no reason", "file:5: a reason stands right below"}},
		{least + "  reason\n", []string{"file:3: a reason stands right below"}},
		{least + "check a\n    b\nrequired\n", []string{"file:3: want", "file:4: a reason stands", "file:5: want"}},
		{least + "required a\n b\noptimal a\n c\n", []string{"file:5: a stands on line 3 already", "file:6: a reason stands"}},
		{least + strings.Repeat("x", 1<<17), []string{"file:3: ", "too long"}},
		{"least check 1 of 2\n", []string{"file:1: want"}},
		{"least required 4 of 3\n", []string{"file:1: want"}},
		{"least required -1 of 3\n", []string{"file:1: want"}},
		{"least required 1 out 3\n", []string{"file:1: want"}},
	} {
		_, err := ReadExpected("file", []byte(c.text))
		for _, why := range c.why {
			if err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("%.80q: %v; want %q", c.text, err, why)
			}
		}
	}
}

func FuzzReadExpected(f *testing.F) {
	f.Add([]byte(expectedText))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := ReadExpected("file", text)
		if err != nil {
			return
		}
		for _, x := range e.Exceptions {
			if x.Reason == "" || x.ID == "" || e.Find(x.ID).Line != x.Line {
				t.Errorf("exception %+v", x)
			}
		}
	})
}

// TestFaults plants each fault into a result that is as expected.
func TestFaults(t *testing.T) {
	e, err := ReadExpected("file", []byte(expectedText))
	if err != nil {
		t.Fatal(err)
	}
	good := []Scored{
		{Case: Case{ID: "store", Kind: Required}, Outcome: Pass},
		{Case: Case{ID: "reuse", Kind: Required}, Outcome: Pass},
		{Case: Case{ID: "cookie", Kind: Required}, Outcome: Setup},
		{Case: Case{ID: "collapse", Kind: Optimal}, Outcome: Pass},
		{Case: Case{ID: "part", Kind: Optimal}, Outcome: Fail},
		{Case: Case{ID: "head", Kind: Check}, Outcome: Fail},
	}
	if faults := e.Faults(good); len(faults) > 0 {
		t.Fatalf("the result is as expected: %q", faults)
	}
	for _, c := range []struct {
		name  string
		plant func([]Scored) []Scored
		want  []string
	}{
		{"a case fails", func(s []Scored) []Scored { s[1].Outcome, s[1].Said = Fail, "Response 2 comes from cache"; return s },
			[]string{"1 required cases pass, and at least 2 must", "required reuse does not pass, and is no exception with a reason (fail: Response 2 comes from cache)"}},
		{"a case is not run", func(s []Scored) []Scored { s[3].Outcome = Untested; return s },
			[]string{"0 optimal cases pass, and at least 1 must", "optimal collapse does not pass, and is no exception with a reason (untested)"}},
		{"an exception passes", func(s []Scored) []Scored { s[2].Outcome = Pass; return s },
			[]string{"cookie passes: take it off the exceptions (line 6)"}},
		{"an exception of another kind", func(s []Scored) []Scored { s[4].Kind = Check; return s },
			[]string{"the suite has 1 optimal cases, and 2 are expected: is it another version of it?", "part is check to the suite, and line 9 has it as optimal"}},
		{"an exception for nothing", func(s []Scored) []Scored { return slices.Delete(s, 4, 5) },
			[]string{"the suite has 1 optimal cases, and 2 are expected: is it another version of it?", "the suite has no case part (line 9)"}},
		{"a check differs", func(s []Scored) []Scored { s[5].Outcome = Pass; return s }, nil},
	} {
		if got := e.Faults(c.plant(slices.Clone(good))); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
