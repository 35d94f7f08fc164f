package pool

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const okText = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// plainOrigin is a real server in plain text for HTTP/1.1 and HTTP/2 with prior knowledge.
func plainOrigin(t *testing.T, h http.HandlerFunc) *origin {
	o := &origin{t: t, addr: "127.0.0.1:0", handler: h, plain: true}
	o.start()
	t.Cleanup(o.kill)
	return o
}

func TestProtocols(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s%s %s", r.Proto, r.Method, r.Host, r.URL, b)
	}
	for _, test := range []struct {
		name, protocol, proto string
		secure                bool
	}{
		{"h1", "h1", "HTTP/1.1", false}, {"h1 over TLS", "h1", "HTTP/1.1", true},
		{"h2", "h2", "HTTP/2.0", true}, {"h2c", "h2c", "HTTP/2.0", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var o *origin
			if test.secure {
				o = newOrigin(t, echo)
			} else {
				o = plainOrigin(t, echo)
			}
			cfg := config(o.addr)
			cfg.Protocol = test.protocol
			if !test.secure {
				cfg.TLS = nil
			}
			p := warm(t, cfg)
			var wg sync.WaitGroup
			for worker := range 5 {
				wg.Go(func() {
					for i := range 40 {
						path, body := fmt.Sprintf("/%d/%d", worker, i), strings.Repeat("x", i*1000)
						want := fmt.Sprintf("%s POST www.hither.test%s %s", test.proto, path, body)
						if got, err := fetch(p, request(t, "POST", path, strings.NewReader(body))); err != nil || got != want {
							t.Errorf("got %.60q, %v; want %.60q", got, err, want)
						}
					}
				})
			}
			wg.Wait()
			s := p.Status()
			if most := int64(5 + 2); !s.Up || !p.Up() || s.RequestsTotal != 200 || o.conns.Load() > most || len(s.ErrorsTotal) != 0 {
				t.Errorf("%d connections at the origin, at most %d wanted: %+v", o.conns.Load(), most, s)
			}
		})
	}
}

func TestIdleConnectionsGo(t *testing.T) {
	o := plainOrigin(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
	clock := &hands{at: time.Now()}
	cfg := textConfig(false, o.addr)
	cfg.Connections, cfg.Now = 1, clock.now
	p := warm(t, cfg)
	var wg sync.WaitGroup
	var open []*http.Response
	for range 4 {
		res, err := p.RoundTrip(request(t, "GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, res)
	}
	wg.Wait()
	for _, res := range open {
		io.ReadAll(res.Body)
		res.Body.Close()
	}
	if s := p.Status(); s.Connections != 4 {
		t.Fatalf("%+v", s)
	}
	p.tend() // sees them idle
	clock.advance(time.Minute)
	p.poke()
	await(t, p, "one is kept", func(s Status) bool { return s.Connections == 1 && s.Draining == 0 })
}

// h1 carries one request for each connection, so as many are opened as requests are under way, up to the limit.
func TestOneRequestForEachConnection(t *testing.T) {
	release, arrived := make(chan struct{}), make(chan struct{}, 20)
	o := plainOrigin(t, func(w http.ResponseWriter, r *http.Request) { arrived <- struct{}{}; <-release })
	cfg := textConfig(false, o.addr)
	cfg.MaxConnections = 10
	p := started(t, cfg)
	results := make(chan error, 20)
	ask := func() { _, err := fetch(p, request(t, "GET", "/", nil)); results <- err }
	for range 10 {
		go ask()
	}
	for range 10 {
		<-arrived
	}
	go ask()
	var e *Error
	if err := <-results; !errors.As(err, &e) || e.Kind != KindFull {
		t.Errorf("above the limit: %v", err)
	}
	close(release)
	for range 10 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if s := p.Status(); s.Connections != 10 || s.ErrorsTotal["pool-full"] != 1 {
		t.Errorf("%+v", s)
	}
}

// An answer that nobody asked for never answers anybody's request: whenever it comes, the connection ends for it.
func TestUnaskedAnswerAnswersNothing(t *testing.T) {
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	for _, secure := range []bool{false, true} {
		for name, script := range map[string]func(c *textConn){
			"with the answer":     func(c *textConn) { c.say(okText + evil) },
			"after the answer":    func(c *textConn) { c.say(okText); c.say(evil) },
			"longer than it says": func(c *textConn) { c.say(okText + "more") },
			"in pieces": func(c *textConn) {
				c.say(okText)
				for _, b := range []byte(evil) {
					c.say(string(b))
				}
			},
		} {
			t.Run(fmt.Sprint(name, secure), func(t *testing.T) {
				said := make(chan struct{}, 1)
				o := newTextPeer(t, secure, func(c *textConn) {
					for c.request() {
						script(c)
						said <- struct{}{}
					}
				})
				p := started(t, textConfig(secure, o.addr))
				for range 30 {
					got, err := fetch(p, request(t, "GET", "/", nil))
					if err != nil || got != "ok" {
						t.Fatalf("got %q, %v", got, err)
					}
					<-said
				}
				await(t, p, "counted", func(s Status) bool { return s.ErrorsTotal["origin-unasked"] > 0 })
			})
		}
	}
}

// An answer that has no content, whatever comes with it, leaves nothing for the next request.
func TestContentWhereNoneMayBe(t *testing.T) {
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	for method, head := range map[string]string{
		"HEAD":   fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(evil)),
		"GET":    fmt.Sprintf("HTTP/1.1 304 Not Modified\r\nContent-Length: %d\r\n\r\n", len(evil)),
		"DELETE": fmt.Sprintf("HTTP/1.1 204 No Content\r\nContent-Length: %d\r\n\r\n", len(evil)),
	} {
		t.Run(method, func(t *testing.T) {
			o := newTextPeer(t, false, func(c *textConn) {
				for c.request() {
					c.say(head + evil)
				}
			})
			p := started(t, textConfig(false, o.addr))
			for range 20 {
				res, err := p.RoundTrip(request(t, method, "/", nil))
				if err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(res.Body); err != nil || len(b) > 0 || method != "HEAD" && res.StatusCode == http.StatusOK {
					t.Errorf("%d %q, %v", res.StatusCode, b, err)
				}
				res.Body.Close()
			}
			await(t, p, "counted", func(s Status) bool { return s.ErrorsTotal["origin-unasked"] > 0 })
		})
	}
}

// What comes before the first request ends the connection before a request is sent over it.
func TestPeerThatSpeaksFirst(t *testing.T) {
	o := newTextPeer(t, false, func(c *textConn) {
		if c.n == 1 {
			c.say("220 smtp.hither.test ESMTP\r\n")
		}
		for c.request() {
			c.say(okText)
		}
	})
	cfg := textConfig(false, o.addr)
	cfg.Connections = 1
	p := started(t, cfg)
	await(t, p, "the first has gone", func(s Status) bool { return s.ErrorsTotal["origin-unasked"] == 1 })
	if got, err := fetch(p, request(t, "GET", "/", nil)); err != nil || got != "ok" {
		t.Errorf("got %q, %v", got, err)
	}
}

// An origin that closes a connection just as a request is sent has perhaps processed it: that is said, and not retried here.
func TestClosedIdle(t *testing.T) {
	for _, secure := range []bool{false, true} {
		o := newTextPeer(t, secure, func(c *textConn) {
			if c.request() {
				c.say(okText)
			}
			c.request() // read, and not answered
		})
		p := started(t, textConfig(secure, o.addr))
		if _, err := fetch(p, request(t, "GET", "/", nil)); err != nil {
			t.Fatal(err)
		}
		_, err := fetch(p, request(t, "GET", "/", nil))
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindClosedIdle || !e.ClosedIdle() || e.Retryable() || e.Status() != 502 {
			t.Errorf("got %v", err)
		}
		if s := p.Status(); s.ErrorsTotal["origin-closed-idle"] != 1 {
			t.Errorf("%+v", s)
		}
	}
}

// A connection that the origin closed while nothing was asked costs no request.
func TestClosedBetweenRequests(t *testing.T) {
	o := newTextPeer(t, false, func(c *textConn) {
		if c.request() {
			c.say(okText)
		}
	})
	p := started(t, textConfig(false, o.addr))
	for range 30 {
		if got, err := fetch(p, request(t, "GET", "/", nil)); err != nil || got != "ok" {
			var e *Error
			if errors.As(err, &e) && e.Kind == KindClosedIdle {
				continue // the close was on its way
			}
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

func TestUpgrade(t *testing.T) {
	for _, secure := range []bool{false, true} {
		o := newTextPeer(t, secure, func(c *textConn) {
			c.request()
			c.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
			io.Copy(c, c)
		})
		cfg := textConfig(secure, o.addr)
		cfg.BodyIdle, cfg.FirstByte = time.Millisecond, 5*time.Second // no limit of a body
		p := started(t, cfg)
		req := request(t, "GET", "/", nil)
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "echo")
		res, err := p.RoundTrip(req)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v, %v", res, err)
		}
		rw := res.Body.(io.ReadWriteCloser)
		got := make([]byte, 5)
		if _, err := io.ReadFull(rw, got); err != nil || string(got) != "hello" {
			t.Fatalf("%q, %v", got, err)
		}
		for range 3 {
			io.WriteString(rw, "ping!")
			if _, err := io.ReadFull(rw, got); err != nil || string(got) != "ping!" {
				t.Fatalf("%q, %v", got, err)
			}
		}
		p.poke()
		await(t, p, "in use, but not for others", func(s Status) bool {
			return s.Connections == 0 && s.Draining == 1 && s.Each[0].InFlight == 1
		})
		rw.Close()
		await(t, p, "gone", func(s Status) bool { return len(s.Each) == 0 })
	}
}

func TestUpgradeEndsWithThePool(t *testing.T) {
	o := newTextPeer(t, false, func(c *textConn) {
		c.request()
		c.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		io.Copy(c, c)
	})
	p := started(t, textConfig(false, o.addr))
	req := request(t, "GET", "/", nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	res, err := p.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if _, err := res.Body.Read(make([]byte, 1)); err == nil {
		t.Error("the tunnel outlives the pool")
	}
}

// The kernel probes an h1 connection as often as a PING would.
func TestKeepAlive(t *testing.T) {
	o := plainOrigin(t, func(http.ResponseWriter, *http.Request) {})
	cfg := textConfig(false, o.addr)
	cfg.Connections = 1
	p := warm(t, cfg)
	p.mu.Lock()
	raw := p.conns[0].session.(*h1).turn.raw.(*rawConn)
	p.mu.Unlock()
	got := make(map[int]int)
	if err := raw.rc.Control(func(fd uintptr) {
		for _, opt := range []int{syscall.TCP_KEEPIDLE, syscall.TCP_KEEPINTVL, syscall.TCP_KEEPCNT} {
			got[opt], _ = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, opt)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if got[syscall.TCP_KEEPIDLE] != 3 || got[syscall.TCP_KEEPINTVL] != 1 || got[syscall.TCP_KEEPCNT] != keepAliveProbes {
		t.Errorf("idle %d s, interval %d s, %d probes", got[syscall.TCP_KEEPIDLE], got[syscall.TCP_KEEPINTVL], got[syscall.TCP_KEEPCNT])
	}
	s := &h1{turn: newTurn(nil, &rawConn{})}
	s.turn.asked = true
	gone := &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}
	if k := s.kind(opRoundTrip, gone, true); k != KindLost {
		t.Errorf("what the kernel says then is %v", k)
	}
}
