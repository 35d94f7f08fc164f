package pool

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// bad runs one request through a pool whose origin is script, and wants an error of the kind on the way op.
func bad(t *testing.T, want Kind, op string, script func(c *peerConn), change ...func(*Config)) (*Pool, *peer) {
	t.Helper()
	o := newPeer(t, script)
	cfg := config(o.addr)
	cfg.Connections = 1
	for _, f := range change {
		f(&cfg)
	}
	p := started(t, cfg)
	_, err := fetch(p, request(t, "GET", "/", nil))
	var e *Error
	switch {
	case !errors.As(err, &e):
		t.Fatalf("got %v, want %v", err, want)
	case e.Kind != want || e.Op != op:
		t.Fatalf("got %v in %q, want %v in %q: %v", e.Kind, e.Op, want, op, e)
	case e.From != "fra" || e.To != "us" || e.Addr != o.addr:
		t.Errorf("error does not say between whom: %v", e)
	case e.Status() < 502 || e.Status() > 504 || p.Status().ErrorsTotal[want.String()] != 1:
		t.Errorf("status %d, counted %v", e.Status(), p.Status().ErrorsTotal)
	}
	return p, o
}

const roundTrip, readBody = opRoundTrip, opReadBody

func TestResetInTheMiddleOfTheBody(t *testing.T) {
	p, o := bad(t, KindTerminated, readBody, func(c *peerConn) {
		c.serve(func(id uint32) {
			c.headers(id, false, ":status", "200")
			c.WriteData(id, false, []byte("half"))
			c.WriteRSTStream(id, http2.ErrCodeInternal)
		})
	})
	if s := p.Status(); s.Connections != 1 || o.conns.Load() != 1 {
		t.Errorf("a reset stream costs the connection: %+v", s)
	}
}

func TestConnectionEndsInTheMiddleOfTheBody(t *testing.T) {
	bad(t, KindTerminated, readBody, func(c *peerConn) {
		c.serve(func(id uint32) {
			c.headers(id, false, ":status", "200")
			c.WriteData(id, false, []byte("half"))
			c.Conn.Close()
		})
	})
}

func TestLiesAboutItsLength(t *testing.T) {
	for _, test := range []struct {
		name, length, body string
		kind               Kind
	}{
		{"short", "5", "four", KindShort},
		{"empty", "5", "", KindShort},
		{"long", "3", "four", KindLong},
	} {
		t.Run(test.name, func(t *testing.T) {
			bad(t, test.kind, readBody, func(c *peerConn) {
				c.serve(func(id uint32) {
					c.headers(id, test.body == "", ":status", "200", "content-length", test.length)
					if test.body != "" {
						c.WriteData(id, true, []byte(test.body))
					}
				})
			})
		})
	}
}

func TestSilenceInTheMiddleOfTheBody(t *testing.T) {
	p, _ := bad(t, KindSilent, readBody, func(c *peerConn) {
		c.serve(func(id uint32) {
			c.headers(id, false, ":status", "200")
			c.WriteData(id, false, []byte("half"))
		})
	}, func(c *Config) { c.BodyIdle = 20 * time.Millisecond })
	if s := p.Status(); s.Connections != 1 || s.HandshakesTotal != 1 {
		t.Errorf("%+v", s)
	}
}

// A header that comes byte by byte has as much time as one that does not come.
func TestTrickles(t *testing.T) {
	bad(t, KindFirstByte, roundTrip, func(c *peerConn) {
		c.serve(func(id uint32) {
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block(":status", "200")})
			for range 10 {
				c.WriteContinuation(id, false, c.block("x", "y"))
			}
		})
	}, func(c *Config) { c.FirstByte = 50 * time.Millisecond })
}

func TestNeverAnswers(t *testing.T) {
	bad(t, KindFirstByte, roundTrip, func(c *peerConn) { c.serve(nil) },
		func(c *Config) { c.FirstByte = 20 * time.Millisecond })
}

// A connection that swallows everything is found by its PING, not by the requests on it.
func TestDeadConnectionIsFoundByPing(t *testing.T) {
	o := newPeer(t, func(c *peerConn) {
		if c.n > 1 {
			c.serve(func(id uint32) { c.headers(id, true, ":status", "200") })
			return
		}
		c.WriteSettings()
		io.Copy(io.Discard, c.Conn)
	})
	cfg := config(o.addr)
	cfg.Connections, cfg.Ping, cfg.PingTimeout = 1, 20*time.Millisecond, 2*time.Second
	p := started(t, cfg)
	_, err := fetch(p, request(t, "GET", "/", nil))
	var e *Error
	if !errors.As(err, &e) || e.Kind != KindLost || e.Retry {
		t.Errorf("got %v", err)
	}
	if _, err := fetch(p, request(t, "GET", "/", nil)); err != nil {
		t.Errorf("over the next connection: %v", err)
	}
}

func TestHeaderFloods(t *testing.T) {
	big := strings.Repeat("x", 10<<10)
	t.Run("one section above the limit", func(t *testing.T) {
		p, _ := bad(t, KindHeaderSize, roundTrip, func(c *peerConn) {
			c.serve(func(id uint32) {
				nv := []string{":status", "200"}
				for range 30 { // small as HPACK has it, 90 kB when decoded
					nv = append(nv, "x", big[:3000])
				}
				c.headers(id, true, nv...)
			})
		})
		if s := p.Status(); s.HandshakesTotal != 1 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("CONTINUATION without end", func(t *testing.T) {
		bad(t, KindHeaderSize, roundTrip, func(c *peerConn) {
			c.serve(func(id uint32) {
				c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block(":status", "200")})
				for {
					if c.WriteContinuation(id, false, c.block("x", big)) != nil {
						return
					}
				}
			})
		})
	})
	t.Run("1xx without end", func(t *testing.T) {
		p, _ := bad(t, KindInformational, roundTrip, func(c *peerConn) {
			c.serve(func(id uint32) {
				for range 1000 {
					c.headers(id, false, ":status", "103")
				}
			})
		})
		if s := p.Status(); s.HandshakesTotal != 1 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("trailers above the limit", func(t *testing.T) {
		bad(t, KindProtocol, readBody, func(c *peerConn) {
			c.serve(func(id uint32) {
				c.headers(id, false, ":status", "200")
				c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block("a", big), EndStream: true})
				for c.WriteContinuation(id, false, c.block("x", big)) == nil {
				}
			})
		})
	})
}

func TestTwoAnswers(t *testing.T) {
	o := newPeer(t, func(c *peerConn) {
		c.serve(func(id uint32) {
			c.headers(id, false, ":status", "200")
			c.WriteData(id, true, []byte("first"))
			c.headers(id, false, ":status", "200")
			c.WriteData(id, true, []byte("second"))
		})
	})
	p := warm(t, config(o.addr))
	for range 20 {
		got, err := fetch(p, request(t, "GET", "/", nil))
		if err == nil && got != "first" {
			t.Fatalf("got %q", got)
		}
	}
}

func TestMalformedAnswers(t *testing.T) {
	for name, answer := range map[string]func(c *peerConn, id uint32){
		"no status":             func(c *peerConn, id uint32) { c.headers(id, true, "x", "y") },
		"status is no number":   func(c *peerConn, id uint32) { c.headers(id, true, ":status", "2xx") },
		"status of two digits":  func(c *peerConn, id uint32) { c.headers(id, true, ":status", "20") },
		"status with a sign":    func(c *peerConn, id uint32) { c.headers(id, true, ":status", "+20") },
		"status of five digits": func(c *peerConn, id uint32) { c.headers(id, true, ":status", "99999") },
		"two lengths": func(c *peerConn, id uint32) {
			c.headers(id, true, ":status", "200", "content-length", "2", "content-length", "3")
		},
		"length below 0":     func(c *peerConn, id uint32) { c.headers(id, true, ":status", "200", "content-length", "-1") },
		"frame too large":    func(c *peerConn, id uint32) { c.Conn.Write([]byte("\xff\xff\xff\x00\x00\x00\x00\x00\x01")) },
		"upper case":         func(c *peerConn, id uint32) { c.headers(id, true, ":status", "200", "X", "y") },
		"line feed":          func(c *peerConn, id uint32) { c.headers(id, true, ":status", "200", "x", "a\nb") },
		"data before header": func(c *peerConn, id uint32) { c.WriteData(id, true, []byte("x")) },
		"not HPACK": func(c *peerConn, id uint32) {
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: bytes.Repeat([]byte{0xff}, 50), EndHeaders: true})
		},
		"push": func(c *peerConn, id uint32) {
			c.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: 2, BlockFragment: c.block(":path", "/"), EndHeaders: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad(t, KindProtocol, roundTrip, func(c *peerConn) { c.serve(func(id uint32) { answer(c, id) }) })
		})
	}
}

func TestGoAwayCostsNoRequest(t *testing.T) {
	ok := func(c *peerConn, id uint32) {
		c.headers(id, false, ":status", "200")
		c.WriteData(id, true, []byte("ok"))
	}
	const requests = 60
	for name, script := range map[string]func(c *peerConn){
		// Every third request of a connection is told that it comes too late.
		"in flight": func(c *peerConn) {
			n := 0
			c.serve(func(id uint32) {
				if n++; n < 3 {
					ok(c, id)
				} else if n == 3 {
					c.WriteGoAway(id-2, http2.ErrCodeNo, nil)
				}
			})
		},
		// After its second answer a connection leaves while nothing is in flight.
		"idle": func(c *peerConn) {
			n := 0
			c.serve(func(id uint32) {
				if ok(c, id); id == 3 {
					n++
					c.WriteGoAway(id, http2.ErrCodeNo, nil)
				}
			})
		},
		// The first three connections leave as soon as they have come.
		"at once": func(c *peerConn) {
			if c.n <= 3 {
				c.WriteSettings()
				c.WriteGoAway(0, http2.ErrCodeNo, nil)
				c.each(nil)
				return
			}
			c.serve(func(id uint32) { ok(c, id) })
		},
		"stream refused": func(c *peerConn) {
			n := 0
			c.serve(func(id uint32) {
				if n++; n%3 == 0 {
					c.WriteRSTStream(id, http2.ErrCodeRefusedStream)
				} else {
					ok(c, id)
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newPeer(t, script)
			p := started(t, config(o.addr))
			for i := range requests {
				method, body := "GET", io.Reader(nil)
				if i%2 == 1 {
					method, body = "POST", strings.NewReader("body") // has GetBody
				}
				if got, err := fetch(p, request(t, method, "/", body)); err != nil || got != "ok" {
					t.Fatalf("request %d: %q, %v", i, got, err)
				}
			}
			s := p.Status()
			retried := uint64(0)
			for _, n := range s.RetriesTotal {
				retried += n
			}
			if s.RequestsTotal != requests || (name == "in flight" || name == "stream refused") && retried < requests/4 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A body that has been read and cannot be read again is not sent twice, though the origin would allow it.
func TestGoAwayWithABodyThatIsGone(t *testing.T) {
	o := newPeer(t, func(c *peerConn) {
		c.WriteSettings()
		for {
			f, err := c.ReadFrame()
			if err != nil {
				return
			}
			if _, ok := f.(*http2.DataFrame); ok {
				c.WriteGoAway(0, http2.ErrCodeNo, nil)
			}
		}
	})
	p := started(t, config(o.addr))
	reads := 0
	_, err := p.RoundTrip(request(t, "POST", "/", readFunc(func(b []byte) (int, error) {
		if reads++; reads > 1 {
			return 0, io.EOF
		}
		return copy(b, "once"), nil
	})))
	var e *Error
	if !errors.As(err, &e) || e.Kind != KindGoAway || !e.Retryable() || p.Status().RetriesTotal["goaway"] != 0 {
		t.Errorf("got %v, %+v", err, p.Status())
	}
}

// A body which waits for 100 Continue has not been read; it goes along to the next connection.
func TestGoAwayWithABodyThatWaits(t *testing.T) {
	o := newPeer(t, func(c *peerConn) {
		if c.n <= 2 {
			c.serve(func(id uint32) { c.WriteGoAway(0, http2.ErrCodeNo, nil) })
			return
		}
		c.serve(func(id uint32) {
			c.headers(id, false, ":status", "100")
			c.headers(id, true, ":status", "200")
		})
	})
	cfg := config(o.addr)
	cfg.Continue = limit
	p := warm(t, cfg)
	closed := make(chan struct{})
	req := request(t, "POST", "/", nil)
	req.Body = closer{strings.NewReader("x"), func() { close(closed) }} // a second time would panic
	req.ContentLength = 1
	req.Header.Set("Expect", "100-continue")
	if _, err := fetch(p, req); err != nil {
		t.Fatal(err)
	}
	if s := p.Status(); s.RetriesTotal["goaway"] == 0 || s.RequestsTotal != 1 {
		t.Errorf("%+v", s)
	}
	select {
	case <-closed:
	case <-req.Context().Done():
		t.Error("body was not closed")
	}
}

func TestRetriesEnd(t *testing.T) {
	p, _ := bad(t, KindStreamRefused, roundTrip, func(c *peerConn) {
		c.serve(func(id uint32) { c.WriteRSTStream(id, http2.ErrCodeRefusedStream) })
	})
	if s := p.Status(); s.RetriesTotal["stream-refused"] != 3 || s.Each[0].RequestsTotal != 4 {
		t.Errorf("%+v", s)
	}
}

func TestSettingsForbidStreams(t *testing.T) {
	o := newPeer(t, func(c *peerConn) {
		c.serve(func(id uint32) { t.Error("a stream though none is allowed") }, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0})
	})
	cfg := config(o.addr)
	cfg.Connect, cfg.MaxConnections = 2*time.Second, 4
	p := warm(t, cfg)
	_, err := p.RoundTrip(request(t, "GET", "/", nil))
	var e *Error
	if !errors.As(err, &e) || e.Kind != KindFull || e.Status() != 503 {
		t.Errorf("got %v", err)
	}
	if n := p.Status().HandshakesTotal; n > 4 {
		t.Errorf("%d connections are more than the limit", n)
	}
}

func TestCannotConnect(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := nobody.Addr().String()
	nobody.Close()
	plain := func(t *testing.T, script func(net.Conn)) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				wg.Go(func() { defer c.Close(); script(c) })
			}
		})
		t.Cleanup(func() { ln.Close(); wg.Wait() })
		return ln.Addr().String()
	}
	secure := func(t *testing.T, cfg *tls.Config, script func(*tls.Conn)) string {
		return plain(t, func(c net.Conn) { script(tls.Server(c, cfg)) })
	}
	drop := func(c *tls.Conn) { c.Handshake(); io.Copy(io.Discard, c) }
	server := newFleet().server

	for _, test := range []struct {
		name, op string
		kind     Kind
		status   int
		token    string
		addr     func(t *testing.T) string
		tls      func(*tls.Config)
	}{
		{"refused", "dial", KindRefused, 502, "connection_refused", func(*testing.T) string { return refusing }, nil},
		{"unknown name", "dial", KindName, 502, "dns_error", func(*testing.T) string { return "nowhere.invalid:1" }, nil},
		{"hangs in the handshake", "handshake", KindConnectTimeout, 504, "connection_timeout", func(t *testing.T) string {
			return plain(t, func(c net.Conn) { io.Copy(io.Discard, c) })
		}, nil},
		{"closes in the handshake", "handshake", KindTerminated, 502, "connection_terminated", func(t *testing.T) string {
			return plain(t, func(c net.Conn) {})
		}, nil},
		{"is not TLS", "handshake", KindTLS, 502, "tls_protocol_error", func(t *testing.T) string {
			return plain(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); io.Copy(io.Discard, c) })
		}, nil},
		{"another name", "handshake", KindCertificate, 502, "tls_certificate_error", func(t *testing.T) string {
			return secure(t, server(), drop)
		}, func(c *tls.Config) { c.ServerName = "iad.origin" }},
		{"owner's check", "handshake", KindCertificate, 502, "tls_certificate_error", func(t *testing.T) string {
			return secure(t, server(), drop)
		}, func(c *tls.Config) {
			c.VerifyConnection = func(tls.ConnectionState) error { return errors.New("not an origin") }
		}},
		{"our certificate is refused", "settings", KindAlert, 502, "tls_alert_received", func(t *testing.T) string {
			return secure(t, server(), drop)
		}, func(c *tls.Config) { c.Certificates = nil }},
		{"only HTTP/1.1", "handshake", KindAlert, 502, "tls_alert_received", func(t *testing.T) string {
			cfg := server()
			cfg.NextProtos = []string{"http/1.1"}
			return secure(t, cfg, drop)
		}, nil},
		{"no ALPN", "handshake", KindProtocol, 502, "http_protocol_error", func(t *testing.T) string {
			cfg := server()
			cfg.NextProtos = nil
			return secure(t, cfg, drop)
		}, nil},
		{"is not HTTP/2", "settings", KindProtocol, 502, "http_protocol_error", func(t *testing.T) string {
			return secure(t, server(), func(c *tls.Conn) {
				io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
				io.Copy(io.Discard, c)
			})
		}, nil},
		{"no SETTINGS", "settings", KindConnectTimeout, 504, "connection_timeout", func(t *testing.T) string {
			return secure(t, server(), drop)
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := config(test.addr(t))
			cfg.Connect = limit
			if test.kind == KindConnectTimeout {
				cfg.Connect = time.Second // which a handshake must fit into, where one is wanted, on a busy machine as well
			}
			if test.tls != nil {
				test.tls(cfg.TLS)
			}
			p := started(t, cfg)
			for range 2 {
				_, err := p.RoundTrip(request(t, "GET", "/", nil))
				var e *Error
				if !errors.As(err, &e) || e.Status() != test.status || e.Whose != Origin || !e.Retryable() {
					t.Fatalf("got %v", err)
				}
				// A request may come in the middle of a dial and give up before it.
				if waited := e.Op == "take connection" && e.Kind == KindConnectTimeout; !waited && (e.Kind != test.kind || e.Op != test.op || e.ProxyStatus() != test.token) {
					t.Errorf("got %v in %q: %v", e.Kind, e.Op, e)
				}
			}
			if s := p.Status(); s.Up || p.Up() || s.Connections != 0 || s.Problem == "" {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestNextAddressWhenOneIsDown(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {})
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	p := warm(t, config(nobody.Addr().String(), o.addr))
	if _, err := fetch(p, request(t, "GET", "/", nil)); err != nil {
		t.Error(err)
	}
}
