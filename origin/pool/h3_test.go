package pool

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
)

func TestH3ManyRequestsTwoHandshakes(t *testing.T) {
	o := newH3Origin(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s%s %d %d", r.Proto, r.Method, r.Host, r.URL, len(b), len(r.Header))
	})
	p := warm(t, h3Config(o.addr))
	var wg sync.WaitGroup
	for worker := range 20 {
		wg.Go(func() {
			for i := range 25 {
				path := fmt.Sprintf("/%d/%d", worker, i)
				method, body, n := "GET", io.Reader(nil), 0
				want := fmt.Sprintf("HTTP/3.0 GET www.hither.test%s 0 0", path)
				if i%2 == 1 {
					n = i * 1000
					method, body = "POST", strings.NewReader(strings.Repeat("x", n))
					want = fmt.Sprintf("HTTP/3.0 POST www.hither.test%s %d 1", path, n) // Content-Length
				}
				if got, err := fetch(p, request(t, method, path, body)); err != nil || got != want {
					t.Errorf("got %q, %v; want %q", got, err, want)
				}
			}
		})
	}
	wg.Wait()
	s := p.Status()
	if s.HandshakesTotal != 2 || s.RequestsTotal != 500 || s.Connections != 2 || o.conns.Load() != 2 || s.Each[0].InFlight+s.Each[1].InFlight != 0 {
		t.Errorf("status %+v, connections at the origin %d", s, o.conns.Load())
	}
}

func TestH3BothWaysWithTrailers(t *testing.T) {
	o := newH3Origin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Sum")
		rc := http.NewResponseController(w)
		rc.Flush()
		h := sha256.New()
		buf := make([]byte, 1<<10)
		for {
			n, err := r.Body.Read(buf)
			h.Write(buf[:n])
			w.Write(buf[:n])
			rc.Flush()
			if err != nil {
				break
			}
		}
		w.Header().Set("Sum", fmt.Sprintf("%x %s", h.Sum(nil), r.Trailer.Get("From")))
	})
	p := warm(t, h3Config(o.addr))
	pr, pw := io.Pipe()
	req := request(t, "POST", "/", pr)
	req.Trailer = http.Header{"From": nil}
	res, err := p.RoundTrip(req) // returns before the body is sent
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	h := sha256.New()
	for i := range 20 {
		piece := fmt.Sprintf("piece %d;", i)
		io.WriteString(pw, piece)
		h.Write([]byte(piece))
		got := make([]byte, len(piece))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != piece {
			t.Fatalf("echo of %q: %q, %v", piece, got, err)
		}
	}
	req.Trailer.Set("From", "client")
	pw.Close()
	if _, err := res.Body.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	if got, want := res.Trailer.Get("Sum"), fmt.Sprintf("%x client", h.Sum(nil)); got != want {
		t.Errorf("trailer %q, want %q", got, want)
	}
}

func TestH3InformationalResponses(t *testing.T) {
	o := newH3Origin(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			w.Header().Set("Link", fmt.Sprintf("</%d.css>", i))
			w.WriteHeader(http.StatusEarlyHints)
		}
	})
	p := warm(t, h3Config(o.addr))
	var seen []string
	ctx := httptrace.WithClientTrace(deadline(t), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			seen = append(seen, fmt.Sprint(code, h.Get("Link")))
			return nil
		},
	})
	if _, err := fetch(p, request(t, "GET", "/", nil).WithContext(ctx)); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(seen, " "), "103</0.css> 103</1.css> 103</2.css>"; got != want {
		t.Errorf("informational responses %q, want %q", got, want)
	}
}

func TestH3BodyWaitsForContinue(t *testing.T) {
	var continued atomic.Bool
	o := newQUICPeer(t, func(c *quicConn) {
		n := 0
		c.serve(func(s *quic.Stream) {
			if n++; n == 1 {
				continued.Store(true)
				s.Write(fields(":status", "100"))
				io.ReadAll(s)
				s.Write(fields(":status", "200"))
			} else {
				s.Write(fields(":status", "403")) // a final answer instead of 100
			}
			s.Close()
		})
	})
	cfg := h3Config(o.addr)
	cfg.Continue, cfg.Connections = limit, 1
	p := warm(t, cfg)
	reads := 0
	body := readFunc(func(b []byte) (int, error) {
		if reads++; !continued.Load() {
			t.Error("body is read before 100 Continue")
		}
		return copy(b, "x"), io.EOF
	})
	req := request(t, "POST", "/", body)
	req.Header.Set("Expect", "100-continue")
	if _, err := fetch(p, req); err != nil || reads != 1 {
		t.Fatalf("%v after %d reads", err, reads)
	}
	req = request(t, "POST", "/no", strings.NewReader("x"))
	req.Header.Set("Expect", "100-continue")
	res, err := p.RoundTrip(req)
	if err != nil || res.StatusCode != http.StatusForbidden {
		t.Fatalf("got %v, %v", res, err)
	}
	res.Body.Close()
}

func TestH3InvalidRequest(t *testing.T) {
	o := newH3Origin(t, func(w http.ResponseWriter, r *http.Request) {})
	p := warm(t, h3Config(o.addr))
	for _, spoil := range []func(*http.Request){
		func(r *http.Request) { r.Header.Set("X", "a\nb") },
		func(r *http.Request) { r.Header["a b"] = []string{"x"} },
		func(r *http.Request) { r.Method = "G T" },
		func(r *http.Request) { r.Header.Set("Upgrade", "websocket") },
		func(r *http.Request) { r.Host = "a b" },
		func(r *http.Request) { r.URL.Opaque = "here" },
	} {
		r := request(t, "GET", "/", nil)
		spoil(r)
		_, err := p.RoundTrip(r)
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindRequestInvalid || e.Whose != Client {
			t.Errorf("got %v", err)
		}
	}
	if s := p.Status(); s.HandshakesTotal != 2 || s.Each[0].InFlight+s.Each[1].InFlight != 0 {
		t.Errorf("an invalid request costs something: %+v", s)
	}
}

func TestH3KilledOriginIsFoundAgain(t *testing.T) {
	ok := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }
	o := newH3Origin(t, ok)
	cfg := h3Config(o.addr)
	cfg.Connect = 2 * time.Second // UDP does not say that nobody listens
	p := warm(t, cfg)
	o.end()
	await(t, p, "connections lost", func(s Status) bool { return s.Connections == 0 })
	var e *Error
	if _, err := p.RoundTrip(request(t, "GET", "/", nil)); !errors.As(err, &e) || e.Kind != KindConnectTimeout || !e.Retryable() || e.Status() != 504 {
		t.Fatalf("while the origin is down: %v", err)
	}
	h3OriginAt(t, o.addr, ok)
	await(t, p, "warm again", func(s Status) bool { return s.Connections == 2 })
	if got, err := fetch(p, request(t, "GET", "/", nil)); err != nil || got != "ok" {
		t.Fatalf("%q, %v", got, err)
	}
}

// A server that shuts down says GOAWAY, finishes what it has, and costs no request.
func TestH3GracefulRestart(t *testing.T) {
	ok := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }
	one, two := newH3Origin(t, ok), newH3Origin(t, ok)
	p := warm(t, h3Config(one.addr, two.addr))
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if got, err := fetch(p, request(t, "GET", "/", nil)); err != nil || got != "ok" {
					t.Errorf("%q, %v", got, err)
					return
				}
			}
		})
	}
	one.srv.Shutdown(deadline(t))
	one.end()
	await(t, p, "all at the other", func(s Status) bool {
		for _, c := range s.Each {
			if c.Address != two.addr {
				return false
			}
		}
		return s.Connections == 2
	})
	stop()
	wg.Wait()
}

func TestH3DrainAndCancel(t *testing.T) {
	release := make(chan struct{})
	gone := make(chan struct{}, 1)
	o := newH3Origin(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		if r.URL.Path == "/cancel" {
			<-r.Context().Done()
			gone <- struct{}{}
			return
		}
		<-release
		io.WriteString(w, "done")
	})
	p := warm(t, h3Config(o.addr))
	ctx, cancel := context.WithCancel(t.Context())
	res, err := p.RoundTrip(request(t, "GET", "/cancel", nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-gone
	var e *Error
	if _, err := res.Body.Read(make([]byte, 1)); !errors.As(err, &e) || e.Kind != KindCanceled {
		t.Errorf("got %v", err)
	}
	res.Body.Close()
	res, err = p.RoundTrip(request(t, "GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan error)
	go func() { drained <- p.Drain(deadline(t)) }()
	await(t, p, "draining", func(s Status) bool { return s.Connections == 0 && s.Draining == 1 })
	close(release)
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "done" {
		t.Errorf("%q, %v", b, err)
	}
	res.Body.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// More connections are opened when a connection has as many requests as it may have, and what the peer does not allow is
// found out without losing a request.
func TestH3StreamLimits(t *testing.T) {
	const streams, requests = 10, 60
	var mu sync.Mutex
	at, most := make(map[string]int), 0
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	o := newH3Origin(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		at[r.RemoteAddr]++
		most = max(most, at[r.RemoteAddr])
		n := 0
		for _, m := range at {
			n += m
		}
		if n == requests {
			free()
		}
		mu.Unlock()
		<-release
	}, func(c *quic.Config) { c.MaxIncomingStreams = streams })
	p := warm(t, h3Config(o.addr))
	var wg sync.WaitGroup
	for range requests {
		wg.Go(func() {
			if _, err := fetch(p, request(t, "GET", "/", nil)); err != nil {
				t.Error(err)
				free()
			}
		})
	}
	wg.Wait()
	if s := p.Status(); s.Connections < requests/streams || most > streams {
		t.Errorf("at most %d at once over one connection: %+v", most, s)
	}
}

func TestH3StreamLimitZero(t *testing.T) {
	o := newQUICPeer(t, func(c *quicConn) { c.serve(func(*quic.Stream) { t.Error("a stream though none is allowed") }) },
		func(_ *tls.Config, c *quic.Config) { c.MaxIncomingStreams = -1 })
	cfg := h3Config(o.addr)
	cfg.Connect, cfg.MaxConnections = time.Second, 4
	p := warm(t, cfg)
	for range 3 {
		_, err := p.RoundTrip(request(t, "GET", "/", nil))
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindFull && e.Kind != KindStreamRefused || e.Status() != 503 || !e.Retryable() {
			t.Errorf("got %v", err)
		}
	}
	if n := p.Status().HandshakesTotal; n > 4 {
		t.Errorf("%d connections are more than the limit", n)
	}
}

// A peer that has gone without a word is found by what it does not answer.
func TestH3DeadConnectionIsFound(t *testing.T) {
	o := newH3Origin(t, func(w http.ResponseWriter, r *http.Request) {})
	relay := newRelay(t, o.addr)
	cfg := h3Config(relay.addr)
	cfg.Connections, cfg.Ping, cfg.PingTimeout = 1, 50*time.Millisecond, 2*time.Second
	p := warm(t, cfg)
	if _, err := fetch(p, request(t, "GET", "/", nil)); err != nil {
		t.Fatal(err)
	}
	relay.silent.Store(true)
	_, err := fetch(p, request(t, "GET", "/", nil))
	var e *Error
	if !errors.As(err, &e) || e.Kind != KindLost || e.Retry {
		t.Errorf("got %v", err)
	}
}

func TestH3GoAway(t *testing.T) {
	const requests = 30
	for name, script := range map[string]func(c *quicConn){
		"at once": func(c *quicConn) {
			if c.n <= 3 {
				c.control(frame(h3GoAway, quicvarint.Append(nil, 0)))
				c.each(nil)
				return
			}
			c.serve(okStream)
		},
		"in flight": func(c *quicConn) {
			n := 0
			ctl := c.control()
			c.each(func(s *quic.Stream) {
				if n++; n < 3 {
					okStream(s)
					return
				} else if n == 3 {
					ctl.Write(frame(h3GoAway, quicvarint.Append(nil, uint64(s.StreamID()))))
				}
				s.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestRejected))
				s.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestRejected))
			})
		},
		"idle": func(c *quicConn) {
			ctl := c.control()
			n := 0
			c.each(func(s *quic.Stream) {
				okStream(s)
				if n++; n == 2 {
					ctl.Write(frame(h3GoAway, quicvarint.Append(nil, uint64(s.StreamID())+4)))
				}
			})
		},
		"rejected": func(c *quicConn) {
			n := 0
			c.serve(func(s *quic.Stream) {
				if n++; n%3 == 0 {
					s.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestRejected))
					s.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestRejected))
				} else {
					okStream(s)
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newQUICPeer(t, script)
			cfg := h3Config(o.addr)
			cfg.Retries = 20 // what rejects a request may overtake the GOAWAY, on another stream
			p := started(t, cfg)
			for i := range requests {
				method, body := "GET", io.Reader(nil)
				if i%2 == 1 {
					method, body = "POST", strings.NewReader("body") // has GetBody
				}
				if got, err := fetch(p, request(t, method, "/", body)); err != nil || got != "ok" {
					t.Fatalf("request %d: %q, %v", i, got, err)
				}
			}
		})
	}
}

func okStream(s *quic.Stream) {
	s.Write(append(fields(":status", "200"), frame(h3Data, []byte("ok"))...))
	s.Close()
}

func TestH3StreamsAreNotBelievedForEver(t *testing.T) {
	var k streams
	now := time.Unix(1000, 0)
	for _, step := range []struct{ noted, want int }{{-1, streamsAssumed}, {10, 10}, {0, 1}} {
		if step.noted >= 0 {
			k.note(step.noted, now)
		}
		if got := k.known(now.Add(streamsKnown - 1)); got != step.want {
			t.Errorf("%d after %d was found", got, step.noted)
		}
	}
	if got := k.known(now.Add(streamsKnown)); got != streamsAssumed {
		t.Errorf("%d after a minute", got)
	}
}

// A request that one connection rejects goes to another: the same would as a rule do it again.
func TestRejectedRequestGoesElsewhere(t *testing.T) {
	o := newQUICPeer(t, func(c *quicConn) {
		c.serve(func(s *quic.Stream) {
			if c.n == 1 {
				s.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestRejected))
				s.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestRejected))
				return
			}
			okStream(s)
		})
	})
	cfg := h3Config(o.addr)
	cfg.Retries = 1
	p := warm(t, cfg)
	for range 20 {
		if got, err := fetch(p, request(t, "GET", "/", nil)); err != nil || got != "ok" {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

// Of an answer that says its length no more than that waits for its reader, though nobody tells how much has come.
func TestH3SmallAnswersAreNotCutOff(t *testing.T) {
	o := newH3Origin(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "small") })
	cfg, clock := h3Config(o.addr), &hands{at: time.Now()}
	cfg.Window, cfg.Now = 2*startWindow, clock.now
	p := warm(t, cfg)
	for range 5 {
		res, err := p.RoundTrip(request(t, "GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
	}
	clock.advance(2 * unreadGrace)
	if cut := p.unread.excess(cfg.Window, clock.now()); len(cut) > 0 {
		t.Errorf("%d answers of five bytes are cut off", len(cut))
	}
}
