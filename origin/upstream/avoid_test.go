package upstream

import (
	"io"
	"net/http"
	"testing"

	"hither/origin/pool"
)

// A request that must not go somewhere does not, by its turn or when the others fail.
func TestAvoid(t *testing.T) {
	lost := func(int, *http.Request) (*http.Response, error) { return fails(pool.KindLost, false) }
	b := over(t, answer{"a": says(200, "from a"), "b": says(200, "from b"), "c": lost}, nil)
	ask := func(method string, ids ...string) string {
		r := request(t, method, "/", nil)
		return said(fetch(b, r.WithContext(Avoid(r.Context(), ids...))))
	}
	for range 10 {
		if got := ask("GET", "a"); got != "200 from b" {
			t.Error(got)
		}
	}
	for range 5 { // the same instance once more, where there is no other
		if got := ask("GET", "a", "b"); got != "origin-lost" {
			t.Error(got)
		}
	}
	if got := ask("GET", "a", "b", "c"); got != "no-instance" {
		t.Error(got)
	}
	if n := b.fakes["a"].requests.Load(); n != 0 {
		t.Errorf("%d requests went where none should", n)
	}
	e := b.Explain(func() *http.Request {
		r := request(t, "GET", "/", io.Reader(nil))
		return r.WithContext(Avoid(r.Context(), "a", "c"))
	}())
	if e.Next == nil || e.Next.Instance != "b" {
		t.Errorf("explained: %+v", e.Next)
	}
}
