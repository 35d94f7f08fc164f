package proxy

import (
	"net/http"
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
	// Inner reports whether another PoP of the network sent the request here, for which this one is an origin's shield.
	Inner() bool
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
func (v view) Inner() bool  { return false }
