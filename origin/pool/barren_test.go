package pool

import (
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestOriginThatLeavesAtOnce counts the connections to an origin that takes each only to end it. With back-off they are a
// handful in a second, without it hundreds.
func TestOriginThatLeavesAtOnce(t *testing.T) {
	o := newPeer(t, func(c *peerConn) {
		c.WriteSettings()
		c.WriteGoAway(0, http2.ErrCodeNo, nil)
		c.each(nil)
	})
	p := started(t, config(o.addr))
	<-time.After(time.Second)
	if n := o.conns.Load(); n > 20 {
		t.Errorf("%d connections in a second", n)
	}
	if s := p.Status(); s.Up {
		t.Errorf("up: %+v", s)
	}
}
