package cache

import (
	"cmp"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// mostRanges bounds the ranges of one request that are answered one by one. A request with more is answered with the whole,
// and so is one whose ranges overlap: RFC 9110 section 14.2 allows that, since such sets cost more than they could be of use.
const mostRanges = 16

// A Multi is the content of a response that has several ranges: multipart/byteranges (RFC 9110 section 14.6).
type Multi struct {
	Boundary string
	Parts    []Part
	End      string // what comes behind the last part
}

// A Part is one range of a Multi.
type Part struct {
	Head           string // what comes before its bytes
	Offset, Length int64
	Range          string // its Content-Range
}

// rangeMembers are the members of a range-set. ok is false where the field is to be ignored: another unit, no member, too many.
func rangeMembers(line string) (list []string, ok bool) {
	unit, set, found := strings.Cut(line, "=")
	if !found || !strings.EqualFold(unit, "bytes") {
		return nil, false
	}
	for member := range strings.SplitSeq(set, ",") {
		if member = trim(member); member == "" {
			continue // RFC 9110 section 5.6.1.2
		}
		if list = append(list, member); len(list) > mostRanges {
			return nil, false
		}
	}
	return list, len(list) > 0
}

// several selects several ranges of a body of size bytes; whole is the answer where the field is to be ignored.
func (o *Object) several(line string, size int64, whole Selection) Selection {
	list, ok := rangeMembers(line)
	if !ok || size == 0 {
		return whole
	}
	var parts []Part
	for _, member := range list {
		from, to, ok := parseRange("bytes="+member, size)
		if !ok {
			return whole
		}
		if from < size && from <= to { // else it is not satisfiable, which the others may be
			parts = append(parts, Part{Offset: from, Length: to - from + 1, Range: span{from, to, size}.String()})
		}
	}
	switch {
	case len(parts) == 0:
		return Selection{Status: http.StatusRequestedRangeNotSatisfiable, Range: "bytes */" + strconv.FormatInt(size, 10)}
	case len(parts) == 1: // not as multipart, section 15.3.7.2
		return Selection{Status: http.StatusPartialContent, Offset: parts[0].Offset, Length: parts[0].Length, Range: parts[0].Range}
	case overlap(parts):
		return whole
	}
	m := &Multi{Boundary: boundary(), Parts: parts}
	m.End = "\r\n--" + m.Boundary + "--\r\n"
	length := int64(len(m.End))
	of := o.Fields.Get("Content-Type")
	for i := range parts {
		p := &parts[i]
		p.Head = "--" + m.Boundary + "\r\n"
		if i > 0 {
			p.Head = "\r\n" + p.Head
		}
		if of != "" {
			p.Head += "Content-Type: " + of + "\r\n"
		}
		p.Head += "Content-Range: " + p.Range + "\r\n\r\n"
		length += int64(len(p.Head)) + p.Length
	}
	if length >= size {
		return whole
	}
	return Selection{Status: http.StatusPartialContent, Length: length, Multi: m}
}

// A span is what a Content-Range says (RFC 9110 section 14.4): bytes first to last of length. The zero span is none.
type span struct{ first, last, length int64 }

func (s span) size() int64 { return s.last - s.first + 1 }

func (s span) String() string {
	return "bytes " + strconv.FormatInt(s.first, 10) + "-" + strconv.FormatInt(s.last, 10) + "/" + strconv.FormatInt(s.length, 10)
}

// spanOf reads a Content-Range. ok is false where it is missing, malformed, of another unit, or leaves the whole's length open.
func spanOf(lines []string) (s span, ok bool) {
	if len(lines) != 1 {
		return span{}, false
	}
	unit, rest, _ := strings.Cut(trim(lines[0]), " ")
	of, length, _ := strings.Cut(trim(rest), "/")
	first, last, _ := strings.Cut(of, "-")
	var fine [3]bool
	s.first, fine[0] = parsePosition(first)
	s.last, fine[1] = parsePosition(last)
	s.length, fine[2] = parsePosition(length)
	if !strings.EqualFold(unit, "bytes") || fine != [3]bool{true, true, true} || s.first > s.last || s.last >= s.length {
		return span{}, false
	}
	return s, true
}

// overlap reports whether two parts have a byte in common.
func overlap(parts []Part) bool {
	sorted := slices.SortedFunc(slices.Values(parts), func(a, b Part) int { return cmp.Compare(a.Offset, b.Offset) })
	for i := 1; i < len(sorted); i++ {
		if sorted[i].Offset < sorted[i-1].Offset+sorted[i-1].Length {
			return true
		}
	}
	return false
}

// boundary is one that no content has, since nobody can know it before.
func boundary() string {
	return strconv.FormatUint(rand.Uint64()|1<<63, 36) + strconv.FormatUint(rand.Uint64()|1<<63, 36)
}

// First is the offset of the first byte of the body that the selection sends.
func (s Selection) First() int64 {
	if s.Multi != nil {
		return s.Multi.Parts[0].Offset
	}
	return s.Offset
}
