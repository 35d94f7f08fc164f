package pool

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
)

// TestBadH3 has peers that misbehave in HTTP/3: each costs its own request, with the status and the word of what it did, and
// is counted.
func TestBadH3(t *testing.T) {
	ok := fields(":status", "200")
	says := func(b ...[]byte) func(*quicConn) {
		return func(c *quicConn) { c.serve(func(s *quic.Stream) { s.Write(bytes.Join(b, nil)) }) }
	}
	ends := func(b ...[]byte) func(*quicConn) {
		return func(c *quicConn) { c.serve(func(s *quic.Stream) { s.Write(bytes.Join(b, nil)); s.Close() }) }
	}
	var many []string
	for range 3000 { // small as QPACK has it, 100 kB by RFC 9114 section 4.2.2
		many = append(many, "accept", "*/*")
	}
	for _, test := range []struct {
		name   string
		kind   Kind
		status int
		op     string
		kept   bool // the connection
		script func(*quicConn)
	}{
		{"hangs", KindFirstByte, 504, opRoundTrip, true, says()},
		{"hangs in the header", KindFirstByte, 504, opRoundTrip, true, says(ok[:len(ok)-1])},
		{"trickles", KindFirstByte, 504, opRoundTrip, true, func(c *quicConn) {
			c.serve(func(s *quic.Stream) {
				for _, b := range fields(":status", "200", "x", "y")[:5] {
					s.Write([]byte{b})
				}
			})
		}},
		{"silent in the body", KindSilent, 504, opReadBody, true, says(ok, frame(h3Data, []byte("half")))},
		{"resets", KindTerminated, 502, opRoundTrip, true, func(c *quicConn) {
			c.serve(func(s *quic.Stream) { s.CancelWrite(quic.StreamErrorCode(http3.ErrCodeInternalError)) })
		}},
		{"connection ends", KindTerminated, 502, opRoundTrip, false, func(c *quicConn) {
			c.serve(func(s *quic.Stream) { c.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeInternalError), "") })
		}},
		{"ends without an answer", KindProtocol, 502, opRoundTrip, true, ends()},
		{"short", KindShort, 502, opReadBody, true, ends(fields(":status", "200", "content-length", "5"), frame(h3Data, []byte("four")))},
		{"empty", KindShort, 502, opReadBody, true, ends(fields(":status", "200", "content-length", "5"))},
		{"long", KindLong, 502, opReadBody, true, ends(fields(":status", "200", "content-length", "3"), frame(h3Data, []byte("four")))},
		{"half a frame", KindShort, 502, opReadBody, true, ends(ok, frame(h3Data, []byte("four"))[:4])},
		{"1xx without end", KindInformational, 502, opRoundTrip, true, func(c *quicConn) {
			c.serve(func(s *quic.Stream) {
				for range 1000 {
					s.Write(fields(":status", "103"))
				}
			})
		}},
		{"header above the limit", KindHeaderSize, 502, opRoundTrip, true, says(fields(":status", "200", "x", strings.Repeat("y", 200<<10)))},
		{"header above the limit when decoded", KindHeaderSize, 502, opRoundTrip, true, says(fields(append([]string{":status", "200"}, many...)...))},
		{"trailers above the limit", KindHeaderSize, 502, opReadBody, true, ends(ok, fields("x", strings.Repeat("y", 200<<10)))},
		{"no status", KindProtocol, 502, opRoundTrip, true, ends(fields("x", "y"))},
		{"status is no number", KindProtocol, 502, opRoundTrip, true, ends(fields(":status", "2xx"))},
		{"status out of range", KindProtocol, 502, opRoundTrip, true, ends(fields(":status", "99999"))},
		{"switches protocols", KindProtocol, 502, opRoundTrip, true, ends(fields(":status", "101"))},
		{"upper case", KindProtocol, 502, opRoundTrip, true, ends(fields(":status", "200", "X", "y"))},
		{"space in a name", KindProtocol, 502, opRoundTrip, true, ends(fields(":status", "200", "x y", "z"))},
		{"line feed", KindProtocol, 502, opRoundTrip, true, ends(fields(":status", "200", "x", "a\nb"))},
		{"two lengths", KindProtocol, 502, opRoundTrip, true, ends(fields(":status", "200", "content-length", "2", "content-length", "3"))},
		{"field of a connection", KindProtocol, 502, opRoundTrip, true, ends(fields(":status", "200", "transfer-encoding", "chunked"))},
		{"space in a name of 103", KindProtocol, 502, opRoundTrip, true, ends(fields(":status", "103", "x y", "z"), ok)},
		{"not QPACK", KindProtocol, 502, opRoundTrip, true, ends(frame(h3Headers, bytes.Repeat([]byte{0xff}, 50)))},
		{"data before header", KindProtocol, 502, opRoundTrip, false, ends(frame(h3Data, []byte("x")))},
		{"settings on a stream", KindProtocol, 502, opRoundTrip, false, ends(frame(h3Settings, nil))},
		{"frame of HTTP/2", KindProtocol, 502, opRoundTrip, false, ends(frame(0x2, nil))},
		{"settings in the body", KindProtocol, 502, opReadBody, false, ends(ok, frame(h3Settings, nil))},
		{"data after trailers", KindProtocol, 502, opReadBody, true, ends(ok, fields("x", "y"), frame(h3Data, []byte("z")))},
		{"pseudo field in trailers", KindProtocol, 502, opReadBody, true, ends(ok, fields(":status", "200"))},
		{"second control stream", KindProtocol, 502, opRoundTrip, false, func(c *quicConn) { c.serve(func(*quic.Stream) { c.control() }) }},
		{"control stream ends", KindProtocol, 502, opRoundTrip, false, func(c *quicConn) {
			ctl := c.control()
			c.each(func(*quic.Stream) { ctl.Close() })
		}},
		{"data on the control stream", KindProtocol, 502, opRoundTrip, false, func(c *quicConn) {
			ctl := c.control()
			c.each(func(*quic.Stream) { ctl.Write(frame(h3Data, []byte("x"))) })
		}},
		{"GOAWAY that goes up", KindProtocol, 502, opRoundTrip, false, func(c *quicConn) {
			ctl := c.control()
			c.each(func(*quic.Stream) {
				ctl.Write(frame(h3GoAway, quicvarint.Append(nil, 4)))
				ctl.Write(frame(h3GoAway, quicvarint.Append(nil, 8)))
			})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := newQUICPeer(t, test.script)
			cfg := h3Config(o.addr)
			cfg.Connections = 1
			cfg.soon(test.kind)
			p := warm(t, cfg)
			_, err := fetch(p, request(t, "GET", "/", nil))
			var e *Error
			if !errors.As(err, &e) || e.Kind != test.kind || e.Op != test.op || e.Status() != test.status || e.Retryable() || e.Whose != Origin {
				t.Fatalf("got %+v, want %v in %s", err, test.kind, test.op)
			}
			s := p.Status()
			if s.ErrorsTotal[test.kind.String()] != 1 {
				t.Errorf("counted: %v", s.ErrorsTotal)
			}
			if test.kept && (s.Connections != 1 || s.HandshakesTotal != 1 || s.Each[0].InFlight != 0) {
				t.Errorf("costs the connection, or keeps a stream of it: %+v", s)
			}
		})
	}
}

// What a peer does before its SETTINGS makes the connection one that cannot be opened.
func TestBadH3Settings(t *testing.T) {
	raw := func(b []byte) func(c *quicConn) {
		return func(c *quicConn) {
			if s, err := c.OpenUniStream(); err == nil {
				s.Write(b)
			}
		}
	}
	control := func(b []byte) []byte { return append(quicvarint.Append(nil, h3Control), b...) }
	for _, test := range []struct {
		name   string
		kind   Kind
		script func(c *quicConn)
	}{
		{"none", KindConnectTimeout, func(c *quicConn) { <-c.Context().Done() }},
		{"another frame first", KindProtocol, raw(control(frame(h3GoAway, []byte{0})))},
		{"the same twice", KindProtocol, raw(control(frame(h3Settings, []byte{0x6, 1, 0x6, 1})))},
		{"too large", KindProtocol, raw(control(frame(h3Settings, make([]byte, 100<<10))))},
		{"leaves", KindTerminated, func(c *quicConn) { c.CloseWithError(0x100, "") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := newQUICPeer(t, test.script)
			cfg := h3Config(o.addr)
			cfg.Connect = time.Second
			p := started(t, cfg)
			_, err := p.RoundTrip(request(t, "GET", "/", nil))
			var e *Error
			if !errors.As(err, &e) || e.Kind != test.kind || e.Op != "settings" && e.Op != "take connection" || !e.Retryable() {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestH3ResetInTheMiddleOfTheBody(t *testing.T) {
	read := make(chan struct{})
	o := newQUICPeer(t, func(c *quicConn) {
		c.serve(func(s *quic.Stream) {
			s.Write(append(fields(":status", "200"), frame(h3Data, []byte("half"))...))
			<-read // a reset overtakes what was sent before it
			s.CancelWrite(quic.StreamErrorCode(http3.ErrCodeInternalError))
		})
	})
	p := warm(t, h3Config(o.addr))
	res, err := p.RoundTrip(request(t, "GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	close(read)
	var e *Error
	if _, err := res.Body.Read(make([]byte, 1)); !errors.As(err, &e) || e.Kind != KindTerminated || e.Op != opReadBody {
		t.Errorf("got %v", err)
	}
}
