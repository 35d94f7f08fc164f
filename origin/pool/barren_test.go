package pool

import (
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestOriginThatLeavesAtOnce has an origin that takes each connection only to end it: each counts as a failure, and makes
// the pause before the next one longer, as if it had been refused.
func TestOriginThatLeavesAtOnce(t *testing.T) {
	const enough = 6
	came := make(chan struct{}, enough)
	o := newPeer(t, func(c *peerConn) {
		select {
		case came <- struct{}{}:
		default: // enough came
		}
		c.WriteSettings()
		c.WriteGoAway(0, http2.ErrCodeNo, nil)
		c.each(nil)
	})
	p := started(t, config(o.addr))
	for range enough {
		<-came
	}
	p.mu.Lock()
	failures := p.failures
	p.mu.Unlock()
	if failures < enough-2 { // the last two may not have been seen to leave yet, with two dials at once
		t.Errorf("%d failures counted after %d connections that ended at once", failures, enough)
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
