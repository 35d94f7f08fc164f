package proxy

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hither/cache"
)

// Whatever is asked, in whatever state of the cache: what is explained is what then happens.
func TestExplanationsAreWhatHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := make(map[string]int)
		for seed := range uint64(400) {
			d := dice{rand.New(rand.NewPCG(seed, 9))}
			w := newExplained(d)
			for range 25 {
				w.clock.advance(time.Duration(draw(d, 0, 0, 1, 4, 6, 20, 61, 400)) * time.Second)
				verdict, wrong := w.ask(d)
				if wrong != "" {
					t.Fatalf("seed %d: %s", seed, wrong)
				}
				seen[verdict]++
			}
		}
		t.Log(seen)
		for _, verdict := range cache.Verdicts() {
			if seen[verdict] == 0 {
				t.Errorf("no request was %s", verdict)
			}
		}
	})
}

type dice struct{ *rand.Rand }

func (d dice) oneIn(n int) bool { return d.IntN(n) == 0 }

// set adds a field with one of the values; none where that is "".
func (d dice) set(h http.Header, name string, values ...string) {
	if v := draw(d, values...); v != "" {
		h.Set(name, v)
	}
}

// rare is set in one case of ten.
func (d dice) rare(h http.Header, name string, values ...string) {
	if d.oneIn(10) {
		h.Set(name, draw(d, values...))
	}
}

// rarely is the first in four of five cases.
func rarely(d dice, first string, others ...string) string {
	if !d.oneIn(5) {
		return first
	}
	return draw(d, others...)
}

func draw[T any](d dice, values ...T) T { return values[d.IntN(len(values))] }

// An explained is a proxy before an origin that says what is drawn.
type explained struct {
	clock clock
	p     *Proxy
	said  *http.Response
	body  string
	parts bool // it knows ranges
	ended *record
}

func newExplained(d dice) *explained {
	w := new(explained)
	site := &Site{
		Name: "www", Origin: "us", Policy: "main", EarlyData: d.oneIn(2), MergeSchemes: d.oneIn(2), HonourRequests: d.oneIn(2),
		Reuse:    cache.Policy{WhileRevalidate: 5 * time.Second, IfError: time.Minute, SetCookie: true, Slice: draw[int64](d, 0, 1, 3)},
		Compress: encodesText(),
	}
	ttl := 30 * time.Second
	site.Rules = []Rule{{Path: "/b*", Query: QueryKey{Drop: []string{"utm_*"}, Sort: true}, Choose: Choose([]string{"X-A"}, []string{"lang"}, true), Negative: &ttl}, {Path: "/c", TTL: &ttl}, {Path: "/d", Bypass: true}}
	site.Transport = roundTrip(w.origin)
	sites := NewSites()
	sites.Add(site, "www.test", "*.www.test")
	sites.Add(&Site{Name: "strict", Policy: "mutual", Transport: site.Transport}, "strict.test")
	w.p = New(Config{
		Node: "fra", Cache: cache.New(cache.Config{Store: new(shelf), Now: w.clock.now}), Sites: sites, Port: 443, Now: w.clock.now,
		End: func(x *Exchange) { w.ended = &record{verdict: x.Verdict, reason: x.Reason, status: x.Status} },
	})
	return w
}

// origin says what was drawn; a part of it where it knows ranges.
func (w *explained) origin(r *http.Request) (*http.Response, error) {
	if w.said == nil {
		return nil, errors.New("down")
	}
	resp, body := *w.said, w.body
	resp.Header = resp.Header.Clone()
	var from, to int
	n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
	if same := r.Header.Get("If-Range"); n == 2 && w.parts && resp.StatusCode == 200 && (same == "" || same == resp.Header.Get("Etag")) {
		if to = min(to, len(body)-1); from > to {
			resp.StatusCode, body = 416, ""
			resp.Header.Set("Content-Range", fmt.Sprintf("bytes */%d", len(w.body)))
		} else {
			resp.StatusCode, body = 206, body[from:to+1]
			resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(w.body)))
		}
	}
	resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return &resp, nil
}

// answer draws what the origin would say next.
func (w *explained) answer(d dice) {
	if w.said = nil; d.oneIn(6) {
		return
	}
	h := http.Header{"Date": {w.clock.now().UTC().Format(http.TimeFormat)}}
	d.set(h, "Cache-Control", "", "max-age=60", "max-age=0", "no-store", "private", "no-cache", "max-age=5, stale-while-revalidate=60", "s-maxage=9", "must-revalidate, max-age=3", "max-age=2, stale-if-error=400")
	d.set(h, "Vary", "", "", "", "Accept-Language", "Accept-Encoding, X-A", rarely(d, "", "*"))
	d.set(h, "Etag", "", `"1"`, `"1"`, `"3"`, `W/"2"`)
	d.set(h, "Accept-Ranges", "", "bytes")
	w.parts = !d.oneIn(3)
	d.set(h, "Last-Modified", "", "Thu, 01 Jan 2026 10:00:00 GMT")
	d.set(h, "Content-Language", "", "de", "en")
	d.set(h, "Age", "", "3")
	status := draw(d, 200, 200, 200, 200, 301, 404, 500, 503, 304)
	d.set(h, "Content-Type", "text/plain", "text/plain", "image/png", "")
	if w.body = draw(d, "hello", "hello", strings.Repeat("hello ", 200)); status == 304 {
		w.body = ""
	}
	w.said = &http.Response{StatusCode: status, Header: h, ProtoMajor: 2, ProtoMinor: 0}
}

// ask draws a request, has it explained, and compares that with what happens. It returns the
// verdict of the log.
func (w *explained) ask(d dice) (verdict, wrong string) {
	w.answer(d)
	r, err := http.NewRequest(rarely(d, "GET", "HEAD", "POST", "DELETE", "OPTIONS", "PURGE"), "https://www.test/", nil)
	if err != nil {
		return "", err.Error()
	}
	r.Host = rarely(d, "www.test", "x.www.test", "strict.test", "nobody.test")
	r.RequestURI = rarely(d, "/a", "/b?utm_x=1&q=2", "/b?q=2", "/b?q=2&a=1", "/b?a=1&q=2", "/c", "/d", "/%zz")
	r.RemoteAddr = "192.0.2.1:5"
	if !d.oneIn(20) {
		r.TLS = &tls.ConnectionState{HandshakeComplete: !d.oneIn(20), ServerName: "www.test"}
	}
	if d.oneIn(20) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("body")), 4
	}
	d.set(r.Header, "Accept-Language", "", "de", "de, en;q=0.5", "en")
	d.set(r.Header, "Accept-Encoding", "", "br, gzip", "gzip,br", "gzip, identity;q=0")
	d.rare(r.Header, "If-Range", `"1"`, `W/"1"`, "Thu, 01 Jan 2026 10:00:00 GMT")
	d.set(r.Header, "X-A", "", "", "1")
	d.rare(r.Header, "If-None-Match", `"1"`, `"9"`)
	d.rare(r.Header, "If-Modified-Since", "Thu, 01 Jan 2026 11:00:00 GMT")
	if d.oneIn(3) {
		d.set(r.Header, "Range", "bytes=1-2", "bytes=0-0", "bytes=4-4", "bytes=0-9", "bytes=-1", "bytes=0-0,4-4", "bytes=9-", "bytes=9-9", "lines=1")
	}
	d.rare(r.Header, "Cache-Control", "no-store", "only-if-cached", "no-cache", "max-age=3", "min-fresh=20", "max-stale", "max-stale=2, only-if-cached")
	d.rare(r.Header, "Pragma", "no-cache")
	d.rare(r.Header, "Cookie", "lang=de", "lang=de; lang=en", "id=1")
	d.rare(r.Header, "User-Agent", "iPhone")
	d.rare(r.Header, "Authorization", "x")
	d.rare(r.Header, "If-Match", "*")
	d.rare(r.Header, "Via", "2 fra, 2 fra, 2 fra, 2 fra")
	d.rare(r.Header, "Max-Forwards", "0", "1")
	before := *r
	x := w.p.Explain(&before)
	if again := w.p.Explain(&before); !reflect.DeepEqual(x, again) || w.ended != nil {
		return "", fmt.Sprintf("explaining changes something: %+v, then %+v, ended %+v", x, again, w.ended)
	}
	out := &discard{h: make(http.Header)}
	func() {
		defer func() {
			if e := recover(); e != nil && e != http.ErrAbortHandler {
				panic(e)
			}
		}()
		w.p.ServeHTTP(out, r)
	}()
	got := w.ended
	w.ended = nil
	if wrong = heldTo(&x, got, out); wrong != "" {
		text, _ := json.MarshalIndent(x, "", " ")
		return "", fmt.Sprintf("%s %s%s %v: %s\n%s", r.Method, r.Host, r.RequestURI, r.Header, wrong, text)
	}
	defer synctest.Wait() // what is filled behind an answer ends before the next request
	return got.verdict.String(), ""
}

// heldTo tells what of an explanation did not come true.
func heldTo(x *Explanation, got *record, out *discard) string {
	allowed := x.Log == nil && got.verdict == cache.Refused // about the node itself
	for _, o := range x.Log {
		allowed = allowed || o.Verdict == got.verdict.String() && (o.Reason == nil || *o.Reason == string(got.reason))
	}
	status := out.h["Cache-Status"]
	switch {
	case !allowed:
		return fmt.Sprintf("%s/%s happened", got.verdict, got.reason)
	case x.Status != 0 && x.Status != got.status:
		return fmt.Sprintf("status %d", got.status)
	case len(status) == 0 && x.CacheStatus != "", len(status) > 0 && status[0] != x.CacheStatus && !(x.CacheStatusOpen && strings.HasPrefix(status[0]+";", x.CacheStatus+";")):
		return fmt.Sprintf("Cache-Status: %q", status)
	case x.Why == "":
		return "no sentence"
	case x.Encoding != nil && got.verdict == cache.Hit && got.status == 200 && x.Encoding.Reason != "coded" && x.Encoding.Coding != coding(out.h):
		return fmt.Sprintf("Content-Encoding: %q", out.h["Content-Encoding"])
	}
	return ""
}

func coding(h http.Header) string {
	if c := h.Get("Content-Encoding"); c != "" {
		return c
	}
	return "identity"
}

// Explaining gets along with requests, fills and new sites at the same time.
func TestExplainWhileServing(t *testing.T) {
	site := &Site{Name: "www", Rules: []Rule{{Path: "/x"}}}
	sites := NewSites()
	sites.Add(site, "www.test")
	p := newProxy(sites)
	stock(t, p, site, "Vary", "Accept-Language", "Cache-Control", "max-age=0, stale-while-revalidate=9", "Content-Language", "de")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			d := dice{rand.New(rand.NewPCG(uint64(i), 1))}
			for range 200 {
				r, err := http.NewRequest("GET", "https://www.test/", nil)
				if err != nil {
					t.Error(err)
					return
				}
				r.RequestURI, r.RemoteAddr = draw(d, "/", "/x"), "192.0.2.1:5"
				d.set(r.Header, "Accept-Language", "", "de", "de, en;q=0.1", "en")
				switch d.IntN(3) {
				case 0:
					p.ServeHTTP(&discard{h: make(http.Header)}, r)
				case 1:
					if x := p.Explain(r); x.Verdict == "" || x.Why == "" {
						t.Errorf("%+v", x)
					}
				case 2:
					p.SetSites(sites)
				}
			}
		})
	}
	all.Wait()
}
