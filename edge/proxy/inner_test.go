package proxy

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hither/cache"
	"hither/edge/compress"
)

// tiers are a house whose edge fetches through a shield.
type tiers struct {
	*house
	shield *Proxy
	inner  *httptest.Server
	site   *Site             // of the shield
	direct http.RoundTripper // to the origin
}

// newTiers puts a shield between a house's edge and its origin.
func newTiers(t *testing.T, proto string) *tiers {
	h := newHouse(t, proto)
	s := &tiers{house: h}
	own := *h.site
	s.site, s.direct = &own, own.Transport
	sites := NewSites()
	sites.Add(s.site, host, "*."+host)
	s.shield = New(Config{
		Node: "iad", CDN: "hither-demo", Cache: cache.New(cache.Config{Store: new(shelf), Now: h.clock.now}), Sites: sites,
		AltSvc: `h3=":443"; ma=3600`, Port: 443, Now: h.clock.now,
	})
	h.proxy.cfg.CDN = "hither-demo"
	s.inner = httptest.NewUnstartedServer(s.shield.Inner())
	s.inner.EnableHTTP2 = true
	s.inner.Config.DisableGeneralOptionsHandler = true
	s.inner.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.inner.StartTLS()
	t.Cleanup(s.inner.Close)
	h.site.Transport = s.dial(t)
	return s
}

// dial is a way to the shield by a name that is none of a site's.
func (s *tiers) dial(t *testing.T) *http.Transport {
	transport := dialing(s.inner.Listener.Addr(), &tls.Config{RootCAs: s.roots, ServerName: "127.0.0.1"}, true)
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// edgeNamed is a further edge in front of the shield, as a handler.
func (s *tiers) edgeNamed(t *testing.T, node string) http.Handler {
	site := *s.house.site
	site.Transport = s.dial(t)
	sites := NewSites()
	sites.Add(&site, host)
	return New(Config{Node: node, CDN: "hither-demo", Cache: cache.New(cache.Config{Store: new(shelf), Now: s.clock.now}), Sites: sites, Port: 443, Now: s.clock.now})
}

// Ages add up, validators go through, and each tier says what it did.
func TestTwoTiers(t *testing.T) {
	for _, proto := range []string{"h1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			s := newTiers(t, proto)
			s.origin("/a", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Etag", `"1"`)
				w.Header().Set("Cache-Control", "max-age=60")
				w.Header().Set("Surrogate-Key", "red")
				if r.Header.Get("If-None-Match") == `"1"` {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				io.WriteString(w, "hello")
			})
			s.get("/a", 200, "hello").fields(t, "Cache-Status", "iad; fwd=uri-miss; stored | fra; fwd=uri-miss; stored", "Age", "-", "Surrogate-Key", "-", "Alt-Svc", `h3=":443"; ma=3600`)
			seen := s.expectAsked(1)
			sent(t, seen, "Via", map[string]string{"h1": "1.1", "h2": "2"}[proto]+" fra | 2 iad")
			sent(t, seen, "Cdn-Loop", "hither-demo | hither-demo")
			sent(t, seen, "X-Forwarded-For", "127.0.0.1")
			sent(t, seen, "X-Forwarded-Host", host)
			sent(t, seen, "X-Forwarded-Proto", "https")
			sent(t, seen, "Forwarded", `for=127.0.0.1;host="example.com";proto=https;by=_fra`)
			s.clock.advance(40 * time.Second)
			s.get("/a", 200, "hello").fields(t, "Age", "40", "Cache-Status", "iad; fwd=uri-miss; stored | fra; hit; ttl=20")
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "https://"+host+"/a", nil)
			r.TLS.ServerName = host
			s.edgeNamed(t, "sin").ServeHTTP(w, r)
			if got := strings.Join(w.Result().Header["Cache-Status"], " | "); w.Body.String() != "hello" || w.Header().Get("Age") != "40" || got != "iad; hit; ttl=20 | sin; fwd=uri-miss; stored" {
				t.Errorf("through another edge: %q, %v", w.Body, w.Header())
			}
			s.expectAsked(0)
			s.clock.advance(21 * time.Second) // stale at both: each validates with the one behind it
			s.get("/a", 200, "hello").fields(t, "Age", "0").said(t, cache.Revalidated, "")
			sent(t, s.expectAsked(1), "If-None-Match", `"1"`)
			// Both tiers go by the tag, and the edge's clients do not see it.
			for _, p := range []*Proxy{s.shield, s.proxy} {
				if done := p.cache.Purge(cache.Purge{Kind: cache.PurgeTag, Value: "red"}); done.Objects != 1 {
					t.Errorf("%s forgot %d objects", p.cfg.Node, done.Objects)
				}
			}
			s.get("/a", 200, "hello")
			s.expectAsked(1)
		})
	}
}

// However many edges and clients want one cold response, its origin is asked once.
func TestTiersCollapse(t *testing.T) {
	s := newTiers(t, "h2")
	arrived, release := make(chan bool), make(chan bool)
	s.origin("/a", func(w http.ResponseWriter, r *http.Request) {
		arrived <- true
		<-release
		says(200, "hello", "Cache-Control", "max-age=60")(w, r)
	})
	const edges, clients = 10, 5
	answers := make(chan *httptest.ResponseRecorder, edges*clients)
	for range edges {
		edge := s.edgeNamed(t, "sin")
		for range clients {
			go func() {
				w := httptest.NewRecorder()
				r := httptest.NewRequest("GET", "https://"+host+"/a", nil)
				r.TLS.ServerName = host
				edge.ServeHTTP(w, r)
				answers <- w
			}()
		}
	}
	<-arrived
	close(release)
	for range edges * clients {
		if w := <-answers; w.Code != 200 || w.Body.String() != "hello" {
			t.Fatalf("%d %q", w.Code, w.Body)
		}
	}
	s.expectAsked(1)
}

// What another PoP says of its clients is believed; what a client says is not, at either tier.
func TestInnerBelieves(t *testing.T) {
	s := newTiers(t, "h2")
	s.origin("/a", says(200, "hello", "Cache-Control", "no-store", "Cache-Tag", "red"))
	ask := func(h http.Handler, pairs ...string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "https://"+host+"/a", nil)
		r.RemoteAddr, r.TLS.ServerName = "192.0.2.9:1234", "fra.edge.demo.hither.internal"
		for i := 0; i < len(pairs); i += 2 {
			r.Header.Add(pairs[i], pairs[i+1])
		}
		h.ServeHTTP(w, r)
		return w
	}
	type end struct {
		client       string
		reason       cache.Reason
		early, inner bool
	}
	ends := make(chan end, 10)
	s.shield.cfg.End = func(x *Exchange) { ends <- end{x.Client.String(), x.Reason, x.Early, x.Inner} }
	w := ask(s.shield.Inner(), "X-Forwarded-For", "203.0.113.7", "X-Forwarded-Host", "other.test", "X-Real-Ip", "203.0.113.8", "Early-Data", "1", "Cdn-Loop", "hither-demo")
	if w.Code != 200 || w.Header().Get("Cache-Tag") != "red" || w.Header().Get("Alt-Svc") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if x := <-ends; x != (end{"203.0.113.7", "no-store", true, true}) {
		t.Errorf("%+v", x)
	}
	seen := s.expectAsked(1)
	sent(t, seen, "X-Forwarded-For", "203.0.113.7")
	sent(t, seen, "Forwarded", `for=192.0.2.9;host="example.com";proto=https;by=_iad`) // it said nothing of the kind
	sent(t, seen, "X-Forwarded-Host", host)                                            // not the key's, so not what may be stored depends on
	sent(t, seen, "X-Real-Ip", "-")
	sent(t, seen, "Early-Data", "1")

	s.site.EarlyData = false
	if w := ask(s.shield.Inner(), "Early-Data", "1"); w.Code != http.StatusTooEarly {
		t.Errorf("early data where the site says off: %d", w.Code)
	}
	if x := <-ends; x.reason != "early-data" {
		t.Errorf("early data where the site says off: %s", x.reason)
	}
	if w := ask(s.shield); w.Code != http.StatusMisdirectedRequest {
		t.Errorf("a node's name at the outer listener: %d", w.Code)
	}
	if x := <-ends; x.reason != "tls-policy" || x.inner {
		t.Errorf("a node's name at the outer listener: %+v", x)
	}
	s.expectAsked(0)
}

// RFC 8586: a request that has been through both tiers goes no further, at whichever listener it comes again.
func TestTiersLoop(t *testing.T) {
	s := newTiers(t, "h2")
	s.origin("/a", says(200, "hello", "Cache-Control", "no-store"))
	s.house.site.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		r.TLS = &tls.ConnectionState{HandshakeComplete: true}
		s.shield.Inner().ServeHTTP(w, r)
		return w.Result(), nil
	})
	s.get("/a", 200, "hello")
	s.expectAsked(1)
	// The shield takes the edge for a shield of its own.
	s.site.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		r.TLS = &tls.ConnectionState{HandshakeComplete: true}
		s.proxy.Inner().ServeHTTP(w, r)
		return w.Result(), nil
	})
	a := s.do("GET", "/a")
	s.over() // the same edge's, by its inner listener
	if a.StatusCode != http.StatusBadGateway || !strings.Contains(a.Header.Get("Proxy-Status"), "fra; error=proxy_loop_detected") {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	s.expectAsked(0)
	// With what leads to no other PoP there is no circle, whatever the file says.
	s.site.Direct = s.direct
	s.get("/a", 200, "hello")
	s.expectAsked(1)
}

// An edge encodes by itself: it has the content as it came, and one form of it.
func TestInnerEncodesNothing(t *testing.T) {
	s := newTiers(t, "h2")
	for _, site := range []*Site{s.house.site, s.site} {
		site.Compress = compress.Policy{Codings: []cache.Coding{cache.Gzip}, Max: 1 << 20, Types: compress.NewTypes(compress.DefaultTypes)}
	}
	text := strings.Repeat("hello ", 1000)
	s.origin("/a", says(200, text, "Cache-Control", "max-age=60", "Content-Type", "text/plain"))
	s.get("/a", 200, text, "Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	for range 3 {
		r := httptest.NewRequest("GET", "https://"+host+"/a", nil)
		r.Header.Set("Accept-Encoding", "gzip")
		w = httptest.NewRecorder()
		s.shield.Inner().ServeHTTP(w, r)
	}
	if w.Body.String() != text || w.Header().Get("Content-Encoding") != "" || w.Header().Get("Vary") != "" {
		t.Errorf("%d bytes, %v", w.Body.Len(), w.Header())
	}
	s.expectAsked(1)
}

// RFC 5861 section 3: a client is answered stale while it is validated; another PoP waits, for it has that window itself.
func TestInnerIsNotStale(t *testing.T) {
	s := newTiers(t, "h2")
	answers := 0
	s.origin("/a", func(w http.ResponseWriter, r *http.Request) {
		answers++
		says(200, strings.Repeat("x", answers), "Cache-Control", "max-age=60, stale-while-revalidate=60")(w, r)
	})
	ask := func() string {
		w := httptest.NewRecorder()
		s.shield.Inner().ServeHTTP(w, httptest.NewRequest("GET", "https://"+host+"/a", nil))
		return w.Body.String() + " " + w.Header().Get("Age")
	}
	for _, want := range []string{"x ", "x 0"} {
		if got := ask(); got != want {
			t.Errorf("fresh: %q, want %q", got, want)
		}
	}
	s.clock.advance(61 * time.Second)
	if got := ask(); got != "xx " {
		t.Errorf("stale: %q", got)
	}
	s.expectAsked(2)
}
