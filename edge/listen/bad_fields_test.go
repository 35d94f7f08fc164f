package listen_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"hither/edge/listen"
)

// TestBadFields sends the fields of testdata/bad/fields/*.txt as they stand, as one request on HTTP/2 and on
// HTTP/3. Keys of what is wanted:
//
//	h2, h3:  the status, "reset" or "goaway", and the reason counted or none
//	handler: what the handler was called for, or none; h2-handler and h3-handler where they differ
//
// Each connection must be of use afterwards, but for goaway.
func TestBadFields(t *testing.T) {
	for _, path := range scripts(t, "testdata/bad/fields/*.txt") {
		for _, p := range []listen.Proto{listen.H2, listen.H3} {
			t.Run(scriptName(path)+"/"+string(p), func(t *testing.T) {
				s := readScript(t, path)
				seen, handled := new(calls), newCounts(t)
				w := open(t, func(rw http.ResponseWriter, r *http.Request) {
					seen.ServeHTTP(rw, r)
					if r.URL.Path != nextPath {
						handled.add("handler", 1)
					}
				}, nil)
				var c wire
				if p == listen.H2 {
					c = dialH2(t, w)
				} else {
					c = dialH3(t, w)
				}
				got := c.ask(s.fields, s.data)
				want, count, _ := strings.Cut(s.want[string(p)], " ")
				handler := s.want["handler"]
				if own := s.want[string(p)+"-handler"]; own != "" {
					handler = own
				}
				if got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				if want == "goaway" {
					w.wait("open h2", 0)
					checkCount(t, w, count)
					return
				}
				if next := c.ask([][2]string{{":method", "HEAD"}, {":scheme", "https"}, {":authority", siteName}, {":path", nextPath}}, nil); next != "200" {
					t.Errorf("the next request got %s", next)
				}
				if handler != "none" { // of a request that was cut off the client hears before its handler does
					handled.wait("handler", 1)
				}
				if got := seen.String(); got != handler {
					t.Errorf("handler %q, want %q", got, handler)
				}
				checkCount(t, w, count)
			})
		}
	}
}

// TestLateData sends the end of a body after the answer has come: that crosses on the way often, and is no error.
func TestLateData(t *testing.T) {
	w := open(t, func(http.ResponseWriter, *http.Request) {}, nil)
	h := dialH2(t, w)
	get := [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", siteName}, {":path", "/"}}
	if got := h.ask(get, []byte{}); got != "200" {
		t.Errorf("got %s", got)
	}
	h.fr.WriteData(1, true, []byte("late"))
	if got := h.ask(get, nil); got != "200" {
		t.Errorf("the next request got %s", got)
	}
	checkCount(t, w, "none")
}

// A wire sends requests that no client would.
type wire interface {
	// ask returns the status of the answer, or "reset". On HTTP/2, data that is empty and not
	// nil leaves the request open.
	ask(fields [][2]string, data []byte) string
}

// h2wire speaks HTTP/2 in frames.
type h2wire struct {
	t    *testing.T
	fr   *http2.Framer
	next uint32
}

func dialH2(t *testing.T, w *world) *h2wire {
	c := w.raw("h2")
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	h := &h2wire{t: t, fr: http2.NewFramer(c, c), next: 1}
	h.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := h.fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *h2wire) ask(fields [][2]string, data []byte) string {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range fields {
		// Indexed fields would make blocks depend on those before.
		if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true}); err != nil {
			h.t.Fatal(err)
		}
	}
	id := h.next
	h.next += 2
	b := block.Bytes()
	first := b[:min(len(b), 16000)]
	h.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndHeaders: len(first) == len(b), EndStream: data == nil})
	for b = b[len(first):]; len(b) > 0; {
		part := b[:min(len(b), 16000)]
		b = b[len(part):]
		h.fr.WriteContinuation(id, len(b) == 0, part)
	}
	if len(data) > 0 {
		h.fr.WriteData(id, true, data)
	}
	for {
		f, err := h.fr.ReadFrame()
		if err != nil {
			return fmt.Sprintf("connection: %v", err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				h.fr.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID == id {
				return f.PseudoValue("status")
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return "reset"
			}
		case *http2.GoAwayFrame:
			return "goaway"
		}
	}
}

// writeRequest sends a good GET on a stream and does not look at what comes back.
func (h *h2wire) writeRequest(id uint32) {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", siteName}, {":path", "/"}} {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	h.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
}

// h3wire speaks HTTP/3 in QUIC streams.
type h3wire struct {
	t    *testing.T
	conn *quic.Conn
	ctx  context.Context
}

func dialH3(t *testing.T, w *world) *h3wire {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	conn, err := quic.DialAddr(ctx, w.QUIC()[0].String(), w.clientTLS("h3"), &quic.Config{KeepAlivePeriod: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseWithError(0x100, "") })
	control, err := conn.OpenUniStream()
	if err != nil {
		t.Fatal(err)
	}
	control.Write([]byte{0, 4, 0}) // the control stream's type, and an empty SETTINGS frame (RFC 9114 section 7.2.4)
	return &h3wire{t: t, conn: conn, ctx: ctx}
}

// frame appends a frame of one type (RFC 9114 section 7.1).
func frame(b []byte, kind uint64, payload []byte) []byte {
	b = quicvarint.Append(b, kind)
	b = quicvarint.Append(b, uint64(len(payload)))
	return append(b, payload...)
}

func headerBlock(fields [][2]string) []byte {
	var block bytes.Buffer
	enc := qpack.NewEncoder(&block)
	for _, f := range fields {
		enc.WriteField(qpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return block.Bytes()
}

func (h *h3wire) ask(fields [][2]string, data []byte) string {
	str, err := h.conn.OpenStreamSync(h.ctx)
	if err != nil {
		return fmt.Sprintf("connection: %v", err)
	}
	b := frame(nil, 1, headerBlock(fields))
	if data != nil {
		b = frame(b, 0, data)
	}
	str.Write(b) // a refused stream is told to stop; what counts is the answer
	str.Close()
	got, err := io.ReadAll(str)
	var reset *quic.StreamError
	if errors.As(err, &reset) {
		return "reset"
	}
	if err != nil {
		return fmt.Sprintf("connection: %v", err)
	}
	return h.status(got)
}

// status finds the first HEADERS frame and in it the status.
func (h *h3wire) status(b []byte) string {
	for len(b) > 0 {
		kind, n, err := quicvarint.Parse(b)
		if err != nil {
			break
		}
		size, m, err := quicvarint.Parse(b[n:])
		if err != nil || uint64(len(b)) < uint64(n+m)+size {
			break
		}
		payload := b[n+m : uint64(n+m)+size]
		b = b[uint64(n+m)+size:]
		if kind != 1 {
			continue
		}
		next := qpack.NewDecoder().Decode(payload)
		for f, err := next(); err == nil; f, err = next() {
			if f.Name == ":status" {
				return f.Value
			}
		}
	}
	return fmt.Sprintf("no answer in %d bytes", len(b))
}
