package health_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"hither/origin/health"
)

func Example() {
	instance := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "leaving", http.StatusServiceUnavailable)
	}))
	defer instance.Close()
	u, _ := url.Parse(instance.URL)

	ctx, stop := context.WithCancel(context.Background())
	c, err := health.New(health.Check{Path: "/ready", Interval: time.Second, Fall: 2}, health.Options{
		Report: func(id string, up bool, why string) {
			fmt.Println(id, up, why)
			stop()
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Set([]health.Target{{ID: "one", URL: u}})
	c.Run(ctx)
	// Output:
	// one false status 503, want 200 to 399
}
