package listen_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"hither/edge/listen"
)

// twoDoors returns a client that goes to the first front while that takes connections, and to the
// second when it does not: as clients of a CDN do. closed ends when it does not: a closed QUIC port is silent, and how long a busy machine
// takes for a handshake nobody knows.
func twoDoors(closed context.Context, p listen.Proto, first, second *world) (*http.Client, func()) {
	conf := first.clientTLS()
	conf.RootCAs = first.roots.Clone()
	conf.InsecureSkipVerify = true // two authorities; who answers is what this test looks at
	if p == listen.H3 {
		tr := &http3.Transport{TLSClientConfig: conf, Dial: func(ctx context.Context, _ string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			early, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(closed, cancel)()
			c, err := quic.DialAddrEarly(early, first.QUIC()[0].String(), tc, qc)
			if err != nil {
				c, err = quic.DialAddrEarly(ctx, second.QUIC()[0].String(), tc, qc)
			}
			return c, err
		}}
		return &http.Client{Transport: tr}, func() { tr.Close() }
	}
	var protos http.Protocols
	protos.SetHTTP1(p == listen.H1)
	protos.SetHTTP2(p == listen.H2)
	tr := &http.Transport{TLSClientConfig: conf, Protocols: &protos, DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		conf := conf.Clone()
		conf.NextProtos = []string{map[listen.Proto]string{listen.H1: "http/1.1", listen.H2: "h2"}[p]}
		c, err := (&tls.Dialer{Config: conf}).DialContext(ctx, network, first.addr())
		if err != nil {
			c, err = (&tls.Dialer{Config: conf}).DialContext(ctx, network, second.addr())
		}
		return c, err
	}}
	return &http.Client{Transport: tr}, tr.CloseIdleConnections
}

// TestDrain drains under concurrent clients. No request fails, wherever it is caught; a slow one that had begun is
// finished by the draining front; afterwards nobody is let in.
func TestDrain(t *testing.T) {
	each(t, func(t *testing.T, p listen.Proto) {
		slowBegun, slowEnd := make(chan struct{}), make(chan struct{})
		door := func(name string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/slow" {
					close(slowBegun)
					<-slowEnd
				}
				io.Copy(io.Discard, r.Body)
				fmt.Fprint(w, name)
			}
		}
		t.Parallel()
		const promise = time.Second / 2
		patient := func(c *listen.Config) { c.Promise = promise }
		first, second := open(t, door("first"), patient), open(t, door("second"), nil)
		ask := func(c *http.Client, path string) (string, error) {
			for begun := time.Now(); ; {
				resp, err := c.Get("https://" + siteName + path)
				var refused *http3.Error
				if errors.As(err, &refused) && (refused.ErrorCode == http3.ErrCodeRequestRejected || refused.ErrorCode == http3.ErrCodeNoError) {
					continue // not processed, and safe to repeat (RFC 9114 sections 5.2, 8.1); browsers do so by themselves
				}
				var closed *quic.TransportError
				if errors.As(err, &closed) && closed.ErrorCode == quic.ConnectionRefused {
					continue // nobody had taken the connection (RFC 9000 section 20.1)
				}
				if err != nil && time.Since(begun) > promise {
					begun = time.Now()
					continue // on a busy machine it takes a client longer from its connection to its request than anybody promises
				}
				if err != nil {
					return "", err
				}
				defer resp.Body.Close()
				b, err := io.ReadAll(resp.Body)
				return string(b), err
			}
		}

		closed, shut := context.WithCancel(t.Context())
		const clients = 20
		var all, warm sync.WaitGroup
		warm.Add(clients)
		for range clients {
			all.Go(func() {
				c, done := twoDoors(closed, p, first, second)
				defer done()
				for n := 0; ; n++ {
					who, err := ask(c, "/")
					if n == 0 {
						warm.Done()
					}
					if err != nil {
						t.Errorf("request %d: %v", n, err)
						return
					}
					if who == "second" {
						return
					}
				}
			})
		}
		slowGone := make(chan struct{})
		all.Go(func() {
			defer close(slowGone)
			c, done := twoDoors(closed, p, first, second)
			defer done()
			if who, err := ask(c, "/slow"); err != nil || who != "first" {
				t.Errorf("the slow request: %q, %v", who, err)
			}
		})
		warm.Wait()
		select {
		case <-slowBegun:
		case <-slowGone:
			t.Fatal("the slow request did not begin")
		}

		drained := make(chan error, 1)
		go func() { drained <- first.Drain(context.Background()) }()
		for { // until the sockets are closed
			c, err := net.Dial("tcp", first.addr())
			if err != nil {
				break
			}
			c.Close()
		}
		shut()
		if n := first.Active(); n < 1 {
			t.Error("the slow request has been cut")
		}
		close(slowEnd)
		if err := <-drained; err != nil {
			t.Errorf("Drain: %v", err)
		}
		all.Wait()
		first.wait("open "+string(p), 0)
	})
}

// TestDrainSays looks at what an idle connection is told: HTTP/1.1 stays open until it has been told in
// an answer, HTTP/2 and 3 are told at once.
func TestDrainSays(t *testing.T) {
	each(t, func(t *testing.T, p listen.Proto) {
		w := open(t, nothing, func(c *listen.Config) { c.Promise = 10 * time.Second })
		c := w.client(p, nil)
		get := func() (resp *http.Response, reused bool) {
			req, err := http.NewRequest("GET", "https://"+siteName+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}
			resp, err = c.Do(req.WithContext(httptrace.WithClientTrace(t.Context(), trace)))
			body(t, resp, err)
			return resp, reused
		}
		get()
		ctx, cancel := context.WithCancel(context.Background())
		drained := make(chan error, 1)
		go func() { drained <- w.Drain(ctx) }()
		if p != listen.H1 {
			w.wait("open "+string(p), 0) // the client has closed, or the server after its GOAWAY
		}
		for !w.Draining() {
			runtime.Gosched()
		}
		resp, reused := get()
		if p == listen.H1 && (!reused || !resp.Close) {
			t.Errorf("reused %v, told to close %v", reused, resp.Close)
		}
		if p != listen.H1 && reused {
			t.Error("a connection was used after GOAWAY")
		}
		cancel()
		if err := <-drained; err != nil {
			t.Errorf("Drain: %v", err)
		}
	})
}

// TestDrainCuts has a request that does not end in time.
func TestDrainCuts(t *testing.T) {
	each(t, func(t *testing.T, p listen.Proto) {
		begun := make(chan struct{})
		w := open(t, func(w http.ResponseWriter, r *http.Request) {
			close(begun)
			<-r.Context().Done()
		}, nil)
		failed := make(chan error, 1)
		go func() {
			resp, err := w.client(p, nil).Get("https://" + siteName + "/")
			if err == nil {
				resp.Body.Close()
			}
			failed <- err
		}()
		<-begun
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		var cut *listen.CutError
		if err := w.Drain(ctx); !errors.As(err, &cut) || cut.Requests != 1 {
			t.Errorf("Drain: %v", err)
		}
		if err := <-failed; err == nil {
			t.Error("the request was answered")
		}
	})
}
