//go:build e2e

package e2e_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"
)

// TestGone has clients leave in the middle of an answer that is not stored: the
// application hears of it, for nobody else waits for what it still sends.
func TestGone(t *testing.T) {
	scenario(t, "gone")
	a := newApp(t, "127.40")
	n := run(t, setup{net: "127.40", origin: a.url})
	// Whatever goes wrong, no node has to wait for these at its end.
	t.Cleanup(a.release)
	for i, proto := range protocols {
		v := n.via(t, proto, "fra")
		ctx, leave := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, site+"/hold/"+proto, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := v.http.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", proto, err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, 100)); err != nil {
			t.Errorf("%s: %v", proto, err)
		}
		leave()
		resp.Body.Close()
		if !until(10*time.Second, func() bool { return a.left.Load() == int64(i+1) }) {
			t.Errorf("%s: the application still sends to a client that has gone", proto)
		}
	}
}
