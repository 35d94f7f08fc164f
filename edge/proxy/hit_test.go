package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"hither/cache"
)

// stock stores a response for "/" of the site by one fill.
func stock(t testing.TB, p *Proxy, site *Site, pairs ...string) {
	h := http.Header{"Cache-Control": {"max-age=60"}, "Content-Type": {"text/plain"}, "Etag": {`"1"`}}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	site.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: h, ContentLength: 5, Body: io.NopCloser(strings.NewReader("hello")), ProtoMajor: 2}, nil
	})
	r, err := http.NewRequest("GET", "https://www.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.RequestURI, r.RemoteAddr = "/", "192.0.2.1:5"
	p.ServeHTTP(&discard{h: make(http.Header)}, r)
}

// discard is a ResponseWriter for what nobody reads.
type discard struct {
	h      http.Header
	status int
	n      int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { d.n += len(p); return len(p), nil }

func TestHit(t *testing.T) {
	site := &Site{Name: "www", EarlyData: true}
	sites := NewSites()
	sites.Add(site, "www.test")
	p := newProxy(sites)
	v := asked{method: "GET", authority: "www.test", target: "/", plain: true}
	if s, _ := p.Hit(v, noon); s != nil {
		t.Fatal("a hit in an empty cache")
	}
	stock(t, p, site, "Vary", "Accept-Encoding")
	s, _ := p.Hit(v, noon.Add(10*time.Second))
	if s == nil || s.Status != 200 || s.Age != 10*time.Second || s.TTL != 50*time.Second || s.Object.Body.Len() != 5 {
		t.Fatalf("Hit = %+v", s)
	}
	v.early = true
	if s, _ := p.Hit(v, noon); s == nil {
		t.Error("early data is no reason to ask the origin")
	}
	for name, change := range map[string]func(*asked){
		"another variant": func(a *asked) { a.fields = http.Header{"Accept-Encoding": {"gzip"}} },
		"another target":  func(a *asked) { a.target = "/?" },
		"TLS":             func(a *asked) { a.plain, a.name = false, "www.test" },
		"POST":            func(a *asked) { a.method = "POST" },
		"content":         func(a *asked) { a.content = true },
		"a precondition":  func(a *asked) { a.fields = http.Header{"If-Match": {"*"}} },
		"unknown host":    func(a *asked) { a.authority = "x.test" },
	} {
		other := v
		change(&other)
		if s, _ := p.Hit(other, noon); s != nil {
			t.Errorf("%s: a hit", name)
		}
	}
	if s, _ := p.Hit(v, noon.Add(time.Minute)); s != nil {
		t.Error("a stale hit")
	}
}

// hitAllocs is what Hit allocates: the Served. A request whose response varies adds the
// variant's key.
const hitAllocs = 1

func TestHitAllocations(t *testing.T) {
	site := &Site{Name: "www", Rules: []Rule{{Path: "/assets/*"}, {Path: "*.css"}}}
	sites := NewSites()
	sites.Add(site, "www.test")
	p := newProxy(sites)
	stock(t, p, site)
	var v RequestView = asked{method: "GET", authority: "www.test", target: "/", plain: true}
	hit := func() {
		if s, _ := p.Hit(v, noon); s == nil {
			t.Fatal("no hit")
		}
	}
	if n := testing.AllocsPerRun(1000, hit); n > hitAllocs {
		t.Errorf("Hit takes %v allocations, was %d", n, hitAllocs)
	}
	stock(t, p, site) // a fill that finds it fresh
	p.cache.Invalidate(cache.Key{Site: "www", Class: cache.ClassGet, Scheme: "http", Path: "/"})
	stock(t, p, site, "Vary", "Accept-Encoding")
	if n := testing.AllocsPerRun(1000, hit); n > hitAllocs+2 {
		t.Errorf("Hit of a variant takes %v allocations, was %d", n, hitAllocs+2)
	}
}

func BenchmarkServeHit(b *testing.B) {
	site := &Site{Name: "www"}
	sites := NewSites()
	sites.Add(site, "www.test")
	p := newProxy(sites)
	stock(b, p, site)
	r, err := http.NewRequest("GET", "https://www.test/", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.RequestURI, r.RemoteAddr = "/", "192.0.2.1:5"
	w := &discard{h: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		p.ServeHTTP(w, r)
	}
	if w.status != 200 {
		b.Fatal(w.status)
	}
}
