package cache

import (
	"hash/maphash"
	"strings"
)

// A Key names one stored response (RFC 9111 section 2, "cache key"). Host aliases
// and ports are not part of it: a site's name stands for all of its hosts, so that
// purging or fetching by any of them means the same object.
//
// The zero Key names nothing and is never stored.
type Key struct {
	Site   string // the site's name in the network file; never reused for another customer
	Class  Class  // GET and HEAD share one class
	Scheme string // "https" or "http"; "" where the site merges the two
	Path   string // path, "?" and query, normalised by [NormalizeTarget]; behind a newline, what else makes the target's responses their own
	Vary   string // "" for the primary key; else the request fields that chose this variant
}

// A Class groups the methods whose answers may serve one another.
type Class byte

// ClassGet is the class of GET and HEAD, the only one that is stored.
const ClassGet Class = 'G'

// seed makes hashes of one process unlike those of another, so that nobody can
// prepare a list of paths that all fall into one bucket.
var seed = maphash.MakeSeed()

// Hash returns 64 bits by which tables find a key. Two keys may share them: whoever
// uses Hash compares the whole key afterwards. It allocates nothing and is safe for
// concurrent use. The value means nothing to another process.
func (k Key) Hash() uint64 { return maphash.Comparable(seed, k) }

// Target returns the path and query of k.
func (k Key) Target() string {
	target, _, _ := strings.Cut(k.Path, "\n")
	return target
}

// Primary returns the key without its variant.
func (k Key) Primary() Key {
	k.Vary = ""
	return k
}

// Len is the number of bytes the key's strings occupy.
func (k Key) Len() int { return len(k.Site) + len(k.Scheme) + len(k.Path) + len(k.Vary) }
