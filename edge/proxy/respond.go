package proxy

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"hither/cache"
)

// serve writes an answer out of the cache.
func (p *Proxy) serve(x *Exchange, s *Served, verdict cache.Verdict, why cache.Reason) {
	x.Site, x.Verdict, x.Reason, x.Status, x.key = s.site.Name, verdict, why, s.Status, s.Object.Key
	h := x.w.Header()
	s.Object.Fields.CopyTo(h)
	x.selected(h, s.Selection, s.Body.Len())
	s.encoding.mark(h, s.Status)
	x.Coding = s.encoding.coding
	h["Age"] = []string{strconv.FormatInt(int64(x.ageOf(s)/time.Second), 10)}
	appendField(h, "Cache-Status", p.cacheStatus(x, s.TTL, false))
	p.sign(x, h)
	x.begin(s.Status)
	if x.Method == http.MethodHead || s.Length == 0 {
		return
	}
	if err := p.send(x, s.Selection, s.Body.Range, nil); err != nil {
		x.breakOff(err)
	}
}

// mostPiece is the most that is written under one deadline: a slow client has time for
// this much, however large a store's chunks are.
const mostPiece = 64 << 10

// selected sets the fields that depend on which part is sent. size is the whole body's
// length, -1 when unknown.
func (x *Exchange) selected(h http.Header, s cache.Selection, size int64) {
	switch s.Status {
	case http.StatusNotModified:
		// RFC 9110 section 15.4.5: no fields of the content that is not sent.
		for _, name := range [...]string{"Content-Type", "Content-Encoding", "Content-Language", "Content-Range"} {
			delete(h, name)
		}
		return
	case http.StatusRequestedRangeNotSatisfiable:
		// Nor may the whole's lifetime apply to it: a cache on the way might store it.
		for _, name := range [...]string{"Content-Type", "Content-Encoding", "Content-Language", "Etag", "Last-Modified", "Cache-Control", "Expires"} {
			delete(h, name)
		}
		h["Content-Range"] = []string{s.Range}
		h["Content-Length"] = []string{"0"}
		return
	case http.StatusPartialContent:
		if s.Multi != nil { // each part has its own (RFC 9110 section 15.3.7.2)
			h["Content-Type"] = []string{"multipart/byteranges; boundary=" + s.Multi.Boundary}
			break
		}
		h["Content-Range"] = []string{s.Range}
	case http.StatusNoContent:
		return
	}
	length := s.Length
	if x.Method == http.MethodHead {
		length = size
	}
	if length >= 0 {
		h["Content-Length"] = []string{strconv.FormatInt(length, 10)}
	}
}

// begin sends the final status and field section.
func (x *Exchange) begin(status int) {
	x.Status = status
	if x.answeredEarly() {
		x.w.Header()["Connection"] = []string{"close"}
	}
	x.w.WriteHeader(status)
}

// write sends a piece of the content.
func (x *Exchange) write(piece []byte) error {
	n, err := x.w.Write(piece)
	x.BytesOut += int64(n)
	if err != nil && x.Fault == nil {
		x.Fault = &clientError{err}
	}
	return err
}

// A clientError is a client that went away or does not read.
type clientError struct{ cause error }

func (e *clientError) Error() string { return "proxy: write to client: " + e.cause.Error() }
func (e *clientError) Unwrap() error { return e.cause }

// sign adds what every response of this node carries, and takes away what is not for clients: tags are the operator's own
// names for things. A trusted proxy in front may be a cache that is purged by them, and gets them; another PoP is one.
func (p *Proxy) sign(x *Exchange, h http.Header) {
	if p.cfg.AltSvc != "" && !x.Inner && x.r.TLS != nil {
		switch {
		case p.cfg.Draining != nil && p.cfg.Draining():
			// Whoever has heard of HTTP/3 here must not come back by it when the node has gone.
			h["Alt-Svc"] = []string{"clear"}
		case x.r.ProtoMajor < 3:
			h["Alt-Svc"] = []string{p.cfg.AltSvc}
		}
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // keep net/http from guessing one
	}
	if len(h["Surrogate-Key"])+len(h["Cache-Tag"]) > 0 && !x.Inner && !p.trusts(peer(x.r)) {
		delete(h, "Surrogate-Key")
		delete(h, "Cache-Tag")
	}
	x.FirstByte = p.now().Sub(x.Start)
}

// cacheStatus is this node's member of Cache-Status (RFC 9211).
func (p *Proxy) cacheStatus(x *Exchange, ttl time.Duration, stored bool) string {
	b := make([]byte, 0, 64)
	b = append(b, p.cfg.Node...)
	switch x.Verdict {
	case cache.Hit, cache.Updating:
		b = append(b, "; hit; ttl="...)
		return string(x.appendKey(strconv.AppendInt(b, int64(ttl/time.Second), 10)))
	}
	b = append(b, "; fwd="...)
	b = append(b, x.forwardWord()...)
	if x.upstream != 0 && x.upstream != x.Status {
		b = append(b, "; fwd-status="...)
		b = strconv.AppendInt(b, int64(x.upstream), 10)
	}
	switch {
	case x.Verdict == cache.Stale || x.Verdict == cache.Revalidated:
		b = append(b, "; ttl="...)
		b = strconv.AppendInt(b, int64(ttl/time.Second), 10)
	case stored:
		b = append(b, "; stored"...)
	}
	switch x.Reason {
	case "", cache.ReasonMethod:
	case cache.ReasonCollapsed:
		b = append(b, "; collapsed"...)
	default:
		b = append(b, "; detail="...)
		b = append(b, x.Reason...)
	}
	return string(x.appendKey(b))
}

// forwardWord is the fwd parameter of RFC 9211 section 2.2.
func (x *Exchange) forwardWord() string {
	switch {
	case x.Reason == cache.ReasonMethod:
		return "method"
	case x.partial:
		return "partial"
	case x.demanded:
		return "request"
	case x.Verdict == cache.Stale || x.stale:
		return "stale"
	case x.variant && x.Verdict == cache.Miss:
		return "vary-miss"
	}
	return x.Verdict.Forward()
}

// appendField adds a member to a list field without writing to shared slices.
func appendField(h http.Header, name, member string) {
	old := h[name]
	h[name] = append(old[:len(old):len(old)], member)
}

// copyStream sends what a fill's reader gives, each piece at once.
func (p *Proxy) copyStream(x *Exchange, r *cache.Reader, s cache.Selection) {
	guard := p.guard(x)
	defer guard.disarm()
	rc := http.NewResponseController(x.w)
	// The whole is followed to the end of the fill and not of its bytes: only there is it
	// known that the origin told its length right, and that the response is stored.
	until := int64(-1)
	if s.Status == http.StatusPartialContent {
		r.Skip(s.Offset)
		until = s.Offset + s.Length
	}
	for {
		piece, err := r.Next(x.r.Context(), until)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			x.breakOff(err)
		}
		guard.arm()
		if x.write(piece) != nil || flush(rc) != nil {
			return
		}
	}
}

// breakOff ends a response that cannot be completed: the connection (HTTP/1.1) or the
// stream (2, 3) is reset, so that the client cannot take it for whole.
func (x *Exchange) breakOff(err error) {
	switch {
	case x.r.Context().Err() != nil:
		x.Fault, x.Reason = &clientError{err}, "client-gone"
	case errors.Is(err, cache.ErrBehind):
		x.Fault, x.Reason = &clientError{err}, "client-slow"
	default:
		x.Fault, x.Verdict = err, cache.Failed
		x.blame(err)
	}
	panic(http.ErrAbortHandler)
}

// flush sends what was written. A writer that cannot is no reason to stop.
func flush(rc *http.ResponseController) error {
	if err := rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// A writeGuard gives each piece of a response its time to be taken by the client. On
// HTTP/2 and 3 a client may close its window and wait for ever; on HTTP/1.1 the front's
// connections guard their writes themselves.
type writeGuard struct {
	rc    *http.ResponseController // nil where no guard is needed
	idle  time.Duration
	armed time.Time
}

func (p *Proxy) guard(x *Exchange) *writeGuard {
	g := &writeGuard{idle: p.cfg.WriteIdle}
	if x.r.ProtoMajor > 1 {
		g.rc = http.NewResponseController(x.w)
	}
	return g
}

// arm moves the deadline ahead once a quarter of it is used. It is the kernel's clock,
// not the cache's.
func (g *writeGuard) arm() {
	if g.rc == nil {
		return
	}
	if now := time.Now(); now.Sub(g.armed) > g.idle/4 {
		g.armed = now
		g.rc.SetWriteDeadline(now.Add(g.idle))
	}
}

// disarm leaves no deadline behind for the connection's next request.
func (g *writeGuard) disarm() {
	if g.rc != nil && !g.armed.IsZero() {
		g.rc.SetWriteDeadline(time.Time{})
	}
}
