package pool

import (
	"slices"
	"time"
)

// look is how often the keeper looks at the connections without being woken.
const look = time.Second

// poke wakes the keeper. It never blocks, so hooks of net/http may call it under any lock.
func (p *Pool) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// keep is the keeper: the one goroutine that opens, replaces and closes connections and hands them to those who wait.
func (p *Pool) keep() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.wake:
		case <-timer.C:
		case <-p.ctx.Done():
			p.shut()
			return
		}
		timer.Reset(p.tend())
	}
}

// tend brings the connections to what they should be and returns when to look again.
func (p *Pool) tend() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, next := p.cfg.Now(), look

	lost := p.sweepLocked()
	fresh, opened := 0, 0
	for _, c := range p.conns {
		if c.state == open {
			opened++
			if !c.expired(now) {
				fresh++
				if !c.expires.IsZero() {
					next = min(next, c.expires.Sub(now))
				}
			}
		}
	}
	// New first, then old: an old connection goes when the young ones are enough.
	if fresh >= p.cfg.Connections || p.closing {
		for _, c := range p.conns {
			if c.state == open && (p.closing || c.expired(now)) {
				c.state = draining
				opened--
			}
		}
	}
	lost = append(lost, p.finishedLocked()...)
	if len(lost) > 0 {
		p.announceLocked()
		p.work.Go(func() {
			for _, c := range lost {
				c.Close()
				p.cfg.Log.Info("connection closed", "origin", p.cfg.Origin, "address", c.addr, "connection", c.id,
					"requests", c.requests.Load(), "reason", closeReason(c))
			}
		})
	}
	for _, b := range p.unread.excess(p.cfg.Unread, now) {
		p.work.Go(b.abandon)
	}
	p.serveLocked()
	if p.closing {
		p.refuseLocked(p.unsent("take connection", "", KindClosed, errClosed))
	}

	want := p.cfg.Connections - fresh - p.dialing
	if p.waiting.Len() > 0 && p.dialing == 0 {
		want = max(want, 1) // nobody has room for them
	}
	want = min(want, p.cfg.MaxConnections-fresh-p.dialing)
	if p.failures > 0 {
		want = min(want, 1-p.dialing) // one scout
		if wait := time.Until(p.retryAt); wait > 0 && (p.waiting.Len() == 0 || opened > 0) {
			want, next = 0, min(next, wait)
		}
	}
	if p.closing || p.ctx.Err() != nil {
		want = 0
	}
	for range want {
		p.dialing++
		p.dialed++
		first := p.dialed
		p.work.Go(func() { p.dialDone(p.dial(p.ctx, first)) })
	}
	return max(next, time.Millisecond)
}

// sweepLocked takes out connections that have ended, and puts those that the peer is leaving to draining.
func (p *Pool) sweepLocked() (lost []*conn) {
	p.conns = slices.DeleteFunc(p.conns, func(c *conn) bool {
		if c.Err() != nil {
			p.leftLocked(c)
			lost = append(lost, c)
			return true
		}
		if c.state == open && c.wire.leaving() {
			p.leftLocked(c)
			c.state = draining
			p.announceLocked()
		}
		return false
	})
	return lost
}

// barrenAge is the age from which a connection has shown that the origin keeps connections.
const barrenAge = time.Second

// leftLocked notes that an open connection ends by the peer's will. An origin that takes connections only to end them is
// like one that refuses them: dialing it again at once would cost both sides a handshake after the other.
func (p *Pool) leftLocked(c *conn) {
	if c.state != open {
		return
	}
	if c.requests.Load() > 0 || p.cfg.Now().Sub(c.born) >= barrenAge {
		p.barren = 0
		return
	}
	p.barren++
	p.failures = max(p.failures, p.barren)
	p.retryAt = time.Now().Add(backoff(p.failures))
}

// finishedLocked takes out draining connections without a stream. There is no limit to how long a stream may last while
// it flows: one that does not is ended by BodyIdle.
func (p *Pool) finishedLocked() (done []*conn) {
	p.conns = slices.DeleteFunc(p.conns, func(c *conn) bool {
		if c.state == draining && c.InFlight() == 0 {
			done = append(done, c)
			return true
		}
		return false
	})
	return done
}

// closeReason says in a word or two why a connection was given up.
func closeReason(c *conn) string {
	switch {
	case c.wire.leaving():
		return "goaway"
	case c.state == draining:
		return "replaced"
	}
	return c.wire.cause().Error()
}

// shut closes everything when the pool ends.
func (p *Pool) shut() {
	p.mu.Lock()
	conns := p.conns
	p.conns = nil
	p.refuseLocked(p.unsent("take connection", "", KindClosed, errClosed))
	p.announceLocked()
	p.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

func (p *Pool) countLocked(s connState) (n int) {
	for _, c := range p.conns {
		if c.state == s {
			n++
		}
	}
	return n
}

// announceLocked tells Warm and Drain that the set of connections changed.
func (p *Pool) announceLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}
