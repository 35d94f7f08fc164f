package pool

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// textPeer speaks HTTP/1.1 byte by byte, as badly as a test wants, in plain text or over TLS.
type textPeer struct {
	addr  string
	conns atomic.Int64
}

// textConn is one connection of a textPeer.
type textConn struct {
	net.Conn
	*bufio.Reader
	n int64 // counts connections of the peer from 1
}

func (c *textConn) Read(b []byte) (int, error) { return c.Reader.Read(b) }

func (c *textConn) say(s string) { c.Write([]byte(s)) }

// request reads one request without content; false when the connection has ended.
func (c *textConn) request() bool {
	r, err := http.ReadRequest(c.Reader)
	return err == nil && r != nil
}

func newTextPeer(t *testing.T, secure bool, script func(c *textConn)) *textPeer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &textPeer{addr: ln.Addr().String()}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		open  []net.Conn
		ended bool
	)
	wg.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, raw)
			if ended {
				raw.Close()
			}
			mu.Unlock()
			n := p.conns.Add(1)
			wg.Go(func() {
				defer raw.Close()
				c := raw
				if secure {
					cfg := newFleet().server()
					cfg.NextProtos = []string{"http/1.1"}
					c = tls.Server(raw, cfg)
				}
				script(&textConn{Conn: c, Reader: bufio.NewReader(c), n: n})
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		ended = true
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return p
}

// textConfig is a configuration for h1, plain or over TLS.
func textConfig(secure bool, addrs ...string) Config {
	cfg := config(addrs...)
	cfg.Protocol = "h1"
	if !secure {
		cfg.TLS = nil
	}
	return cfg
}
