package proxy

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
)

// A RequestView is what a hit needs to know of a request. Values are views: nobody
// writes to them, and they are not kept.
type RequestView interface {
	Method() string
	Authority() string // Host or :authority as received
	Target() string    // path and query as received
	// Values returns all field lines of the canonical name.
	Values(name string) []string
	// Content reports whether the request has content.
	Content() bool
	// ServerName is the TLS server name; "" where there was none.
	ServerName() string
	// Early reports whether the request came as early data (RFC 8470).
	Early() bool
	// Secure reports whether the request came over TLS.
	Secure() bool
}

// view is an http.Request as a RequestView.
type view struct{ *http.Request }

func (v view) Method() string    { return v.Request.Method }
func (v view) Authority() string { return v.Request.Host }

// Target takes the path of an absolute-form target (RFC 9112 section 3.2.2) as well.
func (v view) Target() string {
	if uri := v.Request.RequestURI; len(uri) > 0 && uri[0] == '/' {
		return uri
	}
	if v.Request.URL.Host == "" {
		return v.Request.RequestURI
	}
	return v.Request.URL.RequestURI()
}

func (v view) Values(name string) []string { return v.Request.Header[name] }

func (v view) Content() bool {
	r := v.Request
	return r.ContentLength != 0 && r.Body != nil && r.Body != http.NoBody
}

func (v view) ServerName() string {
	if v.Request.TLS == nil {
		return ""
	}
	return v.Request.TLS.ServerName
}

func (v view) Early() bool  { return v.Request.TLS != nil && !v.Request.TLS.HandshakeComplete }
func (v view) Secure() bool { return v.Request.TLS != nil }

// settleContent makes a GET or HEAD say whether it has content. A field section of HTTP/3
// does not tell (RFC 9114 section 4.1), so quic-go gives every request without a
// Content-Length an unknown one. The end of a request without content comes right behind
// its field section; a client that lets it wait waits itself.
func settleContent(r *http.Request) {
	if r.ProtoMajor < 3 || r.ContentLength >= 0 || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return
	}
	var first [1]byte
	n, err := io.ReadFull(r.Body, first[:])
	if err == io.EOF {
		r.Body, r.ContentLength = http.NoBody, 0
		return
	}
	r.Body = &peekedBody{ReadCloser: r.Body, first: first[:n], err: err}
}

// peekedBody gives back what was read ahead of a request's content.
type peekedBody struct {
	io.ReadCloser
	first []byte
	err   error // instead of first
}

func (b *peekedBody) Read(p []byte) (int, error) {
	if b.err != nil || len(b.first) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, b.err
	}
	return b.ReadCloser.Read(p)
}

// countedBody counts what is read of a request's content, and remembers that it went
// silent. The transport reads it in a goroutine of its own.
type countedBody struct {
	io.ReadCloser
	n      *atomic.Int64
	silent *atomic.Bool
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		b.silent.Store(true)
	}
	return n, err
}
