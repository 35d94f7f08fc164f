package listen

import (
	"context"
	"io"
	"time"
)

// recent is how long after a handler's end some of its answer may still be on the way: in the
// kernel, or in a proxy in between that takes bytes sooner than the client does. 10 s is a full send
// buffer of 4 MiB (the kernel's bound) to a client of 3 Mbit/s.
const recent = 10 * time.Second

// answered notes that a handler has ended; its answer may not have arrived.
func (c *conn) answered() {
	now := time.Now()
	c.last.Store(now.UnixNano())
	c.measure(now)
}

func (c *conn) recent() bool { return time.Since(time.Unix(0, c.last.Load())) < recent }

// linger lets a closed connection of a draining front live until the peer has closed too, which tells that
// all of the answer is there. Closing a socket leaves the rest to the kernel, and mostly that is enough; but when the
// process ends with a container, the kernel's buffers go with the container's network, and what is in Docker's own
// proxy goes with that. It reports whether it does so; then it closes the socket itself, at the latest in [Front.Close].
//
// A peer which had no answer of late is not waited for: some clients keep a closed connection until
// they want to use it again.
func (f *Front) linger(c *conn) bool {
	if !f.draining.Load() || !c.recent() || c.CloseWrite() != nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		return false
	}
	f.tails[c] = struct{}{}
	f.loops.Go(func() {
		c.Conn.SetReadDeadline(time.Time{})
		io.Copy(io.Discard, c.Conn)
		c.Conn.Close()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.tails, c)
		f.tellFewer()
	})
	return true
}

// tellFewer wakes waitTails. The caller holds f.mu.
func (f *Front) tellFewer() {
	select {
	case f.fewer <- struct{}{}:
	default:
	}
}

// waitTails waits until what was answered of late has arrived. The servers close such connections
// by themselves, when the last of the answer is written.
func (f *Front) waitTails(ctx context.Context) {
	for f.unfinished() {
		select {
		case <-f.fewer:
		case <-ctx.Done():
			return
		}
	}
}

func (f *Front) unfinished() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.tails) > 0 {
		return true
	}
	for c := range f.conns {
		if c.recent() {
			return true
		}
	}
	return false
}
