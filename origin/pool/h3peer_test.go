package pool

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
)

// HTTP/3 frame and stream types (RFC 9114 sections 6.2 and 7.2).
const (
	h3Data, h3Headers, h3Settings, h3Push, h3GoAway = 0x0, 0x1, 0x4, 0x5, 0x7
	h3Control                                       = 0x0
)

// h3Origin is a real HTTP/3 server over mutual TLS.
type h3Origin struct {
	addr  string
	srv   *http3.Server
	conns atomic.Int64
	end   func()
}

func newH3Origin(t *testing.T, h http.HandlerFunc, change ...func(*quic.Config)) *h3Origin {
	t.Helper()
	return h3OriginAt(t, "127.0.0.1:0", h, change...)
}

func h3OriginAt(t *testing.T, addr string, h http.HandlerFunc, change ...func(*quic.Config)) *h3Origin {
	t.Helper()
	udp, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	o := &h3Origin{addr: udp.LocalAddr().String()}
	cfg := newFleet().server()
	cfg.NextProtos = []string{"h3"}
	qc := &quic.Config{}
	for _, f := range change {
		f(qc)
	}
	tr := &quic.Transport{Conn: udp}
	ln, err := tr.ListenEarly(cfg, qc)
	if err != nil {
		t.Fatal(err)
	}
	o.srv = &http3.Server{Handler: h, ConnContext: func(ctx context.Context, _ *quic.Conn) context.Context {
		o.conns.Add(1)
		return ctx
	}}
	done := make(chan struct{})
	go func() { defer close(done); o.srv.ServeListener(ln) }()
	o.end = sync.OnceFunc(func() { o.srv.Close(); ln.Close(); tr.Close(); udp.Close(); <-done })
	t.Cleanup(o.end)
	return o
}

// quicPeer speaks QUIC, and HTTP/3 as badly as a test wants.
type quicPeer struct {
	addr  string
	conns atomic.Int64
}

// quicConn is one connection of a quicPeer, past the handshake, with nothing sent yet.
type quicConn struct {
	*quic.Conn
	n int64 // counts connections of the peer from 1
}

func newQUICPeer(t *testing.T, script func(c *quicConn), change ...func(*tls.Config, *quic.Config)) *quicPeer {
	t.Helper()
	cfg, qc := newFleet().server(), &quic.Config{}
	cfg.NextProtos = []string{"h3"}
	for _, f := range change {
		f(cfg, qc)
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: udp}
	ln, err := tr.Listen(cfg, qc)
	if err != nil {
		t.Fatal(err)
	}
	p := &quicPeer{addr: ln.Addr().String()}
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := ln.Accept(ctx)
			if err != nil {
				return
			}
			n := p.conns.Add(1)
			context.AfterFunc(ctx, func() { c.CloseWithError(0, "") })
			wg.Go(func() { script(&quicConn{Conn: c, n: n}) })
		}
	})
	t.Cleanup(func() { stop(); ln.Close(); tr.Close(); udp.Close(); wg.Wait() })
	return p
}

func frame(kind uint64, payload []byte) []byte {
	b := quicvarint.Append(nil, kind)
	b = quicvarint.Append(b, uint64(len(payload)))
	return append(b, payload...)
}

// fields is a HEADERS frame of names and values in turn.
func fields(nv ...string) []byte {
	var b bytes.Buffer
	enc := qpack.NewEncoder(&b)
	for i := 0; i < len(nv); i += 2 {
		enc.WriteField(qpack.HeaderField{Name: nv[i], Value: nv[i+1]})
	}
	return frame(h3Headers, b.Bytes())
}

// control opens the control stream and sends SETTINGS and whatever follows.
func (c *quicConn) control(more ...[]byte) *quic.SendStream {
	s, err := c.OpenUniStream()
	if err != nil {
		return nil
	}
	b := append(quicvarint.Append(nil, h3Control), frame(h3Settings, nil)...)
	for _, m := range more {
		b = append(b, m...)
	}
	s.Write(b)
	return s
}

// serve calls answer for each request, once its header has been read, until the connection ends.
func (c *quicConn) serve(answer func(s *quic.Stream)) {
	c.control()
	c.each(answer)
}

func (c *quicConn) each(answer func(s *quic.Stream)) {
	for {
		s, err := c.AcceptStream(context.Background())
		if err != nil {
			return
		}
		r := quicvarint.NewReader(s)
		if _, err := quicvarint.Read(r); err != nil {
			continue
		}
		n, err := quicvarint.Read(r)
		if err != nil {
			continue
		}
		if _, err := io.CopyN(io.Discard, s, int64(n)); err != nil {
			continue
		}
		if answer != nil {
			answer(s)
		}
	}
}

// h3Config is a configuration for h3.
func h3Config(addrs ...string) Config {
	cfg := config(addrs...)
	cfg.Protocol = "h3"
	return cfg
}
