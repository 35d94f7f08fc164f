package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"hither/cache"
	"hither/cache/store"
	"hither/edge/proxy"
)

// An origin that counts how often it is asked.
type origin struct{ asked int }

func (o *origin) RoundTrip(r *http.Request) (*http.Response, error) {
	o.asked++
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 2, Header: http.Header{"Cache-Control": {"max-age=60"}},
		ContentLength: 5, Body: io.NopCloser(strings.NewReader("hello")),
	}, nil
}

func ExampleProxy() {
	memory, err := store.NewMemory(1 << 20)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer memory.Close()
	us := &origin{}
	now := func() time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC) }
	sites := proxy.NewSites()
	sites.Add(&proxy.Site{Name: "www", Origin: "us", Transport: us}, "www.example.org")
	p := proxy.New(proxy.Config{
		Node: "fra", Cache: cache.New(cache.Config{Store: memory, Now: now}), Sites: sites, Port: 443, Now: now,
		End: func(x *proxy.Exchange) { fmt.Println(x.Method, x.Target, x.Status, x.Verdict) },
	})
	for range 2 {
		w, request := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
		request.Host = "www.example.org"
		p.ServeHTTP(w, request)
		fmt.Println(w.Body, w.Header().Get("Cache-Status"))
	}
	fmt.Println("the origin was asked", us.asked, "time")
	// Output:
	// GET / 200 miss
	// hello fra; fwd=uri-miss; stored
	// GET / 200 hit
	// hello fra; hit; ttl=60
	// the origin was asked 1 time
}
