package cache

import (
	"maps"
	"net/http"
	"slices"
	"testing"
)

func TestFields(t *testing.T) {
	h := http.Header{"A": {"1"}, "B": {"2", "", "3:4"}, "C": nil, "D": {""}}
	f := NewFields(h)
	if f.Get("B") != "2" || f.Get("C") != "" || f.Get("X") != "" || !slices.Equal(f.Values("B"), h["B"]) || f.Values("C") != nil {
		t.Errorf("B %q, C %q", f.Values("B"), f.Values("C"))
	}
	got := f.Header()
	// The values of one name must not grow into those of the next.
	got["B"] = append(got["B"], "more")
	if got.Get("D") != "" || len(got) != 3 {
		t.Errorf("got %v", got)
	}
	if n := testing.AllocsPerRun(100, func() { f.CopyTo(got) }); n != 1 {
		t.Errorf("CopyTo takes %v allocations, want 1", n)
	}
	var zero Fields
	if zero.Len() != 0 || len(zero.Header()) != 0 {
		t.Error("the zero Fields is not empty")
	}
}

func FuzzFields(f *testing.F) {
	f.Add("Content-Type", "text/html", "Set-Cookie", "a=b; c", "")
	f.Add("a", "", "B", ":", "::")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2, v3 string) {
		// What net/http takes for a field section: tokens, and values without controls.
		h := make(http.Header)
		for _, line := range [][2]string{{n1, v1}, {n2, v2}, {n2, v3}} {
			if !isToken(line[0]) || hasControl(line[1]) {
				t.Skip()
			}
			h.Add(line[0], line[1])
		}
		fields := NewFields(h)
		if got := fields.Header(); !maps.EqualFunc(got, h, slices.Equal[[]string]) {
			t.Errorf("%q becomes %q", h, got)
		}
		for name, values := range h {
			if fields.Get(name) != values[0] || !slices.Equal(fields.Values(name), values) {
				t.Errorf("%s: %q, want %q", name, fields.Values(name), values)
			}
		}
		if again := NewFields(fields.Header()); again != fields {
			t.Error("written twice it differs")
		}
	})
}

func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return s != ""
}

func hasControl(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}
