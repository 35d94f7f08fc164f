package pool

import (
	"errors"
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
	p.dropLocked(now)
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
	next = min(next, p.retireIdleLocked(now))
	lost = append(lost, p.finishedLocked()...)
	if len(lost) > 0 {
		p.announceLocked()
		p.work.Go(func() {
			for _, c := range lost {
				if errors.Is(c.cause(), errUnasked) {
					p.errors[KindUnasked].Add(1)
				}
				c.Close()
				p.cfg.Log.Info("connection closed", "origin", p.cfg.Origin, "address", c.addr, "connection", c.id,
					"requests", c.requests.Load(), "reason", closeReason(c))
			}
		})
	}
	for _, b := range p.unread.excess(p.cfg.Window, now) {
		p.work.Go(b.abandon)
	}
	p.serveLocked()
	if p.closing {
		p.refuseLocked(p.unsent("take connection", "", KindClosed, errClosed), nil)
	}

	pause, todo := p.dialsLocked(fresh, opened)
	for _, k := range todo {
		p.dialing++
		p.dialingFor[k]++
		p.dialed++
		first, age := p.dialed, p.refresh
		if p.failures > 0 {
			age = 0
		}
		p.work.Go(func() {
			c, err := p.dial(p.ctx, k, first, age)
			p.dialDone(k, c, err)
		})
	}
	return max(min(next, pause), time.Millisecond)
}

// maxDialing is how many h1 connections are opened at once.
const maxDialing = 32

// dialsLocked says for which keys connections are to be opened now, and when to look again. Of the open connections fresh
// ones are not old.
func (p *Pool) dialsLocked(fresh, opened int) (pause time.Duration, todo []Key) {
	if p.closing || p.ctx.Err() != nil {
		return look, nil
	}
	room := p.cfg.MaxConnections - fresh - p.dialing
	if p.cfg.Protocol == "h1" {
		room = p.cfg.MaxConnections - len(p.conns) - p.dialing // what is finishing counts too, for it is a request
	}
	if p.failures > 0 {
		if wait := time.Until(p.retryAt); wait > 0 && (p.waiting.Len() == 0 || opened > 0) {
			return wait, nil
		}
	}
	for range p.cfg.Connections - fresh - p.dialing {
		todo = append(todo, p.key)
	}
	switch {
	case p.waiting.Len() == 0:
	case p.cfg.Protocol == "h1": // one for each
		need := make(map[Key]int)
		for e := p.waiting.Front(); e != nil && p.dialing+len(todo) < maxDialing; e = e.Next() {
			k := e.Value.(*waiter).key
			if need[k]++; need[k] > p.dialingFor[k] {
				todo = append(todo, k)
			}
		}
	case p.dialing == 0 && len(todo) == 0: // nobody has room for them
		todo = append(todo, p.key)
	}
	if room < len(todo) {
		p.evictLocked(len(todo) - max(room, 0))
	}
	if p.failures > 0 {
		room = min(room, 1-p.dialing) // one scout
	}
	return look, todo[:min(len(todo), max(room, 0))]
}

// evictLocked has connections finish, n at most, that are free though somebody waits: they speak for another source.
func (p *Pool) evictLocked(n int) {
	if p.cfg.ProxyProtocol == "" {
		return
	}
	for _, c := range p.conns {
		if n > 0 && c.state == open && c.InFlight() == 0 {
			c.state = draining
			n--
			p.poke()
		}
	}
}

// retireIdleLocked has h1 connections finish that no request has used for a while, but for those that are kept, and returns
// when to look again.
func (p *Pool) retireIdleLocked(now time.Time) time.Duration {
	next := look
	if p.cfg.Protocol != "h1" || p.cfg.Idle < 0 {
		return next
	}
	spare := p.countLocked(open) - p.cfg.Connections
	for _, c := range p.conns {
		switch {
		case c.state != open:
		case c.InFlight() > 0 || c.seen != c.requests.Load() || c.idle.IsZero():
			c.idle, c.seen = now, c.requests.Load()
		case spare > 0 && now.Sub(c.idle) >= p.cfg.Idle:
			c.state = draining
			spare--
		case spare > 0:
			next = min(next, p.cfg.Idle-now.Sub(c.idle))
		}
	}
	return next
}

// sweepLocked takes out connections that have ended, and puts those that the peer is leaving to draining.
func (p *Pool) sweepLocked() (lost []*conn) {
	p.conns = slices.DeleteFunc(p.conns, func(c *conn) bool {
		if c.Err() != nil {
			p.leftLocked(c)
			lost = append(lost, c)
			return true
		}
		if c.state == open && c.leaving() {
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
	case c.leaving():
		return "goaway"
	case c.state == draining:
		return "replaced"
	}
	return c.cause().Error()
}

// shut closes everything when the pool ends.
func (p *Pool) shut() {
	p.mu.Lock()
	conns := p.conns
	p.conns = nil
	p.refuseLocked(p.unsent("take connection", "", KindClosed, errClosed), nil)
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
