package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"hither/cache"
	"hither/edge/compress"
)

// encodesText is a policy that encodes any text.
func encodesText() compress.Policy {
	return compress.Policy{Codings: cache.Codings(), Types: compress.NewTypes(compress.DefaultTypes), Min: 1, Max: 1 << 20}
}

// decode is what a client makes of content in a coding; "" is none.
func decode(coding string, b []byte) (string, error) {
	var r io.Reader = bytes.NewReader(b)
	var err error
	switch coding {
	case "br":
		r = brotli.NewReader(r)
	case "gzip":
		r, err = gzip.NewReader(r)
	case "zstd":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1)); err == nil {
			defer z.Close()
		}
		r = z
	}
	if err != nil {
		return "", err
	}
	all, err := io.ReadAll(r)
	return string(all), err
}

// A page is a ResponseWriter that keeps what is written.
type page struct {
	discard
	bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) { return p.Buffer.Write(b) }

// While versions change, are confirmed, purged and encoded at the same time, each answer is one version, whole, under its own tag.
func TestEncodedVersions(t *testing.T) {
	site := &Site{Name: "www", Compress: encodesText()}
	sites := NewSites()
	sites.Add(site, "www.test")
	var clock clock
	p := New(Config{Node: "fra", Cache: cache.New(cache.Config{Store: new(shelf), Now: clock.now}), Sites: sites, Port: 443, Now: clock.now})
	defer p.Close()
	var mu sync.Mutex
	version := 1
	site.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		tag := `"` + strconv.Itoa(version) + `"`
		h := http.Header{"Cache-Control": {"max-age=1"}, "Etag": {tag}, "Content-Type": {"text/plain"}, "Date": {clock.now().UTC().Format(http.TimeFormat)}}
		if r.Header.Get("If-None-Match") == tag {
			return &http.Response{StatusCode: 304, Header: h, Body: http.NoBody, ProtoMajor: 2}, nil
		}
		body := strings.Repeat(fmt.Sprintf("version %d ", version), 300)
		return &http.Response{StatusCode: 200, Header: h, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)), ProtoMajor: 2}, nil
	})
	seen := make(map[string]int)
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) == 4
	}
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			for n := 0; n < 300 || n < 30000 && !enough(); n++ {
				r, err := http.NewRequest("GET", "http://www.test/", nil)
				if err != nil {
					t.Error(err)
					return
				}
				r.RequestURI, r.RemoteAddr = "/", "192.0.2.1:5"
				r.Header.Set("Accept-Encoding", []string{"gzip", "br", "zstd", "br, gzip", "identity", "gzip;q=0"}[i])
				w := &page{discard: discard{h: make(http.Header)}}
				p.ServeHTTP(w, r)
				coding := w.h.Get("Content-Encoding")
				body, err := decode(coding, w.Bytes())
				if err != nil {
					t.Errorf("%s: %v", coding, err)
				}
				v, _ := strconv.Atoi(strings.Trim(strings.TrimPrefix(w.h.Get("Etag"), "W/"), `"`))
				if body != strings.Repeat(fmt.Sprintf("version %d ", v), 300) {
					t.Errorf("%s, %s: %.40q, %d bytes", coding, w.h.Get("Etag"), body, len(body))
				}
				past := strings.HasSuffix(w.h.Get("Cache-Status"), "detail=hit-for-miss") // the cache, and any encoding
				if weak := strings.HasPrefix(w.h.Get("Etag"), "W/"); weak != (coding != "") || (w.h.Get("Vary") == "") != past || w.h.Get("Content-Length") != strconv.Itoa(w.Len()) {
					t.Errorf("%d bytes: %v", w.Len(), w.h)
				}
				mu.Lock()
				seen[coding]++
				// An encoder that has had no time to finish, as on a machine that is busy, gets it: nothing changes meanwhile.
				changes := n < 300 || n%600 < 100
				if n%40 == 10 && changes {
					clock.advance(2 * time.Second)
				}
				if n%80 == 30 && i == 0 && changes {
					version++
				}
				mu.Unlock()
				if !changes && n%100 == 0 {
					runtime.Gosched()
				}
				if n%70 == 50 && changes {
					p.cache.Purge(cache.Purge{Kind: cache.PurgeAll, Soft: n%140 == 50})
				}
			}
		})
	}
	all.Wait()
	for _, coding := range []string{"", "br", "gzip", "zstd"} {
		if seen[coding] == 0 {
			t.Errorf("nothing was sent in %q: %v", coding, seen)
		}
	}
}
