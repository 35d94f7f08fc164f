package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"hither/edge/node"
)

func TestReadURL(t *testing.T) {
	for _, c := range []struct{ url, scheme, host, target string }{
		{"https://www.test", "https", "www.test", "/"},
		{"HTTPS://www.test:8443/a//b?c=%zz#d", "https", "www.test:8443", "/a//b?c=%zz"},
		{"http://www.test?q", "http", "www.test", "/?q"},
		{"https://[::1]:1/../%2e", "https", "[::1]:1", "/../%2e"},
	} {
		var q node.Question
		if err := readURL(&q, c.url); err != nil || q.Scheme != c.scheme || q.Host != c.host || q.Target != c.target {
			t.Errorf("%s: %+v, %v", c.url, q, err)
		}
	}
	for url, says := range map[string]string{
		"": "is no URL", "www.test": "write https://HOST/PATH", "ftp://www.test/": "is no URL", "https:///a": "has no host", "https://u:p@www.test/": "has a user",
		"https://www.test/a b": "blanks", "https://www.test/a\n": "blanks", "https://www.test/" + strings.Repeat("a", mostURL): "65536 are taken at most",
		strings.Repeat("a", mostURL): "is no URL",
	} {
		err := readURL(new(node.Question), url)
		var exit *exitError
		if !errors.As(err, &exit) || exit.status != exitUsage || !strings.Contains(err.Error(), says) || len(err.Error()) > 300 {
			t.Errorf("%.60q: %v, want %q", url, err, says)
		}
	}
	if err := readURL(&node.Question{Fields: []string{strings.Repeat("a", mostURL)}}, "https://www.test/"); err == nil {
		t.Error("a field of any length is taken")
	}
}

// What people read fits on a screen and says what the document says.
func TestPrintRequest(t *testing.T) {
	var x node.Explanation
	err := json.Unmarshal([]byte(`{"node":"edge-fra","pop":"fra","revision":2,"live":true,"stage":"proxy","at":"2026-01-01T00:00:05Z",
		"asked":{"method":"GET","scheme":"https","host":"www.test","target":"/a?utm_x=1"},"site":{"name":"www","matched":"*.test"},
		"rule":{"number":3,"path":"/a*","ttl_ms":90000,"bypass":false,"drop":["utm_*"],"sort":true,"choose":["Cookie;lang","X-Country"],"negative_ms":10000,"stale_if_error_ms":0,"set_cookie":false,"max_object_bytes":1048576,"slice_bytes":0},
		"key":{"site":"www","method_class":"GET","scheme":"","path":"/a","normalised":true,"dropped":["utm_x=1"],"vary":[{"field":"Accept-Language","counts_as":"","sent":false}],"origin_target":"/a"},
		"stored":{"kind":"response","filling":true,"slices":{"slice_bytes":4194304,"total":2560,"first":1,"last":40,"needed":40,"stored":20,"missing":[3,4]},"variants":[{"chosen":true,"status":200,"body_bytes":7,"etag":"\"1\"","received":"2026-01-01T00:00:00Z","age_ms":1,"ttl_ms":-1500}],"variants_total":12},
		"freshness":{"date":"2026-01-01T00:00:00Z","received":"2026-01-01T00:00:00Z","age_value_ms":2000,"age_value_at_most":true,"apparent_age_ms":3000,"response_delay_ms":10,
			"corrected_initial_age_ms":3000,"resident_time_ms":5000,"current_age_ms":8000,"freshness_lifetime_ms":6500,"source":"expires","field":"Expires","field_value":"soon","ttl_ms":-1500,
			"stale_while_revalidate":{"length_ms":0,"open":false,"by":"must-revalidate"},"stale_if_error":{"length_ms":60000,"open":true,"by":"site"}},
		"part":{"status":200,"bytes":7,"why":"whole"},"encoding":{"coding":"identity","wanted":"br","reason":"not-yet","why":"later"},"verdict":"revalidate","reason":"","why":"stale","status":0,"origin":"us","conditions":["If-None-Match: \"1\""],
		"log":[{"verdict":"revalidated","reason":null,"when":"the origin says 304"},{"verdict":"error","reason":"x","when":"else"}],"cache_status":"fra; fwd=stale","cache_status_open":true}`), &x)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	printRequest(&b, x)
	text := b.String()
	for _, want := range []string{
		"GET https://www.test/a?utm_x=1 at edge-fra, revision 2", "verdict  revalidate\n", `origin   us, If-None-Match: "1"`, "coding   as it came, not br: later\n",
		"log      verdict=revalidated  when the origin says 304\n         verdict=error reason=x  when else\n", "header   Cache-Status: fra; fwd=stale …\n",
		"site     www, by its host *.test\n", "rule     3, path /a*, ttl 1m30s, drops utm_*, sorts, chooses by Cookie;lang X-Country, negative 10s, stale_if_error 0s, set_cookie bypass, max_object 1MiB, slice 0B\n", "slices   2560 of 4MiB; needed 40, from 1 to 40; stored 20; missing 3 4 …\n", "key      www GET http+https /a\n", "without utm_x=1\n", "vary     no Accept-Language\n",
		"stored   response; 12 under the key; a request to the origin is under way\n", "this   200, 7 bytes, stale for 1.5s, came 2026-01-01T00:00:00Z\n",
		"at most 2s", "Expires: soon − date_value (5.3)", "TTL                     -1.5s", "closed by must-revalidate (4.2.4) (RFC 5861 section 3)", "the setting of the site or its rule; open now (RFC 5861 section 4)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	if n := strings.Count(text, "\n"); n > 40 {
		t.Errorf("%d lines are more than a screen", n)
	}
	if t.Failed() {
		t.Log("\n" + text)
	}
}

// Whatever is given as a URL, what is asked about has a host and a target, and nothing of the one is in the other.
func FuzzReadURL(f *testing.F) {
	f.Add("https://www.test/a?b#c")
	f.Add("http://[::1]:8080?x")
	f.Add("https://#/")
	f.Fuzz(func(t *testing.T, url string) {
		var q node.Question
		if readURL(&q, url) != nil {
			return
		}
		if q.Host == "" || strings.ContainsAny(q.Host, "/?#@ ") || q.Target == "" || q.Target[0] != '/' || strings.ContainsAny(q.Target, "# \n") {
			t.Errorf("%q: %+v", url, q)
		}
		if !strings.Contains(url, strings.TrimPrefix(q.Target, "/")) || !strings.Contains(url, q.Host) {
			t.Errorf("%q is not as it came: %+v", url, q)
		}
	})
}
