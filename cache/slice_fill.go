package cache

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"time"
)

// This file holds how fills come to slices. A fill for a response becomes that of one slice, and plants the manifest: when a
// range that was asked for comes, or when the whole comes and is large. Of the whole, the first slice is taken from that very
// answer, which is then given up; the others are asked for when somebody wants them. To cut all of them from it would save the
// origin those requests, but tie the answer, for as long as it takes, to the one client that happened to come first.

// Errors of slices. Whoever has sent nothing yet looks again; who has sent something cannot go on.
var (
	// ErrVersion: the origin has another version of the response than the manifest's.
	ErrVersion = errors.New("cache: the origin has another version than the one sliced")
	// ErrSlice: the origin answered with something else than the slice it was asked for.
	ErrSlice = errors.New("cache: the origin gave another range than it was asked for")
	// ErrRefused: the origin did not give a slice to this very request, as to one without the right credentials. That is no word
	// about what is stored; the client is to hear it from the origin itself.
	ErrRefused = errors.New("cache: the origin refused a slice to this request")
)

// asks is the range that a fill asks for: the slice that holds byte From. The zero span asks for the whole.
func (f *Fill) asks() span {
	size := f.c.SliceSize(f.want.Policy)
	if !f.want.Ranged || size == 0 {
		return span{}
	}
	first := f.want.From / size * size
	return span{first, first + size - 1, -1}
}

// with adds the range to the conditional fields of a request.
func (s span) with(conditions http.Header) http.Header {
	if s == (span{}) {
		return conditions
	}
	h := maps.Clone(conditions)
	if h == nil {
		h = make(http.Header, 2)
	}
	h["Range"] = []string{"bytes=" + strconv.FormatInt(s.first, 10) + "-" + strconv.FormatInt(s.last, 10)}
	return h
}

// came tells what of a representation a response to the range asked is: the zero span where it is no part. ok is false where it
// is one that cannot be used, or says that there is none.
func (f *Fill) came(resp *http.Response) (s span, ok bool) {
	asked := f.asks()
	if asked == (span{}) || resp.StatusCode != http.StatusPartialContent && resp.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		return span{}, true
	}
	s, ok = partOf(resp)
	return s, ok && s.first == asked.first && s.last == min(asked.last, s.length-1)
}

// asWhole makes the field section of a part that of the whole, and returns the whole's status (RFC 9111 section 3.4). What is
// no part it leaves as it is.
func (s span) asWhole(resp *http.Response) (status int) {
	if s == (span{}) {
		return resp.StatusCode
	}
	resp.Header = maps.Clone(resp.Header)
	delete(resp.Header, "Content-Range")
	resp.ContentLength = s.size()
	return http.StatusOK
}

// asPart is asWhole taken back.
func (s span) asPart(resp *http.Response) { resp.Header["Content-Range"] = []string{s.String()} }

// Within makes of a part that an origin sent, as a Head has it, the one range that the request asks for, where it holds that:
// its fields, its length and its body. It returns false where it does not, and changes nothing.
func Within(resp *http.Response, request FieldReader) bool {
	lines := request.Values("Range")
	s, ok := partOf(resp)
	if !ok || len(lines) != 1 {
		return false
	}
	for _, name := range [...]string{"If-Range", "If-None-Match", "If-Modified-Since"} { // which the origin has not judged
		if len(request.Values(name)) > 0 {
			return false
		}
	}
	from, to, ok := parseRange(lines[0], s.length)
	if !ok || from < s.first || to > s.last || from > to {
		return false
	}
	resp.Header = maps.Clone(resp.Header)
	span{from, to, s.length}.asPart(resp)
	resp.ContentLength = to - from + 1
	resp.Body = &excerpt{ReadCloser: resp.Body, skip: from - s.first, left: to - from + 1}
	return true
}

// An excerpt is some of a body's bytes.
type excerpt struct {
	io.ReadCloser
	skip, left int64
}

func (e *excerpt) Read(p []byte) (int, error) {
	if e.skip > 0 {
		n, err := io.CopyN(io.Discard, e.ReadCloser, e.skip)
		if e.skip -= n; err != nil {
			return 0, unexpected(err)
		}
	}
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.ReadCloser.Read(p[:min(int64(len(p)), e.left)])
	if e.left -= int64(n); e.left > 0 {
		err = unexpected(err)
	}
	return n, err
}

// unexpected is the error of a body that ends before its end.
func unexpected(err error) error {
	if err == io.EOF {
		return ErrLength
	}
	return err
}

// markFor is for how long nobody asks for slices of what answered so.
func markFor(resp *http.Response, why Reason) time.Duration {
	switch {
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable: // the request was silly
		return 0
	case why != "":
		return passLifetime
	}
	return unslicedLifetime
}

// partOf is the one range that a 206 has, where it says all of it and agrees with itself.
func partOf(resp *http.Response) (s span, ok bool) {
	s, ok = spanOf(resp.Header["Content-Range"])
	if resp.StatusCode != http.StatusPartialContent || !ok || unframed(resp) || resp.ContentLength >= 0 && resp.ContentLength != s.size() {
		return span{}, false
	}
	return s, true
}

// divides reports whether a response is to lie in slices: it may be stored, has a strong validator, and is a part of a whole,
// or a whole that is large and of which parts can be asked for.
func (f *Fill) divides(o *Object, why Reason, resp *http.Response, s span) bool {
	size := f.c.SliceSize(f.want.Policy)
	if o == nil || why != "" || size == 0 || !f.want.Sent.IsZero() || o.Status != http.StatusOK || unframed(resp) || strongTag(o.Fields.Values("Etag")) == "" {
		return false
	}
	if s != (span{}) && !s.all() {
		return true
	}
	length := resp.ContentLength
	if s == (span{}) && (!acceptsRanges(resp.Header) || f.c.Unsliced(f.want.Look.Key, o.Received)) {
		return false
	}
	return length > wholeSlices*size || length > 0 && f.tooLarge(o, length)
}

// divide goes on as the fill of a slice: the one that came, or the first of a whole.
func (f *Fill) divide(ctx context.Context, o *Object, resp *http.Response, s span, received time.Time) {
	defer resp.Body.Close()
	size := f.c.SliceSize(f.want.Policy)
	body := io.Reader(resp.Body)
	if s == (span{}) {
		s = span{0, min(size, resp.ContentLength) - 1, resp.ContentLength}
		if !s.all() {
			body = io.LimitReader(body, s.size())
		}
	}
	p := f.plantManifest(o, s.length, size, s.first/size)
	f.mu.Lock()
	f.part, f.state, f.mine, f.upstream, f.wait = p, Sliced, p.manifest.own(resp.Header), resp.StatusCode, received.Sub(f.start)
	f.open(received)
	f.mu.Unlock()
	f.take(ctx, body)
}

// open makes the fill's object its slice. f.mu is held.
func (f *Fill) open(received time.Time) {
	p := f.part
	f.object = &Object{Key: p.key(), Kind: Slice, Status: http.StatusPartialContent, Fields: p.fields(), Request: f.start, Received: received}
	f.length = p.layout.span(p.index).size()
	f.broadcast()
}

// take is the end of a fill whose field section is known.
func (f *Fill) take(ctx context.Context, body io.Reader) {
	if err := f.copyBody(ctx, body); err != nil {
		f.fail(err)
		return
	}
	f.finish()
}

// plantManifest stores o as the manifest of a response and moves the flight to its slice, so that requests which look from
// now on find the manifest, and who wants that slice the flight. Where what is stored is of the same version, by its strong
// validator, the slices that are there stay.
func (f *Fill) plantManifest(o *Object, length, size, index int64) *part {
	c := f.c
	f.want.Look.Object = nil
	o.Kind = Manifest
	if len(o.Vary) > 0 {
		f.plantSignpost(o)
	} else {
		o.Key = o.Key.Primary()
	}
	f.meet(o)
	c.mu.Lock()
	defer c.mu.Unlock()
	l := newLayout(length, size)
	if old := c.get(o.Key); old != nil && old.Kind == Manifest && old.Fields.Get("Etag") == o.Fields.Get("Etag") {
		if was := old.Layout(); was.Length == length && was.Slice == size {
			l = was
		}
	}
	o.Body = l.body()
	if !f.gone && !c.newer(o) {
		o.sequence = f.sequence
		c.enter(o)
		if lead := languageOf(o, f.signpost, f.want.Request); lead != nil {
			lead.sequence = f.sequence
			c.enter(lead)
		}
	}
	p := &part{o, l, index}
	f.reroute(p.key())
	return p
}

// unsliced settles a fill to which the origin gave no slice, though one was asked for: everybody asks as it would without
// slices, and for a lifetime nobody asks for one again. Where the part that came is the one asked for, the leader has it.
func (f *Fill) unsliced(resp *http.Response, lifetime time.Duration, received time.Time) {
	var mark *Object
	if lifetime > 0 {
		mark = unslicedMark(f.want.Look.Key, received, lifetime)
	}
	if o := f.want.Look.Object; o != nil { // it is not what the origin has now
		f.want.Look.Object = nil
		f.c.remove(o)
	}
	f.land(mark)
	_, usable := f.came(resp)
	f.handOver(resp, usable, Unsliced, ReasonRange, received)
}

// runPart is run for a slice of a manifest.
func (f *Fill) runPart(ctx context.Context) {
	p := f.want.part
	f.meet(p.manifest)
	s := p.layout.span(p.index)
	s.length = -1
	resp, err := f.want.Fetch(ctx, s.with(http.Header{"If-Range": p.manifest.Fields.Values("Etag")}), f.early)
	if err != nil {
		f.fail(err)
		return
	}
	defer resp.Body.Close()
	received := f.c.now()
	if err := p.check(resp); err != nil {
		resp.Body.Close()
		f.c.refute(p, err, received)
		f.fail(err)
		return
	}
	f.mu.Lock()
	f.part, f.state, f.upstream, f.wait = p, Streaming, resp.StatusCode, received.Sub(f.start)
	f.open(received)
	f.mine = f.object
	f.mu.Unlock()
	f.take(ctx, resp.Body)
}

// check tells what is wrong with an answer to the request for a slice: it must be that slice, of the manifest's version
// (RFC 9110 sections 13.1.5 and 15.3.7.3).
func (p *part) check(resp *http.Response) error {
	h, m := resp.Header, p.manifest.Fields
	same := len(h["Etag"]) == 1 && h["Etag"][0] == m.Get("Etag")
	switch status := resp.StatusCode; {
	case status == http.StatusOK && same: // the same version, and no part of it
		return ErrSlice
	case status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		return StatusError(status)
	case refuses(status):
		return ErrRefused
	case status != http.StatusPartialContent:
		return ErrVersion
	case len(h["Etag"]) == 0: // which a 206 has that a 200 would have
		return ErrSlice
	case !same:
		return ErrVersion
	}
	s, ok := partOf(resp)
	switch {
	case !ok:
		return ErrSlice
	case s.length != p.layout.Length: // the tag was used again for something else
		return ErrVersion
	case s != p.layout.span(p.index):
		return ErrSlice
	}
	if c := controlOf(h); c.NoStore || c.Private { // it is another's by now
		return ErrVersion
	}
	for _, name := range [...]string{"Content-Type", "Content-Encoding"} { // with If-Range they may be left out
		if lines := h[name]; len(lines) > 0 && lines[0] != m.Get(name) {
			return ErrVersion
		}
	}
	return nil
}

// refuses reports whether a status is about the request that got it, and says nothing of what is there for others: that of an error
// of the client (RFC 9110 section 15.5), but one that the target is not there any more, or is shorter.
func refuses(status int) bool {
	switch status {
	case http.StatusNotFound, http.StatusGone, http.StatusRequestedRangeNotSatisfiable:
		return false
	}
	return status/100 == 4
}

// refute takes back the manifest of a slice that could not be had, where that is why.
func (c *Cache) refute(p *part, err error, received time.Time) {
	lied := errors.Is(err, ErrSlice)
	if !lied && !errors.Is(err, ErrVersion) {
		return
	}
	c.differed.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lives(p) {
		c.store.Delete(p.manifest.Key)
	}
	if lied {
		c.enter(unslicedMark(p.manifest.Key, received, liarLifetime))
	}
}

// Slices is the number of slices so far that came whole from an origin; differed that of the requests for one that brought
// another version, or none.
func (c *Cache) Slices() (filled, differed uint64) { return c.sliced.Load(), c.differed.Load() }
