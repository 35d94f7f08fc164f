package pool

import (
	"context"
	"errors"
	"slices"
	"time"
)

// waiter is a request that waits for a connection.
type waiter struct {
	key   Key
	ready chan grant // holds one; written once, by whoever took the waiter off the list
}

// grant is a connection with a stream reserved on it, or why there is none.
type grant struct {
	c   *conn
	err *Error
}

// take returns a connection on which a stream is reserved for the caller, not the one to avoid if another has room; nil avoids
// none. Without one at hand it waits for the dial in
// progress, which the keeper begins at once if there is none, as long as a dial may take.
func (p *Pool) take(ctx context.Context, avoid *conn) (*conn, *Error) {
	key := p.keyOf(ctx)
	p.mu.Lock()
	if p.ctx == nil || p.closing || p.ctx.Err() != nil {
		p.mu.Unlock()
		return nil, p.unsent("take connection", "", KindClosed, errClosed)
	}
	if p.waiting.Len() == 0 || p.cfg.ProxyProtocol != "" { // nobody is overtaken, or only those who need other connections
		if c := p.pickLocked(key, avoid); c != nil {
			p.mu.Unlock()
			return c, nil
		}
	}
	if p.waiting.Len() >= p.cfg.MaxWaiting {
		p.mu.Unlock()
		return nil, p.unsent("take connection", "", KindFull, errors.New("too many requests wait"))
	}
	w := &waiter{key: key, ready: make(chan grant, 1)}
	e := p.waiting.PushBack(w)
	p.mu.Unlock()
	p.poke()

	timeout := time.NewTimer(p.cfg.Connect)
	defer timeout.Stop()
	select {
	case g := <-w.ready:
		return g.c, g.err
	case <-ctx.Done():
	case <-timeout.C:
	}

	p.mu.Lock()
	p.waiting.Remove(e) // does nothing when it was taken off already
	up, failed := p.countLocked(open) > 0, p.failed
	p.mu.Unlock()
	select {
	case g := <-w.ready:
		if g.c == nil || ctx.Err() == nil {
			return g.c, g.err
		}
		g.c.Release()
		p.poke() // for the next who waits
	default:
	}
	switch {
	case ctx.Err() != nil:
		return nil, p.callerError("take connection", "", ctx)
	case up:
		return nil, p.unsent("take connection", "", KindFull, errors.New("every stream of every connection is in use"))
	case failed != nil:
		return nil, p.unsent("take connection", failed.Addr, KindConnectTimeout, failed)
	}
	return nil, p.unsent("take connection", "", KindConnectTimeout, context.DeadlineExceeded)
}

// pickLocked reserves a stream on the open connection of key k with the fewest in flight, nil when none has room. Of equals
// the oldest is taken: its congestion window is the widest. The one to avoid is the last resort.
func (p *Pool) pickLocked(k Key, avoid *conn) *conn {
	var room [8]*conn
	cs := room[:0]
	for _, c := range p.conns {
		if c.state == open && c.key == k && !c.leaving() {
			c.load = c.InFlight()
			cs = append(cs, c)
		}
	}
	sortByLoad(cs)
	for _, c := range cs {
		if c != avoid && c.Reserve() == nil {
			return c
		}
	}
	if avoid != nil && slices.Contains(cs, avoid) && avoid.Reserve() == nil {
		return avoid
	}
	return nil
}

// serveLocked gives connections to those who wait, in their order.
func (p *Pool) serveLocked() {
	for e := p.waiting.Front(); e != nil; {
		next := e.Next()
		w := e.Value.(*waiter)
		if c := p.pickLocked(w.key, nil); c != nil {
			p.waiting.Remove(e)
			w.ready <- grant{c: c}
		} else if p.cfg.ProxyProtocol == "" {
			return // nor for the others, who have the same key
		}
		e = next
	}
}

// refuseLocked gives those who wait the same error: all of them, or those of whom which is true.
func (p *Pool) refuseLocked(err *Error, which func(*waiter) bool) {
	for e := p.waiting.Front(); e != nil; {
		next := e.Next()
		if w := e.Value.(*waiter); which == nil || which(w) {
			p.waiting.Remove(e)
			w.ready <- grant{err: err}
		}
		e = next
	}
}

// hasLocked reports whether a connection of key k is open.
func (p *Pool) hasLocked(k Key) bool {
	for _, c := range p.conns {
		if c.state == open && c.key == k {
			return true
		}
	}
	return false
}
