package gateway

import (
	"context"
	"sync"
)

// gate counts who uses something, so that it is let go of when the last one is through. The zero value is open.
type gate struct {
	mu     sync.Mutex
	in     int
	closed bool
	idle   chan struct{} // of close; closed when nobody is in
}

// enter reports whether the gate is open; who got in says leave when it is through.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.in++
	}
	return !g.closed
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.in--; g.in == 0 && g.closed {
		close(g.idle)
	}
}

// close lets nobody in any more and waits until all are out or ctx ends. It is called once.
func (g *gate) close(ctx context.Context) {
	g.mu.Lock()
	g.closed, g.idle = true, make(chan struct{})
	if g.in == 0 {
		close(g.idle)
	}
	g.mu.Unlock()
	select {
	case <-g.idle:
	case <-ctx.Done():
	}
}
