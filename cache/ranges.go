package cache

import (
	"cmp"
	"math"
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

// spans yields the parts of the body that the selection sends, in order, until yield returns false.
func (s Selection) spans(yield func(offset, length int64) bool) {
	if s.Multi == nil {
		yield(s.Offset, s.Length)
		return
	}
	for _, p := range s.Multi.Parts {
		if !yield(p.Offset, p.Length) {
			return
		}
	}
}

// First is the offset of the first byte of the body that the selection sends.
func (s Selection) First() int64 {
	if s.Multi != nil {
		return s.Multi.Parts[0].Offset
	}
	return s.Offset
}
