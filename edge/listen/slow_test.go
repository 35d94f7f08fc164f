package listen_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"hither/edge/listen"
)

// TestSilentBody stops in the middle of a body: the handler gets an error, and can answer 408.
func TestSilentBody(t *testing.T) {
	each(t, func(t *testing.T, p listen.Proto) {
		t.Parallel()
		w := open(t, func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if string(b) != "begin" || !errors.Is(err, listen.ErrSilentBody) {
				t.Errorf("read %q, %v", b, err)
			}
			if _, again := r.Body.Read(make([]byte, 1)); !errors.Is(again, listen.ErrSilentBody) {
				t.Errorf("the next read: %v", again)
			}
			if r.Context().Err() != nil && p != listen.H1 {
				t.Error("the request was cancelled")
			}
			w.WriteHeader(http.StatusRequestTimeout)
		}, func(c *listen.Config) { c.Limits.Silence = time.Second }) // "begin" must come in that time
		in, out := io.Pipe()
		defer out.Close()
		go io.WriteString(out, "begin")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "POST", "https://"+siteName+"/", in)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := w.client(p, nil).Do(req)
		body(t, resp, err)
		if resp.StatusCode != http.StatusRequestTimeout {
			t.Errorf("status %d", resp.StatusCode)
		}
		w.wait("slow-body", 1)
	})
}

// TestPatientBody lets the handler be slow instead: a client that waits for us is not silent.
func TestPatientBody(t *testing.T) {
	each(t, func(t *testing.T, p listen.Proto) {
		t.Parallel()
		const silence = time.Second // a busy machine keeps QUIC waiting for hundreds of milliseconds
		w := open(t, func(w http.ResponseWriter, r *http.Request) {
			var sum int
			buf := make([]byte, 1<<20)
			for n, err := 0, error(nil); err == nil; sum += n {
				if sum == 0 {
					<-time.After(silence * 5 / 4) // what is being waited for is the limit itself
				}
				n, err = io.ReadFull(r.Body, buf)
				if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
					t.Errorf("read: %v", err)
				}
			}
			<-time.After(silence * 5 / 4)
			if r.Context().Err() != nil {
				t.Error("the request was cancelled after its body")
			}
			fmt.Fprint(w, sum)
		}, func(c *listen.Config) { c.Limits.Silence = silence })
		const size = 3 << 20 // more than any window
		resp, err := w.client(p, nil).Post("https://"+siteName+"/", "", strings.NewReader(strings.Repeat("x", size)))
		if got := body(t, resp, err); got != fmt.Sprint(size) {
			t.Errorf("%s bytes came, want %d", got, size)
		}
		if n := w.get("slow-body"); n != 0 {
			t.Errorf("slow-body was counted %d times", n)
		}
	})
}

// TestUnreadBody answers without reading: the client's silence must not hold the answer for ever.
func TestUnreadBody(t *testing.T) {
	each(t, func(t *testing.T, p listen.Proto) {
		w := open(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) },
			func(c *listen.Config) { c.Limits.Silence = 50 * time.Millisecond })
		in, out := io.Pipe()
		defer out.Close()
		go io.WriteString(out, "begin")
		resp, err := w.client(p, nil).Post("https://"+siteName+"/", "", in)
		body(t, resp, err)
		if resp.StatusCode != 403 {
			t.Errorf("status %d", resp.StatusCode)
		}
	})
}

// TestSlowHeader stops in the middle of a header: on the first request, and on one after another. HeaderTime is that of the
// handshake as well, which takes long on a busy machine.
func TestSlowHeader(t *testing.T) {
	short := func(c *listen.Config) { c.Limits.HeaderTime = 2 * time.Second }
	ok := func(http.ResponseWriter, *http.Request) {}
	t.Run("h1", func(t *testing.T) {
		t.Parallel()
		w := open(t, ok, short)
		for i, before := range []string{"", "GET / HTTP/1.1\r\nHost: " + siteName + "\r\n\r\n"} {
			c := w.raw("http/1.1")
			c.SetDeadline(time.Now().Add(patience))
			io.WriteString(c, before+"GET /slow HTTP/1.1\r\nHost: ")
			got, _ := io.ReadAll(c)
			if n := strings.Count(string(got), "HTTP/1.1 "); n != i {
				t.Errorf("%d answers, want %d: %q", n, i, got)
			}
			w.wait("slow-header", i+1)
		}
	})
	t.Run("h2", func(t *testing.T) {
		t.Parallel()
		w := open(t, ok, func(c *listen.Config) {
			short(c)
			c.Limits.Silence = time.Second // after which it is asked whether it is there
		})
		h := dialH2(t, w)
		h.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}, EndHeaders: false})
		asked := false
		for {
			f, err := h.fr.ReadFrame()
			if err != nil {
				break
			}
			if _, ok := f.(*http2.PingFrame); ok {
				asked = true
			}
		}
		if !asked {
			t.Error("it was not asked whether it is there")
		}
		w.wait("open h2", 0)
	})
	t.Run("h3", func(t *testing.T) {
		t.Parallel()
		w := open(t, ok, func(c *listen.Config) {
			short(c)
			c.Limits.Idle = 2 * time.Second // which is added: until then it may be one that asks for nothing
		})
		h := dialH3(t, w) // its QUIC keeps the connection alive
		if got := h.ask([][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", siteName}, {":path", "/"}}, nil); got != "200" {
			t.Fatalf("got %s", got)
		}
		str, err := h.conn.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		str.Write([]byte{1, 40, 0, 0})
		select {
		case <-h.conn.Context().Done():
		case <-h.ctx.Done():
		}
		w.wait("slow-header", 1)
	})
}

// TestIdle leaves connections alone: they are closed, and nobody is blamed.
func TestIdle(t *testing.T) {
	each(t, func(t *testing.T, p listen.Proto) {
		t.Parallel()
		w := open(t, func(http.ResponseWriter, *http.Request) {}, func(c *listen.Config) { c.Limits.Idle = 2 * time.Second })
		resp, err := w.client(p, nil).Get("https://" + siteName + "/")
		body(t, resp, err)
		w.wait("open "+string(p), 0)
		checkCount(t, w, "none")
	})
}

// TestDeafClient does not read its answer: the handler gets an error.
func TestDeafClient(t *testing.T) {
	for _, p := range []listen.Proto{listen.H1, listen.H2} {
		t.Run(string(p), func(t *testing.T) {
			done := make(chan error, 1)
			w := open(t, func(w http.ResponseWriter, r *http.Request) {
				buf := make([]byte, 1<<16)
				for {
					if _, err := w.Write(buf); err != nil {
						done <- err
						return
					}
				}
			}, func(c *listen.Config) { c.Limits.Silence = 50 * time.Millisecond })
			if p == listen.H1 {
				io.WriteString(w.raw("http/1.1"), "GET / HTTP/1.1\r\nHost: "+siteName+"\r\n\r\n")
			} else {
				h := dialH2(t, w)
				h.fr.WriteWindowUpdate(0, 1<<30)
				h.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
				go h.writeRequest(1)
			}
			if err := <-done; err == nil {
				t.Error("no error")
			}
			w.wait("open "+string(p), 0)
		})
	}
}
