package pool

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// TestBadH1 has peers that misbehave in HTTP/1.1: each costs its own request, with the status and the word of what it did,
// and is counted.
func TestBadH1(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	// says answers the first request with s and then waits until it is left.
	says := func(s string) func(*textConn) {
		return func(c *textConn) { c.request(); c.say(s); c.request() }
	}
	// ends does the same and closes, with a reset if rst.
	ends := func(s string, rst bool) func(*textConn) {
		return func(c *textConn) {
			c.request()
			c.say(s)
			if t, ok := c.Conn.(*net.TCPConn); ok && rst {
				t.SetLinger(0)
			}
			c.Close()
		}
	}
	// floods sends s for ever.
	floods := func(head, s string) func(*textConn) {
		return func(c *textConn) {
			c.request()
			c.say(head)
			for {
				if _, err := c.Write([]byte(s)); err != nil {
					return
				}
			}
		}
	}
	for _, test := range []struct {
		name   string
		kind   Kind
		status int
		op     string
		script func(*textConn)
	}{
		{"hangs", KindFirstByte, 504, opRoundTrip, says("")},
		{"hangs in the header", KindFirstByte, 504, opRoundTrip, says(ok + "Content-Len")},
		{"trickles", KindFirstByte, 504, opRoundTrip, func(c *textConn) {
			c.request()
			for _, b := range []byte(ok + "X: y\r\n") {
				c.say(string(b))
			}
			c.request()
		}},
		{"silent in the body", KindSilent, 504, opReadBody, says(ok + "Content-Length: 5\r\n\r\nhal")},
		{"closes", KindTerminated, 502, opRoundTrip, ends("", false)},
		{"resets", KindTerminated, 502, opRoundTrip, ends("", true)},
		{"closes in the header", KindTerminated, 502, opRoundTrip, ends(ok+"X: ", false)},
		{"short", KindShort, 502, opReadBody, ends(ok+"Content-Length: 5\r\n\r\nfour", false)},
		{"short in chunks", KindShort, 502, opReadBody, ends(ok+"Transfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n", false)},
		{"resets in the body", KindTerminated, 502, opReadBody, func(c *textConn) {
			c.request()
			c.say(ok + "Content-Length: 5000000\r\n\r\n" + strings.Repeat("x", 4<<20)) // what is lost with the reset comes late
			c.Conn.(*net.TCPConn).SetLinger(0)
			c.Close()
		}},
		{"1xx without end", KindInformational, 502, opRoundTrip, floods("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")},
		{"1xx of any size", KindHeaderSize, 502, opRoundTrip, floods("HTTP/1.1 103 Early Hints\r\n", "Link: </a>\r\n")},
		{"fields without end", KindHeaderSize, 502, opRoundTrip, floods(ok, "X: "+strings.Repeat("y", 1000)+"\r\n")},
		{"line without end", KindHeaderSize, 502, opRoundTrip, floods(ok+"X: ", strings.Repeat("y", 1000))},
		{"status line without end", KindHeaderSize, 502, opRoundTrip, floods("HTTP/1.1 200 ", strings.Repeat("y", 1000))},
		{"space in a name", KindProtocol, 502, opRoundTrip, says(ok + "X Y: z\r\nContent-Length: 0\r\n\r\n")},
		{"space in a name of 103", KindProtocol, 502, opRoundTrip, says("HTTP/1.1 103 Early Hints\r\nX Y: z\r\n\r\n")},
		{"space before the colon", KindProtocol, 502, opRoundTrip, says(ok + "Content-Length : 0\r\n\r\n")},
		{"control character", KindProtocol, 502, opRoundTrip, says(ok + "X: a\x00b\r\nContent-Length: 0\r\n\r\n")},
		{"no colon", KindProtocol, 502, opRoundTrip, says(ok + "what\r\n\r\n")},
		{"status is no number", KindProtocol, 502, opRoundTrip, says("HTTP/1.1 2xx OK\r\n\r\n")},
		{"another version", KindProtocol, 502, opRoundTrip, says("HTTP/9.9.9 200 OK\r\n\r\n")},
		{"another protocol", KindProtocol, 502, opRoundTrip, says("-ERR unknown command\r\n")},
		{"HTTP/2", KindProtocol, 502, opRoundTrip, says("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\r\n")},
		{"two lengths", KindProtocol, 502, opRoundTrip, says(ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc")},
		{"length is no number", KindProtocol, 502, opRoundTrip, says(ok + "Content-Length: -1\r\n\r\n")},
		{"unknown coding", KindProtocol, 502, opRoundTrip, says(ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")},
		{"switches unasked", KindProtocol, 502, opRoundTrip, says("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")},
		{"chunk without a size", KindProtocol, 502, opReadBody, says(ok + "Transfer-Encoding: chunked\r\n\r\nzz\r\n")},
		{"chunk longer than it says", KindProtocol, 502, opReadBody, says(ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nfour\r\n0\r\n\r\n")},
		{"chunk extension without end", KindProtocol, 502, opReadBody, floods(ok+"Transfer-Encoding: chunked\r\n\r\n1;", "x")},
		{"trailers without end", KindHeaderSize, 502, opReadBody, floods(ok+"Transfer-Encoding: chunked\r\n\r\n0\r\n", "X: y\r\n")},
		{"space in a trailer", KindProtocol, 502, opReadBody, says(ok + "Transfer-Encoding: chunked\r\n\r\n0\r\nX Y: z\r\n\r\n")},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := newTextPeer(t, false, test.script)
			cfg := textConfig(false, o.addr)
			cfg.soon(test.kind)
			p := started(t, cfg)
			_, err := fetch(p, request(t, "GET", "/", nil))
			var e *Error
			if !errors.As(err, &e) || e.Kind != test.kind || e.Op != test.op || e.Status() != test.status || e.Retryable() || e.Whose != Origin {
				t.Fatalf("got %+v, want %v in %s", err, test.kind, test.op)
			}
			if n := p.Status().ErrorsTotal[test.kind.String()]; n != 1 {
				t.Errorf("counted %d times", n)
			}
			await(t, p, "connection gone", func(s Status) bool { return len(s.Each) == 0 })
		})
	}
}

// soon makes the one limit short that ends requests with kind, so that no other can end them before.
func (c *Config) soon(kind Kind) {
	switch kind {
	case KindFirstByte:
		c.FirstByte = 50 * time.Millisecond
	case KindSilent:
		c.BodyIdle = 50 * time.Millisecond
	}
}
