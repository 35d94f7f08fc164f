package compress_test

import (
	"flag"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"hither/cache"
	"hither/edge/compress"
)

// TestMain has properties draw the same cases in each run; -rapid.seed=0 draws others, as `make soak` does.
func TestMain(m *testing.M) {
	if seed := flag.Lookup("rapid.seed").Value; seed.String() == "0" { // else the environment names one
		seed.Set("1")
	}
	goleak.VerifyTestMain(m)
}

func policy() compress.Policy {
	return compress.Policy{Codings: cache.Codings(), Types: compress.NewTypes(compress.DefaultTypes), Min: 1000, Max: 10000}
}

func header(pairs ...string) http.Header {
	h := make(http.Header)
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestRefuses(t *testing.T) {
	for _, c := range []struct {
		why    compress.Reason
		status int
		size   int64
		pairs  []string
	}{
		{"", 200, 1000, nil},
		{"", 200, 10000, nil},
		{"", 200, -1, nil},
		{compress.Small, 200, 999, nil},
		{compress.Small, 200, 0, nil},
		{compress.Large, 200, 10001, nil},
		{compress.Status, 404, 2000, nil},
		{compress.Status, 206, 2000, nil},
		{compress.Coded, 200, 2000, []string{"Content-Encoding", "gzip"}},
		{compress.Coded, 200, 2000, []string{"Content-Encoding", "dcz"}},
		{compress.Coded, 200, 2000, []string{"Content-Encoding", ""}},
		{compress.Part, 200, 2000, []string{"Content-Range", "bytes 0-1999/9999"}},
		{compress.NoTransform, 200, 2000, []string{"Cache-Control", "max-age=60", "Cache-Control", "No-Transform"}},
		{compress.NoTransform, 200, 2000, []string{"Cdn-Cache-Control", "max-age=60, no-transform"}},
		{compress.NoTransform, 200, 2000, []string{"Surrogate-Control", "no-transform"}},
		{"", 200, 2000, []string{"Cache-Control", `ext="no-transform"`}},
		{"", 200, 2000, []string{"Cache-Control", "no-transformers"}},
		{compress.Digest, 200, 2000, []string{"Repr-Digest", "sha-256=:x:"}},
		{compress.Digest, 200, 2000, []string{"Content-Md5", "x"}},
		{compress.Type, 200, 2000, []string{"Content-Type", "text/css"}}, // two types are none
	} {
		h := header(append([]string{"Content-Type", "text/html; charset=utf-8", "Etag", `"1"`}, c.pairs...)...)
		p := policy()
		if got := p.Refuses(c.status, cache.NewFields(h), c.size); got != c.why {
			t.Errorf("%d, %d bytes, %v: %q, want %q", c.status, c.size, h, got, c.why)
		}
	}
	p := policy()
	if got := p.Refuses(200, cache.NewFields(header("Etag", `"1"`)), 2000); got != compress.Type {
		t.Errorf("without a type: %q", got)
	}
	off := compress.Policy{Types: p.Types, Max: 1 << 20}
	if got := off.Refuses(200, cache.NewFields(header("Content-Type", "text/css")), 2000); got != compress.Off {
		t.Errorf("off: %q", got)
	}
}

func TestAsked(t *testing.T) {
	p := policy()
	for _, c := range []struct {
		request http.Header
		want    cache.Coding
		why     compress.Reason
	}{
		{header("Accept-Encoding", "gzip"), cache.Gzip, ""},
		{header(), cache.Identity, compress.NotAsked},
		{header("Accept-Encoding", "deflate"), cache.Identity, compress.NotAsked},
		{header("Accept-Encoding", "gzip", "Cache-Control", "no-cache, no-transform"), cache.Identity, compress.NoTransform},
		{header("Accept-Encoding", "gzip", "Cache-Control", "no-cache"), cache.Gzip, ""},
	} {
		if want, _, why := p.Asked(c.request); want != c.want || why != c.why {
			t.Errorf("%v: %v, %q, want %v, %q", c.request, want, why, c.want, c.why)
		}
	}
}

func TestTypes(t *testing.T) {
	for patterns, c := range map[string]struct{ in, out string }{
		strings.Join(compress.DefaultTypes, " "): {
			"text/html TEXT/CSS text/plain;charset=utf-8 application/json application/ld+json image/svg+xml application/javascript application/wasm font/ttf application/vnd.api+json;ext=x",
			"image/png image/jpeg video/mp4 font/woff2 application/zip application/octet-stream application/pdf application/gzip text textual/html +json /json text/ application/",
		},
		"text/css":   {"text/css Text/CSS", "text/html text/css2"},
		"*+json":     {"application/a+json a/b+c+json", "application/json a/b+json+c"},
		"a/* *+b":    {"a/c c/d+b", "b/a aa/c"},
		"A/B":        {"a/b", "a/c"},
		"unlikely/x": {"", "a/b"},
	} {
		set := compress.NewTypes(strings.Fields(patterns))
		for _, media := range strings.Fields(c.in) {
			if !set.Has(media) {
				t.Errorf("%s lacks %s", patterns, media)
			}
		}
		for _, media := range append(strings.Fields(c.out), "") {
			if set.Has(media) {
				t.Errorf("%s has %q", patterns, media)
			}
		}
	}
	var none compress.Types
	if none.Has("text/html") {
		t.Error("the zero Types has something")
	}
}

func TestVary(t *testing.T) {
	for _, c := range []struct{ before, after string }{
		{"", "Accept-Encoding"},
		{"Accept", "Accept|Accept-Encoding"},
		{"accept-encoding", "accept-encoding"},
		{"Accept, ACCEPT-ENCODING", "Accept, ACCEPT-ENCODING"},
		{"*", "*"},
		{"A|B, Accept-Encoding", "A|B, Accept-Encoding"},
	} {
		h := make(http.Header)
		var shared []string
		if c.before != "" {
			shared = append(make([]string, 0, 8), strings.Split(c.before, "|")...)
			h["Vary"] = shared
		}
		compress.Vary(h)
		if got := strings.Join(h["Vary"], "|"); got != c.after {
			t.Errorf("%q becomes %q, want %q", c.before, got, c.after)
		}
		if full := shared[:cap(shared)]; len(full) > len(shared) && full[len(shared)] != "" {
			t.Errorf("%q: the slice of others was written to", c.before)
		}
	}
}

func TestMark(t *testing.T) {
	h := http.Header{"Etag": {`"1"`}, "Accept-Ranges": {"bytes"}, "Content-Type": {"text/css"}}
	compress.Mark(h, cache.Brotli)
	if h.Get("Etag") != `W/"1"` || h.Get("Content-Encoding") != "br" || h.Get("Accept-Ranges") != "none" || h.Get("Content-Type") != "text/css" {
		t.Errorf("%v", h)
	}
	for tag, want := range map[string]string{`"1"`: `W/"1"`, `W/"1"`: `W/"1"`, "": ""} {
		if got := compress.Weak(tag); got != want {
			t.Errorf("%s becomes %s", tag, got)
		}
	}
}

func TestHides(t *testing.T) {
	for _, c := range []struct {
		rule  string
		pairs []string
		want  cache.Coding
		bare  bool
		hides bool
	}{
		{"a client without codings", []string{"If-Range", "Thu, 01 Jan 2026 00:00:00 GMT"}, cache.Identity, true, false},
		{"no If-Range: a part of the bare content", nil, cache.Gzip, true, false},
		{"the strong tag is of the bare content alone", []string{"If-Range", `"1"`}, cache.Gzip, true, false},
		{"RFC 9110 8.8.2.2: a date is of both", []string{"If-Range", "Thu, 01 Jan 2026 00:00:00 GMT"}, cache.Gzip, true, true},
		{"a weak tag", []string{"If-Range", `W/"1"`}, cache.Gzip, true, true},
		{"bare content is refused", nil, cache.Gzip, false, true},
	} {
		if got := compress.Hides(header(c.pairs...), c.want, c.bare); got != c.hides {
			t.Errorf("%s: %v", c.rule, got)
		}
	}
}
