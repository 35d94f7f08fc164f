package proxy

import (
	"errors"
	"io"
	"strings"
	"testing"

	"hither/cache"
)

// A wideShelf keeps what is large.
type wideShelf struct{ shelf }

func (*wideShelf) MaxObject() int64 { return 64 << 20 }

// A client that stops reading what is no longer stored, while others need the memory, gets a
// broken response and not a short one. (The shelf keeps no account: to it nothing is stored.)
func TestHitThatIsCutOff(t *testing.T) {
	eachProto(t, func(t *testing.T, h *house) {
		body := strings.Repeat("0123456789abcdef", 16<<20/16) // more than sockets and windows hold
		h.proxy.cache = cache.New(cache.Config{Store: new(wideShelf), Now: h.clock.now, Filling: int64(len(body)) * 3 / 2})
		for _, path := range []string{"/slow", "/fast"} {
			h.origin(path, says(200, body, "Cache-Control", "max-age=60"))
			h.get(path, 200, body)
		}
		slow, err := h.client.Do(h.request("GET", "/slow", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Body.Close()
		fast, err := h.client.Do(h.request("GET", "/fast", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer fast.Body.Close()
		if n, err := io.Copy(io.Discard, fast.Body); err != nil || n != int64(len(body)) {
			t.Errorf("the fast one got %d bytes, %v", n, err)
		}
		if n, err := io.Copy(io.Discard, slow.Body); err == nil || n == int64(len(body)) {
			t.Errorf("the slow one got %d bytes, %v; want it broken off", n, err)
		}
		ends := map[cache.Reason]record{}
		for range 2 {
			end := <-h.ends
			ends[end.reason] = end
		}
		if end := ends["client-slow"]; end.verdict != cache.Hit || !errors.Is(end.fault, cache.ErrBehind) {
			t.Errorf("no hit says that its client was slow: %+v", ends)
		}
		if end := ends[""]; end.verdict != cache.Hit || end.fault != nil {
			t.Errorf("no hit was served to its end: %+v", ends)
		}
	})
}
