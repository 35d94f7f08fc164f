package pool

import (
	"testing"

	"golang.org/x/net/http2"
)

// TestWindows reads what the pool promises to take: a bounded part of each stream, so that a client that does not read
// costs little, and as good as everything of the connection, so that it stops nobody else.
func TestWindows(t *testing.T) {
	stream, connection := make(chan uint32, 8), make(chan uint32, 8)
	o := newPeer(t, func(c *peerConn) {
		c.WriteSettings()
		for {
			f, err := c.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.SettingsFrame:
				if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
					stream <- v
				}
				if !f.IsAck() {
					c.WriteSettingsAck()
				}
			case *http2.WindowUpdateFrame:
				if f.StreamID == 0 {
					connection <- f.Increment
				}
			}
		}
	})
	cfg := config(o.addr)
	cfg.Connections = 1
	warm(t, cfg)
	if got := <-stream; got != minWindow {
		t.Errorf("a stream may be %d bytes ahead of its reader, want %d", got, minWindow)
	}
	if got := <-connection; got < 1000*baseWindow {
		t.Errorf("the connection's window is %d: a few streams that nobody reads would fill it", got)
	}
}
