package cache

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A body that is large is not stored as one object, but in slices: pieces of equal size, aligned to it, each an object of its
// own, all of one version of the response, which its strong entity-tag names. What is not stored of them is asked of the
// origin by range. At the response's key lies a Manifest: the fields of the whole, and its Layout. The layout's epoch is part
// of the slices' keys, so that when the manifest goes, by a purge or because there is another version, its slices answer
// nobody any more.

// A Layout is how a sliced body lies. The zero Layout is none.
type Layout struct {
	Length int64 // bytes of the whole body
	Slice  int64 // bytes of each slice; the last may be shorter
	epoch  uint64
}

// leastSlice is the smallest slice that a size is halved to, where the store has little room: of smaller ones a large body
// would be thousands of requests to the origin.
const leastSlice = 64 << 10

// wholeSlices is how many slices a body has at least that is not stored whole although it could be.
const wholeSlices = 4

// SliceSize is the size of the slices that a site's large responses are stored in, in bytes; 0 = they are not. It is that of
// the policy, halved until slices are small beside what the store takes and beside what all fills may hold. Where objects outlive the
// process, it is small enough for slices to, and for all bodies that are no larger than wholeSlices of them.
func (c *Cache) SliceSize(p Policy) int64 {
	size, most := p.Slice, min(c.store.MaxObject()/32, c.filling/8)
	if k, ok := c.store.(Keeper); ok {
		most = min(most, k.MaxKept()/wholeSlices)
	}
	for size > most && size/2 >= leastSlice {
		size /= 2
	}
	if size <= 0 || size > most {
		return 0
	}
	return size
}

// newLayout is the layout of a body under a new epoch: one that no other manifest has, also not one from before a restart.
func newLayout(length, slice int64) Layout { return Layout{length, slice, rand.Uint64()} }

// body is what a manifest has as its Body, so that a store need not know of it.
func (l Layout) body() Body {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 24), l.epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(l.Length))
	return NewBody(binary.BigEndian.AppendUint64(b, uint64(l.Slice)))
}

// Layout is that of a Manifest; the zero Layout of anything else.
func (o *Object) Layout() Layout {
	var b [24]byte
	n := 0
	if o.Kind != Manifest || o.Body.Len() != int64(len(b)) {
		return Layout{}
	}
	if o.Body.Range(0, int64(len(b)), func(p []byte) bool { n += copy(b[n:], p); return true }) != nil || n < len(b) {
		return Layout{}
	}
	l := Layout{int64(binary.BigEndian.Uint64(b[8:])), int64(binary.BigEndian.Uint64(b[16:])), binary.BigEndian.Uint64(b[:])}
	if l.Length <= 0 || l.Slice <= 0 {
		return Layout{}
	}
	return l
}

// Length is the number of bytes of the response's body, which in a Manifest is elsewhere.
func (o *Object) Length() int64 {
	if o.Kind == Manifest {
		return o.Layout().Length
	}
	return o.Body.Len()
}

// answers reports whether the object is a response, stored whole or in slices.
func (o *Object) answers() bool { return o.Kind == Response || o.Kind == Manifest }

// Count is the number of slices.
func (l Layout) Count() int64 { return (l.Length-1)/l.Slice + 1 }

// span is the bytes of slice i.
func (l Layout) span(i int64) span {
	first := i * l.Slice
	return span{first, first + min(l.Slice, l.Length-first) - 1, l.Length}
}

// all reports whether it is the whole.
func (s span) all() bool { return s.first == 0 && s.size() == s.length }

// strongTag is the entity-tag of a version whose parts may be put together (RFC 9110 section 8.8.3); "" where there is none.
func strongTag(lines []string) string {
	if len(lines) != 1 || len(lines[0]) < 2 || lines[0][0] != '"' || strings.IndexByte(lines[0][1:], '"') != len(lines[0])-2 {
		return ""
	}
	return lines[0]
}

// A part is a slice of a sliced response.
type part struct {
	manifest *Object
	layout   Layout
	index    int64
}

// key is where the slice lies. No part of a variant's key begins with "#".
func (p *part) key() Key {
	k := p.manifest.Key
	k.Vary += "\n#" + strconv.FormatUint(p.layout.epoch, 36) + "." + strconv.FormatInt(p.index, 36)
	return k
}

// fields are those of the slice's object. They say of what it is a slice: no other object may pass for it, whatever became of keys.
func (p *part) fields() Fields {
	return Fields{"Content-Range:" + p.layout.span(p.index).String() + "\nEtag:" + p.manifest.Fields.Get("Etag") + "\n"}
}

// in is the stored slice, or nil.
func (p *part) in(stored getter) *Object {
	o := stored.Get(p.key())
	if o == nil || o.Kind != Slice || o.Body.Len() != p.layout.span(p.index).size() || o.Fields != p.fields() {
		return nil
	}
	return o
}

// lives reports whether what is stored still has the slice's epoch: else nobody would ask for the slice any more.
func (c *Cache) lives(p *part) bool {
	m := (peeking{c}).Get(p.manifest.Key)
	return m != nil && m.Layout() == p.layout
}

// How long it is remembered that an origin gives no slices of something.
const (
	unslicedLifetime = time.Minute      // it answered a range in a way of which no slice can be made
	liarLifetime     = 10 * time.Minute // it gave slices, and then did not
)

// unslicedKey is where a mark lies that an origin gives no slices of what is at k.
func unslicedKey(k Key) Key {
	k.Vary += "\n#"
	return k
}

// unslicedMark is that mark.
func unslicedMark(k Key, received time.Time, lifetime time.Duration) *Object {
	return &Object{Key: unslicedKey(k), Kind: Pass, Received: received, Lifetime: lifetime}
}

// Unsliced reports whether the origin was found a moment ago to give no slices of what is at k.
func (c *Cache) Unsliced(k Key, now time.Time) bool {
	o := (peeking{c}).Get(unslicedKey(k))
	return o != nil && o.Kind == Pass && o.currentAge(now) < o.Lifetime
}

// acceptsRanges reports whether a response says that ranges may be asked of it (RFC 9110 section 14.3).
func acceptsRanges(h http.Header) bool {
	for _, line := range h["Accept-Ranges"] {
		for unit := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(trim(unit), "bytes") {
				return true
			}
		}
	}
	return false
}

// RangeFrom is where the first range of a request begins, by which its slice can be asked for before the length is known; 0
// where only the end of it is named. ok is false where the request has no range that could be honoured.
func RangeFrom(lines []string) (from int64, ok bool) {
	if len(lines) != 1 {
		return 0, false
	}
	list, ok := rangeMembers(lines[0])
	if !ok {
		return 0, false
	}
	for i, member := range list {
		first, _, ok := parseRange("bytes="+member, math.MaxInt64)
		switch {
		case !ok:
			return 0, false
		case i == 0 && member[0] != '-':
			from = first
		}
	}
	return from, from < 1<<60 // beyond which nothing can lie, and slices cannot be counted
}
