package cache

import "testing"

func TestMostWanted(t *testing.T) {
	for _, test := range []struct{ rule, line, want string }{
		{"RFC 9110 12.4.2: the greatest weight", "fr;q=0.5, DE", "de"},
		{"no two", "en, de", ""},
		{"one twice is one", "de, DE;q=1.0, en;q=0.9", "de"},
		{"none that is not wanted", "de;q=0", ""},
		{"any is none", "*, de;q=0.5", ""},
		{"no list", "de;q=x", ""},
		{"nothing", "", ""},
	} {
		if got := mostWanted([]string{test.line}); got != test.want {
			t.Errorf("%s: %q is %q, want %q", test.rule, test.line, got, test.want)
		}
	}
}
