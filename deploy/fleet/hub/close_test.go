package hub_test

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// TestCloseWhileStreamsAreMade ends a hub, and the control before it, at any moment while streams are made: nothing of them is left running, for another hub
// may have the same folder next.
func TestCloseWhileStreamsAreMade(t *testing.T) {
	w := newWorld(t)
	w.stop()
	before := goleak.IgnoreCurrent()
	for i := range 20 {
		if err := os.RemoveAll(filepath.Join(w.folder, "hub")); err != nil {
			t.Fatal(err)
		}
		h, err := hub.Start(hub.Options{
			Listen: netip.MustParseAddrPort("127.0.0.1:0"), Folder: filepath.Join(w.folder, "hub"), Identity: w.gateway, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := bus.Dial(h.Control())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
		made := hub.Ensure(ctx, conn, 1)
		cancel()
		conn.Close()
		h.Close()
		var left error
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); { // the last word to a slow disk may take its time
			if left = goleak.Find(before); left == nil {
				break
			}
		}
		if left != nil {
			t.Fatalf("ended %d ms after it had begun to make its streams (%v): %v", i, made, left)
		}
	}
}
