package pool

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer speaks HTTP/2 frame by frame, as badly as a test wants. Each connection has its own script.
type peer struct {
	addr  string
	conns atomic.Int64
}

// peerConn is one connection of a peer, past the preface, with nothing sent yet.
type peerConn struct {
	*http2.Framer
	net.Conn
	n   int64 // counts connections of the peer from 1
	t   *testing.T
	buf bytes.Buffer
	enc *hpack.Encoder
}

func newPeer(t *testing.T, script func(c *peerConn)) *peer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{addr: ln.Addr().String()}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	ended := false
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
				c := tls.Server(raw, newFleet().server())
				preface := make([]byte, len(http2.ClientPreface))
				if _, err := io.ReadFull(c, preface); err != nil {
					return
				}
				pc := &peerConn{Framer: http2.NewFramer(c, c), Conn: c, n: n, t: t}
				pc.enc = hpack.NewEncoder(&pc.buf)
				pc.AllowIllegalWrites = true
				script(pc)
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

// block is a header block of names and values in turn.
func (c *peerConn) block(nv ...string) []byte {
	c.buf.Reset()
	for i := 0; i < len(nv); i += 2 {
		c.enc.WriteField(hpack.HeaderField{Name: nv[i], Value: nv[i+1]})
	}
	return bytes.Clone(c.buf.Bytes())
}

func (c *peerConn) headers(stream uint32, end bool, nv ...string) {
	c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.block(nv...), EndHeaders: true, EndStream: end})
}

// serve answers settings and pings, and calls answer for each request header, until the connection ends.
func (c *peerConn) serve(answer func(stream uint32), settings ...http2.Setting) {
	c.WriteSettings(settings...)
	c.each(answer)
}

func (c *peerConn) each(answer func(stream uint32)) {
	for {
		f, err := c.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				c.WritePing(true, f.Data)
			}
		case *http2.HeadersFrame:
			if answer != nil {
				answer(f.StreamID)
			}
		}
	}
}
