package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hither/cache"
)

func TestHTTP10(t *testing.T) {
	h := newHouse(t, "h1")
	h.origin("/a", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(103)
		w.Header().Set("Cache-Control", "max-age=60")
		io.WriteString(w, "hel")
		http.NewResponseController(w).Flush()
		io.WriteString(w, "lo")
	})
	got, err := h.raw("GET /a HTTP/1.0\r\nHost: %s\r\n\r\n", host)
	if err != nil || !strings.HasPrefix(got, "HTTP/1.0 200") || !strings.HasSuffix(got, "\r\n\r\nhello") || strings.Contains(got, "chunked") {
		t.Errorf("%q, %v", got, err)
	}
	sent(t, h.expectAsked(1), "Via", "1.0 fra")
	got, err = h.raw("GET /a HTTP/1.0\r\nHost: %s\r\n\r\n", host)
	if err != nil || !strings.Contains(got, "\r\nContent-Length: 5\r\n") || !strings.Contains(got, "; hit;") {
		t.Errorf("%q, %v", got, err)
	}
	// RFC 9110 section 10.1.1: an expectation of HTTP/1.0 is ignored.
	h.origin("/p", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	got, err = h.raw("POST /p HTTP/1.0\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi", host)
	if err != nil || !strings.HasPrefix(got, "HTTP/1.0 200") || !strings.HasSuffix(got, "hi") {
		t.Errorf("%q, %v", got, err)
	}
	sent(t, h.expectAsked(1), "Expect", "-")
	// Without a Host there is no site to look in.
	if got, err = h.raw("GET /a HTTP/1.0\r\n\r\n"); err != nil || !strings.HasPrefix(got, "HTTP/1.0 421") {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTargets(t *testing.T) {
	h := newHouse(t, "h1")
	for target, want := range map[string]string{
		"/a/../%62?x=%7e":       "/b?x=~",
		"/a%2fb":                "/a%2Fb",
		"//x//y":                "//x//y",
		"/?":                    "/?",
		"/b[]":                  "/b%5B%5D",
		"https://" + host + "/": "/",
		"http://" + host:        "/",
	} {
		got, err := h.raw("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, host)
		if err != nil || !strings.HasPrefix(got, "HTTP/1.1 404") {
			t.Errorf("%s: %q, %v", target, got, err)
		}
		if r := h.expectAsked(1); r.RequestURI != want {
			t.Errorf("%s: the origin saw %s, want %s", target, r.RequestURI, want)
		}
	}
	for target, status := range map[string]int{"/%00": 400, "/%": 400, "/a%zz": 400, "*": 400} {
		got, err := h.raw("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, host)
		if err != nil || !strings.HasPrefix(got, fmt.Sprint("HTTP/1.1 ", status)) {
			t.Errorf("%s: %q, %v", target, got, err)
		}
		h.expectAsked(0)
	}
	got, err := h.raw("OPTIONS * HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
	if r := h.expectAsked(1); err != nil || r.RequestURI != "*" || r.Method != "OPTIONS" {
		t.Errorf("%s %s: %q, %v", r.Method, r.RequestURI, got, err)
	}
}

func TestMethods(t *testing.T) {
	h := newHouse(t, "h1")
	for _, method := range []string{"TRACE", "CONNECT"} {
		got, err := h.raw("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", method, map[string]string{"TRACE": "/", "CONNECT": host + ":443"}[method], host)
		if err != nil || !strings.HasPrefix(got, "HTTP/1.1 405") || !strings.Contains(got, "\r\nAllow: ") {
			t.Errorf("%s: %q, %v", method, got, err)
		}
		if end := h.over(); end.verdict != cache.Refused {
			t.Errorf("%s: %+v", method, end)
		}
	}
	h.expectAsked(0)

	// RFC 9110 section 7.6.2.
	h.origin("/", says(200, ""))
	a := h.do("OPTIONS", "/", "Max-Forwards", "0").fields(t, "Allow", allowed, "Via", "-")
	if a.StatusCode != 200 {
		t.Errorf("Max-Forwards: 0: %d", a.StatusCode)
	}
	if !a.self {
		t.Errorf("Max-Forwards: 0: %+v is told as a request for the site", a.record)
	}
	h.proxy.cfg.Draining = func() bool { return true }
	if a := h.do("OPTIONS", "/", "Max-Forwards", "0"); a.StatusCode != 503 || !a.self {
		t.Errorf("Max-Forwards: 0 while draining: %d", a.StatusCode)
	}
	h.expectAsked(0)
	h.do("OPTIONS", "/", "Max-Forwards", "0").fields(t, "Alt-Svc", "clear")
	h.do("OPTIONS", "/", "Max-Forwards", "2")
	sent(t, h.expectAsked(1), "Max-Forwards", "1")
	h.do("GET", "/", "Max-Forwards", "0") // of OPTIONS and TRACE alone
	sent(t, h.expectAsked(1), "Max-Forwards", "0")
}

func TestLoop(t *testing.T) {
	h := newHouse(t, "h1")
	h.get("/", 404, "404 page not found\n", "Via", "1.1 fra, 2 iad, 1.1 fra", "Via", "2 fra")
	a := h.do("GET", "/", "Via", "1.1 fra, 2 fra", "Via", "2 fra, 1.1 fra (comment)").said(t, cache.Refused, "loop").
		fields(t, "Proxy-Status", "fra; error=proxy_loop_detected")
	if a.StatusCode != 502 {
		t.Errorf("%d", a.StatusCode)
	}
}

// A request whose content goes silent is the client's fault, not the origin's.
func TestSilentUpload(t *testing.T) {
	h := newHouse(t, "h1")
	inner := h.edge.Config.Handler
	h.edge.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
		inner.ServeHTTP(w, r)
	})
	h.origin("/a", func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	c := h.dial()
	fmt.Fprintf(c, "POST /a HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\n\r\n", host)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 408 {
		t.Errorf("RFC 9110 section 15.5.9: %d", resp.StatusCode)
	}
	if end := h.over(); end.reason != "client-silent" || end.verdict != cache.Failed {
		t.Errorf("%+v", end)
	}
}

// What the origin did not say is not made up.
func TestNoContentTypeIsGuessed(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		h.origin("/a", func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = nil
			says(200, "<html>", "Cache-Control", "max-age=60")(w, r)
		})
		h.get("/a", 200, "<html>").said(t, cache.Miss, "").fields(t, "Content-Type", "-")
		h.get("/a", 200, "<html>").said(t, cache.Hit, "").fields(t, "Content-Type", "-")
		h.get("/a", 200, "<html>", "If-Match", "*").said(t, cache.Bypass, cache.ReasonPrecondition).fields(t, "Content-Type", "-")
	})
}

func TestNoContent(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		h.origin("/a", says(204, "", "Cache-Control", "max-age=60"))
		for _, verdict := range []cache.Verdict{cache.Miss, cache.Hit} {
			a := h.get("/a", 204, "").said(t, verdict, "").fields(t, "Content-Length", "-") // RFC 9110 section 8.6
			if a.fault != nil {
				t.Error(a.fault)
			}
		}
		h.origin("/empty", says(200, "", "Cache-Control", "max-age=60"))
		h.get("/empty", 200, "").said(t, cache.Miss, "")
		h.get("/empty", 200, "").said(t, cache.Hit, "").fields(t, "Content-Length", "0")
	})
}

// A rule may leave parameters out of the key, and with it of what a GET asks; what is
// never stored keeps them.
func TestRules(t *testing.T) {
	h := newHouse(t, "h2")
	hour := time.Hour
	h.site.Rules = []Rule{
		{Path: "/q*", Query: QueryKey{Drop: []string{"utm_*"}}, TTL: &hour},
		{Path: "/never/*", Bypass: true},
	}
	h.origin("/q", says(200, "hello"))
	h.origin("/never/a", says(200, "hello", "Cache-Control", "max-age=60"))
	h.get("/q?utm_x=1&a=2", 200, "hello").said(t, cache.Miss, "")
	if r := h.expectAsked(1); r.RequestURI != "/q?a=2" {
		t.Errorf("the origin saw %s", r.RequestURI)
	}
	h.clock.advance(59 * time.Minute)
	h.get("/q?a=2&utm_y=3", 200, "hello").said(t, cache.Hit, "")
	h.do("POST", "/q?utm_x=1&a=2")
	if r := h.expectAsked(1); r.RequestURI != "/q?utm_x=1&a=2" {
		t.Errorf("the origin saw %s", r.RequestURI)
	}
	h.get("/q?a=2", 200, "hello").said(t, cache.Miss, "") // the POST meant the same URL
	for range 2 {
		h.get("/never/a", 200, "hello").said(t, cache.Bypass, cache.ReasonRule)
	}
}

// A connection made for one site serves another only under the same TLS policy.
func TestMisdirected(t *testing.T) {
	h := newHouse(t, "h2")
	same := &Site{Name: "same", Origin: "us", Transport: h.site.Transport, Policy: "main"}
	other := &Site{Name: "other", Origin: "us", Transport: h.site.Transport, Policy: "mutual"}
	sites := NewSites()
	sites.Add(h.site, host)
	sites.Add(same, "same."+host)
	sites.Add(other, "other."+host)
	h.proxy.SetSites(sites)
	h.origin("/", says(200, "hello"))
	ask := func(authority string) (int, record) {
		r := h.request("GET", "/", nil)
		r.Host = authority // on a connection for example.com
		resp, err := h.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.StatusCode, h.over()
	}
	for authority, want := range map[string]struct {
		status int
		reason cache.Reason
	}{
		host:                  {200, cache.ReasonNoLifetime},
		host + ":8443":        {200, ""},
		"SAME." + host + ".":  {200, ""},
		"other." + host:       {421, "tls-policy"},
		"nobody.example.org":  {421, "unknown-host"},
		"deep.same." + host:   {421, "unknown-host"},
		"127.0.0.1":           {421, "unknown-host"},
		"[::1]:443":           {421, "unknown-host"},
		host + ".example.org": {421, "unknown-host"},
	} {
		status, end := ask(authority)
		if status != want.status || want.status == 421 && end.reason != want.reason {
			t.Errorf("%s: %d %s, want %d %s", authority, status, end.reason, want.status, want.reason)
		}
	}
}

// What a client must not say about itself does not reach the origin.
func TestClientsWordIsNotBelieved(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		lies := []string{
			"X-Forwarded-For", "6.6.6.6", "X-Forwarded-Host", "evil", "X-Forwarded-Proto", "gopher", "Forwarded", "for=6.6.6.6",
			"X-Original-URL", "/admin", "X_Forwarded_For", "6.6.6.6", "X-Http-Method-Override", "DELETE", "Early-Data", "1", "Keep-Alive", "x", "Fine", "yes",
		}
		h.get("/", 404, "404 page not found\n", lies...)
		r := h.expectAsked(1)
		for name, want := range map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": host, "X-Forwarded-Proto": "https",
			"Forwarded": `for=127.0.0.1;host="` + host + `";proto=https;by=_fra`, "Early-Data": "-",
			"X-Original-Url": "-", "X_forwarded_for": "-", "X-Http-Method-Override": "-", "Keep-Alive": "-", "Fine": "yes",
		} {
			sent(t, r, name, want)
		}
		// A proxy in front that is trusted may name the client, but not, where the answer may
		// be stored, what the key does not have.
		h.proxy.cfg.Trusted = prefixes("127.0.0.0/8")
		h.get("/", 404, "404 page not found\n", lies...)
		r = h.expectAsked(1)
		sent(t, r, "X-Forwarded-For", "6.6.6.6, 127.0.0.1")
		sent(t, r, "X-Forwarded-Host", host)
		sent(t, r, "X-Forwarded-Proto", "https")
		h.do("POST", "/", lies...)
		r = h.expectAsked(1)
		sent(t, r, "X-Forwarded-Host", "evil")
		sent(t, r, "X-Forwarded-Proto", "gopher")
		sent(t, r, "Forwarded", `for=6.6.6.6 | for=127.0.0.1;host="`+host+`";proto=https;by=_fra`)
		sent(t, r, "X-Http-Method-Override", "DELETE")
		sent(t, r, "X-Original-Url", "-")
	})
}

// A client that does not take what it asked for ends as its own fault.
func TestClientThatStopsReading(t *testing.T) {
	h := newHouse(t, "h2")
	h.proxy.cfg.WriteIdle = time.Millisecond
	body := strings.Repeat("x", 1<<20)
	h.origin("/a", says(200, body, "Cache-Control", "max-age=60"))
	resp, err := h.client.Do(h.request("GET", "/a", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	end := h.over()
	var client *clientError
	if end.fault != nil && !errors.As(end.fault, &client) {
		t.Errorf("fault %v", end.fault)
	}
	if slices.Contains([]cache.Verdict{cache.Failed}, end.verdict) {
		t.Errorf("%+v", end)
	}
}

// An answer before the content's end reaches a client that is still sending, and ends the
// connection: nothing of the content is ever taken for a request.
func TestEarlyAnswer(t *testing.T) {
	h := newHouse(t, "h1")
	h.origin("/early", says(413, "too large"))
	c := h.dial()
	const size = 4 << 20
	var wg sync.WaitGroup
	wg.Go(func() {
		fmt.Fprintf(c, "POST /early HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", host, size)
		io.WriteString(c, strings.Repeat("GET /secret HTTP/1.1\r\nHost: example.com\r\n\r\n", size/43))
	})
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != 413 || string(body) != "too large" || err != nil || !resp.Close {
		t.Errorf("%d %q, %v; connection closes: %v", resp.StatusCode, body, err, resp.Close)
	}
	if rest, _ := io.ReadAll(br); len(rest) > 0 {
		t.Errorf("then %q", rest)
	}
	wg.Wait()
	h.expectAsked(1)
}
