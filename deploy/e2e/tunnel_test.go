//go:build e2e

package e2e_test

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
)

// A tunnel passes bytes to one address, whatever name it is asked for. Peers which can
// not be told where a name is get there by it, with the right name in their TLS hello.
type tunnel struct {
	address string // host:port
	opened  atomic.Int64
	to      string
	connect bool // speaks CONNECT (RFC 9110 section 9.3.6); else each connection is passed on as it is
	sources []netip.Addr

	mu    sync.Mutex
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// tunnelTo opens a tunnel. Its connections come from several addresses in turn: a peer
// which opens one for each of a thousand files is not one impolite client.
func tunnelTo(t *testing.T, listen, to string, connect bool, sources ...netip.Addr) *tunnel {
	t.Helper()
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	p := &tunnel{address: ln.Addr().String(), to: to, connect: connect, sources: sources, conns: map[net.Conn]bool{}}
	p.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

// cut ends all connections that there are.
func (p *tunnel) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// hold keeps c until it is closed.
func (p *tunnel) hold(c net.Conn) (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
	return func() {
		c.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, c)
	}
}

func (p *tunnel) serve(c net.Conn) {
	defer p.hold(c)()
	if p.connect && !accept(c) {
		return
	}
	n := p.opened.Add(1)
	var d net.Dialer
	if len(p.sources) > 0 {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.sources[n%int64(len(p.sources))], 0))
	}
	far, err := d.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer p.hold(far)()
	done := make(chan struct{})
	go func() {
		io.Copy(far, c)
		far.(*net.TCPConn).CloseWrite()
		// What is still sent can not be answered, and is read all the same: a connection that is
		// closed with something unread is reset, which takes from its peer what it has not read.
		io.Copy(io.Discard, c)
		close(done)
	}()
	io.Copy(c, far)
	c.(*net.TCPConn).CloseWrite()
	<-done
}

// accept reads a CONNECT request and agrees. Byte by byte, for what follows the header
// belongs to the tunnel.
func accept(c net.Conn) bool {
	var header []byte
	one := make([]byte, 1)
	for len(header) < 4 || string(header[len(header)-4:]) != "\r\n\r\n" {
		if _, err := c.Read(one); err != nil || len(header) > http.DefaultMaxHeaderBytes {
			return false
		}
		header = append(header, one[0])
	}
	_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
	return err == nil
}
