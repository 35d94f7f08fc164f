package pool

import (
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestOriginThatLeavesAtOnce has an origin that takes each connection only to end it: each counts as a failure, and makes
// the pause before the next one longer, as if it had been refused.
func TestOriginThatLeavesAtOnce(t *testing.T) {
	const enough = 4
	o := newPeer(t, func(c *peerConn) {
		c.WriteSettings()
		c.WriteGoAway(0, http2.ErrCodeNo, nil)
		c.each(nil)
	})
	cfg := config(o.addr)
	now := time.Now()
	cfg.Now = func() time.Time { return now } // however slow the machine is, no connection grows old
	p := started(t, cfg)
	// A dial that succeeds says "no failures" until its connection has been seen to leave: the count is looked at when
	// something has been announced.
	await(t, p, "connections that end at once count as failures", func(Status) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.barren >= enough && p.failures >= p.barren
	})
	if n := o.conns.Load(); n < enough {
		t.Errorf("%d failures counted after %d connections", enough, n)
	}
}

func TestBackoff(t *testing.T) {
	for n, most := range map[int]time.Duration{1: 50 * time.Millisecond, 2: 100 * time.Millisecond, 5: 800 * time.Millisecond, 6: time.Second, 1000: time.Second} {
		for range 100 {
			if d := backoff(n); d < most/2 || d > most {
				t.Errorf("pause after %d failures: %v, want %v to %v", n, d, most/2, most)
			}
		}
	}
}
