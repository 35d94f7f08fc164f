package server

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits of DNS over TCP (RFC 7766), per listener. A client that is slow, silent or never reads costs a connection for
// ten seconds, and has a share of them only.
const (
	tcpMessage    = 10 * time.Second // for each message to be there, the wait for it included (section 6.2.3: "a few seconds")
	tcpWrite      = 5 * time.Second  // for an answer to be taken
	tcpAll        = 4000             // connections open
	tcpPerAddress = 100              // of one address, an IPv6 /64
)

// A tcpSocket is one TCP listener of the server.
type tcpSocket struct {
	ln     net.Listener
	limits limits

	mu    sync.Mutex
	conns map[*tcpConn]struct{}
	from  map[netip.Prefix]int
	ended bool
}

// A tcpConn is one client's connection.
type tcpConn struct {
	net.Conn
	peer netip.Addr

	mu   sync.Mutex
	last time.Time // when the server's end ends the connection; zero before it is in sight
}

func listenTCP(at netip.AddrPort, most limits) (*tcpSocket, error) {
	ln, err := socketConfig.Listen(context.Background(), network("tcp", at), at.String())
	if err != nil {
		return nil, fmt.Errorf("dns: open %s/tcp: %w%s", at, err, hint(err, at))
	}
	return &tcpSocket{ln: ln, limits: most, conns: make(map[*tcpConn]struct{}), from: make(map[netip.Prefix]int)}, nil
}

// serve accepts until the listener is closed.
func (t *tcpSocket) serve(s *Server) {
	s.loops.Go(func() {
		for {
			conn, err := t.ln.Accept()
			switch {
			case err == nil:
				if c := t.admit(conn); c == nil {
					s.count.dropped(dropConnections)
					conn.Close()
				} else {
					s.loops.Go(func() { t.talk(s, c) })
				}
			case t.over():
				return
			default: // no descriptor is left, or the client is gone again
				select {
				case <-s.stopped:
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
		}
	})
}

func (t *tcpSocket) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended
}

// share is whose connections are counted together.
func share(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // only a longer length than the address has is an error
	return p
}

// admit notes a connection; nil is one too many.
func (t *tcpSocket) admit(conn net.Conn) *tcpConn {
	remote, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return nil
	}
	c := &tcpConn{Conn: conn, peer: remote.AddrPort().Addr().Unmap().WithZone("")}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended || len(t.conns) >= t.limits.all || t.from[share(c.peer)] >= t.limits.perAddress {
		return nil
	}
	t.conns[c] = struct{}{}
	t.from[share(c.peer)]++
	return c
}

func (t *tcpSocket) release(c *tcpConn) {
	c.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
	if t.from[share(c.peer)]--; t.from[share(c.peer)] == 0 {
		delete(t.from, share(c.peer))
	}
}

// talk answers the messages of a connection, one after the other: a client that sends many at once gets its answers in
// their order (RFC 7766 section 6.2.1.1 allows any), and one that has shut its side down gets all of them.
func (t *tcpSocket) talk(s *Server, c *tcpConn) {
	defer t.release(c)
	r := bufio.NewReaderSize(c, 1024)
	var in, out []byte
	room := make([]byte, 0, maxUDP)
	for {
		c.next(t.limits.message)
		var length [2]byte
		if _, err := io.ReadFull(r, length[:1]); err != nil {
			return // it may end here
		}
		if _, err := io.ReadFull(r, length[1:]); err != nil {
			s.count.dropped(dropCut)
			return
		}
		n := int(binary.BigEndian.Uint16(length[:]))
		if n > maxQuery {
			s.count.dropped(dropOversized)
			// A connection closed on bytes nobody read is reset, and answers under way are lost with it.
			io.CopyN(io.Discard, r, int64(n))
			return
		}
		if cap(in) < n {
			in = make([]byte, n)
		}
		if _, err := io.ReadFull(r, in[:n]); err != nil {
			s.count.dropped(dropCut)
			return
		}
		reply := s.answer(in[:n], c.peer, overTCP, room)
		if reply == nil {
			return // whoever sends responses to a server is no client
		}
		c.SetWriteDeadline(time.Now().Add(t.limits.write))
		out = append(binary.BigEndian.AppendUint16(out[:0], uint16(len(reply))), reply...)
		if _, err := c.Write(out); err != nil { // one segment for both (RFC 7766 section 8)
			s.count.dropped(dropUnread)
			return
		}
	}
}

// next gives the next message its time.
func (c *tcpConn) next(within time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	until := time.Now().Add(within)
	if !c.last.IsZero() && c.last.Before(until) {
		until = c.last
	}
	c.SetReadDeadline(until)
}

// finish lets the connection have what it sends until then, and no more.
func (c *tcpConn) finish(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.IsZero() {
		c.last = until
		c.SetReadDeadline(until)
	}
}

// finish takes no further connections, and ends those there are when what was sent by now is answered.
func (t *tcpSocket) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.ln.Close()
	until := time.Now().Add(t.limits.last)
	for c := range t.conns {
		c.finish(until)
	}
}
