package upstream_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"

	"hither/origin/balance"
	"hither/origin/limit"
	"hither/origin/upstream"
)

// transport is a Sender over net/http, for an instance that speaks plain HTTP/1.1. A pool is one that can do more.
type transport struct {
	http.Transport
	to *url.URL
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	out := req.Clone(req.Context())
	out.URL.Scheme, out.URL.Host = t.to.Scheme, t.to.Host
	return t.Transport.RoundTrip(out)
}

func (t *transport) Drain(context.Context) error { return t.Close() }
func (t *transport) Close() error                { t.CloseIdleConnections(); return nil }

func Example() {
	serve := func(status int, content string) (*httptest.Server, *url.URL) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, content)
		}))
		u, _ := url.Parse(s.URL)
		return s, u
	}
	a, good := serve(200, "welcome")
	defer a.Close()
	b, bad := serve(502, "")
	defer b.Close()
	u, err := upstream.New(upstream.Config{
		Origin: "shop", Node: "us",
		Instances: []upstream.Instance{{ID: "bad", URL: bad, Weight: 1}, {ID: "good", URL: good, Weight: 1}},
		Sender:    func(i upstream.Instance) (upstream.Sender, error) { return &transport{to: i.URL}, nil },
		Balance:   balance.Config{Algorithm: "round-robin", Eject: balance.Eject{Consecutive: 5, MaxPercent: 50, PanicPercent: 30}},
		Limit:     &limit.Config{Waiting: 100},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer u.Close()
	failed := 0
	for range 100 {
		req, _ := http.NewRequest("GET", "http://shop.hither.test/", nil)
		res, err := u.RoundTrip(req)
		if err != nil || res.StatusCode != 200 {
			failed++
			continue
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	fmt.Println("failed:", failed)
	fmt.Println(u.Explain(nil).Sentence)
	// Output:
	// failed: 0
	// the request goes to good: good is the only one that may be chosen
}
