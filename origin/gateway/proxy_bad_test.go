package gateway

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// Only those who say nothing are to be given up by the clock: a busy machine must not look like them.
const (
	patient   = "limits: {connect: 10s, first_byte: 10s, idle: 10s}\nretry: {attempts: 0}\n"
	impatient = "limits: {connect: 1s, first_byte: 100ms, idle: 100ms}\nretry: {attempts: 0}\n"
)

// refused is an address where nobody listens.
func refused(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.64.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	return ln.Addr().String()
}

// What instances answer in HTTP/1.1 and what the edge is told. Status 0: the body breaks off, or 502.
var badAnswers = []struct {
	name   string
	answer string
	status int
	token  string // of Proxy-Status
}{
	{"closes without a word", "", 502, "connection_terminated"},
	{"half a header", "HTTP/1.1 200 OK\r\nA: b", 502, "connection_terminated"},
	{"never answers", "…", 504, "http_response_timeout"},
	{"not HTTP", "220 smtp.example ESMTP\r\n", 502, "http_protocol_error"},
	{"endless header", "HTTP/1.1 200 OK\r\n∞X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 502, "http_response_header_section_size"},
	{"endless field", "HTTP/1.1 200 OK\r\nX: ∞yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", 502, "http_response_header_section_size"},
	{"endless 1xx", "∞HTTP/1.1 103 Early Hints\r\n\r\n", 502, "http_protocol_error"},
	{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 502, "http_protocol_error"},
	{"length is no number", "HTTP/1.0 200 OK\r\nContent-Length: x\r\n\r\nabcd", 502, "http_protocol_error"},

	{"length short", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour", 0, ""},
	{"chunks cut off", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n", 0, ""},
	{"chunk cut off", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nfour", 0, ""},
	{"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nfour\r\n", 0, ""},
	{"silent in the body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour…", 0, ""},
}

// tells holds the answer of a gateway in front of an instance to a status and an error type.
func tells(t *testing.T, s server, status int, token string) {
	t.Helper()
	res, err := s.get(t, "/")
	body, err := whole(res, err)
	if status == 0 {
		// What is short enough is looked at before it is passed on, if it comes at once.
		if err == nil && (res.StatusCode != http.StatusBadGateway || res.Header.Get("Proxy-Status") == "") {
			t.Errorf("a body that broke off came as whole: %d %q", res.StatusCode, body)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if want := "us; error=" + token; res.StatusCode != status || res.Header.Get("Proxy-Status") != want {
		t.Errorf("%d, %q, want %d, %q", res.StatusCode, res.Header.Get("Proxy-Status"), status, want)
	}
	if res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("an error may be stored: %v", res.Header)
	}
}

func TestProxyBadInstances(t *testing.T) {
	signed := newAuthority(t)
	for _, test := range badAnswers {
		keys := patient
		if strings.HasSuffix(test.answer, "…") {
			keys = impatient
		}
		t.Run("h1/"+test.name, func(t *testing.T) {
			tells(t, before(t, keys, liar(t, test.answer)), test.status, test.token)
		})
		t.Run("https/"+test.name, func(t *testing.T) {
			config := &tls.Config{Certificates: []tls.Certificate{signed.leaf(t, now(), "127.64.0.1")}}
			at := lie(t, func(c net.Conn) net.Conn { return tls.Server(c, config) }, test.answer)
			tells(t, before(t, keys, fmt.Sprintf("url: %q, ca: %s", "https://"+at, signed.file)), test.status, test.token)
		})
	}
	t.Run("down", func(t *testing.T) { tells(t, before(t, patient, "http://"+refused(t)), 502, "connection_refused") })
	t.Run("down, and the operator is told", func(t *testing.T) {
		at := refused(t)
		a := behind(t, patient+list("http://"+at))
		tells(t, newServer(t, a), 502, "connection_refused")
		if p := strings.Join(a.problems(), "\n"); !strings.Contains(p, "instance "+at+" cannot be reached: ") {
			t.Errorf("problems %q", p)
		}
	})
	t.Run("unknown name", func(t *testing.T) { tells(t, before(t, patient, "http://nowhere.invalid"), 502, "dns_error") })
	t.Run("h2c/down", func(t *testing.T) {
		tells(t, before(t, patient, fmt.Sprintf("url: %q, protocol: h2c", "http://"+refused(t))), 502, "connection_refused")
	})
	t.Run("h2c/speaks HTTP/1.1", func(t *testing.T) {
		app := app1(t, func(w http.ResponseWriter, r *http.Request) {})
		res, err := whole(before(t, patient, fmt.Sprintf("url: %q, protocol: h2c", app)).get(t, "/"))
		if err != nil || !strings.Contains(res, "502") {
			t.Errorf("%q, %v", res, err)
		}
	})
}

// An instance sends two answers to one request. The second must never become the answer to another.
func TestProxySecondAnswerIsNobodys(t *testing.T) {
	log.SetOutput(io.Discard) // where net/http says so when it finds the second by itself
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	const good = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: good\r\n\r\n"
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: evil\r\n\r\n"
	s := before(t, "retry: {attempts: 0}\nbalance: {eject: {consecutive: 0}}\n", liar(t, good, good+evil, good+evil, good+evil))
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

func TestProxyTakesTheNextInstanceWhenOneIsDown(t *testing.T) {
	echo := app1(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Method) })
	s := before(t, "balance: {eject: {consecutive: 0}}\n", "http://"+refused(t), echo)
	for range 20 {
		for _, method := range []string{"GET", "POST"} { // which has no content that could be gone
			if got, err := whole(s.do(t, method, "/", nil)); err != nil || got != method {
				t.Errorf("%q, %v", got, err)
			}
		}
	}
}

func TestProxyWithoutAnInstance(t *testing.T) {
	s := before(t, "", `url: "http://127.64.0.1:1", weight: 0`)
	res, err := s.do(t, "POST", "/", strings.NewReader("x"))
	if err != nil || res.StatusCode != 503 || res.Header.Get("Proxy-Status") != "us; error=destination_unavailable" {
		t.Errorf("%v, %v", res, err)
	}
	res.Body.Close()
}

// secure is the address of an instance with that certificate.
func secure(t *testing.T, protocol string, certificate tls.Certificate, h http.HandlerFunc) string {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	if protocol == "h3" {
		pc, err := net.ListenPacket("udp", "127.64.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &http3.Server{Handler: h, TLSConfig: http3.ConfigureTLSConfig(config)}
		done := make(chan struct{})
		go func() { s.Serve(pc); close(done) }()
		t.Cleanup(func() { s.Close(); pc.Close(); <-done })
		return pc.LocalAddr().String()
	}
	app := httptest.NewUnstartedServer(h)
	app.EnableHTTP2 = protocol == "h2"
	app.Config.ErrorLog = quiet
	listenAt(t, app)
	app.TLS = config
	app.StartTLS()
	t.Cleanup(app.Close)
	return app.Listener.Addr().String()
}

func TestProxyToTLSInstances(t *testing.T) {
	signed, stranger := newAuthority(t), newAuthority(t)
	for _, test := range []struct {
		name        string
		certificate tls.Certificate
		token       string // of Proxy-Status; "" = it works
	}{
		{"right", signed.leaf(t, now(), "127.64.0.1"), ""},
		{"expired", signed.leaf(t, now().AddDate(-1, 0, 0), "127.64.0.1"), "tls_certificate_error"},
		{"not valid yet", signed.leaf(t, now().AddDate(1, 0, 0), "127.64.0.1"), "tls_certificate_error"},
		{"another name", signed.leaf(t, now(), "app.example"), "tls_certificate_error"},
		{"another authority", stranger.leaf(t, now(), "127.64.0.1"), "tls_certificate_error"},
		{"self-signed", stranger.self, "tls_certificate_error"},
	} {
		for _, protocol := range []string{"h1", "h2", "h3"} {
			t.Run(protocol+"/"+test.name, func(t *testing.T) {
				at := secure(t, protocol, test.certificate, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) })
				s := before(t, patient, fmt.Sprintf("url: %q, protocol: %s, ca: %s", "https://"+at, protocol, signed.file))
				if test.token != "" {
					tells(t, s, 502, test.token)
					return
				}
				want := map[string]string{"h1": "HTTP/1.1", "h2": "HTTP/2.0", "h3": "HTTP/3.0"}[protocol]
				if got, err := whole(s.get(t, "/")); err != nil || got != want {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
	}
	t.Run("of nobody whom the machine knows", func(t *testing.T) {
		app := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
		app.Config.ErrorLog = quiet
		t.Cleanup(app.Close)
		tells(t, before(t, patient, app.URL), 502, "tls_certificate_error")
	})
}
