package proxy

import (
	"maps"
	"net/http"

	"hither/cache"
	"hither/edge/compress"
)

// An encoding is what Accept-Encoding comes to for one request and one response (RFC 9110 section 12.5.3). The zero
// encoding leaves the response as it is.
type encoding struct {
	varies bool            // what is sent depends on Accept-Encoding
	want   cache.Coding    // what the request would have; Identity where no coding that is made here
	bare   bool            // the request takes content without a coding
	coding cache.Coding    // of what is sent
	why    compress.Reason // why that is Identity; "" where it is not, and where no content is sent
}

// negotiate tells what a request would have of a response whose content has size bytes, -1 while that is not known.
func (s *Site) negotiate(request cache.FieldReader, o *cache.Object, size int64) (e encoding) {
	e.bare = true
	if e.why = s.Compress.Refuses(o.Status, o.Fields, size); e.why != "" {
		return e
	}
	e.varies = true
	e.want, e.bare, e.why = s.Compress.Asked(request)
	return e
}

// negotiate is the site's, but that another PoP has all content as it came: it encodes by itself, and stores one form.
func (pl plan) negotiate(request cache.FieldReader, o *cache.Object, size int64) encoding {
	if pl.inner {
		return encoding{bare: true, why: compress.Off}
	}
	return pl.site.negotiate(request, o, size)
}

// fields are a request's as conditions and ranges are judged by.
func (e *encoding) fields(request cache.FieldReader) cache.FieldReader {
	if len(request.Values("Range")) > 0 && compress.Hides(request, e.want, e.bare) {
		return rangeless{request}
	}
	return request
}

// rangeless is a request without its Range.
type rangeless struct{ cache.FieldReader }

func (r rangeless) Values(name string) []string {
	if name == "Range" {
		return nil
	}
	return r.FieldReader.Values(name)
}

// A pick is what of a stored response answers a request.
type pick struct {
	cache.Selection
	Body     cache.Body // of which Offset and Length are
	encoding encoding
}

// pick selects what answers from o. Of a [cache.Manifest] the content is elsewhere, and as it came. encoded finds its content in other codings: [cache.Cache.Encoded] or PeekEncoded.
func (pl plan) pick(v RequestView, o *cache.Object, encoded func(*cache.Object, cache.Coding) *cache.Object) pick {
	size := o.Length()
	p := pick{Body: o.Body, encoding: pl.negotiate(v, o, size)}
	e := &p.encoding
	p.Selection = o.Select(v.Method(), e.fields(v), size)
	if e.want == cache.Identity {
		return p
	}
	if o.Kind == cache.Manifest {
		e.why = compress.Sliced
		return p
	}
	switch p.Status {
	case http.StatusOK:
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		e.why = compress.Ranged
		return p
	default:
		return p
	}
	switch coded := encoded(o, e.want); {
	case coded == nil:
		e.why = compress.NotYet
	case coded.Body.Len() == 0:
		e.why = compress.NoGain
	default:
		e.coding, p.Body, p.Length = e.want, coded.Body, coded.Body.Len()
	}
	return p
}

// mixes reports whether a part that the origin sent past the cache may be joined to something else: the client has the rest
// by a date, and may have it coded by this edge, where coded content has the same one.
func (pl plan) mixes(r *http.Request, resp *http.Response) bool {
	if pl.inner || resp.StatusCode != http.StatusPartialContent || r.Method != http.MethodGet || !compress.Dated(view{r}) {
		return false
	}
	if want, _, _ := pl.site.Compress.Asked(view{r}); want == cache.Identity {
		return false
	}
	h := maps.Clone(resp.Header)
	delete(h, "Content-Range")
	return pl.site.Compress.Refuses(http.StatusOK, cache.NewFields(h), -1) == ""
}

// mark makes fields that are those of the bare content tell what is sent.
func (e *encoding) mark(h http.Header, status int) {
	if !e.varies {
		return
	}
	compress.Vary(h)
	switch {
	case e.coding != cache.Identity:
		compress.Mark(h, e.coding)
	case status == http.StatusNotModified && e.want != cache.Identity:
		compress.Weaken(h)
	}
}

// Encoded tells what was done to send content in a coding.
func (p *Proxy) Encoded(c cache.Coding) compress.Counts { return p.encoder.Counts(c) }

// Close ends what goes on behind answers to encode what is stored, and waits for it.
func (p *Proxy) Close() { p.encoder.Close() }
