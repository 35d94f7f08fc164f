package proxy

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"hither/cache"
)

func TestMissThenHit(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		h.origin("/a", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Alt-Svc", "clear")
			w.WriteHeader(200)
			http.NewResponseController(w).Flush() // no Content-Length
			w.Write([]byte("hello"))
		})
		h.get("/a", 200, "hello").said(t, cache.Miss, "").fields(t,
			"Cache-Status", "fra; fwd=uri-miss; stored", "Age", "-", "Via", "2 fra",
			"Alt-Svc", `h3=":443"; ma=3600`, "Content-Length", "-")
		r := h.expectAsked(1)
		if r.Method != "GET" || r.RequestURI != "/a" || r.Host != host {
			t.Errorf("the origin saw %s %s of %s", r.Method, r.RequestURI, r.Host)
		}
		h.clock.advance(59500 * time.Millisecond)
		a := h.get("/a", 200, "hello").said(t, cache.Hit, "").fields(t,
			"Cache-Status", "fra; hit; ttl=0", "Age", "59", "Via", "2 fra", "Content-Length", "5",
			"Date", noon.Format(http.TimeFormat))
		if a.out != 5 || a.record.status != 200 || a.record.origin != "" {
			t.Errorf("record %+v", a.record)
		}
		h.expectAsked(0)
		h.clock.advance(500 * time.Millisecond) // RFC 9111 section 4.2: fresh while lifetime > age
		h.get("/a", 200, "hello").said(t, cache.Expired, "").fields(t, "Cache-Status", "fra; fwd=stale; stored")
		h.expectAsked(1)
	})
}

func TestHead(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		h.origin("/a", says(200, "hello", "Cache-Control", "max-age=60", "Etag", `"1"`))
		head := func(verdict cache.Verdict, reason cache.Reason) answer {
			t.Helper()
			a := h.do("HEAD", "/a").said(t, verdict, reason).fields(t, "Content-Length", "5", "Etag", `"1"`)
			if a.StatusCode != 200 || a.body != "" || a.err != nil || a.out != 0 || a.fault != nil {
				t.Errorf("HEAD: %d %q, %v; %d bytes, fault %v", a.StatusCode, a.body, a.err, a.out, a.fault)
			}
			return a
		}
		// Nothing stored: the origin's to answer, and nothing to store.
		head(cache.Miss, cache.ReasonMethod).fields(t, "Cache-Status", "fra; fwd=method")
		if r := h.expectAsked(1); r.Method != "HEAD" {
			t.Errorf("the origin saw %s", r.Method)
		}
		h.get("/a", 200, "hello").said(t, cache.Miss, "")
		h.expectAsked(1)
		head(cache.Hit, "").fields(t, "Cache-Status", "fra; hit; ttl=60")
		h.expectAsked(0)
		// Stale: validated by a GET that serves all.
		h.clock.advance(time.Minute)
		h.origin("/a", says(304, "", "Etag", `"1"`))
		head(cache.Revalidated, "").fields(t, "Cache-Status", "fra; fwd=stale; fwd-status=304; ttl=60", "Age", "0")
		if r := h.expectAsked(1); r.Method != "GET" || r.Header.Get("If-None-Match") != `"1"` {
			t.Errorf("the origin saw %s %v", r.Method, r.Header)
		}
		// Stale, and from now on one client's alone: the GET's content must not be sent.
		h.clock.advance(time.Hour)
		h.origin("/a", says(200, "hello", "Cache-Control", "private", "Etag", `"1"`))
		head(cache.Expired, cache.ReasonPrivate)
	})
}

func TestConditions(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		h.origin("/a", says(200, "hello", "Cache-Control", "max-age=60", "Etag", `"1"`, "Content-Type", "text/x", "Vary", "Accept"))
		// On a miss too the condition is ours to judge: the origin is asked for the whole.
		h.get("/a", 304, "", "If-None-Match", `"1"`).said(t, cache.Miss, "").
			fields(t, "Etag", `"1"`, "Vary", "Accept", "Cache-Control", "max-age=60", "Content-Type", "-", "Content-Length", "-")
		sent(t, h.expectAsked(1), "If-None-Match", "-")
		h.get("/a", 200, "hello").fields(t, "Content-Type", "text/x") // follows the fill to its end
		h.get("/a", 304, "", "If-None-Match", `W/"1"`).said(t, cache.Hit, "").fields(t, "Age", "0", "Date", noon.Format(http.TimeFormat))
		h.get("/a", 200, "hello", "If-None-Match", `"2"`).said(t, cache.Hit, "")
		h.get("/a", 304, "", "If-Modified-Since", noon.Format(http.TimeFormat)).said(t, cache.Hit, "")
		h.expectAsked(0)
		// If-Match is the origin's (RFC 9111 section 4.3.2).
		h.get("/a", 200, "hello", "If-Match", `"1"`).said(t, cache.Bypass, cache.ReasonPrecondition).
			fields(t, "Cache-Status", "fra; fwd=bypass; detail=precondition")
		sent(t, h.expectAsked(1), "If-Match", `"1"`)
	})
}

// A client whose condition matches has its 304 while the fill is still going on.
func TestConditionDuringAFill(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		more := make(chan struct{})
		h.origin("/a", func(w http.ResponseWriter, r *http.Request) {
			says(200, "hel", "Cache-Control", "max-age=60", "Etag", `"1"`, "Content-Length", "5")(w, r)
			http.NewResponseController(w).Flush()
			<-more
			w.Write([]byte("lo"))
		})
		resp, err := h.client.Do(h.request("GET", "/a", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		h.get("/a", 304, "", "If-None-Match", `"1"`).said(t, cache.Miss, cache.ReasonCollapsed).
			fields(t, "Age", "0", "Cache-Status", "fra; fwd=uri-miss; fwd-status=200; collapsed")
		close(more)
		body := make([]byte, 5)
		if _, err := resp.Body.Read(body[:3]); err != nil {
			t.Error(err)
		}
		resp.Body.Close()
		h.over()
		h.expectAsked(1)
	})
}

func TestRanges(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		h.origin("/a", says(200, "0123456789", "Cache-Control", "max-age=60", "Etag", `"1"`, "Content-Type", "text/x"))
		// Nothing stored: past the cache, and a part is not stored.
		h.get("/a", 200, "0123456789", "Range", "bytes=2-3").said(t, cache.Bypass, cache.ReasonRange).
			fields(t, "Cache-Status", "fra; fwd=bypass; detail=range")
		sent(t, h.expectAsked(1), "Range", "bytes=2-3")
		h.get("/a", 200, "0123456789").said(t, cache.Miss, "")
		h.expectAsked(1)
		h.get("/a", 206, "23", "Range", "bytes=2-3").said(t, cache.Hit, "").
			fields(t, "Content-Range", "bytes 2-3/10", "Content-Length", "2", "Content-Type", "text/x")
		h.get("/a", 206, "789", "Range", "bytes=-3", "If-Range", `"1"`)
		h.get("/a", 200, "0123456789", "Range", "bytes=-3", "If-Range", `"2"`)
		h.get("/a", 416, "", "Range", "bytes=10-").said(t, cache.Hit, "").
			fields(t, "Content-Range", "bytes */10", "Content-Length", "0", "Content-Type", "-", "Etag", "-", "Cache-Control", "-")
		h.get("/a", 304, "", "Range", "bytes=2-3", "If-None-Match", `"1"`)
		h.expectAsked(0)
		// Of a stale object: validated, then the part.
		h.clock.advance(time.Minute)
		h.origin("/a", says(304, "", "Etag", `"1"`))
		h.get("/a", 206, "45", "Range", "bytes=4-5").said(t, cache.Revalidated, "")
		sent(t, h.expectAsked(1), "Range", "-")
		// Of a stale object that has changed: the part of what comes.
		h.clock.advance(time.Hour)
		h.origin("/a", says(200, "abcdefghij", "Cache-Control", "max-age=60", "Etag", `"2"`, "Content-Length", "10"))
		h.get("/a", 206, "ef", "Range", "bytes=4-5").said(t, cache.Expired, "").fields(t, "Content-Range", "bytes 4-5/10")
		h.get("/a", 200, "abcdefghij") // follows the fill to its end
		h.get("/a", 200, "abcdefghij").said(t, cache.Hit, "")
		h.expectAsked(1)
	})
}

func TestReuse(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		for name, test := range map[string]struct {
			fields  []string
			request []string
			reason  cache.Reason // of the first answer; the second is a hit where it is ""
		}{
			"no-store":                   {[]string{"Cache-Control", "no-store"}, nil, cache.ReasonNoStore},
			"private":                    {[]string{"Cache-Control", "private, max-age=60"}, nil, cache.ReasonPrivate},
			"cookie set":                 {[]string{"Cache-Control", "max-age=60", "Set-Cookie", "a=b"}, nil, cache.ReasonSetCookie},
			"cookie sent":                {[]string{"Cache-Control", "max-age=60"}, []string{"Cookie", "a=b"}, ""},
			"authorization":              {[]string{"Cache-Control", "max-age=60"}, []string{"Authorization", "Basic x"}, cache.ReasonAuthorization},
			"authorized leave":           {[]string{"Cache-Control", "max-age=60, public"}, []string{"Authorization", "Basic x"}, ""},
			"vary star":                  {[]string{"Cache-Control", "max-age=60", "Vary", "*"}, nil, cache.ReasonVaryStar},
			"vary on what the edge sets": {[]string{"Cache-Control", "max-age=60", "Vary", "X-Forwarded-For"}, nil, cache.ReasonVaryStar},
			"vary on what it drops":      {[]string{"Cache-Control", "max-age=60", "Vary", "X-Real-IP"}, nil, cache.ReasonVaryStar},
			"vary on the host":           {[]string{"Cache-Control", "max-age=60", "Vary", "Host"}, nil, cache.ReasonVaryStar},
			"vary on the scheme":         {[]string{"Cache-Control", "max-age=60", "Vary", "X-Forwarded-Proto"}, nil, ""},
			"no lifetime":                {nil, nil, cache.ReasonNoLifetime},
			"no-store asked":             {[]string{"Cache-Control", "max-age=60"}, []string{"Cache-Control", "no-store"}, cache.ReasonNoStore},
		} {
			path := "/" + strings.ReplaceAll(name, " ", "-")
			h.origin(path, says(200, "hello", test.fields...))
			a := h.get(path, 200, "hello", test.request...)
			if a.reason != test.reason {
				t.Errorf("%s: reason %q, want %q", name, a.reason, test.reason)
			}
			h.clock.advance(6 * time.Second) // past the time in which requests go past one another
			a = h.get(path, 200, "hello", test.request...)
			if hit := a.verdict == cache.Hit; hit != (test.reason == "") {
				t.Errorf("%s: then %v/%s", name, a.verdict, a.reason)
			}
		}
	})
}

func TestVary(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		h.origin("/a", func(w http.ResponseWriter, r *http.Request) {
			says(200, "for "+r.Header.Get("Accept-Language"), "Cache-Control", "max-age=60", "Vary", "Accept-Language")(w, r)
		})
		h.get("/a", 200, "for en", "Accept-Language", "en").said(t, cache.Miss, "").fields(t, "Cache-Status", "fra; fwd=uri-miss; stored")
		h.get("/a", 200, "for de", "Accept-Language", "de").said(t, cache.Miss, "").fields(t, "Cache-Status", "fra; fwd=vary-miss; stored")
		h.get("/a", 200, "for en", "Accept-Language", " en").said(t, cache.Hit, "")
		h.get("/a", 200, "for de", "Accept-Language", "de").said(t, cache.Hit, "")
		h.get("/a", 200, "for ").said(t, cache.Miss, "")
		h.expectAsked(3)
	})
}

func TestDates(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		h.origin("/none", func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Date"] = nil
			says(200, "hello", "Cache-Control", "max-age=60")(w, r)
		})
		h.get("/none", 200, "hello").fields(t, "Date", noon.Format(http.TimeFormat)) // RFC 9110 section 6.6.1
		h.clock.advance(10 * time.Second)
		h.get("/none", 200, "hello").said(t, cache.Hit, "").fields(t, "Age", "10", "Date", noon.Format(http.TimeFormat))

		h.origin("/ahead", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", h.clock.now().Add(time.Hour).Format(http.TimeFormat))
			says(200, "hello", "Cache-Control", "max-age=60")(w, r)
		})
		h.get("/ahead", 200, "hello").fields(t, "Age", "-")
		h.get("/ahead", 200, "hello").said(t, cache.Hit, "").fields(t, "Age", "0")

		h.origin("/aged", says(200, "hello", "Cache-Control", "max-age=60", "Age", "50"))
		h.get("/aged", 200, "hello").fields(t, "Age", "50", "Cache-Status", "fra; fwd=uri-miss; stored")
		h.clock.advance(9 * time.Second)
		h.get("/aged", 200, "hello").said(t, cache.Hit, "").fields(t, "Age", "59")
		h.clock.advance(time.Second)
		h.get("/aged", 200, "hello").said(t, cache.Expired, "")
	})
}

func TestInvalidation(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		status := 200
		h.origin("/a", func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "GET" {
				says(200, "hello", "Cache-Control", "max-age=60")(w, r)
				return
			}
			says(status, "", "Cache-Control", "max-age=60")(w, r)
		})
		h.get("/a", 200, "hello")
		for _, test := range []struct {
			method  string
			status  int
			verdict cache.Verdict // of the GET that follows
		}{
			{"POST", 500, cache.Hit}, // RFC 9111 section 4.4: non-error responses invalidate
			{"POST", 404, cache.Hit},
			{"OPTIONS", 200, cache.Hit}, // safe
			{"POST", 201, cache.Miss},
			{"PUT", 204, cache.Miss},
			{"DELETE", 303, cache.Miss},
			{"QUUX", 200, cache.Miss}, // unknown is unsafe
		} {
			status = test.status
			a := h.do(test.method, "/a").said(t, cache.Bypass, cache.ReasonMethod)
			if a.StatusCode != test.status {
				t.Errorf("%s: %d", test.method, a.StatusCode)
			}
			a.fields(t, "Cache-Status", "fra; fwd=method")
			if got := h.get("/a", 200, "hello").verdict; got != test.verdict {
				t.Errorf("after %s %d: %v, want %v", test.method, test.status, got, test.verdict)
			}
		}
	})
}

func TestOnlyIfCached(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		h.origin("/a", says(200, "hello", "Cache-Control", "max-age=60"))
		a := h.do("GET", "/a", "Cache-Control", "only-if-cached").said(t, cache.Refused, cache.ReasonOnlyIfCached)
		if a.StatusCode != 504 {
			t.Errorf("RFC 9111 section 5.2.1.7: %d", a.StatusCode)
		}
		h.expectAsked(0)
		h.get("/a", 200, "hello")
		h.get("/a", 200, "hello", "Cache-Control", "only-if-cached").said(t, cache.Hit, "")
	})
}

func TestStaleIfError(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		h.origin("/a", says(200, "hello", "Cache-Control", "max-age=60, stale-if-error=60"))
		h.get("/a", 200, "hello")
		h.clock.advance(61 * time.Second)
		h.origin("/a", says(503, "down"))
		h.get("/a", 200, "hello").said(t, cache.Stale, cache.ReasonOriginError).fields(t, "Age", "61",
			"Cache-Status", "fra; fwd=stale; fwd-status=503; ttl=-1; detail=origin-error", "Proxy-Status", "fra; received-status=503")
		h.origin("/a", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		h.get("/a", 200, "hello").said(t, cache.Stale, cache.ReasonOriginError).fields(t, "Proxy-Status", "fra; error=http_protocol_error")
		h.origin("/a", says(503, "down"))
		h.clock.advance(59 * time.Second)
		h.get("/a", 503, "down").said(t, cache.Expired, cache.ReasonOriginError).fields(t, "Proxy-Status", "-")
	})
}

func TestStaleWhileRevalidate(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		h.origin("/a", says(200, "one", "Cache-Control", "max-age=60, stale-while-revalidate=30", "Etag", `"1"`))
		h.get("/a", 200, "one")
		h.expectAsked(1)
		h.clock.advance(61 * time.Second)
		hold := make(chan struct{})
		h.origin("/a", func(w http.ResponseWriter, r *http.Request) {
			<-hold
			says(200, "two", "Cache-Control", "max-age=60")(w, r)
		})
		// However many ask, and with whatever credentials, one goes to the origin.
		for i := range 10 {
			var pairs []string
			if i%2 == 1 {
				pairs = []string{"Authorization", "Basic x"}
			}
			h.get("/a", 200, "one", pairs...).said(t, cache.Updating, "").fields(t, "Age", "61", "Cache-Status", "fra; hit; ttl=-1")
		}
		close(hold)
		// A request past the window waits for the fill under way, or finds what it stored.
		h.clock.advance(30 * time.Second)
		h.get("/a", 200, "two")
		sent(t, h.expectAsked(1), "If-None-Match", `"1"`)
	})
}

func TestErrorsOfTheOrigin(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		h.site.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			switch r.URL.Path {
			case "/told":
				return nil, &poolError{503, "connection_limit_reached", "pool-full"}
			case "/panic":
				panic("boom")
			case "/status":
				return &http.Response{StatusCode: 99, Body: http.NoBody}, nil
			}
			return nil, http.ErrServerClosed
		})
		for _, test := range []struct {
			method, path string
			status       int
			said         string
			reason       cache.Reason
		}{
			{"GET", "/told", 503, "fra; error=connection_limit_reached", "pool-full"},
			{"POST", "/told", 503, "fra; error=connection_limit_reached", "pool-full"},
			{"GET", "/any", 502, "fra; error=http_protocol_error", "origin-error"},
			{"GET", "/panic", 500, "fra; error=proxy_internal_error", "panic"},
			{"GET", "/status", 502, "fra; error=http_protocol_error", "origin-status"},
		} {
			a := h.do(test.method, test.path).said(t, cache.Failed, test.reason).fields(t, "Proxy-Status", test.said, "Cache-Control", "no-store")
			if a.StatusCode != test.status || a.fault == nil {
				t.Errorf("%s %s: %d, fault %v", test.method, test.path, a.StatusCode, a.fault)
			}
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// poolError is what origin/pool's errors are to the proxy.
type poolError struct {
	status        int
	token, reason string
}

func (e *poolError) Error() string       { return "pool: " + e.reason }
func (e *poolError) Status() int         { return e.status }
func (e *poolError) ProxyStatus() string { return e.token }
func (e *poolError) Reason() string      { return e.reason }
func (e *poolError) Retryable() bool     { return false }
