package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
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
	s.Config.ErrorLog = quiet
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
	s := before(t, "", app)
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
	s := before(t, "", app)
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
	s := before(t, "", app)
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
	s := before(t, "", srv.URL)
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
	front := httptest.NewServer(behind(t, list(app))) // HTTP/1.1, which has upgrades
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

// endless is content without an end, which says when it is closed.
type endless struct {
	closed chan struct{}
	once   sync.Once
}

func (e *endless) Read(p []byte) (int, error) {
	select {
	case <-e.closed:
		return 0, io.ErrClosedPipe
	default:
		return len(p), nil
	}
}

func (e *endless) Close() error { e.once.Do(func() { close(e.closed) }); return nil }

// An edge that sends for ever to an instance which has answered is told the answer, and to stop.
func TestProxyEndsAnEndlessUpload(t *testing.T) {
	signed := newAuthority(t)
	refuse := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		io.WriteString(w, "no")
	}
	plain := httptest.NewUnstartedServer(http.HandlerFunc(refuse))
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetHTTP1(true)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Start()
	t.Cleanup(plain.Close)
	for _, protocol := range []string{"h1", "h2c", "h2", "h3"} {
		t.Run(protocol, func(t *testing.T) {
			at := fmt.Sprintf("url: %q", plain.URL)
			if protocol == "h2" || protocol == "h3" {
				at = fmt.Sprintf("url: %q, ca: %s", "https://"+secure(t, protocol, signed.leaf(t, now(), "127.64.0.1"), refuse), signed.file)
			}
			s := before(t, "", at+", protocol: "+protocol)
			body := &endless{closed: make(chan struct{})}
			res, err := s.do(t, "POST", "/", body)
			got, err := whole(res, err)
			if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge || got != "no" {
				t.Fatalf("%v, %q, %v", res, got, err)
			}
			select {
			case <-body.closed:
			case <-deadline(t).Done():
				t.Error("it goes on sending")
			}
		})
	}
}
