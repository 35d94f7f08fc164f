package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frames is a connection of an instance that speaks HTTP/2 without TLS, frame by frame.
type frames struct {
	*http2.Framer
	net.Conn
	block bytes.Buffer
	enc   *hpack.Encoder
}

// header writes a field section on a stream: "name: value" each.
func (f *frames) header(stream uint32, end bool, fields ...string) {
	f.block.Reset()
	for _, s := range fields {
		i := strings.LastIndex(s, ": ")
		f.enc.WriteField(hpack.HeaderField{Name: s[:i], Value: s[i+2:]})
	}
	for rest, first := f.block.Bytes(), true; first || len(rest) > 0; first = false {
		part := rest[:min(len(rest), 16<<10)]
		rest = rest[len(part):]
		if first {
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: part, EndStream: end, EndHeaders: len(rest) == 0})
		} else {
			f.WriteContinuation(stream, len(rest) == 0, part)
		}
	}
}

// framer is the address of an instance that says hello to each connection and answers each request as told; without an
// answer it says nothing more.
func framer(t *testing.T, hello func(*frames), answer func(f *frames, stream uint32)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.64.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				f := &frames{Framer: http2.NewFramer(c, c), Conn: c}
				f.enc = hpack.NewEncoder(&f.block)
				io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
				hello(f)
				for {
					frame, err := f.ReadFrame()
					if err != nil {
						return
					}
					switch frame := frame.(type) {
					case *http2.SettingsFrame:
						if !frame.IsAck() {
							f.WriteSettingsAck()
						}
					case *http2.HeadersFrame:
						if answer != nil {
							answer(f, frame.StreamID)
						}
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

func TestProxyBadFrames(t *testing.T) {
	hello := func(f *frames) { f.WriteSettings() }
	silent := func(*frames) {}
	for _, test := range []struct {
		name   string
		keys   string
		hello  func(*frames)
		answer func(*frames, uint32)
		status int // see badAnswers
		token  string
	}{
		{"says nothing", impatient, silent, nil, 504, "connection_timeout"},
		{"speaks HTTP/1.1", patient, func(f *frames) { io.WriteString(f.Conn, "HTTP/1.1 400 Bad Request\r\n\r\n"); f.Conn.Close() }, nil, 502, "http_protocol_error"},
		{"allows no stream", impatient, func(f *frames) { f.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0}) }, nil, 503, "connection_limit_reached"},
		{"GOAWAY at once", impatient, func(f *frames) { f.WriteSettings(); f.WriteGoAway(0, http2.ErrCodeNo, nil); f.Conn.Close() }, nil, 502, "connection_terminated"},
		{"never answers", impatient, hello, nil, 504, "http_response_timeout"},
		{"resets", patient, hello, func(f *frames, s uint32) { f.WriteRSTStream(s, http2.ErrCodeInternal) }, 502, "connection_terminated"},
		{"refuses streams", patient, hello, func(f *frames, s uint32) { f.WriteRSTStream(s, http2.ErrCodeRefusedStream) }, 503, "destination_unavailable"},
		{"closes", patient, hello, func(f *frames, s uint32) { f.Conn.Close() }, 502, "connection_terminated"},
		{"no status", patient, hello, func(f *frames, s uint32) { f.header(s, true, "a: b") }, 502, "http_protocol_error"},
		{"upper case", patient, hello, func(f *frames, s uint32) { f.header(s, true, ":status: 200", "A: b") }, 502, "http_protocol_error"},
		{"huge header", patient, hello, func(f *frames, s uint32) {
			fields := []string{":status: 200"}
			for i := range 50 {
				fields = append(fields, fmt.Sprintf("a%d: %s", i, strings.Repeat("x", 4<<10)))
			}
			f.header(s, true, fields...)
		}, 502, "http_response_header_section_size"},
		{"endless 1xx", patient, hello, func(f *frames, s uint32) {
			for range 100 {
				f.header(s, false, ":status: 103", "link: x")
			}
		}, 502, "http_protocol_error"},
		{"bad frame", patient, hello, func(f *frames, s uint32) { f.WriteRawFrame(http2.FrameData, 0, 0, []byte("x")) }, 502, "http_protocol_error"},
		{"length short", patient, hello, func(f *frames, s uint32) {
			f.header(s, false, ":status: 200", "content-length: 10")
			f.WriteData(s, true, []byte("four"))
		}, 0, ""},
		{"length long", patient, hello, func(f *frames, s uint32) {
			f.header(s, false, ":status: 200", "content-length: 2")
			f.WriteData(s, true, []byte("four"))
		}, 0, ""},
		{"much shorter than said", patient, hello, func(f *frames, s uint32) {
			f.header(s, false, ":status: 200", "content-length: 1000000")
			f.WriteData(s, true, []byte("four"))
		}, 0, ""},
		{"resets in the body", patient, hello, func(f *frames, s uint32) {
			f.header(s, false, ":status: 200")
			f.WriteData(s, false, []byte("four"))
			f.WriteRSTStream(s, http2.ErrCodeInternal)
		}, 0, ""},
		{"silent in the body", impatient, hello, func(f *frames, s uint32) {
			f.header(s, false, ":status: 200")
			f.WriteData(s, false, []byte("four"))
		}, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			at := framer(t, test.hello, test.answer)
			tells(t, before(t, test.keys, fmt.Sprintf("url: %q, protocol: h2c", "http://"+at)), test.status, test.token)
		})
	}
}
