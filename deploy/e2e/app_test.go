//go:build e2e

package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// An app is an application behind the gateway: a plain HTTP server which knows nothing
// of a CDN. What it answers follows from the path alone, so that each client can check
// what it got.
//
//	/once/ID   not stored: no-store
//	/keep/ID   stored for an hour
//	/brief/ID  stored for a second
//	/echo/ID   answers with the request's content
//	/hold/ID   sends half, and the rest when release is called
type app struct {
	url  string
	mux  *http.ServeMux
	held atomic.Int64 // requests to /hold that have sent their half
	left atomic.Int64 // of them, those whose client has gone
	gate chan struct{}

	mu   sync.Mutex
	seen map[string]int // requests by path
}

// newApp serves an application on a loopback address of the scenario's net.
func newApp(t *testing.T, net127 string) *app {
	t.Helper()
	ln, err := net.Listen("tcp", net127+".0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &app{url: "http://" + ln.Addr().String(), mux: http.NewServeMux(), gate: make(chan struct{}), seen: map[string]int{}}
	a.mux.HandleFunc("/once/", a.answer("no-store"))
	a.mux.HandleFunc("/keep/", a.answer("public, max-age=3600"))
	a.mux.HandleFunc("/brief/", a.answer("public, max-age=1"))
	a.mux.HandleFunc("/echo/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Write(body)
	})
	a.mux.HandleFunc("/hold/", func(w http.ResponseWriter, r *http.Request) {
		text := content(r.URL.Path)
		w.Header().Set("Cache-Control", "no-store")
		w.Write(text[:len(text)/2])
		http.NewResponseController(w).Flush()
		a.held.Add(1)
		select {
		case <-a.gate:
			w.Write(text[len(text)/2:])
		case <-r.Context().Done():
			a.left.Add(1)
		}
	})
	srv := &http.Server{Handler: a.counted()}
	done := make(chan struct{})
	go func() {
		srv.Serve(ln)
		close(done)
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return a
}

func (a *app) counted() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.seen[r.URL.RequestURI()]++
		a.mu.Unlock()
		a.mux.ServeHTTP(w, r)
	})
}

func (a *app) answer(control string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", control)
		w.Header().Set("ETag", fmt.Sprintf("%q", r.URL.RequestURI()))
		w.Write(content(r.URL.RequestURI()))
	}
}

// release lets the requests to /hold go on, and those that follow.
func (a *app) release() { close(a.gate) }

// times is how often a path was asked for.
func (a *app) times(path string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen[path]
}

// total is the number of requests.
func (a *app) total() (n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.seen {
		n += int64(k)
	}
	return n
}

// meter measures the requests which the application sees.
func (a *app) meter(t *testing.T) *meter {
	t.Helper()
	return newMeter(t, "requests seen by the application", func(*testing.T) int64 { return a.total() })
}

// content is what the application answers to a path: some kilobytes that name it in
// every line.
func content(path string) []byte {
	return bytes.Repeat([]byte(strings.TrimPrefix(path, "/")+"\n"), 200)
}
