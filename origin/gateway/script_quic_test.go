package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
)

// Types of HTTP/3's frames (RFC 9114 section 7.2).
const (
	frameData, frameHeaders, frameSettings, frameGoAway = 0, 1, 4, 7
)

// startQUIC takes connections for h3. Who is silent or closes does so behind the handshake, which is QUIC's.
func (in *badInstance) startQUIC(t *testing.T, config *tls.Config) string {
	t.Helper()
	config.NextProtos = []string{"h3"}
	udp, err := net.ListenPacket("udp", in.at)
	if err != nil {
		t.Fatal(err)
	}
	qc := &quic.Config{}
	if n, ok := in.greet("streams"); ok {
		if qc.MaxIncomingStreams, _ = strconv.ParseInt(n, 10, 64); qc.MaxIncomingStreams == 0 {
			qc.MaxIncomingStreams = -1 // which is none
		}
	}
	tr := &quic.Transport{Conn: udp}
	ln, err := tr.Listen(config, qc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept(ctx)
			if err != nil {
				return
			}
			wg.Go(func() { in.serveQUIC(ctx, c, &wg) })
		}
	})
	t.Cleanup(func() { stop(); ln.Close(); tr.Close(); udp.Close(); wg.Wait() })
	return udp.LocalAddr().String()
}

func (in *badInstance) serveQUIC(ctx context.Context, c *quic.Conn, wg *sync.WaitGroup) {
	defer context.AfterFunc(ctx, func() { c.CloseWithError(0, "") })()
	if _, ok := in.greet("close"); ok {
		c.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
		return
	}
	if _, ok := in.greet("silent"); ok {
		<-c.Context().Done()
		return
	}
	control, err := c.OpenUniStream()
	if err != nil {
		return
	}
	control.Write(append([]byte{0}, h3Frame(frameSettings, nil)...)) // 0: a control stream
	if _, ok := in.greet("leave"); ok {
		control.Write(h3Frame(frameGoAway, []byte{0}))
	}
	if raw, ok := in.greet("raw"); ok {
		control.Write([]byte(raw))
	}
	var left sync.Once // the last stream of a GOAWAY may not go up (RFC 9114 section 5.2)
	for {
		s, err := c.AcceptStream(ctx)
		if err != nil {
			return
		}
		wg.Go(func() {
			r := quicvarint.NewReader(s)
			if _, err := quicvarint.Read(r); err != nil {
				return
			}
			n, err := quicvarint.Read(r)
			if err != nil || n > 1<<20 {
				return
			}
			block := make([]byte, n)
			if _, err := io.ReadFull(s, block); err != nil {
				return
			}
			path := ""
			fields := qpack.NewDecoder().Decode(block)
			for f, err := fields(); err == nil; f, err = fields() {
				if f.Name == ":path" {
					path = f.Value
				}
			}
			if _, ok := in.greet("leave"); !ok {
				in.answer(c.Context(), path, &streamed{s: s, c: c, control: control, left: &left, sent: &in.sent})
			}
		})
	}
}

// streamed is a tongue of HTTP/3 (RFC 9114).
type streamed struct {
	s       *quic.Stream
	c       *quic.Conn
	control *quic.SendStream
	left    *sync.Once // GOAWAY was said
	sent    *atomic.Int64
	block   []byte // of fields, which trickles
	within  bool   // its length has been said
}

func h3Frame(kind uint64, payload []byte) []byte {
	b := quicvarint.Append(quicvarint.Append(nil, kind), uint64(len(payload)))
	return append(b, payload...)
}

func qpacked(fields []string) []byte {
	var b bytes.Buffer
	enc := qpack.NewEncoder(&b)
	for _, s := range fields {
		i := strings.LastIndex(s, ": ")
		enc.WriteField(qpack.HeaderField{Name: s[:i], Value: s[i+2:]})
	}
	return b.Bytes()
}

func (h *streamed) raw(b []byte) error {
	n, err := h.s.Write(b)
	h.sent.Add(int64(n))
	return err
}

func (h *streamed) section(fields []string) error {
	return h.raw(h3Frame(frameHeaders, qpacked(fields)))
}

// begin keeps the fields for more: a section says its length first.
func (h *streamed) begin(fields []string) error {
	h.block = qpacked(append(fields, "x: "+strings.Repeat("y", 30<<10)))
	return nil
}

// more says that the section is of 16 KiB, unless more than that is written at once.
func (h *streamed) more(n int) error {
	if !h.within {
		size := uint64(16 << 10)
		if n > 1 {
			size = 1 << 30
		}
		h.within = true
		if err := h.raw(quicvarint.Append(quicvarint.Append(nil, frameHeaders), size)); err != nil {
			return err
		}
	}
	if len(h.block) < n {
		h.block = append(h.block, make([]byte, 1<<20)...)
	}
	b := h.block[:n]
	h.block = h.block[n:]
	return h.raw(b)
}

func (h *streamed) data(b []byte) error { return h.raw(h3Frame(frameData, b)) }
func (h *streamed) end() error          { return h.s.Close() }
func (h *streamed) reset()              { h.s.CancelWrite(quic.StreamErrorCode(http3.ErrCodeInternalError)) }
func (h *streamed) refuse() {
	h.s.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestRejected))
	h.s.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestRejected))
}
func (h *streamed) leave() {
	h.left.Do(func() { h.control.Write(h3Frame(frameGoAway, quicvarint.Append(nil, uint64(h.s.StreamID())))) })
	h.refuse()
}
func (h *streamed) close() {
	h.c.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeInternalError), "")
}
