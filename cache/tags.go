package cache

import (
	"encoding/binary"
	"hash/maphash"
	"net/http"
	"slices"
	"strings"
)

// The fields by which an origin tags a response, so that it can be purged with all others that have the tag: Surrogate-Key
// is separated by blanks and compared as it is, Cache-Tag by commas and without regard to case, as those who brought them
// up do it. A tag is the same in either field.
const (
	surrogateKey = "Surrogate-Key"
	cacheTag     = "Cache-Tag"
)

// What a response may say by its tags. What says more is not stored, for it could not be purged by all that it has.
const (
	MostTag      = 1 << 10  // bytes of one tag
	mostTags     = 1 << 10  // tags of one response
	mostTagBytes = 16 << 10 // bytes of all tags of one response
)

// tagHash is the part of a tag by which objects that have it are found fast: 4 bytes for each tag of each object. What
// has it is then compared by the tags themselves, which are among the stored fields.
func tagHash(tag string) uint32 { return uint32(maphash.String(seed, lower(tag))) }

// lower is strings.ToLower for ASCII alone: other bytes stay as they are.
func lower(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// eachTag yields the tags that a field line has; other fields have none.
func eachTag(name, line string, yield func(tag string) bool) bool {
	switch name {
	case surrogateKey:
		for tag := range strings.FieldsFuncSeq(line, blank) {
			if !yield(tag) {
				return false
			}
		}
	case cacheTag:
		for tag := range strings.SplitSeq(line, ",") {
			if tag = trim(tag); tag != "" && !yield(tag) {
				return false
			}
		}
	}
	return true
}

func blank(c rune) bool { return c == ' ' || c == '\t' }

// tagsOf are the hashes of all tags of a response, each once, one after the other in a string. ok is false where there are
// more than the limits let in.
func tagsOf(h http.Header) (tags string, ok bool) {
	var list []uint32
	bytes, fits := 0, true
	for _, name := range [...]string{surrogateKey, cacheTag} {
		for _, line := range h[name] {
			eachTag(name, line, func(tag string) bool {
				bytes += len(tag)
				fits = len(tag) <= MostTag && bytes <= mostTagBytes && len(list) < mostTags
				if fits {
					list = append(list, tagHash(tag))
				}
				return fits
			})
			if !fits {
				return "", false
			}
		}
	}
	if len(list) == 0 {
		return "", true
	}
	slices.Sort(list)
	list = slices.Compact(list)
	b := make([]byte, 0, 4*len(list))
	for _, hash := range list {
		b = binary.LittleEndian.AppendUint32(b, hash)
	}
	return string(b), true
}

// tagged reports whether the object has the tag, whose hash is given.
func (o *Object) tagged(tag string, hash uint32) bool {
	for tags := o.tags; tags != ""; tags = tags[4:] {
		if uint32(tags[0])|uint32(tags[1])<<8|uint32(tags[2])<<16|uint32(tags[3])<<24 == hash {
			return o.hasTag(tag)
		}
	}
	return false
}

// hasTag compares the tag with those among the stored fields.
func (o *Object) hasTag(tag string) bool {
	for name, line := range o.Fields.All() {
		without := eachTag(name, line, func(t string) bool {
			return t != tag && !(name == cacheTag && lower(t) == lower(tag))
		})
		if !without {
			return true
		}
	}
	return false
}

// Tags are the tags of the object, as it came with them.
func (o *Object) Tags() []string {
	var list []string
	if o.tags == "" {
		return nil
	}
	for name, line := range o.Fields.All() {
		eachTag(name, line, func(tag string) bool { list = append(list, tag); return true })
	}
	return list
}

// tagsFit reports whether the tags of a response are within the limits.
func tagsFit(h http.Header) bool {
	_, ok := tagsOf(h)
	return ok
}
