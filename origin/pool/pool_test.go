package pool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func TestThousandRequestsTwoHandshakes(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) })
	p := warm(t, config(o.addr))
	var wg sync.WaitGroup
	for worker := range 40 {
		wg.Go(func() {
			for i := range 25 {
				path := fmt.Sprintf("/%d/%d", worker, i)
				if got, err := fetch(p, request(t, "GET", path, nil)); err != nil || got != path {
					t.Errorf("%s: got %q, %v", path, got, err)
				}
			}
		})
	}
	wg.Wait()
	s := p.Status()
	if s.HandshakesTotal != 2 || s.RequestsTotal != 1000 || s.Connections != 2 || !s.Up || !p.Up() || o.conns.Load() != 2 {
		t.Errorf("status %+v, connections at the origin %d", s, o.conns.Load())
	}
	if len(s.Each) != 2 || s.Each[0].RequestsTotal+s.Each[1].RequestsTotal != 1000 {
		t.Errorf("requests of the connections: %+v", s.Each)
	}
}

// A connection has some streams before the next one gets any; then those with fewer get more.
func TestTakesTheConnectionWithFewStreams(t *testing.T) {
	release := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-release
	})
	p := warm(t, config(o.addr))
	defer close(release)
	for _, want := range [][2]int{{together, 0}, {together, together}, {2 * together, together}, {2 * together, 2 * together}} {
		for range together { // each stays in flight
			res, err := p.RoundTrip(request(t, "GET", "/", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
		}
		if e := p.Status().Each; e[0].InFlight != want[0] || e[1].InFlight != want[1] {
			t.Errorf("in flight: %+v, want %v", e, want)
		}
	}
}

func TestStreamsBothWaysWithTrailers(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
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
	p := warm(t, config(o.addr))
	pr, pw := io.Pipe()
	req := request(t, "POST", "/", pr)
	req.Trailer = http.Header{"From": nil}
	res, err := p.RoundTrip(req) // returns before the body is sent
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	h := sha256.New()
	for i := range 20 { // each answer is read before the next piece is sent
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

func TestInformationalResponsesReachTheCaller(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			w.Header().Set("Link", fmt.Sprintf("</%d.css>", i))
			w.WriteHeader(http.StatusEarlyHints)
		}
	})
	p := warm(t, config(o.addr))
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

func TestBodyWaitsForContinue(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" { // a final answer instead of 100
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		io.Copy(w, r.Body) // sends 100 Continue
	})
	cfg := config(o.addr)
	cfg.Continue = limit
	p := warm(t, cfg)
	continued := false
	ctx := httptrace.WithClientTrace(deadline(t), &httptrace.ClientTrace{Got100Continue: func() { continued = true }})
	reads := 0
	body := readFunc(func(b []byte) (int, error) {
		if reads++; !continued {
			t.Error("body is read before 100 Continue")
		}
		return copy(b, "x"), io.EOF
	})
	req := request(t, "POST", "/", body).WithContext(ctx)
	req.Header.Set("Expect", "100-continue")
	if got, err := fetch(p, req); err != nil || got != "x" || reads != 1 {
		t.Fatalf("got %q, %v after %d reads", got, err, reads)
	}
	req.URL.Path, req.Body = "/no", io.NopCloser(body)
	res, err := p.RoundTrip(req)
	if err != nil || res.StatusCode != http.StatusForbidden || reads != 1 {
		t.Fatalf("got %v, %v after %d reads", res, err, reads)
	}
	res.Body.Close()
}

func TestNoFieldIsAdded(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, len(r.Header), r.Host, r.ContentLength) })
	p := warm(t, config(o.addr))
	if got, err := fetch(p, request(t, "GET", "/", nil)); err != nil || got != "0www.hither.test0" {
		t.Errorf("got %q, %v", got, err)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

func TestKilledOriginIsFoundAgain(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
	p := warm(t, config(o.addr))
	for round := range 3 {
		o.kill()
		await(t, p, "connections lost", func(s Status) bool { return s.Connections == 0 })
		for range 50 {
			_, err := p.RoundTrip(request(t, "GET", "/", nil))
			var e *Error
			if !errors.As(err, &e) || e.Kind != KindRefused || !e.Retryable() || e.Status() != 502 {
				t.Fatalf("while the origin is down: %v", err)
			}
		}
		o.start()
		// A request does not wait for the back-off: it dials at once.
		if got, err := fetch(p, request(t, "GET", "/", nil)); err != nil || got != "ok" {
			t.Fatalf("round %d: %q, %v", round, got, err)
		}
		await(t, p, "warm again", func(s Status) bool { return s.Connections == 2 })
	}
}

func TestKeeperFindsTheOriginWithoutARequest(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {})
	p := warm(t, config(o.addr))
	if e := p.Down(); e != nil {
		t.Errorf("with open connections it is down: %v", e)
	}
	o.kill()
	await(t, p, "a dial fails", func(s Status) bool { return strings.Contains(s.Problem, "refused") && s.Connections == 0 })
	if e := p.Down(); e == nil || e.Kind != KindRefused || !e.Retryable() || !strings.Contains(e.Error(), o.addr) {
		t.Errorf("while it is down: %v", e)
	}
	o.start()
	await(t, p, "warm again", func(s Status) bool { return s.Connections == 2 && s.Problem == "" })
	if e := p.Down(); e != nil {
		t.Errorf("when it is back it is down: %v", e)
	}
}

func TestRequestsInFlightWhenTheOriginDies(t *testing.T) {
	arrived := make(chan struct{}, 10)
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { arrived <- struct{}{}; <-r.Context().Done() })
	p := warm(t, config(o.addr))
	errs := make(chan error, 10)
	for range 10 {
		go func() { _, err := p.RoundTrip(request(t, "GET", "/", nil)); errs <- err }()
	}
	for range 10 {
		<-arrived
	}
	o.kill()
	for range 10 {
		var e *Error
		if err := <-errs; !errors.As(err, &e) || e.Kind != KindTerminated || e.Retry || e.ProxyStatus() != "connection_terminated" {
			t.Errorf("got %v", err)
		}
	}
}

func TestOldConnectionsAreReplacedWithoutLosingARequest(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
	cfg := config(o.addr)
	cfg.MaxAge = 200 * time.Millisecond
	p := warm(t, cfg)
	slow, feed := io.Pipe() // one exchange outlives its connection's age many times
	res, err := func() (*http.Response, error) {
		o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			io.Copy(w, r.Body)
		})
		cfg.Addresses = []string{o.addr}
		p := warm(t, cfg)
		res, err := p.RoundTrip(request(t, "POST", "/", slow))
		await(t, p, "replaced under a stream", func(s Status) bool { return s.HandshakesTotal > 6 })
		return res, err
	}()
	if err != nil {
		t.Fatal(err)
	}
	go func() { io.WriteString(feed, "late"); feed.Close() }()
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "late" {
		t.Errorf("stream over a replaced connection: %q, %v", b, err)
	}
	res.Body.Close()
	n := 0
	for ; p.Status().HandshakesTotal < 12; n++ {
		if got, err := fetch(p, request(t, "GET", "/", nil)); err != nil || got != "ok" {
			t.Fatalf("request %d: %q, %v", n, got, err)
		}
	}
	if s := p.Status(); s.RequestsTotal != uint64(n) {
		t.Errorf("%d requests: %+v", n, s)
	}
	await(t, p, "as many connections as before", func(s Status) bool { return s.Connections >= 2 })
}

func TestAgeIsCountedByTheClockGiven(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {})
	var mu sync.Mutex
	now := time.Unix(0, 0)
	cfg := config(o.addr)
	cfg.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	p := warm(t, cfg)
	mu.Lock()
	now = now.Add(11 * time.Minute) // 10 and a tenth at most
	mu.Unlock()
	p.poke()
	await(t, p, "both replaced", func(s Status) bool {
		return s.HandshakesTotal == 4 && len(s.Each) == 2 && s.Each[0].ID > 2
	})
}

func TestMoreConnectionsWhenStreamsRunOut(t *testing.T) {
	release, arrived := make(chan struct{}), make(chan struct{}, 20)
	o := newOrigin(t, nil)
	o.kill()
	o.h2 = &http.HTTP2Config{MaxConcurrentStreams: 4}
	o.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { arrived <- struct{}{}; <-release })
	o.start()
	cfg := config(o.addr)
	cfg.Connections, cfg.MaxConnections, cfg.MaxWaiting = 1, 3, 1
	p := warm(t, cfg)
	results := make(chan error, 20)
	for range 12 {
		go func() { _, err := fetch(p, request(t, "GET", "/", nil)); results <- err }()
		<-arrived // else more than one would wait
	}
	if s := p.Status(); s.Connections != 3 || s.HandshakesTotal != 3 {
		t.Errorf("12 streams of 4: %+v", s)
	}
	// Three connections of four streams are the limit: of two more one waits, in vain, and one may not even wait.
	for range 2 {
		go func() { _, err := fetch(p, request(t, "GET", "/", nil)); results <- err }()
	}
	for range 2 {
		var e *Error
		if err := <-results; !errors.As(err, &e) || e.Kind != KindFull || e.Status() != 503 || e.Whose != Us || !e.Retry {
			t.Errorf("above the limit: %v", err)
		}
	}
	close(release)
	for range 12 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func TestWaitsForAStream(t *testing.T) {
	release, arrived := make(chan struct{}), make(chan struct{}, 50)
	o := newOrigin(t, nil)
	o.kill()
	o.h2 = &http.HTTP2Config{MaxConcurrentStreams: 2}
	o.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { arrived <- struct{}{}; <-release })
	o.start()
	cfg := config(o.addr)
	cfg.Connections, cfg.MaxConnections, cfg.Connect = 1, 1, limit
	p := warm(t, cfg)
	results := make(chan error, 50)
	for range 50 {
		go func() { _, err := fetch(p, request(t, "GET", "/", nil)); results <- err }()
	}
	<-arrived
	<-arrived
	close(release)
	for range 50 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if s := p.Status(); s.HandshakesTotal != 1 {
		t.Errorf("%+v", s)
	}
}

func TestClientThatGoesAwayCostsNoConnection(t *testing.T) {
	arrived := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-r.Context().Done()
		}
	})
	p := warm(t, config(o.addr))
	for range 5 {
		ctx, cancel := context.WithCancel(deadline(t))
		go func() { <-arrived; cancel() }()
		_, err := p.RoundTrip(request(t, "GET", "/slow", nil).WithContext(ctx))
		var e *Error
		if !errors.As(err, &e) || e.Whose != Client || e.Retry || !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		if _, err := fetch(p, request(t, "GET", "/", nil)); err != nil {
			t.Fatal(err)
		}
	}
	if s := p.Status(); s.HandshakesTotal != 2 {
		t.Errorf("%+v", s)
	}
}

func TestFirstByteLimitCostsNoConnection(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/never" {
			<-r.Context().Done()
		}
	})
	cfg := config(o.addr)
	cfg.FirstByte = 20 * time.Millisecond
	p := warm(t, cfg)
	for range 3 {
		_, err := p.RoundTrip(request(t, "GET", "/never", nil))
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindFirstByte || e.Status() != 504 || e.ProxyStatus() != "http_response_timeout" || e.Retry {
			t.Fatalf("got %v", err)
		}
	}
	if s := p.Status(); s.HandshakesTotal != 2 {
		t.Errorf("%+v", s)
	}
}

// A client which is slow with its body is not the origin's fault: first_byte does not run while the body is waited for.
func TestSlowUploadIsNotTheOriginsSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &exchange{p: &Pool{cfg: Config{FirstByte: time.Second}}}
		x.ctx, x.cancel = context.WithCancelCause(t.Context())
		x.patience = time.AfterFunc(time.Second, func() { x.cancel(errFirstByte) })
		body := &attempt{u: &upload{}, x: x, rc: io.NopCloser(readFunc(func([]byte) (int, error) {
			time.Sleep(time.Minute) // the client's, by the bubble's clock
			return 1, nil
		}))}
		for range 3 {
			body.Read(make([]byte, 1))
			time.Sleep(time.Second / 2) // the origin's
		}
		if x.ctx.Err() != nil {
			t.Error("the client's time counted as the origin's")
		}
		<-x.ctx.Done() // and from here on only the origin is waited for
		if context.Cause(x.ctx) != errFirstByte {
			t.Error(context.Cause(x.ctx))
		}
	})
}

func TestRequestBodyThatBreaks(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			t.Error("origin took half a body for a whole one")
		}
	})
	p := warm(t, config(o.addr))
	broken := errors.New("chunk is malformed")
	_, err := p.RoundTrip(request(t, "POST", "/", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken))))
	var e *Error
	if !errors.As(err, &e) || e.Kind != KindRequestBody || e.Whose != Client || !errors.Is(err, broken) || e.Retry {
		t.Errorf("got %v", err)
	}
}

func TestBodyIsClosedInEveryCase(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	p := warm(t, config(o.addr))
	down, _ := New(config(o.addr)) // never started
	for name, p := range map[string]*Pool{"up": p, "closed": down} {
		closed := make(chan struct{})
		req := request(t, "POST", "/", nil)
		req.Body = closer{strings.NewReader("x"), func() { close(closed) }}
		fetch(p, req)
		select {
		case <-closed:
		case <-req.Context().Done():
			t.Errorf("%s: body was not closed", name)
		}
	}
}

type closer struct {
	io.Reader
	f func()
}

func (c closer) Close() error { c.f(); return nil }

func TestInvalidRequest(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {})
	p := warm(t, config(o.addr))
	for _, spoil := range []func(*http.Request){
		func(r *http.Request) { r.Header.Set("X", "a\nb") },
		func(r *http.Request) { r.Method = "G T" },
		func(r *http.Request) { r.Header.Set("Upgrade", "websocket") },
		func(r *http.Request) { r.Header.Set("X", strings.Repeat("x", 2<<20)) }, // the server announces 1 MiB
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

func TestNotModifiedWithLength(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1234") // RFC 9110 section 8.6 allows it
		w.WriteHeader(http.StatusNotModified)
	})
	p := warm(t, config(o.addr))
	res, err := p.RoundTrip(request(t, "GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); err != nil || len(b) != 0 || res.Header.Get("Content-Length") != "1234" {
		t.Errorf("body %q, %v, fields %v", b, err, res.Header)
	}
}

func TestLargeBodyIsWhole(t *testing.T) {
	want := make([]byte, 20<<20) // twenty times a stream's window
	rnd := rand.NewChaCha8([32]byte{1})
	rnd.Read(want)
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { w.Write(want) })
	p := warm(t, config(o.addr))
	got, err := fetch(p, request(t, "GET", "/", nil))
	if err != nil || !bytes.Equal([]byte(got), want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestDrainFinishesWhatIsInFlight(t *testing.T) {
	release := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-release
		io.WriteString(w, "done")
	})
	p := warm(t, config(o.addr))
	res, err := p.RoundTrip(request(t, "GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan error)
	go func() { drained <- p.Drain(deadline(t)) }()
	await(t, p, "draining", func(s Status) bool { return s.Connections == 0 && s.Draining == 1 })
	var e *Error
	if _, err := p.RoundTrip(request(t, "GET", "/", nil)); !errors.As(err, &e) || e.Kind != KindClosed {
		t.Errorf("while draining: %v", err)
	}
	close(release)
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "done" {
		t.Errorf("%q, %v", b, err)
	}
	res.Body.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestCloseEndsWhatIsInFlight(t *testing.T) {
	arrived := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { close(arrived); <-r.Context().Done() })
	p := warm(t, config(o.addr))
	go func() { <-arrived; p.Close() }()
	var e *Error
	if _, err := p.RoundTrip(request(t, "GET", "/", nil)); !errors.As(err, &e) || e.Whose != Us || e.Retry {
		t.Errorf("got %v", err)
	}
}
