package cache

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Selection is the part of a stored response that answers one request: all of it,
// nothing of it (304), or a range.
type Selection struct {
	Status int   // 304, 206, 416, or the stored status
	Offset int64 // of the first byte to send
	Length int64 // bytes to send; -1 = to an end not known yet
	Range  string
	Multi  *Multi // several ranges, of which Length is all that is sent; nil where it is none or one
}

// Select evaluates the request's conditions and range against an object whose body is
// size bytes long, -1 when that is not known yet (RFC 9110 section 13.2.2, RFC 9111
// section 4.3.2). If-Match and If-Unmodified-Since are not a cache's to evaluate.
// Of several ranges that which a server need not send one by one is answered with the whole: see Multi.
func (o *Object) Select(method string, request FieldReader, size int64) Selection {
	whole := Selection{Status: o.Status, Length: size}
	if o.Status != http.StatusOK {
		return whole
	}
	if o.notModified(request) {
		return Selection{Status: http.StatusNotModified}
	}
	if method != http.MethodGet || size < 0 {
		return whole
	}
	ranges := request.Values("Range")
	if len(ranges) != 1 || !o.ifRange(request) {
		return whole
	}
	from, to, ok := parseRange(ranges[0], size)
	switch {
	case !ok:
		return o.several(ranges[0], size, whole)
	case from >= size || from > to:
		return Selection{Status: http.StatusRequestedRangeNotSatisfiable, Range: "bytes */" + strconv.FormatInt(size, 10)}
	}
	return Selection{
		Status: http.StatusPartialContent, Offset: from, Length: to - from + 1,
		Range: "bytes " + strconv.FormatInt(from, 10) + "-" + strconv.FormatInt(to, 10) + "/" + strconv.FormatInt(size, 10),
	}
}

// notModified reports whether the client holds what is stored: If-None-Match by weak
// comparison, else If-Modified-Since (RFC 9110 sections 13.1.2 and 13.1.3).
func (o *Object) notModified(request FieldReader) bool {
	if lines := request.Values("If-None-Match"); len(lines) > 0 {
		mine := o.Fields.Get("Etag")
		for _, line := range lines {
			if trim(line) == "*" {
				return true
			}
			for tag := range entityTags(line) {
				if mine != "" && weakMatch(tag, mine) {
					return true
				}
			}
		}
		return false
	}
	lines := request.Values("If-Modified-Since")
	if len(lines) != 1 {
		return false
	}
	since, ok := parseDate(lines[0], o.Received)
	if !ok {
		return false
	}
	// Without Last-Modified the Date, else the time of receipt (RFC 9111 section 4.3.2).
	modified := o.Received.Truncate(time.Second)
	for _, name := range [...]string{"Last-Modified", "Date"} {
		if t, ok := parseDate(o.Fields.Get(name), o.Received); ok {
			modified = t
			break
		}
	}
	return !modified.After(since)
}

// ifRange reports whether a Range may be honoured (RFC 9110 section 13.1.5): by strong
// comparison of the tag, or an exact match of a date that is a strong validator.
func (o *Object) ifRange(request FieldReader) bool {
	lines := request.Values("If-Range")
	switch {
	case len(lines) == 0:
		return true
	case len(lines) > 1:
		return false
	}
	want := trim(lines[0])
	if strings.HasPrefix(want, `"`) {
		return want == o.Fields.Get("Etag")
	}
	modified := o.Fields.Get("Last-Modified")
	at, ok := parseDate(modified, o.Received)
	if !ok || modified != want {
		return false
	}
	date, ok := parseDate(o.Fields.Get("Date"), o.Received)
	return ok && date.Sub(at) >= time.Second // RFC 9110 section 8.8.2.2
}

// entityTags yields the entity-tags of an If-None-Match line; it stops where the line
// is malformed.
func entityTags(line string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for {
			line = strings.TrimLeft(line, " \t,")
			open := strings.IndexByte(line, '"')
			if open != 0 && !(open == 2 && strings.HasPrefix(line, "W/")) {
				return
			}
			end := strings.IndexByte(line[open+1:], '"')
			if end < 0 {
				return
			}
			end += open + 2
			if !yield(line[:end]) {
				return
			}
			line = line[end:]
		}
	}
}

// weakMatch compares two entity-tags weakly (RFC 9110 section 8.8.3.2).
func weakMatch(a, b string) bool {
	return strings.TrimPrefix(a, "W/") == strings.TrimPrefix(b, "W/")
}

// parseRange reads a bytes range-set with one member (RFC 9110 section 14.1.2). ok is
// false where the field is to be ignored: another unit, several members, bad syntax.
func parseRange(v string, size int64) (from, to int64, ok bool) {
	unit, spec, found := strings.Cut(v, "=")
	if !found || !strings.EqualFold(unit, "bytes") || strings.Contains(spec, ",") {
		return 0, 0, false
	}
	first, last, found := strings.Cut(trim(spec), "-")
	if !found {
		return 0, 0, false
	}
	if first == "" {
		n, ok := parsePosition(last)
		if !ok || size == 0 && n > 0 { // satisfied by nothing at all, which no 206 can say
			return 0, 0, false
		}
		return max(0, size-n), size - 1, true
	}
	from, ok = parsePosition(first)
	if !ok {
		return 0, 0, false
	}
	if last == "" {
		return from, size - 1, true
	}
	to, ok = parsePosition(last)
	if !ok || to < from {
		return 0, 0, false
	}
	return from, min(to, size-1), true
}

// parsePosition reads 1*DIGIT; what is too large becomes the largest there is.
func parsePosition(s string) (n int64, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		if n > (math.MaxInt64-9)/10 {
			n = (math.MaxInt64 - 9) / 10
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, s != ""
}

// Validators returns the conditional fields that ask the origin whether o still holds
// (RFC 9111 section 4.3.1), or nil where o has no validator.
func (o *Object) Validators() http.Header {
	h := make(http.Header, 2)
	if tag := o.Fields.Get("Etag"); tag != "" {
		h.Set("If-None-Match", tag)
	}
	if modified := o.Fields.Get("Last-Modified"); modified != "" {
		h.Set("If-Modified-Since", modified)
	}
	if len(h) == 0 {
		return nil
	}
	return h
}
