package pool_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"hither/origin/pool"
)

func Example() {
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello over ", r.Proto)
	}))
	origin.EnableHTTP2 = true
	origin.StartTLS()
	defer origin.Close()

	p, err := pool.New(pool.Config{
		Origin:    "us",
		Node:      "fra",
		Addresses: []string{origin.Listener.Addr().String()},
		TLS:       &tls.Config{RootCAs: origin.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	p.Start(ctx)
	defer p.Close()
	if err := p.Warm(ctx); err != nil {
		fmt.Println(err)
		return
	}

	for range 3 {
		req, _ := http.NewRequestWithContext(ctx, "GET", "https://www.hither.test/", nil)
		res, err := p.RoundTrip(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		fmt.Println(string(body))
	}
	s := p.Status()
	fmt.Println(s.RequestsTotal, "requests,", s.HandshakesTotal, "handshakes")
	// Output:
	// hello over HTTP/2.0
	// hello over HTTP/2.0
	// hello over HTTP/2.0
	// 3 requests, 2 handshakes
}
