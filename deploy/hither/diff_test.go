package main

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestUnified(t *testing.T) {
	numbered := func(n int, change func(i int) string) []byte {
		var b strings.Builder
		for i := range n {
			b.WriteString(change(i))
		}
		return []byte(b.String())
	}
	plain := func(i int) string { return fmt.Sprintf("line %d\n", i) }
	for _, c := range []struct {
		name     string
		old, now []byte
		want     string
	}{
		{"none", []byte("a\n"), []byte("a\n"), ""},
		{"from nothing", nil, []byte("a\nb\n"), "--- old\n+++ new\n@@ -0,0 +1,2 @@\n+a\n+b\n"},
		{"to nothing", []byte("a\n"), nil, "--- old\n+++ new\n@@ -1,1 +0,0 @@\n-a\n"},
		{"one line", numbered(9, plain), numbered(9, func(i int) string {
			if i == 4 {
				return "another\n"
			}
			return plain(i)
		}), "--- old\n+++ new\n@@ -2,7 +2,7 @@\n line 1\n line 2\n line 3\n-line 4\n+another\n line 5\n line 6\n line 7\n"},
		{"two places", numbered(30, plain), numbered(30, func(i int) string {
			if i == 2 || i == 20 {
				return ""
			}
			return plain(i)
		}), "--- old\n+++ new\n@@ -1,6 +1,5 @@\n line 0\n line 1\n-line 2\n line 3\n line 4\n line 5\n" +
			"@@ -18,7 +17,6 @@\n line 17\n line 18\n line 19\n-line 20\n line 21\n line 22\n line 23\n"},
		{"no end of line", []byte("a\nb"), []byte("a\nb\n"), "--- old\n+++ new\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n"},
	} {
		if got := unified("old", "new", c.old, c.now); got != c.want {
			t.Errorf("%s:\n%s\nwanted:\n%s", c.name, got, c.want)
		}
	}
	other := func(i int) string { return fmt.Sprintf("other %d\n", i) }
	if got := unified("old", "new", numbered(3000, plain), numbered(3000, other)); strings.Count(got, "\n-line") != 3000 || strings.Count(got, "\n+other") != 3000 {
		t.Error("a file of which every line is another")
	}
}

// TestEditsProperty: what stays and goes is the old file, what stays and comes the new one; and no more changes than need be.
func TestEditsProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		file := rapid.SliceOfN(rapid.SampledFrom([]string{"a\n", "b\n", "c\n"}), 0, 12)
		a, b := file.Draw(t, "a"), file.Draw(t, "b")
		var old, now []string
		changes := 0
		for _, e := range edits(a, b) {
			if e.kind != '+' {
				old = append(old, e.lines...)
			}
			if e.kind != '-' {
				now = append(now, e.lines...)
			}
			if e.kind != ' ' {
				changes += len(e.lines)
			}
		}
		if strings.Join(old, "") != strings.Join(a, "") || strings.Join(now, "") != strings.Join(b, "") {
			t.Fatalf("%q and %q", old, now)
		}
		if least := len(a) + len(b) - 2*common(a, b); changes != least {
			t.Fatalf("%d changes; %d are enough", changes, least)
		}
	})
}

// common is the length of the longest common subsequence, by the textbook.
func common(a, b []string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
	}
	for i := range a {
		for j := range b {
			if a[i] == b[j] {
				rows[i+1][j+1] = rows[i][j] + 1
			} else {
				rows[i+1][j+1] = max(rows[i][j+1], rows[i+1][j])
			}
		}
	}
	return rows[len(a)][len(b)]
}
