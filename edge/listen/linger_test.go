package listen_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"

	"hither/edge/listen"
)

// A hoarder stands between a client and a front as a proxy with large buffers does: it
// takes all of an answer at once, and its client gets nothing of it until release.
type hoarder struct {
	t       *testing.T
	front   string
	full    chan struct{} // closed when the front has ended its direction
	release chan struct{}
}

func (h *hoarder) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	to, err := (&net.Dialer{}).DialContext(ctx, network, h.front)
	if err != nil {
		return nil, err
	}
	ours, client := net.Pipe()
	go io.Copy(to, ours) // ends when the client closes
	go func() {
		defer to.Close()
		defer ours.Close()
		// The handshake goes through, and so does the first half, by which the client is told to go.
		var held []byte
		buf, through := make([]byte, 32<<10), 0
		for {
			n, err := to.Read(buf)
			if through < answerBytes/2 {
				through += n
				if _, err := ours.Write(buf[:n]); err != nil {
					h.t.Errorf("the client went: %v", err)
					return
				}
			} else {
				held = append(held, buf[:n]...)
			}
			if err == nil {
				continue
			}
			if err != io.EOF {
				h.t.Errorf("the front reset the connection: %v", err)
			}
			break
		}
		close(h.full)
		<-h.release
		// A socket that was closed answers bytes with a reset, of which the next write tells.
		for range 3 {
			if _, err := to.Write([]byte{0}); err != nil {
				h.t.Errorf("the front was gone while the client had nothing of its answer: %v", err)
			}
		}
		ours.Write(held)
	}()
	return client, nil
}

// answerBytes is less than the window of net/http's client on HTTP/2 (4 MiB).
const answerBytes = 2 << 20

// TestDrainLingers drains while an answer is on the way. The front is there until its client has closed,
// however soon somebody in between has taken the bytes.
func TestDrainLingers(t *testing.T) {
	for _, p := range []listen.Proto{listen.H1, listen.H2} {
		t.Run(string(p), func(t *testing.T) {
			begun, finish := make(chan struct{}), make(chan struct{})
			w := open(t, func(w http.ResponseWriter, r *http.Request) {
				close(begun)
				<-finish
				w.Write(make([]byte, answerBytes))
			}, nil)
			c := w.client(p, nil)
			h := &hoarder{t: t, front: w.addr(), full: make(chan struct{}), release: make(chan struct{})}
			c.Transport.(*http.Transport).DialContext = h.dial
			got := make(chan int64, 1)
			go func() {
				var n int64
				resp, err := c.Get("https://" + siteName + "/")
				if err == nil {
					n, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				if err != nil {
					t.Error(err)
				}
				got <- n
			}()
			<-begun
			drained := make(chan error, 1)
			go func() { drained <- w.Drain(context.Background()) }()
			for !w.Draining() {
				runtime.Gosched()
			}
			close(finish)
			<-h.full
			close(h.release)
			if n := <-got; n != answerBytes {
				t.Errorf("the answer has %d bytes, want %d", n, answerBytes)
			}
			if err := <-drained; err != nil {
				t.Errorf("Drain: %v", err)
			}
			w.wait("open "+string(p), 0)
		})
	}
}

// TestDrainLingersNoLonger has a client that takes its answer and does not close. Drain waits for it as long as
// it may, and the front leaves nothing behind.
func TestDrainLingersNoLonger(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	w := open(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-finish
	}, nil)
	c := w.raw("http/1.1")
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+siteName+"\r\n\r\n")
	<-begun
	ctx, cancel := context.WithCancel(context.Background())
	drained := make(chan error, 1)
	go func() { drained <- w.Drain(ctx) }()
	for !w.Draining() {
		runtime.Gosched()
	}
	close(finish)
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the end of our direction: %v", err)
	}
	select {
	case err := <-drained:
		t.Errorf("Drain returned %v while the client had not closed", err)
	default:
	}
	cancel()
	if err := <-drained; err != nil {
		t.Errorf("Drain: %v", err)
	}
}
