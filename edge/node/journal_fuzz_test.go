package node

import (
	"strings"
	"testing"
)

// FuzzPosition reads anything as the position that a PoP says it has in the journal: it has a name and a number, which make the same position again,
// or it is an error.
func FuzzPosition(f *testing.F) {
	for _, s := range []string{"", "/", "a/", "/7", "a/7", "a/-1", "a/18446744073709551616", "a/b/7", strings.Repeat("a", 65) + "/7", "\x00/7", "a/7/", "a/+7", "a/" + strings.Repeat("x", 2000)} {
		f.Add(s, 1)
	}
	f.Add("a/7", 0)
	f.Add("a/7", 2)
	f.Fuzz(func(t *testing.T, line string, lines int) {
		var all []string
		for range min(max(lines, 0), 3) {
			all = append(all, line)
		}
		p, err := readPosition(all)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("it says %.2000q", err)
			}
			return
		}
		if again, err := readPosition([]string{writePosition(p)}); err != nil || again != p || p.Journal == "" || len(p.Journal) > 64 || len(all) != 1 {
			t.Errorf("%q is %+v, and that %+v, %v", all, p, again, err)
		}
	})
}
