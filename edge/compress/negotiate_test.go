package compress_test

import (
	"slices"
	"strings"
	"testing"

	"hither/cache"
	"hither/edge/compress"
)

func TestNegotiate(t *testing.T) {
	all := []cache.Coding{cache.Brotli, cache.Zstd, cache.Gzip}
	for _, c := range []struct {
		rule    string
		lines   []string
		offered []cache.Coding
		want    cache.Coding
		bare    bool
	}{
		{"RFC 9110 12.5.3: without the field anything will do", nil, all, cache.Identity, true},
		{"an empty one wants no coding", []string{""}, all, cache.Identity, true},
		{"the most wanted", []string{"gzip;q=0.5, br;q=0.4, zstd;q=0.6"}, all, cache.Zstd, true},
		{"equals: the site's first", []string{"gzip, br, zstd"}, all, cache.Brotli, true},
		{"in its own order", []string{"gzip, br, zstd"}, []cache.Coding{cache.Gzip, cache.Brotli}, cache.Gzip, true},
		{"what browsers say", []string{"gzip, deflate, br, zstd"}, all, cache.Brotli, true},
		{"lines are one list", []string{"deflate", "gzip"}, all, cache.Gzip, true},
		{"in any case", []string{"GZip;Q=1"}, all, cache.Gzip, true},
		{"8.4.1.3: x-gzip is gzip", []string{"x-gzip"}, all, cache.Gzip, true},
		{"none that is offered", []string{"gzip, br"}, []cache.Coding{cache.Zstd}, cache.Identity, true},
		{"nothing is offered", []string{"gzip"}, nil, cache.Identity, true},
		{"q=0 refuses", []string{"br;q=0, gzip"}, all, cache.Gzip, true},
		{"and all", []string{"br;q=0.000, gzip;q=0"}, all, cache.Identity, true},
		{"the star stands for the others", []string{"*"}, all, cache.Brotli, true},
		{"and for no named one", []string{"*, br;q=0"}, all, cache.Zstd, true},
		{"with its weight", []string{"gzip;q=0.2, *;q=0.1"}, all, cache.Gzip, true},
		{"of zero", []string{"gzip, *;q=0"}, all, cache.Gzip, false},
		{"also when identity is named", []string{"gzip, identity;q=0.1, *;q=0"}, all, cache.Gzip, true},
		{"identity wanted more", []string{"gzip;q=0.5, identity"}, all, cache.Identity, true},
		{"identity wanted as much", []string{"gzip;q=0.5, identity;q=0.5"}, all, cache.Gzip, true},
		{"identity unnamed is the last", []string{"gzip;q=0.001"}, all, cache.Gzip, true},
		{"identity refused", []string{"identity;q=0, gzip"}, all, cache.Gzip, false},
		{"and nothing else", []string{"identity;q=0"}, all, cache.Identity, false},
		{"named twice: the lower counts", []string{"br, gzip, br;q=0"}, all, cache.Gzip, true},
		{"empty members are none", []string{", ,gzip,,"}, all, cache.Gzip, true},
		{"malformed: as if not said", []string{"gzip;q=2"}, all, cache.Identity, true},
		{"another parameter", []string{"gzip;level=9"}, all, cache.Identity, true},
		{"one malformed member spoils the list", []string{"br, g(zip"}, all, cache.Identity, true},
		{"too many", []string{strings.Repeat("x,", 40) + "gzip"}, all, cache.Identity, true},
		{"unknown ones do no harm", []string{"sdch, gzip, dcb"}, all, cache.Gzip, true},
	} {
		if got, bare := compress.Negotiate(c.lines, c.offered); got != c.want || bare != c.bare {
			t.Errorf("%s: %q is %v, %v, want %v, %v", c.rule, c.lines, got, bare, c.want, c.bare)
		}
	}
}

// What a client gets does not depend on how it writes the list, is offered, and is not what it refuses.
func FuzzNegotiate(f *testing.F) {
	for _, s := range []string{"", "gzip", "gzip, deflate, br, zstd", "*;q=0, identity;q=0.5", "br;q=0.001,\tx-gzip ; q=1.000", "gzip;q", ",,", "identity;q=0", "gzip;q=0.1234"} {
		f.Add(s, uint8(0))
		f.Add(s, uint8(5))
	}
	f.Fuzz(func(t *testing.T, line string, order uint8) {
		offered := slices.Clone(cache.Codings())
		i, j := int(order%3), int(order/3%3)
		offered[i], offered[j] = offered[j], offered[i]
		offered = offered[:3-order%2]
		got, bare := compress.Negotiate([]string{line}, offered)
		if got != cache.Identity && !slices.Contains(offered, got) {
			t.Fatalf("%q: %v is not offered", line, got)
		}
		members := strings.Split(line, ",")
		slices.Reverse(members)
		for _, same := range [][]string{members, {strings.Join(members, " , ")}} {
			if again, b := compress.Negotiate(same, offered); again != got || b != bare {
				t.Errorf("%q is %v, %v, and %q %v, %v", line, got, bare, same, again, b)
			}
		}
		for _, c := range offered {
			if refused, _ := compress.Negotiate([]string{line, c.String() + ";q=0"}, offered); refused == c {
				t.Errorf("%q: %v in spite of q=0", line, c)
			}
		}
		if _, b := compress.Negotiate([]string{line, "identity;q=0"}, offered); b && bare && cache.EachPreference([]string{line, "identity"}, func(string, int) {}) {
			t.Errorf("%q: bare in spite of q=0", line)
		}
	})
}

// Requests that are one variant to the cache get one coding.
func TestNegotiateByVariant(t *testing.T) {
	for _, pair := range [][2]string{{"gzip, br", "BR,GZIP"}, {"br;q=0.50, gzip", "gzip;q=1.0,br;q=0.5"}, {"*;q=0.1", "*;q=0.100"}} {
		a, _ := compress.Negotiate(pair[:1], cache.Codings())
		b, _ := compress.Negotiate(pair[1:], cache.Codings())
		if a != b {
			t.Errorf("%q: %v and %v", pair, a, b)
		}
	}
}
