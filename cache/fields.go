package cache

import (
	"iter"
	"net/http"
	"slices"
	"strings"
)

// Fields is a field section in one immutable string, as compact as it can be kept:
// a map of slices would cost an object several times its fields' own bytes. Lines of
// one name stand together. The zero Fields is empty.
type Fields struct {
	raw string // "Name:value\n" per line, names canonical; neither holds "\n"
}

// NewFields copies h. Names are expected in canonical form, as net/http makes them.
func NewFields(h http.Header) Fields {
	names := make([]string, 0, len(h))
	size := 0
	for name, values := range h {
		names = append(names, name)
		for _, v := range values {
			size += len(name) + len(v) + 2
		}
	}
	slices.Sort(names)
	var b strings.Builder
	b.Grow(size)
	for _, name := range names {
		for _, v := range h[name] {
			b.WriteString(name)
			b.WriteByte(':')
			b.WriteString(v)
			b.WriteByte('\n')
		}
	}
	return Fields{b.String()}
}

// Len is the number of bytes the fields occupy.
func (f Fields) Len() int { return len(f.raw) }

// All yields the lines in order.
func (f Fields) All() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for rest := f.raw; rest != ""; {
			line, tail, _ := strings.Cut(rest, "\n")
			name, value, _ := strings.Cut(line, ":")
			if !yield(name, value) {
				return
			}
			rest = tail
		}
	}
}

// Get returns the first value of the canonical name, or "".
func (f Fields) Get(name string) string {
	for n, v := range f.All() {
		if n == name {
			return v
		}
	}
	return ""
}

// Values returns all values of the canonical name.
func (f Fields) Values(name string) []string {
	var values []string
	for n, v := range f.All() {
		if n == name {
			values = append(values, v)
		}
	}
	return values
}

// CopyTo sets h's entries to the fields. It makes one allocation for all values; the
// strings are views of f.
func (f Fields) CopyTo(h http.Header) {
	values := make([]string, 0, strings.Count(f.raw, "\n"))
	last, first := "", 0
	for name, value := range f.All() {
		if name != last {
			last, first = name, len(values)
		}
		values = append(values, value)
		h[name] = values[first:len(values):len(values)]
	}
}

// Header returns the fields as a new map.
func (f Fields) Header() http.Header {
	h := make(http.Header, 16)
	f.CopyTo(h)
	return h
}
