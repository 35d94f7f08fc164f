package proxy

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"sync"

	"hither/cache"
)

// forward carries the request to the origin past the cache, its content and the
// response's streamed both ways.
func (p *Proxy) forward(x *Exchange, pl plan, verdict cache.Verdict, why cache.Reason) {
	x.Verdict, x.Reason, x.Origin = verdict, why, pl.site.Origin
	r, err := request(x.r.Context(), x.Method, pl.target, p.host(x), p.requestFields(x, pl))
	if err != nil {
		p.refuse(x, err)
		return
	}
	if (view{x.r}).Content() {
		r.Body, r.ContentLength, r.Trailer = x.r.Body, x.r.ContentLength, x.r.Trailer
	}
	in := &interims{x: x}
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: in.pass}))
	sent := p.now()
	resp, err := pl.site.Transport.RoundTrip(r)
	in.close()
	x.Wait = p.now().Sub(sent)
	if err != nil {
		p.refuse(x, err)
		return
	}
	defer resp.Body.Close()
	if !safe(x.Method) && resp.StatusCode < 400 {
		p.cache.Invalidate(pl.key) // RFC 9111 section 4.4
	}
	resp.Header = p.responseFields(resp.Header)
	p.relay(x, resp)
}

// relay writes a response that is not the cache's to the client.
func (p *Proxy) relay(x *Exchange, resp *http.Response) {
	x.upstream, x.Status = resp.StatusCode, resp.StatusCode
	h := x.w.Header()
	for name, values := range resp.Header {
		h[name] = values
	}
	appendField(h, "Cache-Status", p.cacheStatus(x, 0, false))
	if resp.ContentLength >= 0 && resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusNotModified {
		h["Content-Length"] = []string{strconv.FormatInt(resp.ContentLength, 10)}
	}
	announced := make([]string, 0, len(resp.Trailer))
	for name := range resp.Trailer {
		announced = append(announced, name)
	}
	if len(announced) > 0 {
		h["Trailer"] = []string{strings.Join(announced, ", ")}
	}
	p.sign(x, h)
	x.begin(resp.StatusCode)
	if err := p.copyBody(x, resp); err != nil {
		x.breakOff(err)
	}
	for name, values := range resp.Trailer {
		h[http.TrailerPrefix+name] = values
	}
	for _, name := range announced {
		if values, ok := h[http.TrailerPrefix+name]; ok {
			delete(h, http.TrailerPrefix+name)
			h[name] = values
		}
	}
}

// copyBody sends the content as it comes; what has no known length is flushed piece by
// piece, for it may be a stream of events. The error is the origin's, never the client's.
func (p *Proxy) copyBody(x *Exchange, resp *http.Response) error {
	guard := p.guard(x)
	defer guard.disarm()
	rc := http.NewResponseController(x.w)
	if resp.ContentLength < 0 {
		rc.Flush() // the field section must not wait for the first piece
	}
	buf := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buf)
	for {
		n, err := resp.Body.Read(buf[:])
		if n > 0 {
			guard.arm()
			if x.write(buf[:n]) != nil {
				return nil
			}
			if resp.ContentLength < 0 && rc.Flush() != nil {
				return nil
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// interims passes interim responses on while the final one is awaited. The transport
// calls it from a goroutine of its own.
type interims struct {
	x *Exchange

	mu   sync.Mutex
	done bool
}

func (in *interims) pass(status int, fields textproto.MIMEHeader) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.done && status > http.StatusSwitchingProtocols { // 100 is sent when the content is first read
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
