package listen

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// connKey is the context key of the connection a request came on: a *gate (HTTP/1.1), a *conn (HTTP/2)
// or a *quicConn.
type connKey struct{}

// A guard looks at each request before the handler does, the same way for all protocols.
type guard struct {
	front *Front
	next  http.Handler
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := g.front
	f.begin()
	defer f.end()
	defer f.rescue(r)
	var h1 *gate
	switch c := r.Context().Value(connKey{}).(type) {
	case *gate:
		h1 = c
		h1.served.Store(true)
		defer c.own.answered()
	case *conn:
		defer c.answered()
	case *quicConn:
		c.enter()
		defer c.leave()
	}
	// On HTTP/2 net/http turns this field into a GOAWAY. HTTP/3 has no such field (RFC 9114
	// section 4.2). No byte after a chunked request may be read as another request: see scanner.
	if r.ProtoMajor < 3 && f.Draining() || r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
		w.Header().Set("Connection", "close")
	}
	if r.Body != nil && r.Body != http.NoBody {
		if r.ProtoMajor == 1 {
			// net/http looks at its own request's body to decide how the connection goes on. (On
			// HTTP/3 the library replaces the trailers of its own, which a copy would miss.)
			own := *r
			r = &own
		}
		b := watch(w, r, f.limits.Silence, f.hooks)
		defer func() {
			if h1 == nil || !h1.hijacked.Load() {
				b.after()
			}
		}()
	}
	if status, why := f.Check(r); why != "" {
		f.hooks.rejected(why)
		refuse(w, r, status)
		return
	}
	g.next.ServeHTTP(w, r)
}

// rescue logs a panic of a handler, alike for all protocols, and aborts the answer.
func (f *Front) rescue(r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p != http.ErrAbortHandler {
		f.log.Error("handler panics", "panic", p, "method", r.Method, "host", r.Host, "stack", string(debug.Stack()))
	}
	panic(http.ErrAbortHandler)
}

// refuse answers with a status and nothing to guess from.
func refuse(w http.ResponseWriter, r *http.Request, status int) {
	h := w.Header()
	if r.ProtoMajor == 1 {
		h.Set("Connection", "close")
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintf(w, "%d %s\n", status, http.StatusText(status))
}

// mostMethod is the longest method that is passed on: the longest one registered (RFC 9110 section 16.1) has 17
// bytes, and others may be registered.
const mostMethod = 64

// Check judges a request as the handler's guard does: it returns the status and the reason
// of a refusal, or no reason, and counts nothing. It takes a Host field that says the same as r.Host out of the fields.
func (f *Front) Check(r *http.Request) (int, Reason) {
	l := &f.limits
	if len(r.Method) > mostMethod {
		return http.StatusNotImplemented, ReasonBadRequest // RFC 9110 section 15.6.2
	}
	if len(r.RequestURI) > l.URLBytes {
		return http.StatusRequestURITooLong, ReasonURL
	}
	// Host is no longer among the fields, or never was one (:authority).
	fields, bytes := 0, len(r.RequestURI)+len("host")+len(r.Host)+32
	for name, values := range r.Header {
		fields += len(values)
		for _, v := range values {
			bytes += len(name) + len(v) + 32
		}
	}
	if fields > l.HeaderFields {
		return http.StatusRequestHeaderFieldsTooLarge, ReasonFields
	}
	if bytes > l.HeaderBytes {
		return http.StatusRequestHeaderFieldsTooLarge, ReasonBytes
	}
	if r.Method == http.MethodConnect {
		return http.StatusNotImplemented, ReasonConnect
	}
	if !framing(r) || !target(r) || !authority(r) {
		return http.StatusBadRequest, ReasonBadRequest
	}
	return 0, ""
}

// framing checks what a request would be cut by if it were written as HTTP/1.1: net/http's
// HTTP/2 takes any method, and the first of several lengths.
func framing(r *http.Request) bool {
	for i := range len(r.Method) {
		if !httpguts.IsTokenRune(rune(r.Method[i])) {
			return false
		}
	}
	lengths := r.Header["Content-Length"]
	if len(lengths) == 0 {
		return true
	}
	_, err := strconv.ParseUint(lengths[0], 10, 63)
	return err == nil && len(lengths) == 1
}

// target checks the request target (RFC 9112 section 3.2) and leaves a URL whose path begins with a slash.
func target(r *http.Request) bool {
	if r.RequestURI == "*" {
		return r.Method == http.MethodOptions
	}
	for i := range len(r.RequestURI) {
		// url.Parse takes '#' as a letter here; whoever parses next may see a fragment.
		if c := r.RequestURI[i]; c <= ' ' || c == '#' || c == 0x7f {
			return false
		}
	}
	u := r.URL
	if u.Opaque != "" || u.User != nil {
		return false
	}
	if !strings.HasPrefix(r.RequestURI, "/") { // absolute-form, which HTTP/1.1 alone has
		if r.ProtoMajor != 1 || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return false
		}
		if u.Path == "" {
			u.Path = "/"
		}
	}
	return strings.HasPrefix(u.Path, "/")
}

// authority checks the host. A Host field beside :authority must say the same (RFC 9113
// section 8.3.1, RFC 9114 section 4.3.1); in HTTP/1.1 an absolute target has already overridden it (RFC 9112
// section 3.2.2).
func authority(r *http.Request) bool {
	if r.Host == "" || strings.ContainsAny(r.Host, "@/\\?# ,;\t") {
		return false
	}
	hosts := r.Header["Host"]
	if len(hosts) > 1 || len(hosts) == 1 && !strings.EqualFold(hosts[0], r.Host) {
		return false
	}
	delete(r.Header, "Host")
	return true
}
