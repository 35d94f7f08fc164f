package listen

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A conn is one accepted TCP connection. It is known to its front until it is closed.
type conn struct {
	net.Conn
	front   *Front
	peer    netip.Addr
	silence time.Duration

	// unknown says that we have no certificate for the name asked for. Owned by the
	// goroutine of the handshake.
	unknown bool

	// waits says that this is HTTP/1.1 and no byte of a next request has come.
	waits atomic.Bool

	// last is when a handler ended last, in nanoseconds of Unix time; 0: never.
	last atomic.Int64

	mu     sync.Mutex
	proto  Proto // "" until it is known
	closed bool
	limit  time.Time // the write deadline the owner of the connection set; zero: none
}

// Write gives each piece as long as the peer may be silent. TLS writes records of at most 16 KiB, so a
// peer that takes nothing holds a connection that long, and one that takes something may be slow.
func (c *conn) Write(p []byte) (int, error) {
	d := time.Now().Add(c.silence)
	c.mu.Lock()
	if !c.limit.IsZero() && c.limit.Before(d) {
		d = c.limit
	}
	c.mu.Unlock()
	if err := c.Conn.SetWriteDeadline(d); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.limit = t
	c.mu.Unlock()
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.limit = t
	c.mu.Unlock()
	return c.Conn.SetDeadline(t)
}

// CloseWrite ends our direction, which net/http does before it closes on a client that still sends.
func (c *conn) CloseWrite() error {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		return t.CloseWrite()
	}
	return nil
}

// opened notes the protocol and counts the connection.
func (c *conn) opened(p Proto) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.proto = p
		c.front.hooks.connections(p, +1)
	}
}

// Close closes the connection, at once or when it has lingered.
func (c *conn) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.mu.Unlock()
	if !first {
		return net.ErrClosed
	}
	// Before it is forgotten: at every moment Drain knows it as one or the other.
	lingers := c.front.linger(c)
	c.front.forget(c)
	c.front.peers.release(c.peer)
	if c.proto != "" {
		c.front.hooks.connections(c.proto, -1)
	}
	if lingers {
		return nil
	}
	return c.Conn.Close()
}
