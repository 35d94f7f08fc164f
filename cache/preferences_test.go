package cache

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAppendPreferences(t *testing.T) {
	for _, test := range []struct {
		rule, line, want string // "": not to be understood
	}{
		{"weights come first, then names", "b;q=0.1, c, a", "a,c,b;100"},
		{"1 is not written", "a;q=1.000", "a"},
		{"0 is", "*;q=0", "*;000"},
		{"one weight for each", "a;q=0.25, a;q=0.2", "a;250,a;200"},
		{"more than three decimals", "a;q=0.1234", ""},
		{"more than 1", "a;q=1.001", ""},
		{"no number", "a;q=x", ""},
		{"no weight", "a;q", ""},
		{"another parameter", "a;x=1", ""},
		{"no name", ";q=1", ""},
		{"no token", "a b", ""},
		{"too many", strings.Repeat("a,", mostPreferences+1), ""},
	} {
		got, ok := appendPreferences(nil, []string{test.line})
		if string(got) != test.want || ok != (test.want != "") {
			t.Errorf("%s: %q is %q, %v", test.rule, test.line, got, ok)
		}
	}
}

// The canonical form does not depend on the order of members or lines, and is its own.
func TestPreferencesProperty(t *testing.T) {
	member := rapid.StringMatching(`[a-cA-C]{1,2}(-[a-c])?( ?; ?q=(0(\.[0-9]{0,3})?|1(\.0{0,3})?))?`)
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.SliceOfN(member, 0, 6).Draw(t, "members")
		shuffled := slices.Clone(members)
		for i := range shuffled {
			j := rapid.IntRange(i, len(shuffled)-1).Draw(t, "swap")
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		}
		one, ok := appendPreferences(nil, []string{strings.Join(members, ", ")})
		two, ok2 := appendPreferences(nil, shuffled)
		if !ok || !ok2 || string(one) != string(two) {
			t.Errorf("%q is %q, %v, and %q is %q, %v", members, one, ok, shuffled, two, ok2)
		}
	})
}
