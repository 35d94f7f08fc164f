package pool

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/http2"
)

// TestUploadWithoutEnd has a client which sends a body for ever to an origin that has answered already and reads no more: the
// answer is passed on, and with it the upload ends.
func TestUploadWithoutEnd(t *testing.T) {
	hold := func(c *peerConn) { // answers, and takes no notice of what comes
		c.serve(func(id uint32) {
			c.headers(id, false, ":status", "413")
			c.WriteData(id, true, []byte("ok"))
		}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	}
	peers := map[string]func(t *testing.T) Config{
		"h1": func(t *testing.T) Config {
			return textConfig(false, newTextPeer(t, false, func(c *textConn) {
				c.request()
				c.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nok")
				<-t.Context().Done()
			}).addr)
		},
		"h2": func(t *testing.T) Config { return config(newPeer(t, hold).addr) },
		"h3": func(t *testing.T) Config {
			return h3Config(newQUICPeer(t, func(c *quicConn) {
				c.serve(func(s *quic.Stream) {
					s.Write(append(fields(":status", "413"), frame(h3Data, []byte("ok"))...))
					s.Close()
				})
			}).addr)
		},
	}
	bodies := map[string]func(ended func()) io.ReadCloser{
		"flows": func(ended func()) io.ReadCloser {
			return closer{readFunc(func(b []byte) (int, error) { return len(b), nil }), ended}
		},
		"hangs": func(ended func()) io.ReadCloser {
			r, w := io.Pipe()
			go w.Write([]byte("beginning"))
			return closer{r, func() { r.Close(); ended() }}
		},
	}
	for protocol, peer := range peers {
		for name, body := range bodies {
			t.Run(protocol+" "+name, func(t *testing.T) {
				cfg := peer(t)
				cfg.FirstByte, cfg.BodyIdle = limit, limit
				p := started(t, cfg)
				for range 3 {
					closed := make(chan struct{})
					req := request(t, "POST", "/", nil)
					req.Body, req.ContentLength = body(sync.OnceFunc(func() { close(closed) })), -1
					res, err := p.RoundTrip(req)
					if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
						t.Fatalf("%v, %v", res, err)
					}
					if b, err := io.ReadAll(res.Body); err != nil || string(b) != "ok" {
						t.Errorf("%q, %v", b, err)
					}
					res.Body.Close()
					select {
					case <-closed:
					case <-deadline(t).Done():
						t.Fatal("the upload goes on")
					}
				}
				if err := p.Drain(deadline(t)); err != nil {
					t.Errorf("something is left in flight: %+v", p.Status())
				}
			})
		}
	}
}

// A client whose body stops does not keep an error of the origin from being told.
func TestOriginEndsWhileTheUploadHangs(t *testing.T) {
	for protocol, cfg := range map[string]Config{
		"h1": textConfig(false, newTextPeer(t, false, func(c *textConn) { c.request(); c.Read(make([]byte, 9)); c.Close() }).addr),
		"h2": config(newPeer(t, func(c *peerConn) { c.serve(func(uint32) { c.Conn.Close() }) }).addr),
		"h3": h3Config(newQUICPeer(t, func(c *quicConn) { c.serve(func(*quic.Stream) { c.CloseWithError(1, "") }) }).addr),
	} {
		t.Run(protocol, func(t *testing.T) {
			p := started(t, cfg)
			for _, ends := range []bool{true, false} { // that Close ends a Read is not promised
				r, w := io.Pipe()
				defer w.Close()
				go w.Write([]byte("beginning"))
				body := closer{r, func() {
					if ends {
						r.Close()
					}
				}}
				_, err := p.RoundTrip(request(t, "POST", "/", body))
				var e *Error
				if !errors.As(err, &e) || e.Kind != KindTerminated {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

// A client that goes away while its body hangs is told at once, and the body is closed.
func TestClientGoesWhileTheUploadHangs(t *testing.T) {
	wait := func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }
	plain := config(plainOrigin(t, wait).addr)
	plain.TLS, plain.Protocol = nil, "h1"
	for protocol, cfg := range map[string]Config{"h1": plain, "h2": config(newOrigin(t, wait).addr), "h3": h3Config(newH3Origin(t, wait).addr)} {
		t.Run(protocol, func(t *testing.T) {
			p := started(t, cfg)
			r, w := io.Pipe()
			closed := make(chan struct{})
			req := request(t, "POST", "/", nil)
			ctx, cancel := context.WithCancel(t.Context())
			req = req.WithContext(ctx)
			req.Body, req.ContentLength = closer{r, sync.OnceFunc(func() { r.Close(); close(closed) })}, -1
			go func() { w.Write([]byte("beginning")); cancel() }()
			_, err := p.RoundTrip(req)
			var e *Error
			if !errors.As(err, &e) || e.Kind != KindCanceled {
				t.Errorf("got %v", err)
			}
			select {
			case <-closed:
			case <-time.After(limit):
				t.Error("the body is still open")
			}
		})
	}
}
