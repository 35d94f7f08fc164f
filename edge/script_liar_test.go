package edge_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"hither/deploy/fleet"
)

// A liar is one connection of an origin that writes its frames by hand, to say what
// net/http refuses to say. It honours flow control only as far as its answers are small.
type liar struct {
	o   *origin
	fr  *http2.Framer
	enc *hpack.Encoder
	buf bytes.Buffer // of enc
	dec *hpack.Decoder
	end chan struct{} // closed when the connection is
}

// lie takes connections until the listener is closed.
func (o *origin) lie(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		o.mu.Lock()
		o.conns[c] = struct{}{}
		o.mu.Unlock()
		o.work.Go(func() {
			defer c.Close()
			l := &liar{o: o, dec: hpack.NewDecoder(4096, nil), end: make(chan struct{})}
			l.enc = hpack.NewEncoder(&l.buf)
			l.serve(c)
			o.mu.Lock()
			delete(o.conns, c)
			o.mu.Unlock()
		})
	}
}

// serve is one connection's life. "lie connection ..." says how it behaves before any
// request: close, silent, garbage, goaway, streams=N, or certificate=edge.
func (l *liar) serve(c net.Conn) {
	manners := l.o.manners
	if has(manners, "close") {
		return
	}
	if has(manners, "silent") {
		io.Copy(io.Discard, c) // until the edge gives up
		return
	}
	conf := l.o.conf
	if v, _ := option(manners, "certificate"); v == "edge" { // of the fleet, and of another role
		conf = l.o.auth.edge.ServerTLS(fleet.RoleEdge)
		conf.NextProtos = []string{"h2"}
	}
	t := l.o.secure(c, conf)
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(t, preface); err != nil {
		return
	}
	l.fr = http2.NewFramer(t, t)
	l.fr.SetMaxReadFrameSize(1 << 20)
	if has(manners, "garbage") {
		t.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	}
	var settings []http2.Setting
	if v, ok := option(manners, "streams"); ok {
		n, _ := strconv.ParseUint(v, 10, 32)
		settings = append(settings, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(n)})
	}
	l.fr.WriteSettings(settings...)
	if has(manners, "goaway") {
		l.fr.WriteGoAway(0, http2.ErrCodeNo, nil)
	}
	defer close(l.end)
	l.read(t)
}

// read takes frames and answers each request when its last frame is there.
func (l *liar) read(t net.Conn) {
	open := make(map[uint32]*asked)
	for {
		f, err := l.fr.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				l.fr.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				l.fr.WritePing(true, f.Data)
			}
		case *http2.HeadersFrame:
			a := l.decode(f.HeaderBlockFragment())
			open[f.StreamID] = a
			if f.StreamEnded() && !l.answer(t, f.StreamID, a) {
				return
			}
		case *http2.DataFrame:
			a := open[f.StreamID]
			a.mu.Lock()
			a.body = append(a.body, f.Data()...)
			a.mu.Unlock()
			if f.StreamEnded() && !l.answer(t, f.StreamID, a) {
				return
			}
		}
	}
}

func (l *liar) decode(block []byte) *asked {
	a := &asked{header: make(http.Header)}
	fields, err := l.dec.DecodeFull(block)
	if err != nil {
		return a
	}
	for _, f := range fields {
		switch f.Name {
		case ":method":
			a.method = f.Value
		case ":path":
			a.target = f.Value
		case ":authority":
			a.host = f.Value
		case ":scheme":
		default:
			a.header.Add(f.Name, f.Value)
		}
	}
	return a
}

// answer plays the frames of a lie, or writes a declared reply truthfully. It reports
// whether the connection lives on.
func (l *liar) answer(t net.Conn, stream uint32, a *asked) bool {
	if has(l.o.manners, "goaway") {
		return true // what comes behind a GOAWAY is not processed
	}
	a.finish(nil, false)
	reply := l.o.saw(a)
	if reply == nil {
		l.headers(stream, true, token{name: ":status", value: "404"}, token{name: "cache-control", value: "no-store"})
		return true
	}
	if reply.frames == nil {
		block := []token{{name: ":status", value: strconv.Itoa(reply.status)}, {name: "date", value: l.o.clock.now().UTC().Format(http.TimeFormat)}}
		for name, values := range reply.header {
			block = append(block, token{name: strings.ToLower(name), value: strings.Join(values, ", ")})
		}
		l.headers(stream, false, block...)
		l.fr.WriteData(stream, true, reply.body)
		return true
	}
	return l.play(t, stream, reply)
}

// play writes the frames of a "lie METHOD PATH ..." line in their order:
//
//	'name: value' ...  gathered for the next headers, trailers or endless
//	headers            HEADERS; headers+end has END_STREAM as well
//	data=TEXT size=N   DATA
//	end                an empty DATA with END_STREAM
//	rst=CODE           RST_STREAM
//	goaway=LAST        GOAWAY with this last stream
//	endless            HEADERS, then CONTINUATION until the edge has had enough
//	flood=N            N times the gathered fields as HEADERS
//	trickle=N          N bytes of DATA, one by one; without N a header that comes byte by byte and does not end
//	frame=HEX          bytes in place of a frame
//	hang               nothing more until the edge gives up
//	close              the connection ends
func (l *liar) play(t net.Conn, stream uint32, reply *reply) bool {
	var block []token
	for _, f := range reply.frames {
		if f.isField() {
			block = append(block, f)
			continue
		}
		verb, arg, _ := strings.Cut(f.text, "=")
		n, _ := strconv.Atoi(arg)
		switch verb {
		case "headers":
			l.headers(stream, false, block...)
			block = nil
		case "headers+end":
			l.headers(stream, true, block...)
			block = nil
		case "data":
			l.fr.WriteData(stream, false, []byte(arg))
		case "size":
			l.fr.WriteData(stream, false, pattern(n))
		case "end":
			l.fr.WriteData(stream, true, nil)
		case "rst":
			l.fr.WriteRSTStream(stream, http2.ErrCode(n))
		case "goaway":
			l.fr.WriteGoAway(uint32(n), http2.ErrCodeNo, nil)
		case "flood":
			for range n {
				l.headers(stream, false, block...)
			}
			block = nil
		case "endless":
			l.endless(stream, block)
		case "trickle":
			l.trickle(stream, block, n)
			block = nil
		case "frame":
			b, _ := hex.DecodeString(arg)
			t.Write(b)
		case "hang":
		case "close":
			t.Close()
			return false
		}
	}
	return true
}

func (l *liar) encode(block []token) []byte {
	l.buf.Reset()
	for _, f := range block {
		l.enc.WriteField(hpack.HeaderField{Name: f.name, Value: f.value, Sensitive: true}) // never indexed
	}
	return l.buf.Bytes()
}

// headers writes a field section in frames of a size that every peer takes.
func (l *liar) headers(stream uint32, end bool, block ...token) {
	const most = 16 << 10
	first, rest := l.encode(block), []byte(nil)
	if len(first) > most {
		first, rest = first[:most], first[most:]
	}
	l.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndHeaders: len(rest) == 0, EndStream: end})
	for len(rest) > 0 {
		n := min(most, len(rest))
		l.fr.WriteContinuation(stream, n == len(rest), rest[:n])
		rest = rest[n:]
	}
}

// endless writes a header that does not end, until a write fails. Its bound is what no
// reader would take: a gigabyte.
func (l *liar) endless(stream uint32, block []token) {
	l.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: l.encode(block)})
	for i := range 1 << 16 {
		piece := l.encode([]token{{name: "x-" + strconv.Itoa(i), value: strings.Repeat("x", 16<<10-64)}})
		if l.fr.WriteContinuation(stream, false, piece) != nil {
			return
		}
	}
}

// tick is the time between the bytes of those that trickle.
const tick = 10 * time.Millisecond

// trickle writes byte by byte: n bytes of the pattern, or of a header that has begun with block and does not end.
func (l *liar) trickle(stream uint32, block []token, n int) {
	header := n == 0
	body := pattern(n)
	if header {
		l.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: l.encode(block)})
		body = l.encode([]token{{name: "x", value: strings.Repeat("x", 10000)}})
	}
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for i := range body {
		<-ticks.C
		if header && l.fr.WriteContinuation(stream, false, body[i:i+1]) != nil || !header && l.fr.WriteData(stream, false, body[i:i+1]) != nil {
			return
		}
	}
}

// checkLie finds mistakes in a lie line before it is played.
func checkLie(words []token) error {
	var errs []error
	for _, w := range words {
		verb, arg, _ := strings.Cut(w.text, "=")
		switch verb {
		case "", "headers", "headers+end", "data", "end", "endless", "hang", "close":
		case "trickle":
			if _, err := strconv.Atoi(arg); err != nil && arg != "" {
				errs = append(errs, fmt.Errorf("lie: %s is not a number", w.text))
			}
		case "frame":
			if _, err := hex.DecodeString(arg); err != nil {
				errs = append(errs, fmt.Errorf("lie: %s: %w", w.text, err))
			}
		case "size", "rst", "goaway", "flood":
			if _, err := strconv.Atoi(arg); err != nil {
				errs = append(errs, fmt.Errorf("lie: %s is not a number", w.text))
			}
		default:
			errs = append(errs, fmt.Errorf("lie: no such frame: %s", w.text))
		}
	}
	return errors.Join(errs...)
}
