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
	silence time.Duration

	// client is whom a proxy has named as the one it speaks for; nil: the peer itself. Set before anything but
	// Close is called.
	client net.Addr

	// proxied says that the peer is a proxy that introduces its clients, whether it named one or not.
	proxied bool
	pace    pace // of measuring the round trip

	// early is what was read together with a proxy's header. Owned by whoever calls Read.
	early []byte

	// unknown says that we have no certificate for the name asked for. Owned by the
	// goroutine of the handshake.
	unknown bool

	// waits says that this is HTTP/1.1 and no byte of a next request has come.
	waits atomic.Bool

	// last is when a handler ended last, in nanoseconds of Unix time; 0: never.
	last atomic.Int64

	mu     sync.Mutex
	peer   netip.Addr // in whose share it is; not valid: in nobody's yet
	proto  Proto      // "" until it is known
	closed bool
	limit  time.Time // the write deadline the owner of the connection set; zero: none
}

// RemoteAddr is the client's address.
func (c *conn) RemoteAddr() net.Addr {
	if c.client != nil {
		return c.client
	}
	return c.Conn.RemoteAddr()
}

func (c *conn) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.early)
	if c.early = c.early[n:]; len(c.early) == 0 {
		c.early = nil
	}
	return n, nil
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

// hold notes in whose share c is, or reports that it is closed already.
func (c *conn) hold(peer netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.peer = peer
	}
	return !c.closed
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
	if c.peer.IsValid() {
		c.front.peers.release(c.peer)
	}
	if c.proto != "" {
		c.front.hooks.connections(c.proto, -1)
	}
	if lingers {
		return nil
	}
	return c.Conn.Close()
}
