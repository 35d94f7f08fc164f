package proxy

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"

	"hither/cache"
)

// forward carries the request to the origin past the cache, its content and the
// response's streamed both ways.
func (p *Proxy) forward(x *Exchange, pl plan, verdict cache.Verdict, why cache.Reason) {
	x.Verdict, x.Reason = verdict, why
	fields := p.requestFields(x.r, pl)
	if x.Method == http.MethodOptions && lastHop(fields) {
		x.Verdict = cache.Refused
		p.options(x)
		return
	}
	x.Origin = pl.site.Origin
	r, err := request(x.r.Context(), x.Method, pl.target, p.host(x.r), fields)
	if err != nil {
		p.refuse(x, err)
		return
	}
	in := &interims{x: x}
	if (view{x.r}).Content() {
		r.ContentLength, r.Trailer = x.r.ContentLength, x.r.Trailer.Clone()
		r.Body = &upload{in: in, trailer: r.Trailer, expected: len(fields["Expect"]) > 0}
		// Else net/http reads and drops what is left of an HTTP/1.1 request before it writes
		// the answer, though the origin may answer first and read on.
		http.NewResponseController(x.w).EnableFullDuplex()
	}
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: in.pass}))
	before, sent := p.cache.Blank(pl.key), p.now()
	resp, err := pl.roundTrip(r)
	if err == nil && pl.mixes(x.r, resp) {
		resp.Body.Close()
		r = r.Clone(r.Context())
		delete(r.Header, "Range")
		delete(r.Header, "If-Range")
		resp, err = pl.roundTrip(r)
	}
	in.close()
	x.Wait = p.now().Sub(sent)
	if err != nil {
		p.refuse(x, err)
		return
	}
	defer resp.Body.Close()
	resp.Header = p.responseFields(resp)
	if !safe(x.Method) && resp.StatusCode < 400 {
		p.invalidate(x, pl, resp.Header)
	}
	if p.forGet(x, pl, resp) {
		p.keep(x, pl, resp, before, sent)
		return
	}
	p.relay(x, resp)
}

// lastHop counts Max-Forwards down and reports whether this node is the one meant to
// answer (RFC 9110 section 7.6.2).
func lastHop(h http.Header) bool {
	lines := h["Max-Forwards"]
	if len(lines) != 1 {
		return false
	}
	n, err := strconv.ParseUint(lines[0], 10, 32)
	if err != nil {
		return false
	}
	if n > 0 {
		h["Max-Forwards"] = []string{strconv.FormatUint(n-1, 10)}
	}
	return n == 0
}

// options answers an OPTIONS for this node: 200, or 503 where it is about to go.
func (p *Proxy) options(x *Exchange) {
	x.Self = true
	h := x.w.Header()
	h["Allow"] = []string{allowed}
	h["Content-Length"] = []string{"0"}
	p.sign(x, h)
	status := http.StatusOK
	if p.cfg.Draining != nil && p.cfg.Draining() {
		status = http.StatusServiceUnavailable
	}
	x.begin(status)
}

// relay writes a response that is not the cache's to the client. Where content must come,
// its first piece is awaited before the field section goes out: an origin that breaks off
// between the two can still be answered for with a status.
func (p *Proxy) relay(x *Exchange, resp *http.Response) {
	x.upstream, x.Status = resp.StatusCode, resp.StatusCode
	buf := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buf)
	var first piece
	if resp.ContentLength > 0 && x.Method != http.MethodHead {
		if first.n, first.err = resp.Body.Read(buf[:]); first.n == 0 && first.err != nil && first.err != io.EOF {
			p.refuse(x, first.err)
			return
		}
	}
	h := x.w.Header()
	for name, values := range resp.Header {
		h[name] = values
	}
	appendField(h, "Cache-Status", p.cacheStatus(x, 0, false))
	switch {
	case resp.StatusCode == http.StatusNoContent:
		delete(h, "Content-Length") // RFC 9110 section 8.6
	case resp.ContentLength >= 0 && resp.StatusCode != http.StatusNotModified:
		h["Content-Length"] = []string{strconv.FormatInt(resp.ContentLength, 10)}
	}
	announced := make([]string, 0, len(resp.Trailer))
	for name := range resp.Trailer {
		if httpguts.ValidTrailerHeader(name) {
			announced = append(announced, name)
		}
	}
	if len(announced) > 0 {
		h["Trailer"] = []string{strings.Join(announced, ", ")}
	}
	p.sign(x, h)
	x.begin(resp.StatusCode)
	if x.Method == http.MethodHead { // the response may be a GET's, which a fill asked for
		return
	}
	if err := p.copyBody(x, resp, buf[:], first); err != nil {
		x.breakOff(err)
	}
	for name, values := range resp.Trailer {
		switch {
		case slices.Contains(announced, name):
			h[name] = values
		case httpguts.ValidTrailerHeader(name):
			h[http.TrailerPrefix+name] = values
		}
	}
}

// A piece is what one Read of a body gave. The zero piece is a Read still to be done.
type piece struct {
	n   int
	err error
}

// copyBody sends the content as it comes, first what buf holds already: a piece behind
// which the origin has no more at the moment is flushed, unless it is the last. The error
// is the origin's, never the client's.
func (p *Proxy) copyBody(x *Exchange, resp *http.Response, buf []byte, next piece) error {
	guard := p.guard(x)
	defer guard.disarm()
	rc := http.NewResponseController(x.w)
	if resp.ContentLength < 0 {
		flush(rc) // the field section must not wait for the first piece
	}
	for {
		if next == (piece{}) {
			next.n, next.err = resp.Body.Read(buf)
		}
		if next.n > 0 {
			guard.arm()
			if x.write(buf[:next.n]) != nil {
				return nil
			}
			more := resp.ContentLength < 0 || next.n < len(buf) && x.BytesOut < resp.ContentLength
			if more && flush(rc) != nil {
				return nil
			}
		}
		switch {
		case next.err == io.EOF:
			return nil
		case next.err != nil && x.BytesOut == resp.ContentLength && len(resp.Trailer) == 0:
			return nil // all that was promised has come; what broke off is the word that it ends here
		case next.err != nil:
			return next.err
		}
		next = piece{}
	}
}

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// interims passes interim responses on while the final one is awaited. The transport
// calls it from goroutines of its own.
type interims struct {
	x *Exchange

	mu   sync.Mutex // held while an interim response is written to the client
	sent int
	done bool // the final response is here
}

// mostInterim bounds the interim responses passed on for one request; what comes beyond is dropped, since
// some clients (net/http, quic-go) give a request up at the sixth.
const mostInterim = 5

func (in *interims) pass(status int, fields textproto.MIMEHeader) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	// 100 is sent when the content is first read, and on HTTP/2 nothing before it.
	if in.x.r.ProtoMajor == 2 && in.x.content.silent() {
		return nil
	}
	if !in.done && in.sent < mostInterim && status > http.StatusSwitchingProtocols {
		in.sent++
		in.x.interim(status, http.Header(fields))
	}
	return nil
}

// close waits for a call under way; later ones do nothing.
func (in *interims) close() {
	in.mu.Lock()
	in.done = true
	in.mu.Unlock()
}
