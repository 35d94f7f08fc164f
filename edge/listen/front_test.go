package listen_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"hither/edge/listen"
)

// TestServe asks the same over each protocol, twice over one connection.
func TestServe(t *testing.T) {
	each(t, func(t *testing.T, p listen.Proto) {
		w := open(t, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s %s %s %s", r.Proto, r.Method, r.Host, r.URL.Path)
		}, nil)
		c := w.client(p, nil)
		for range 2 {
			resp, err := c.Get("https://" + siteName + "/a")
			got := body(t, resp, err)
			want := map[listen.Proto]string{listen.H1: "HTTP/1.1", listen.H2: "HTTP/2.0", listen.H3: "HTTP/3.0"}[p] + " GET " + siteName + " /a"
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		w.wait(string(p)+" full", 1)
		w.wait("open "+string(p), 1)
		c.CloseIdleConnections()
		if p == listen.H3 {
			c.Transport.(*http3.Transport).Close()
		}
		w.wait("open "+string(p), 0)
	})
}

func TestPlain(t *testing.T) {
	w := open(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.TLS == nil) }, nil)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("http://" + w.HTTP()[0].String())
	if got := body(t, resp, err); got != "true" {
		t.Errorf("r.TLS is nil: %s", got)
	}
}

func TestBindErrors(t *testing.T) {
	w := open(t, nil, func(c *listen.Config) { c.Handler = http.NotFoundHandler(); c.Plain = c.Handler })
	cfg := listen.Config{Handler: http.NotFoundHandler(), TLS: w.names.Config}
	for _, tt := range []struct {
		change func(*listen.Config)
		is     error
		want   string
	}{
		{func(c *listen.Config) { c.HTTPS = w.HTTPS() }, syscall.EADDRINUSE, "listen: tcp " + w.addr() + ": address already in use: stop the program that holds it, or choose another port"},
		{func(c *listen.Config) { c.QUIC = w.QUIC() }, syscall.EADDRINUSE, "listen: udp " + w.addr() + ": address already in use"},
		{func(c *listen.Config) { c.HTTPS = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:0")} }, syscall.EADDRNOTAVAIL, "this machine does not have the address"},
		{func(c *listen.Config) {}, nil, "no address"},
		{func(c *listen.Config) { c.HTTPS, c.TLS = []netip.AddrPort{any0}, nil }, nil, "without a TLS function"},
		{func(c *listen.Config) { c.HTTP = []netip.AddrPort{any0} }, nil, "without a Plain handler"},
	} {
		c := cfg
		tt.change(&c)
		f, err := listen.Listen(c)
		if err == nil {
			f.Close()
			t.Errorf("no error, want %q", tt.want)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("error %q, want %q", err, tt.want)
		}
	}
}

// TestNames asks for names which are not served.
func TestNames(t *testing.T) {
	w := open(t, func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") }, nil)
	for i, name := range []string{"unknown.example.org", "192.0.2.1"} { // an address is never sent as SNI (RFC 6066 section 3)
		conf := w.clientTLS("h2")
		conf.ServerName = name
		_, err := tls.Dial("tcp", w.addr(), conf)
		if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%s over TCP: %v", name, err)
		}
		conf.NextProtos = []string{"h3"}
		_, err = quic.DialAddr(t.Context(), w.QUIC()[0].String(), conf, nil)
		if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%s over QUIC: %v", name, err)
		}
		w.wait("unknown-name", 2*(i+1))
	}
	if n := w.get("tls"); n != 0 {
		t.Errorf("%d counted as tls", n)
	}
}

// TestGarbage sends what is no TLS to the TLS port, and what is no HTTP to the plain one.
func TestGarbage(t *testing.T) {
	w := open(t, func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") }, nil)
	say := func(addr netip.AddrPort, s string) string {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, s)
		b, _ := io.ReadAll(c)
		return string(b)
	}
	if got := say(w.HTTPS()[0], "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("plain HTTP got %q", got)
	}
	w.wait("not-tls", 1)
	say(w.HTTPS()[0], strings.Repeat("\x00\xff\x16", 500))
	w.wait("tls", 1)
	say(w.HTTPS()[0], "\x16\x03\x01\x40\x00"+strings.Repeat("\x01", 20000))
	w.wait("tls", 2)
	if got := say(w.HTTP()[0], "\x16\x03\x01\x02\x00\x01\n\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("TLS on the plain port got %q", got)
	}
	w.wait("framing", 1)
	if got := say(w.HTTP()[0], "SSH-2.0-x\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("SSH on the plain port got %q", got)
	}
	w.wait("bad-request", 1)
}

// TestHandshakeTime lets a client say nothing.
func TestHandshakeTime(t *testing.T) {
	w := open(t, nil, func(c *listen.Config) { c.Limits.HeaderTime = 30 * time.Millisecond })
	c, err := net.Dial("tcp", w.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the front spoke first")
	}
	w.wait("tls", 1)
}

// TestUpgrade passes a connection to the handler, with bytes that are not HTTP after it.
func TestUpgrade(t *testing.T) {
	w := open(t, func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		rw.Flush()
		line, err := rw.ReadString('!')
		if err != nil {
			t.Error(err)
		}
		io.WriteString(rw, line)
		rw.Flush()
	}, nil)
	c := w.raw("http/1.1")
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+siteName+"\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v, %v", resp, err)
	}
	io.WriteString(c, "\n\x00 bare\n lines!")
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "\n\x00 bare\n lines!" {
		t.Errorf("echo %q, %v", got, err)
	}
}

// TestMessages sends and returns trailers, expects 100-continue, and gets a 103, on each protocol.
func TestMessages(t *testing.T) {
	each(t, func(t *testing.T, p listen.Proto) {
		w := open(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(103)
			w.Header().Set("Trailer", "Sum")
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			io.WriteString(w, string(b)+r.Trailer.Get("Check"))
			http.NewResponseController(w).Flush()
			w.Header().Set("Sum", "7")
		}, nil)
		req, err := http.NewRequest("POST", "https://"+siteName+"/", io.MultiReader(strings.NewReader("one "), strings.NewReader("two ")))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Expect", "100-continue")
		req.Trailer = http.Header{"Check": {"three"}}
		resp, err := w.client(p, nil).Do(req)
		if got := body(t, resp, err); got != "one two three" {
			t.Errorf("body %q", got)
		}
		if resp.Trailer.Get("Sum") != "7" {
			t.Errorf("trailer %v", resp.Trailer)
		}
	})
}
