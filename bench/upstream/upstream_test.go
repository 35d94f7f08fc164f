package upstream

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

func serve(t *testing.T, h http.Handler) (address string, client *http.Client) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, h) }()
	client = &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), client
}

func get(t *testing.T, client *http.Client, url string, fields ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, body
}

func TestServe(t *testing.T) {
	objects := NewObjects()
	address, client := serve(t, NewHandler(objects))
	bodies := make(map[string]bool)
	asked := int64(0)
	for _, s := range Sizes() {
		for _, n := range []int{0, 1, MaxObjects - 1} {
			for _, store := range []bool{true, false} {
				answer, body := get(t, client, "http://"+address+s.Path(n, store)+"?u=1")
				asked++
				want := "public, max-age=86400"
				if !store {
					want = "no-store"
				}
				if answer.StatusCode != 200 || len(body) != s.Bytes || answer.ContentLength != int64(s.Bytes) ||
					answer.Header.Get("Cache-Control") != want || answer.Header.Get("Last-Modified") == "" {
					t.Errorf("%s: %s, %d bytes, %v", s.Path(n, store), answer.Status, len(body), answer.Header)
				}
				if !bytes.Equal(body, NewObjects().Body(s, n)) {
					t.Errorf("%s: another process has another body", s.Path(n, store))
				}
				bodies[string(body)] = true
			}
		}
	}
	if len(bodies) != 9 {
		t.Errorf("9 objects have %d bodies", len(bodies))
	}
	answer, body := get(t, client, "http://"+address+"/1k/7", "If-None-Match", `"1k-7"`)
	asked++
	if answer.StatusCode != 304 || len(body) > 0 {
		t.Errorf("validated: %s with %d bytes", answer.Status, len(body))
	}
	for _, path := range []string{"/", "/2k/1", "/1k", "/1k/", "/1k/x", "/1k/-1", "/1k/01", "/1k/99999999", "/p/1k", "/p/p/1k/1", "/1k/1/2"} {
		if answer, _ := get(t, client, "http://"+address+path); answer.StatusCode != 404 {
			t.Errorf("%s: %s", path, answer.Status)
		}
	}
	for range 2 { // counting is not counted
		if n, err := Count(t.Context(), client, address); err != nil || n != asked {
			t.Errorf("counted %d, %v; want %d", n, err, asked)
		}
	}
}

func TestCountFails(t *testing.T) {
	address, client := serve(t, http.NotFoundHandler())
	if n, err := Count(t.Context(), client, address); err == nil || !strings.Contains(err.Error(), "counts nothing: 404") {
		t.Errorf("somebody else's server counted %d, %v", n, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if n, err := Count(t.Context(), client, l.Addr().String()); err == nil {
		t.Errorf("nobody counted %d", n)
	}
	if err := Serve(t.Context(), l, http.NotFoundHandler()); err == nil {
		t.Error("served on a listener that is closed")
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	for _, s := range Sizes() {
		if err := NewObjects().Write(dir, s, 3); err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			if got, err := os.ReadFile(dir + s.Path(n, true)); err != nil || !bytes.Equal(got, NewObjects().Body(s, n)) {
				t.Errorf("%s: %d bytes, %v", s.Path(n, true), len(got), err)
			}
		}
	}
	if err := NewObjects().Write("/dev/null/x", Sizes()[0], 1); err == nil {
		t.Error("written where nothing can be")
	}
}
