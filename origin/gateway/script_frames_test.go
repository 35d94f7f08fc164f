package gateway

import (
	"context"
	"io"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func (in *badInstance) serveFrames(ctx context.Context, c *toldConn) {
	fr := http2.NewFramer(c, c)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	f := &frames{Framer: fr, Conn: c}
	f.enc = hpack.NewEncoder(&f.block)
	if _, ok := in.greet("text"); ok {
		io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
	}
	var settings []http2.Setting
	if n, ok := in.greet("streams"); ok {
		v, _ := strconv.ParseUint(n, 10, 32)
		settings = append(settings, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(v)})
	}
	f.WriteSettings(settings...)
	_, leaves := in.greet("leave")
	if leaves {
		f.WriteGoAway(0, http2.ErrCodeNo, nil)
	}
	if raw, ok := in.greet("raw"); ok {
		io.WriteString(c, raw)
	}
	var mu sync.Mutex // of f's writing
	var work sync.WaitGroup
	defer work.Wait()
	defer c.gone()
	resets := make(map[uint32]func())
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				mu.Lock()
				f.WriteSettingsAck()
				mu.Unlock()
			}
		case *http2.PingFrame:
			work.Go(func() { // behind a section that does not end it is late
				mu.Lock()
				defer mu.Unlock()
				f.WritePing(true, frame.Data)
			})
		case *http2.RSTStreamFrame:
			if reset := resets[frame.StreamID]; reset != nil {
				reset()
			}
		case *http2.MetaHeadersFrame:
			if leaves {
				continue
			}
			ctx, reset := context.WithCancel(ctx)
			resets[frame.StreamID] = reset
			work.Go(func() {
				h := &framed{frames: f, stream: frame.StreamID, conn: c, mu: &mu}
				in.answer(ctx, frame.PseudoValue("path"), h)
				h.done()
			})
		}
	}
}

// framed is a tongue of HTTP/2 (RFC 9113).
type framed struct {
	*frames
	stream uint32
	conn   *toldConn
	block  []byte // of fields, which trickles

	mu     *sync.Mutex // of writing
	within bool        // a section has begun and not ended, so that mu is held
}

// lock takes the writing; a section that does not end keeps it (RFC 9113 section 4.3).
func (h *framed) lock() func() {
	if h.within {
		return func() {}
	}
	h.mu.Lock()
	return h.mu.Unlock
}

// done ends what has not ended.
func (h *framed) done() {
	if h.within {
		h.mu.Unlock()
	}
}

func (h *framed) section(fields []string) error {
	defer h.lock()()
	h.header(h.stream, false, fields...)
	_, err := h.conn.Write(nil)
	return err
}

func (h *framed) begin(fields []string) error {
	h.lock()
	h.within = true
	h.frames.block.Reset()
	for _, s := range fields {
		i := strings.LastIndex(s, ": ")
		h.enc.WriteField(hpack.HeaderField{Name: s[:i], Value: s[i+2:]})
	}
	return h.WriteHeaders(http2.HeadersFrameParam{StreamID: h.stream, BlockFragment: h.frames.block.Bytes()})
}

func (h *framed) more(n int) error {
	for len(h.block) < n {
		h.frames.block.Reset()
		h.enc.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 1000), Sensitive: true}) // not from the table
		h.block = append(h.block, h.frames.block.Bytes()...)
	}
	err := h.WriteContinuation(h.stream, false, h.block[:n])
	h.block = h.block[n:]
	return err
}

func (h *framed) data(b []byte) error {
	defer h.lock()()
	for rest := b; ; {
		n := min(len(rest), 16<<10)
		if err := h.WriteData(h.stream, false, rest[:n]); err != nil || n == len(rest) {
			return err
		}
		rest = rest[n:]
	}
}

func (h *framed) end() error {
	defer h.lock()()
	return h.WriteData(h.stream, true, nil)
}

func (h *framed) say(write func() error) {
	defer h.lock()()
	write()
}
func (h *framed) reset() {
	h.say(func() error { return h.WriteRSTStream(h.stream, http2.ErrCodeInternal) })
}
func (h *framed) refuse() {
	h.say(func() error { return h.WriteRSTStream(h.stream, http2.ErrCodeRefusedStream) })
}
func (h *framed) leave() {
	h.say(func() error { return h.WriteGoAway(h.stream-1, http2.ErrCodeNo, nil) })
}
func (h *framed) close() { h.conn.raw.Close(); h.conn.gone() }
func (h *framed) raw(b []byte) error {
	defer h.lock()()
	_, err := h.conn.Write(b)
	return err
}
