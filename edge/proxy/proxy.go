// Package proxy is the request path of an edge: route, look up, fill, respond, and one
// [Exchange] per request that says what happened. It is one http.Handler for HTTP/1.1,
// 2 and 3 alike; origins are http.RoundTrippers; rules of reuse live in package cache.
//
// [Proxy.ServeHTTP] reads in the order of a request's life. [Proxy.Hit] is the one extra
// seam: it answers a hit from a [RequestView], so that an engine that has no
// http.Request can call it too.
package proxy

import (
	"context"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"hither/cache"
	"hither/edge/compress"
)

// Config says what a Proxy works with.
type Config struct {
	// Node is the name in Via, Cache-Status and Proxy-Status: an RFC 9110 token.
	Node string
	// CDN is the network's name in CDN-Loop (RFC 8586 section 2): a token, or a host name with or without a port; "" = it
	// has none, and adds no such field.
	CDN   string
	Cache *cache.Cache // required
	Sites *Sites       // required; SetSites replaces them while serving
	// AltSvc is the Alt-Svc field value of HTTP/1.1 and 2 responses (RFC 7838 section
	// 3); "" = none.
	AltSvc string
	// Port is the port by which clients reach us over https: in redirects and in the
	// authority that origins are told; 443 is not written.
	Port int
	// Trusted are the addresses of proxies in front whose Forwarded and X-Forwarded-*
	// fields are believed. Default none: a client's own fields are dropped.
	Trusted []netip.Prefix
	// WriteIdle is the longest time a client may take to accept a piece of a response.
	// Default 60 s.
	WriteIdle time.Duration
	// Draining says whether the node will go soon; then it answers 503 to those who ask
	// about itself (OPTIONS with Max-Forwards 0), and every answer takes AltSvc back (Alt-Svc: clear, RFC 7838 section 3),
	// HTTP/3's too. It is called with each answer. Default never.
	Draining func() bool
	// Background marks the context of a request to an origin for whose answer no client waits, since something stale is sent:
	// what limits an origin's requests need not let such a one wait. It is called concurrently. Default: they are not marked.
	Background func(context.Context) context.Context
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// End receives every Exchange when it is over; it is called concurrently and must
	// not keep the pointer. Optional.
	End func(*Exchange)
}

// A Proxy is the edge's http.Handler. It is safe for concurrent use.
type Proxy struct {
	cfg     Config
	cache   *cache.Cache
	encoder *compress.Encoder
	now     func() time.Time
	sites   atomic.Pointer[Sites]
	port    string // ":8443"; "" for 443
}

// New returns a proxy. Close is called when it has no more requests.
func New(cfg Config) *Proxy {
	p := &Proxy{cfg: cfg, cache: cfg.Cache, now: cfg.Now, port: portOf(cfg.Port), encoder: compress.NewEncoder(cfg.Cache, runtime.GOMAXPROCS(0))}
	if p.now == nil {
		p.now = time.Now
	}
	if p.cfg.WriteIdle == 0 {
		p.cfg.WriteIdle = time.Minute
	}
	p.sites.Store(cfg.Sites)
	return p
}

// portOf is a port as an https URL's authority has it.
func portOf(port int) string {
	if port == 443 {
		return ""
	}
	return ":" + strconv.Itoa(port)
}

// SetSites replaces the sites for requests that begin from now on.
func (p *Proxy) SetSites(s *Sites) { p.sites.Store(s) }

// ServeHTTP answers one request; reading order is the life of a request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.answerTo(w, r, false) }

// answerTo is ServeHTTP; inner tells that another PoP of this network asks.
func (p *Proxy) answerTo(w http.ResponseWriter, r *http.Request, inner bool) {
	x := p.begin(w, r, inner) // what the log line and the counters will say
	defer p.end(x)
	if s, why := p.Hit(x.view(), x.Start); s != nil {
		p.serve(x, s, cache.Hit, why)
		return
	}
	plan, err := p.route(x)
	if err != nil {
		p.refuse(x, err)
		return
	}
	if plan.bypass != "" {
		p.forward(x, plan, cache.Bypass, plan.bypass)
		return
	}
	p.fill(x, plan)
}

// begin opens the exchange of one request.
func (p *Proxy) begin(w http.ResponseWriter, r *http.Request, inner bool) *Exchange {
	x := &Exchange{
		Start: p.now(), Node: p.cfg.Node, Proto: protoWords[min(r.ProtoMajor, 3)], Protocol: r.Proto,
		Method: r.Method, Host: r.Host, Target: r.RequestURI, Referer: r.Referer(), Agent: r.UserAgent(),
		Verdict: cache.Refused, Inner: inner, w: w, r: r,
	}
	if r.TLS != nil {
		x.TLS = tlsWords[r.TLS.Version]
		x.Early = x.view().Early()
	}
	if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
		if r.ProtoMajor == 1 {
			// net/http knows its own body by type when it decides how to end a connection
			// whose content was not read: its request keeps it.
			own := *r
			r, x.r = &own, &own
		}
		x.content.ReadCloser, x.content.length = r.Body, r.ContentLength
		r.Body = &x.content
		settleContent(r)
	}
	x.Client = p.client(r, inner)
	x.keyed = wantsKey(r.Header) && p.trusts(peer(r))
	return x
}

// end closes the exchange, also when the handler is left by a panic: that is how a
// response that cannot be completed is broken off.
func (p *Proxy) end(x *Exchange) {
	x.Total = p.now().Sub(x.Start)
	x.BytesIn = x.content.n.Load()
	if p.cfg.End != nil {
		p.cfg.End(x)
	}
}

var protoWords = [...]string{0: "h0", 1: "h1", 2: "h2", 3: "h3"}

var tlsWords = map[uint16]string{0x0303: "1.2", 0x0304: "1.3"}
