package control_test

import (
	"net"
	"sync"
	"testing"
	"time"
)

// What a relay does with what comes.
type way int

const (
	open  way = iota
	slow      // each piece is late by a fifth of a second
	stuck     // nothing passes, and nobody is told
	shut      // connections end, and new ones at once
)

// A relay stands between a node and the hub.
type relay struct {
	l  net.Listener
	to func() string // where the hub is

	mu      sync.Mutex // guards what follows
	way     way
	changed chan struct{} // closed at the next change
	conns   map[net.Conn]struct{}
	ended   bool
	parts   sync.WaitGroup
}

func newRelay(t *testing.T, to func() string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{l: l, to: to, changed: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	r.parts.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

func (r *relay) url() string { return "tls://" + r.l.Addr().String() }

// set changes the way of all that passes from now on.
func (r *relay) set(w way) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.way = w
	close(r.changed)
	r.changed = make(chan struct{})
	if w == shut {
		r.cut()
	}
}

// cut ends all connections. mu is held.
func (r *relay) cut() {
	for c := range r.conns {
		c.Close()
	}
	clear(r.conns)
}

func (r *relay) close() {
	r.set(shut)
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.l.Close()
	r.parts.Wait()
}

// hold keeps a connection for cut; false where there is to be none.
func (r *relay) hold(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.way == shut || r.ended {
		c.Close()
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *relay) accept() {
	for {
		near, err := r.l.Accept()
		if err != nil {
			return
		}
		if !r.hold(near) {
			continue
		}
		r.parts.Go(func() {
			defer near.Close()
			far, err := net.Dial("tcp", r.to())
			if err != nil || !r.hold(far) {
				return
			}
			defer far.Close()
			var back sync.WaitGroup
			back.Go(func() { r.pass(near, far) })
			r.pass(far, near)
			back.Wait()
		})
	}
}

// pass brings on what comes, until either end closes; then both do.
func (r *relay) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	piece := make([]byte, 16<<10)
	for {
		n, err := from.Read(piece)
		if err != nil || !r.may() {
			return
		}
		if _, err := to.Write(piece[:n]); err != nil {
			return
		}
	}
}

// may waits for as long as the way takes; false where it ends.
func (r *relay) may() bool {
	for {
		r.mu.Lock()
		w, changed := r.way, r.changed
		r.mu.Unlock()
		switch w {
		case open:
			return true
		case shut:
			return false
		case slow:
			late := time.NewTimer(200 * time.Millisecond)
			defer late.Stop()
			select {
			case <-late.C:
				return true
			case <-changed:
			}
		case stuck:
			<-changed
		}
	}
}
