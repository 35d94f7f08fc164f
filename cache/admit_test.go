package cache

import (
	"net/http"
	"testing"
	"time"
)

func TestAdmit(t *testing.T) {
	minute, zero := time.Minute, time.Duration(0)
	site := Policy{WhileRevalidate: 10 * time.Second, IfError: time.Hour}
	lm := func(pairs ...string) http.Header {
		return fields(append([]string{"Last-Modified", "@-1000s", "Date", "@"}, pairs...)...)
	}
	for _, test := range []struct {
		rule    string
		policy  Policy
		request http.Header
		status  int
		h       http.Header
		why     Reason
	}{
		{"RFC 9111 3: explicit lifetime", site, nil, 200, fields("Cache-Control", "max-age=60"), ""},
		{"heuristic lifetime", site, nil, 200, lm(), ""},
		{"a validator is enough for a heuristically cacheable status", site, nil, 200, fields("Etag", `"1"`), ""},
		{"but not for another (section 3, last condition)", site, nil, 302, fields("Etag", `"1"`), ReasonNoLifetime},
		{"unless it is public", site, nil, 302, fields("Etag", `"1"`, "Cache-Control", "public"), ""},
		{"nothing to store it for", site, nil, 200, fields(), ReasonNoLifetime},
		{"stale when it comes, no validator", site, nil, 200, fields("Cache-Control", "max-age=5", "Age", "9"), ""}, // the site's windows
		{"the same without windows", Policy{}, nil, 200, fields("Cache-Control", "max-age=5", "Age", "9"), ReasonNoLifetime},
		{"max-age=0 alone was never fresh", site, nil, 200, fields("Cache-Control", "max-age=0"), ReasonNoLifetime},
		{"RFC 5861 3: windows of its own", Policy{}, nil, 200, fields("Cache-Control", "max-age=0, stale-while-revalidate=9"), ""},
		{"RFC 9111 5.2.2.5", site, nil, 200, fields("Cache-Control", "no-store, max-age=60"), ReasonNoStore},
		{"RFC 9111 5.2.1.5", site, fields("Cache-Control", "no-store"), 200, fields("Cache-Control", "max-age=60"), ReasonNoStore},
		{"RFC 9111 5.2.2.7", site, nil, 200, fields("Cache-Control", "private, max-age=60"), ReasonPrivate},
		{"qualified private", site, nil, 200, fields("Cache-Control", `private="X", max-age=60`), ""},
		{"Set-Cookie that is not for others", site, nil, 200, fields("Cache-Control", `private="Set-Cookie", max-age=60`, "Set-Cookie", "a=b"), ""},
		{"Vary cannot be left out", site, nil, 200, fields("Cache-Control", `private="Vary", max-age=60`, "Vary", "*"), ReasonVaryStar},
		{"RFC 9111 5.2.2.4: stored to be validated", site, nil, 200, fields("Cache-Control", "no-cache", "Etag", `"1"`), ""},
		{"no-cache without a validator", site, nil, 200, fields("Cache-Control", "no-cache, max-age=60"), ReasonNoLifetime},
		{"RFC 9111 3.5", site, fields("Authorization", "Basic x"), 200, fields("Cache-Control", "max-age=60"), ReasonAuthorization},
		{"RFC 9111 3.5: public", site, fields("Authorization", "Basic x"), 200, fields("Cache-Control", "public, max-age=60"), ""},
		{"RFC 9111 3.5: s-maxage", site, fields("Authorization", "Basic x"), 200, fields("Cache-Control", "s-maxage=60"), ""},
		{"RFC 9111 3.5: must-revalidate", site, fields("Authorization", "Basic x"), 200, fields("Cache-Control", "must-revalidate, max-age=60"), ""},
		{"RFC 9111 5.2.2.8: proxy-revalidate is no leave", site, fields("Authorization", "Basic x"), 200, fields("Cache-Control", "proxy-revalidate, max-age=60"), ReasonAuthorization},
		{"a request with a Cookie", site, fields("Cookie", "a=b"), 200, fields("Cache-Control", "max-age=60"), ""},
		{"Set-Cookie", site, nil, 200, fields("Cache-Control", "max-age=60", "Set-Cookie", "a=b"), ReasonSetCookie},
		{"Set-Cookie where the site says so", Policy{SetCookie: true}, nil, 200, fields("Cache-Control", "max-age=60", "Set-Cookie", "a=b"), ""},
		{"RFC 9111 4.1", site, nil, 200, fields("Cache-Control", "max-age=60", "Vary", "Accept, *"), ReasonVaryStar},
		{"an opaque field", Policy{Opaque: func(n string) bool { return n == "X-Real-Ip" }}, nil, 200, fields("Cache-Control", "max-age=60", "Vary", "accept, x-real-ip"), ReasonVaryStar},
		{"RFC 9111 3.3: parts are not stored", site, nil, 206, fields("Cache-Control", "max-age=60"), ReasonRange},
		{"nor 416", site, nil, 416, fields("Cache-Control", "max-age=60"), ReasonRange},
		{"RFC 9111 3: a status that nobody registered", site, nil, 299, fields("Cache-Control", "max-age=60"), ""},
		{"of any class", site, nil, 599, fields("Cache-Control", "max-age=60"), ""},
		{"without explicit freshness", site, nil, 299, fields("Last-Modified", "@-100h", "Date", "@"), ReasonNoLifetime},
		{"or public", site, nil, 299, fields("Last-Modified", "@-100h", "Date", "@", "Cache-Control", "public"), ""},
		{"RFC 9111 5.2.2.3: must-understand", site, nil, 599, fields("Cache-Control", "max-age=60, must-understand"), ReasonStatus},
		{"with no-store", site, nil, 599, fields("Cache-Control", "max-age=60, no-store, must-understand"), ReasonNoStore},
		{"where we do, no-store is for others", site, nil, 200, fields("Cache-Control", "max-age=60, no-store, must-understand"), ""},
		{"but not that of the request", site, fields("Cache-Control", "no-store"), 200, fields("Cache-Control", "max-age=60, no-store, must-understand"), ReasonNoStore},
		{"RFC 6585 4", site, nil, 429, fields("Cache-Control", "max-age=60"), ReasonStatus},
		{"RFC 6585 6", site, nil, 511, fields("Cache-Control", "max-age=60"), ReasonStatus},
		{"RFC 9213 2.2: a targeted field", site, nil, 200, fields("Cache-Control", "no-store", "Cdn-Cache-Control", "max-age=60"), ""},
		{"a targeted private", site, nil, 200, fields("Cache-Control", "max-age=60", "Cdn-Cache-Control", "private"), ReasonPrivate},
		{"a rule's lifetime for what has no meaning for a cache", Policy{TTL: &minute}, nil, 202, fields(), ReasonNoLifetime},
		{"RFC 8470 5.2", site, nil, 425, fields("Cache-Control", "max-age=60"), ReasonStatus},
		{"an error without a lifetime", site, nil, 503, fields(), ReasonOriginError},
		{"an error with a validator", site, nil, 500, fields("Etag", `"1"`), ReasonOriginError},
		{"an error with a lifetime", site, nil, 503, fields("Cache-Control", "max-age=5"), ""},
		{"an error and no-store", site, nil, 503, fields("Cache-Control", "no-store"), ReasonNoStore},
		{"a rule's lifetime", Policy{TTL: &minute}, nil, 200, fields(), ""},
		{"a rule's lifetime for a redirection", Policy{TTL: &minute}, nil, 302, fields(), ""},
		{"and for 404", Policy{TTL: &minute}, nil, 404, fields(), ""},
		{"but not for what one malformed request provoked", Policy{TTL: &minute}, nil, 400, fields(), ReasonNoLifetime},
		{"nor for an error of the origin", Policy{TTL: &minute}, nil, 500, fields(), ReasonOriginError},
		{"errors that name no lifetime", Policy{Negative: &minute}, nil, 503, fields(), ""},
		{"a missing page", Policy{Negative: &minute}, nil, 404, fields(), ""},
		{"what one client sent", Policy{Negative: &minute}, nil, 400, fields(), ReasonNoLifetime},
		{"who one client is", Policy{Negative: &minute}, nil, 403, fields(), ReasonNoLifetime},
		{"they make nothing storable", Policy{Negative: &minute}, nil, 404, fields("Cache-Control", "private"), ReasonPrivate},
		{"nor what sets cookies", Policy{Negative: &minute}, nil, 500, fields("Set-Cookie", "a=b"), ReasonSetCookie},
		{"an error that names 0", Policy{Negative: &minute}, nil, 503, fields("Cache-Control", "max-age=0"), ReasonOriginError},
		{"none at all", Policy{Negative: &zero}, nil, 404, fields("Last-Modified", "@-1000s", "Date", "@"), ""}, // to be validated
		{"none at all, nor a rule's", Policy{Negative: &zero, TTL: &minute}, nil, 404, fields(), ReasonNoLifetime},
		{"a rule makes nothing storable", Policy{TTL: &minute}, nil, 200, fields("Cache-Control", "private"), ReasonPrivate},
		{"a rule against a lifetime", Policy{TTL: &zero}, nil, 200, fields("Cache-Control", "max-age=60"), ReasonNoLifetime},
	} {
		_, why := test.policy.admit(Key{}, test.request, test.status, test.h, noon, noon)
		if why != test.why {
			t.Errorf("%s: %q, want %q", test.rule, why, test.why)
		}
	}
}

func TestJudgeWindows(t *testing.T) {
	site := Policy{WhileRevalidate: 10 * time.Second, IfError: 20 * time.Second}
	for _, test := range []struct {
		rule           string
		control        string
		while, onError time.Duration
	}{
		{"the site's", "max-age=60", 10 * time.Second, 20 * time.Second},
		{"the response's own", "max-age=60, stale-while-revalidate=1, stale-if-error=2", time.Second, 2 * time.Second},
		{"its own word against the site's", "max-age=60, stale-if-error=0", 10 * time.Second, 0},
		{"RFC 9111 5.2.2.2", "max-age=60, must-revalidate, stale-if-error=2", 0, 0},
		{"RFC 9111 5.2.2.8", "max-age=60, proxy-revalidate, stale-if-error=2", 0, 0},
		{"RFC 9111 5.2.2.4", "max-age=60, no-cache, stale-if-error=2", 0, 0},
		{"RFC 9111 5.2.2.10: s-maxage implies proxy-revalidate", "s-maxage=60", 0, 0},
		{"beside which the response's own are its leave", "s-maxage=60, stale-while-revalidate=1", time.Second, 0},
		{"never fresh", "max-age=0", 0, 0},
		{"never fresh, by its own word", "max-age=0, stale-while-revalidate=1", time.Second, 0},
	} {
		o := &Object{Status: 200, Received: noon}
		h := fields("Cache-Control", test.control)
		site.judge(o, h, ParseControl(h["Cache-Control"]))
		if o.WhileRevalidate != test.while || o.IfError != test.onError {
			t.Errorf("%s: %s: %v and %v, want %v and %v", test.rule, test.control, o.WhileRevalidate, o.IfError, test.while, test.onError)
		}
	}
}

func TestAdmittedFields(t *testing.T) {
	minute := time.Minute
	h := fields("Age", "5", "Content-Length", "7", "Vary", "b, A", "X", "1")
	o, why := Policy{TTL: &minute}.admit(Key{Path: "/"}, http.Header{}, 200, h, noon, noon)
	if why != "" {
		t.Fatal(why)
	}
	if got := o.Fields.Header(); got.Get("Date") != noon.Format(http.TimeFormat) || got.Get("X") != "1" || len(got) != 3 {
		t.Errorf("stored %v: want Date added (RFC 9110 section 6.6.1), Age and Content-Length left out", got)
	}
	if o.Lifetime-o.Age != time.Minute {
		t.Errorf("a rule's lifetime counts from the receipt: %v left", o.Lifetime-o.Age)
	}
	if len(o.Vary) != 2 || o.Vary[0] != "A" || o.Vary[1] != "B" {
		t.Errorf("Vary = %q", o.Vary)
	}
	if h.Get("Age") == "" {
		t.Error("the response's own fields were changed")
	}
}

// Policy.Negative comes in the place of a guess and of a rule's lifetime, for errors alone, and never of the response's word.
func TestNegative(t *testing.T) {
	ten, hour := 10*time.Second, time.Hour
	for status := 200; status < 600; status++ {
		for _, test := range []struct {
			h      http.Header
			source Source
			want   time.Duration
		}{
			{fields("Date", "@"), SourceNegative, ten},
			{fields("Date", "@", "Last-Modified", "@-100h"), SourceNegative, ten},
			{fields("Date", "@", "Cache-Control", "max-age=3"), SourceMaxAge, 3 * time.Second},
			{fields("Date", "@", "Cache-Control", "s-maxage=30"), SourceSMaxAge, 30 * time.Second},
			{fields("Date", "@", "Expires", "0"), SourceExpires, 0},
		} {
			o := &Object{Status: status, Received: noon, Age: time.Second}
			got := Policy{Negative: &ten, TTL: &hour, IfError: hour, WhileRevalidate: hour}.times(o, test.h, controlOf(test.h))
			switch {
			case !negative[status]:
				if got.source == SourceNegative {
					t.Errorf("%d: kept as an error", status)
				}
				continue
			case test.source == SourceNegative:
				test.want += o.Age // it counts from the receipt
				if got.ifError.d != 0 || got.whileRevalidate.d != 0 || got.ifError.by != "negative" {
					t.Errorf("%d: the site's windows are open: %+v", status, got)
				}
			}
			if got.lifetime != test.want || got.source != test.source {
				t.Errorf("%d %v: %v by %v, want %v by %v", status, test.h, got.lifetime, got.source, test.want, test.source)
			}
		}
	}
}
