package proxy

import (
	"maps"
	"net/http"
	"slices"
	"testing"

	"hither/cache"
)

func TestEndToEnd(t *testing.T) {
	h := http.Header{
		"Connection": {"close, X-Hop", "keep-alive,, x-Other"}, "X-Hop": {"1"}, "X-Other": {"1"}, "Keep-Alive": {"1"},
		"Proxy-Connection": {"1"}, "Te": {"gzip"}, "Transfer-Encoding": {"chunked"}, "Upgrade": {"h2c"}, "Trailer": {"X"},
		"Proxy-Authorization": {"1"}, "Proxy-Authenticate": {"1"}, "Proxy-Authentication-Info": {"1"},
		"Content-Length": {"5"}, "Set-Cookie": {"a", "b"}, "X": {""},
	}
	before := len(h)
	got := endToEnd(h)
	if want := []string{"Content-Length", "Set-Cookie", "X"}; !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
		t.Errorf("RFC 9110 section 7.6.1: %v", got)
	}
	if len(h) != before {
		t.Error("the original was changed")
	}
}

func TestSpoofable(t *testing.T) {
	for name, want := range map[string]bool{
		"Forwarded": true, "X-Forwarded-For": true, "X-Forwarded-Anything": true, "X-Forwarded": true, "X-Original-Url": true,
		"X-Original-Method": true, "X-Rewrite-Url": true, "X-Real-Ip": true, "True-Client-Ip": true, "Early-Data": true, "Proxy": true,
		"X-Forward": false, "Original-Url": false, "Cookie": false, "Authorization": false, "User-Agent": false, "Via": false,
	} {
		if isSpoofable(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	for name, want := range map[string][2]bool{ // key has the scheme, schemes merged
		"X-Forwarded-Proto": {false, true}, "X-Forwarded-Host": {true, true}, "Host": {true, true}, "Via": {true, true},
		"Accept": {false, false}, "Cookie": {false, false}, "Origin": {false, false},
	} {
		if got := [2]bool{opaque(name), opaqueMerged(name)}; got != want {
			t.Errorf("%s: opaque %v, want %v", name, got, want)
		}
	}
}

func TestRequestFields(t *testing.T) {
	p := newProxy(NewSites())
	p.cfg.Trusted = prefixes("10.0.0.0/8")
	fetched, past := plan{}, plan{bypass: cache.ReasonMethod}
	for _, test := range []struct {
		rule   string
		peer   string
		pl     plan
		method string
		minor  int
		h      http.Header
		want   map[string]string // "-" = absent
	}{
		{"who asks", "192.0.2.1:5", fetched, "GET", 1, nil, map[string]string{
			"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Host": "www.test:8443", "X-Forwarded-Proto": "http",
			"Forwarded": `for=192.0.2.1;host="www.test:8443";proto=http;by=_fra`, "Via": "1.1 fra", "Early-Data": "-",
		}},
		{"IPv6 (RFC 7239 section 6)", "[2001:db8::1%eth0]:5", fetched, "GET", 1, nil, map[string]string{
			"X-Forwarded-For": "2001:db8::1", "Forwarded": `for="[2001:db8::1]";host="www.test:8443";proto=http;by=_fra`,
		}},
		{"no address (RFC 7239 section 6.2)", "@", fetched, "GET", 1, nil, map[string]string{
			"X-Forwarded-For": "unknown", "Forwarded": `for=unknown;host="www.test:8443";proto=http;by=_fra`,
		}},
		{"names with underscores", "192.0.2.1:5", fetched, "GET", 1,
			http.Header{"X_forwarded_for": {"1"}, "X_real-Ip": {"1"}, "X_original_url": {"1"}, "X_http_method_override": {"1"}, "Under_score": {"1"}},
			map[string]string{"X_forwarded_for": "-", "X_real-Ip": "-", "X_original_url": "-", "X_http_method_override": "-", "Under_score": "1"}},
		{"a trusted peer's underscores", "10.0.0.1:5", past, "POST", 1, http.Header{"X_forwarded_for": {"1"}}, map[string]string{"X_forwarded_for": "-"}},
		{"a trusted peer's word", "10.0.0.1:5", past, "POST", 1,
			http.Header{"X-Forwarded-For": {"192.0.2.9", "10.0.0.7"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"other"}, "X-Real-Ip": {"1"}},
			map[string]string{"X-Forwarded-For": "192.0.2.9, 10.0.0.7, 10.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "other", "X-Real-Ip": "-"}},
		{"but not on what the key does not have, where it may be stored", "10.0.0.1:5", fetched, "GET", 1,
			http.Header{"X-Forwarded-For": {"192.0.2.9"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"other"}, "Forwarded": {"proto=https"}},
			map[string]string{"X-Forwarded-For": "192.0.2.9, 10.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "www.test:8443", "Forwarded": `for=10.0.0.1;host="www.test:8443";proto=http;by=_fra`}},
		{"a GET stays one", "192.0.2.1:5", fetched, "GET", 1, http.Header{"X-Http-Method-Override": {"DELETE"}}, map[string]string{"X-Http-Method-Override": "-"}},
		{"a POST may be more", "192.0.2.1:5", past, "POST", 1, http.Header{"X-Http-Method-Override": {"DELETE"}}, map[string]string{"X-Http-Method-Override": "DELETE"}},
		{"RFC 9110 section 10.1.4", "192.0.2.1:5", fetched, "GET", 1, http.Header{"Te": {"gzip, Trailers"}}, map[string]string{"Te": "trailers"}},
		{"other codings end here", "192.0.2.1:5", fetched, "GET", 1, http.Header{"Te": {"gzip"}}, map[string]string{"Te": "-"}},
		{"RFC 9110 section 10.1.1: nothing to expect", "192.0.2.1:5", past, "POST", 1, http.Header{"Expect": {"100-continue"}}, map[string]string{"Expect": "-"}},
		{"Via is a list", "192.0.2.1:5", fetched, "GET", 0, http.Header{"Via": {"1.1 x"}}, map[string]string{"Via": "1.1 x|1.0 fra"}},
		{"RFC 8470 section 5.1", "192.0.2.1:5", plan{early: true}, "GET", 1, http.Header{"Early-Data": {"0"}}, map[string]string{"Early-Data": "1"}},
		{"what the client named to end here", "192.0.2.1:5", fetched, "GET", 1, http.Header{"Connection": {"X-A, X-Forwarded-For"}, "X-A": {"1"}}, map[string]string{"X-A": "-", "X-Forwarded-For": "192.0.2.1"}},
	} {
		h := test.h.Clone()
		if h == nil {
			h = make(http.Header)
		}
		r := &http.Request{Method: test.method, Host: "WWW.test.", RemoteAddr: test.peer, Header: h, ProtoMajor: 1, ProtoMinor: test.minor}
		got := p.requestFields(r, test.pl)
		for name, want := range test.want {
			have := "-"
			if values := got[name]; len(values) > 0 {
				have = values[0]
				for _, v := range values[1:] {
					have += "|" + v
				}
			}
			if have != want {
				t.Errorf("%s: %s: %s, want %s", test.rule, name, have, want)
			}
		}
		if agent, ok := got["User-Agent"]; !ok || agent != nil {
			t.Errorf("%s: net/http would name itself", test.rule)
		}
	}
}

func TestHost(t *testing.T) {
	p := newProxy(NewSites()) // its port is 8443
	for authority, want := range map[string]string{
		"www.test": "www.test:8443", "WWW.Test": "www.test:8443", "www.test.": "www.test:8443", "www.test:8443": "www.test:8443",
		"www.test:1": "www.test:8443", "www.test:": "www.test:8443", "[::1]:1": "[::1]:8443", "[::1]": "[::1]:8443",
	} {
		if got := p.host(&http.Request{Host: authority}); got != want {
			t.Errorf("%s: %s, want %s", authority, got, want)
		}
	}
}

func TestResponseFields(t *testing.T) {
	p := newProxy(NewSites())
	got := p.responseFields(&http.Response{ProtoMajor: 2, Header: http.Header{
		"Alt-Svc": {`h3=":9443"`}, "Connection": {"X-A"}, "X-A": {"1"}, "Via": {"1.1 x"}, "Cache-Status": {"shield; hit"},
	}})
	for name, want := range map[string][]string{
		"Alt-Svc": nil, "X-A": nil, "Connection": nil, "Via": {"1.1 x", "2 fra"}, "Cache-Status": {"shield; hit"},
		"Date": {noon.Format(http.TimeFormat)},
	} {
		if !slices.Equal(got[name], want) {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
}
