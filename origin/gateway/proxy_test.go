package gateway

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// server is a handler behind real HTTP/2, as an edge asks it.
type server struct {
	url    string
	client *http.Client
}

func newServer(t *testing.T, h http.Handler) server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	c := s.Client()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Transport.(*http.Transport).DisableCompression = true
	return server{s.URL, c}
}

func (s server) get(t *testing.T, path string) (*http.Response, error) {
	t.Helper()
	return s.do(t, "GET", path, nil)
}

func (s server) do(t *testing.T, method, path string, body io.Reader, change ...func(*http.Request)) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(deadline(t), method, s.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(r)
	}
	return s.client.Do(r)
}

// whole is the content of a response, or why it cannot be had.
func whole(res *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// before is a gateway in front of the given instances.
func before(t *testing.T, limits InstanceLimits, urls ...string) server {
	t.Helper()
	var list []Instance
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, Instance{URL: u, Weight: 1})
	}
	in := NewInstances(list, limits)
	t.Cleanup(in.Close)
	return newServer(t, NewProxy(ProxyConfig{Name: "us", Transport: in}))
}

func app1(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestProxyPassesARequestOnAsItIs(t *testing.T) {
	app := app1(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, r.Method, r.Host, r.RequestURI)
		r.Header.Write(w)
	})
	s := before(t, InstanceLimits{}, app)
	res, err := s.do(t, "REPORT", "/a%2Fb/%c3%bc//..;x=1?b=2&a=1;c&%zz", nil, func(r *http.Request) {
		r.Host = "www.hither.test:8443"
		r.Header = http.Header{
			"X-Forwarded-For": {"192.0.2.1, 192.0.2.2"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"www.hither.test:8443"},
			"Forwarded": {"for=192.0.2.1;by=_fra"}, "Via": {"3 fra"}, "Early-Data": {"1"}, "Cookie": {"a=1; b=2"}, "Te": {"trailers"},
			"User-Agent": {""},
		}
	})
	got, err := whole(res, err)
	if err != nil {
		t.Fatal(err)
	}
	want := `REPORT www.hither.test:8443 /a%2Fb/%c3%bc//..;x=1?b=2&a=1;c&%zz
Cookie: a=1; b=2
Early-Data: 1
Forwarded: for=192.0.2.1;by=_fra
Te: trailers
Via: 3 fra
Via: 2 us
X-Forwarded-For: 192.0.2.1, 192.0.2.2
X-Forwarded-Host: www.hither.test:8443
X-Forwarded-Proto: https
`
	if got = strings.ReplaceAll(got, "\r\n", "\n"); got != want {
		t.Errorf("the instance saw\n%s\nwant\n%s", got, want)
	}
	if via := res.Header.Get("Via"); via != "1.1 us" {
		t.Errorf("Via of the response: %q", via)
	}
}

func TestProxyPassesAResponseOnAsItIs(t *testing.T) {
	app := liar(t, strings.ReplaceAll(`HTTP/1.1 103 Early Hints
Link: </a.css>

HTTP/1.1 418 Teapot
Connection: X-Hop
X-Hop: 1
Keep-Alive: timeout=5
Proxy-Authenticate: Basic
Set-Cookie: a=1
Set-Cookie: b=2
Content-Encoding: gzip
Transfer-Encoding: chunked
Trailer: Sum

f
not gzip at all
0
Sum: 42

`, "\n", "\r\n"))
	s := before(t, InstanceLimits{}, app)
	early := ""
	res, err := s.do(t, "GET", "/", nil, func(r *http.Request) {
		r.Header.Set("Accept-Encoding", "gzip")
		*r = *r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error { early = fmt.Sprint(code, h.Get("Link")); return nil },
		}))
	})
	body, err := whole(res, err)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusTeapot || body != "not gzip at all" || res.Trailer.Get("Sum") != "42" || early != "103</a.css>" {
		t.Errorf("%d %q, trailers %v, early %q", res.StatusCode, body, res.Trailer, early)
	}
	h := res.Header
	for _, hop := range []string{"X-Hop", "Keep-Alive", "Connection", "Proxy-Authenticate", "Transfer-Encoding", "Link"} {
		if h.Get(hop) != "" {
			t.Errorf("%s was passed on", hop)
		}
	}
	if len(h["Set-Cookie"]) != 2 || h.Get("Content-Encoding") != "gzip" {
		t.Errorf("fields %v", h)
	}
}

func TestProxyStreamsBothWays(t *testing.T) {
	app := app1(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		rc.Flush()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			w.Write(buf[:n])
			rc.Flush()
			if err != nil {
				return
			}
		}
	})
	s := before(t, InstanceLimits{}, app)
	pr, pw := io.Pipe()
	res, err := s.do(t, "POST", "/", pr)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for i := range 10 {
		piece := fmt.Sprintf("piece %d", i)
		io.WriteString(pw, piece)
		got := make([]byte, len(piece))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != piece {
			t.Fatalf("%q, %v", got, err)
		}
	}
	pw.Close()
	if b, err := io.ReadAll(res.Body); err != nil || len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
}

// liar is an instance that answers each request on a connection with raw bytes, and closes it after the last of them.
func liar(t *testing.T, answers ...string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for _, a := range answers {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					io.Copy(io.Discard, r.Body)
					head, flood, _ := strings.Cut(a, "∞")
					if _, err := io.WriteString(c, head); err != nil {
						return
					}
					for flood != "" {
						if _, err := io.WriteString(c, flood); err != nil {
							return
						}
					}
					if strings.HasSuffix(a, "…") {
						br.ReadByte() // waits
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return "http://" + ln.Addr().String()
}

func TestProxyBadInstances(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	// Only those who say nothing are to be given up by the clock: a busy machine must not look like them.
	patient := InstanceLimits{Connect: 10 * time.Second, FirstByte: 10 * time.Second, BodyIdle: 10 * time.Second}
	short := InstanceLimits{Connect: time.Second, FirstByte: 50 * time.Millisecond, BodyIdle: 50 * time.Millisecond}
	for _, test := range []struct {
		name   string
		url    string
		status int    // 0: the body breaks off
		token  string // of Proxy-Status
	}{
		{"down", "http://" + nobody.Addr().String(), 502, "connection_refused"},
		{"unknown name", "http://nowhere.invalid", 502, "dns_error"},
		{"closes without a word", liar(t, ""), 502, "connection_terminated"},
		{"half a header", liar(t, "HTTP/1.1 200 OK\r\nA: b"), 502, "connection_terminated"},
		{"never answers", liar(t, "…"), 504, "http_response_timeout"},
		{"not HTTP", liar(t, "220 smtp.example ESMTP\r\n"), 502, "http_protocol_error"},
		{"endless header", liar(t, "HTTP/1.1 200 OK\r\n∞X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"), 502, "http_response_header_section_size"},
		{"endless field", liar(t, "HTTP/1.1 200 OK\r\nX: ∞yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"), 502, "http_response_header_section_size"},
		{"endless 1xx", liar(t, "∞HTTP/1.1 103 Early Hints\r\n\r\n"), 502, "http_protocol_error"},
		{"two lengths", liar(t, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"), 502, "http_protocol_error"},
		{"length is no number", liar(t, "HTTP/1.0 200 OK\r\nContent-Length: x\r\n\r\nabcd"), 502, "http_protocol_error"},

		{"length short", liar(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour"), 0, ""},
		{"chunks cut off", liar(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n"), 0, ""},
		{"chunk cut off", liar(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nfour"), 0, ""},
		{"bad chunk", liar(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nfour\r\n"), 0, ""},
		{"silent in the body", liar(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour…"), 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			limits := patient
			switch test.name {
			case "never answers":
				limits = short
			case "silent in the body":
				limits.BodyIdle = short.BodyIdle
			}
			s := before(t, limits, test.url)
			res, err := s.get(t, "/")
			body, err := whole(res, err)
			if test.status == 0 {
				if err == nil {
					t.Errorf("a body that broke off came as whole: %d %q", res.StatusCode, body)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := "us; error=" + test.token; res.StatusCode != test.status || res.Header.Get("Proxy-Status") != want {
				t.Errorf("%d, %q, %v", res.StatusCode, res.Header.Get("Proxy-Status"), err)
			}
			if res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("an error may be stored: %v", res.Header)
			}
		})
	}
}

// An instance sends two answers to one request. The second must never become the answer to another. Of net/http alone it
// sometimes does, when a request waits for the connection (TestTurnConn shows the rule, this one that it is kept).
func TestProxySecondAnswerIsNobodys(t *testing.T) {
	log.SetOutput(io.Discard) // where net/http says so when it finds the second by itself
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	const good = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: good\r\n\r\n"
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: evil\r\n\r\n"
	u, err := url.Parse(liar(t, good, good+evil, good+evil, good+evil))
	if err != nil {
		t.Fatal(err)
	}
	in := NewInstances([]Instance{{URL: u, Weight: 1}}, InstanceLimits{})
	t.Cleanup(in.Close)
	in.transport.MaxConnsPerHost = 1 // so that somebody always waits for the connection
	s := newServer(t, NewProxy(ProxyConfig{Name: "us", Transport: in}))
	const workers, each = 8, 100
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := make(map[string]int)
	for range workers {
		wg.Go(func() {
			for range each {
				res, err := s.get(t, "/")
				got := "error"
				if err == nil {
					res.Body.Close()
					got = fmt.Sprint(res.StatusCode, res.Header.Get("X"))
				}
				mu.Lock()
				seen[got]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if seen["200good"] == 0 || seen["200good"]+seen["502"] != workers*each {
		t.Errorf("%v", seen)
	}
}

func TestTurnConnKnowsAnAnswerFromWhatWasThereBefore(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	go io.Copy(theirs, io.MultiReader(strings.NewReader("x"), theirs)) // says something by itself, then echoes
	c := &turnConn{Conn: ours}
	read := func() { c.Read(make([]byte, 10)) }
	read()
	c.taken()
	if c.answers() {
		t.Error("what came before the request was written is its answer")
	}
	c.Write([]byte("ask"))
	if c.answers() {
		t.Error("what came before the request was written is its answer, once it is written")
	}
	read()
	if !c.answers() {
		t.Error("an answer is not taken for one")
	}
	c.taken()
	if c.answers() {
		t.Error("the former answer is the next one's")
	}
}

func TestProxyKeepsConnections(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	}))
	var mu sync.Mutex
	opened := 0
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			mu.Lock()
			opened++
			mu.Unlock()
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	s := before(t, InstanceLimits{}, srv.URL)
	for range 100 {
		if got, err := whole(s.do(t, "POST", "/", strings.NewReader("x"))); err != nil || got != "x" {
			t.Fatal(got, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if opened != 1 {
		t.Errorf("%d connections for 100 requests one after the other", opened)
	}
}

func TestInstancesInTurn(t *testing.T) {
	u := func(host string) *url.URL { return &url.URL{Scheme: "http", Host: host} }
	in := NewInstances([]Instance{
		{u("spare"), 1, 1}, {u("a"), 2, 0}, {u("b"), 1, 0}, {u("off"), 0, 0},
	}, InstanceLimits{})
	got := ""
	for range 6 {
		o := in.order()
		got += o[0].Host
		if len(o) != 3 || o[2].Host != "spare" {
			t.Errorf("order %v", o)
		}
	}
	if got != "abaaba" {
		t.Errorf("order %q", got)
	}
}

func TestProxyTakesTheNextInstanceWhenOneIsDown(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	app := app1(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	s := before(t, InstanceLimits{}, "http://"+nobody.Addr().String(), app)
	bad := 0
	for range 10 {
		if res, err := s.get(t, "/"); err != nil || res.StatusCode != 200 {
			t.Errorf("%v, %v", res, err)
		}
		res, err := s.do(t, "POST", "/", strings.NewReader("x"))
		if _, err := whole(res, err); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode == 502 { // its body may be gone
			bad++
		}
	}
	if bad > 10 {
		t.Errorf("%d", bad)
	}
}

func TestProxyWithoutAnInstance(t *testing.T) {
	s := before(t, InstanceLimits{})
	res, err := s.do(t, "POST", "/", strings.NewReader("x"))
	if err != nil || res.StatusCode != 503 || res.Header.Get("Proxy-Status") != "us; error=destination_unavailable" {
		t.Errorf("%v, %v", res, err)
	}
	res.Body.Close()
}

func TestProxyUpgrades(t *testing.T) {
	app := app1(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" {
			t.Errorf("upgrade to %q", r.Header.Get("Upgrade"))
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		io.Copy(c, rw)
	})
	u, _ := url.Parse(app)
	in := NewInstances([]Instance{{URL: u, Weight: 1}}, InstanceLimits{})
	defer in.Close()
	front := httptest.NewServer(NewProxy(ProxyConfig{Name: "us", Transport: in})) // HTTP/1.1, which has upgrades
	defer front.Close()
	c, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	when, _ := deadline(t).Deadline()
	c.SetDeadline(when)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	br := bufio.NewReader(c)
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("%v, %v", res, err)
	}
	for range 3 {
		io.WriteString(c, "ping\n")
		if line, err := br.ReadString('\n'); err != nil || line != "ping\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
}

func TestProxyToTLSInstances(t *testing.T) {
	app := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") }))
	defer app.Close()
	app.Config.ErrorLog = log.New(io.Discard, "", 0)
	u, _ := url.Parse(app.URL)
	in := NewInstances([]Instance{{URL: u, Weight: 1}}, InstanceLimits{})
	defer in.Close()
	s := newServer(t, NewProxy(ProxyConfig{Name: "us", Transport: in}))
	res, err := s.get(t, "/")
	if err != nil || res.StatusCode != 502 || res.Header.Get("Proxy-Status") != "us; error=tls_certificate_error" {
		t.Errorf("a certificate of nobody known: %v, %v", res, err)
	}
	in.transport.TLSClientConfig = &tls.Config{RootCAs: app.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	for range 3 {
		if got, err := whole(s.get(t, "/")); err != nil || got != "ok" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestExplainKnowsTimeouts(t *testing.T) {
	if status, token := explain(&net.OpError{Op: "dial", Err: timeoutError{}}); status != 504 || token != "connection_timeout" {
		t.Error(status, token)
	}
	if status, token := explain(errors.New("anything")); status != 502 || token != "http_protocol_error" {
		t.Error(status, token)
	}
}

type timeoutError struct{}

func (timeoutError) Error() string { return "i/o timeout" }
func (timeoutError) Timeout() bool { return true }
