package pool

import (
	"net"
	"sync"
	"time"
)

// link is the connection below an h1 or h2 session: TCP, or TLS over it. It is not a *tls.Conn to net/http, which therefore
// leaves the dial and the handshake to this package.
type link struct {
	net.Conn
	raw  net.Conn      // the TCP below
	dead chan struct{} // closed when the connection has ended

	end struct {
		sync.Mutex
		done bool
		err  error // as the reader saw it; nil when this side closed it first
	}
}

func newLink(c, raw net.Conn) link { return link{Conn: c, raw: raw, dead: make(chan struct{})} }

// Close closes the connection in 250 ms at most: the close_notify alert of TLS may find a peer that reads no more.
func (l *link) Close() error {
	l.ended(nil)
	t := time.AfterFunc(250*time.Millisecond, func() { l.raw.Close() })
	defer t.Stop()
	return l.Conn.Close()
}

// ended notes why the connection has ended; the first reason stays.
func (l *link) ended(err error) {
	l.end.Lock()
	defer l.end.Unlock()
	if !l.end.done {
		l.end.done, l.end.err = true, err
		close(l.dead)
	}
}

// cause is why the connection ended; net.ErrClosed when this side closed it.
func (l *link) cause() error {
	l.end.Lock()
	defer l.end.Unlock()
	if l.end.err == nil {
		return net.ErrClosed
	}
	return l.end.err
}
