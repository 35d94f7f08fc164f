package listen_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"hither/edge/listen"
)

// The proxy in front has an address of its own; whoever comes from another is nobody's.
var (
	proxyAddr = net.IPv4(127, 65, 0, 1)
	proxies   = []netip.Prefix{netip.MustParsePrefix("127.65.0.0/24"), netip.MustParsePrefix("2001:db8::/32")}
)

// behindProxy opens a front that says who asks, and believes proxies.
func behindProxy(t *testing.T, change func(*listen.Config)) *world {
	return open(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) }, func(c *listen.Config) {
		c.ProxyProtocol = proxies
		if change != nil {
			change(c)
		}
	})
}

// from opens a connection from an address of the tests' own.
func (w *world) from(ip net.IP, to netip.AddrPort) net.Conn {
	w.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: ip}}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// introduced opens a connection that begins with a header, sent in pieces of size; 0: in one.
func (w *world) introduced(to netip.AddrPort, header string, size int) net.Conn {
	w.t.Helper()
	c := w.from(proxyAddr, to)
	if size == 0 {
		size = len(header)
	}
	c.(*net.TCPConn).SetNoDelay(true)
	for rest := header; rest != ""; {
		n := min(size, len(rest))
		if _, err := io.WriteString(c, rest[:n]); err != nil {
			w.t.Fatal(err)
		}
		rest = rest[n:]
	}
	return c
}

// ask sends a request in HTTP/1.1 and returns the answer's content.
func ask(t *testing.T, c net.Conn) string {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+siteName+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	return body(t, resp, err)
}

// v1 and v2 make headers of a client's; its port is 40000.
func v1(ip string) string {
	family := "TCP4"
	if strings.Contains(ip, ":") {
		family = "TCP6"
	}
	return fmt.Sprintf("PROXY %s %s %[2]s 40000 443\r\n", family, ip)
}

func v2(ip string) string {
	at := &net.TCPAddr{IP: net.ParseIP(ip), Port: 40000}
	b, err := proxyproto.HeaderProxyFromAddrs(2, at, at).Format()
	if err != nil {
		panic(err)
	}
	return string(b)
}

const (
	v1Unknown = "PROXY UNKNOWN\r\n"
	v2Local   = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

// TestIntroduced has a proxy say who its clients are, on both kinds of ports, whole and byte by byte: the handler sees
// the client's address. Where the proxy names nobody, it sees the proxy's.
func TestIntroduced(t *testing.T) {
	w := behindProxy(t, nil)
	for header, want := range map[string]string{
		v1("192.0.2.7"): "192.0.2.7:40000", v1("2001:db8::7"): "[2001:db8::7]:40000",
		v2("192.0.2.7"): "192.0.2.7:40000", v2("2001:db8::7"): "[2001:db8::7]:40000",
		v1Unknown: "127.65.0.1:", v2Local: "127.65.0.1:",
	} {
		for _, size := range []int{0, 1} {
			if got := ask(t, w.introduced(w.HTTP()[0], header, size)); !strings.HasPrefix(got, want) {
				t.Errorf("plain, %q in pieces of %d: %s, want %s", header, size, got, want)
			}
			c := tls.Client(w.introduced(w.HTTPS()[0], header, size), w.clientTLS("http/1.1"))
			if got := ask(t, c); !strings.HasPrefix(got, want) {
				t.Errorf("tls, %q in pieces of %d: %s, want %s", header, size, got, want)
			}
		}
	}
	// Over HTTP/2, with the hello in the same segment as the header.
	tr := &http.Transport{
		TLSClientConfig: w.clientTLS("h2"), ForceAttemptHTTP2: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return &prefixed{Conn: w.from(proxyAddr, w.HTTPS()[0]), prefix: v2("192.0.2.7")}, nil
		},
	}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("https://" + siteName + "/")
	if got := body(t, resp, err); got != "192.0.2.7:40000" || resp.ProtoMajor != 2 {
		t.Errorf("HTTP/%d: %s", resp.ProtoMajor, got)
	}
	if n := w.get("proxy-protocol"); n != 0 {
		t.Errorf("%d were refused", n)
	}
}

// A prefixed connection writes something before its first bytes, in one piece with them.
type prefixed struct {
	net.Conn
	prefix string
}

func (p *prefixed) Write(b []byte) (int, error) {
	n := len(p.prefix)
	wrote, err := p.Conn.Write(append([]byte(p.prefix), b...))
	p.prefix = ""
	return max(wrote-n, 0), err
}

// TestNotIntroduced has a proxy leave its header out, spoil it, never end it or be slow with it: it is closed without an answer and
// counted. Meanwhile others are served: nobody waits for a header but the connection itself.
func TestNotIntroduced(t *testing.T) {
	t.Parallel()
	w := behindProxy(t, func(c *listen.Config) { c.Limits.HeaderTime = 3 * time.Second })
	refused := 0
	refuse := func(what string, c net.Conn) {
		t.Helper()
		if b, err := io.ReadAll(c); len(b) > 0 {
			t.Errorf("%s: answered %q (%v)", what, b, err)
		}
		refused++
	}
	for _, to := range []netip.AddrPort{w.HTTP()[0], w.HTTPS()[0]} {
		refuse("http", w.introduced(to, "GET / HTTP/1.1\r\nHost: "+siteName+"\r\n\r\n", 0))
		refuse("malformed", w.introduced(to, "PROXY TCP4 192.0.2.7\r\n", 0))
		refuse("too long", w.introduced(to, "PROXY TCP4 "+strings.Repeat("1", 100), 0))
		refuse("too large", w.introduced(to, v2("192.0.2.7")[:14]+"\xff\xff", 0))

		silent, half, slow := w.introduced(to, "", 0), w.introduced(to, "PROXY TCP4 ", 0), w.introduced(to, "", 0)
		go func() { // as long as it is let
			for _, err := io.WriteString(slow, "PROXY TCP4 "); err == nil; _, err = io.WriteString(slow, "1") {
				<-time.After(20 * time.Millisecond) // that it trickles is what is tested
			}
		}()
		if got := ask(t, w.introduced(w.HTTP()[0], v1("192.0.2.8"), 0)); got != "192.0.2.8:40000" {
			t.Errorf("beside those who wait: %s", got)
		}
		refuse("silent", silent)
		refuse("half", half)
		refuse("slow", slow)

		gone := w.introduced(to, "PROXY ", 0)
		gone.(*net.TCPConn).CloseWrite()
		refuse("gone", gone)
		w.wait("proxy-protocol", refused)
	}
	hello := w.from(proxyAddr, w.HTTPS()[0])
	if err := tls.Client(hello, w.clientTLS("h2")).Handshake(); err == nil {
		t.Error("a handshake without a header went well")
	}
	refused++
	w.wait("proxy-protocol", refused)
}

// TestIntroducedByStranger sends a header from an address that is no proxy's, and from a proxy a second one behind
// the first: both are no TLS and no HTTP, and refused as that.
func TestIntroducedByStranger(t *testing.T) {
	w := behindProxy(t, nil)
	stranger := net.IPv4(127, 65, 1, 1)
	tlsErrors, bad := 0, 0
	for _, header := range []string{v1("192.0.2.7"), v2("192.0.2.7")} {
		for what, open := range map[string]func(netip.AddrPort) net.Conn{
			"a stranger": func(to netip.AddrPort) net.Conn {
				c := w.from(stranger, to)
				io.WriteString(c, header)
				return c
			},
			"twice": func(to netip.AddrPort) net.Conn { return w.introduced(to, header+header, 0) },
		} {
			c := open(w.HTTP()[0])
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+siteName+"\r\n\r\n")
			if b, _ := io.ReadAll(c); !strings.HasPrefix(string(b), "HTTP/1.1 400 ") {
				t.Errorf("%s, plain, %q: %q", what, header, b)
			}
			bad++
			if err := tls.Client(open(w.HTTPS()[0]), w.clientTLS("h2")).Handshake(); err == nil {
				t.Errorf("%s, tls, %q: a handshake", what, header)
			}
			tlsErrors++
			w.wait("tls", tlsErrors)
		}
	}
	if n := w.get("bad-request") + w.get("framing"); n != bad || w.get("proxy-protocol") != 0 {
		t.Errorf("%d of %d were counted as malformed requests, %d as without a header", n, bad, w.get("proxy-protocol"))
	}
	c := tls.Client(w.from(stranger, w.HTTPS()[0]), w.clientTLS("http/1.1"))
	if got := ask(t, c); !strings.HasPrefix(got, stranger.String()+":") {
		t.Errorf("without a header a stranger is served as %s", got)
	}
}

// TestIntroducedLimits has a proxy bring many clients: each has its own share, and the proxy's connections are in nobody's
// until it has said whose they are.
func TestIntroducedLimits(t *testing.T) {
	w := behindProxy(t, func(c *listen.Config) { c.Limits.ConnectionsPerAddress, c.Limits.HandshakesPerAddress = 2, -1 })
	for i := range 6 {
		ask(t, w.introduced(w.HTTP()[0], v1(fmt.Sprintf("192.0.2.%d", i+1)), 0))
	}
	w.introduced(w.HTTP()[0], "", 0)
	var held []net.Conn
	for range 2 {
		c := w.introduced(w.HTTP()[0], v2("2001:db8:0:1::1"), 0)
		ask(t, c)
		held = append(held, c)
	}
	// A third of the same /64, by another proxy's hand.
	c := w.introduced(w.HTTP()[0], v1("2001:db8:0:1::2"), 0)
	if b, _ := io.ReadAll(c); len(b) > 0 {
		t.Errorf("the third of a client: %q", b)
	}
	w.wait("connections-per-address", 1)
	w.wait("open h1", 8)
	held[0].Close()
	w.wait("open h1", 7)
	ask(t, w.introduced(w.HTTP()[0], v1("2001:db8:0:1::2"), 0))
}

// TestIntroducedDrain closes a front while a proxy is silent: nothing waits for it.
func TestIntroducedDrain(t *testing.T) {
	w := behindProxy(t, func(c *listen.Config) { c.Limits.HeaderTime = time.Hour })
	served := w.introduced(w.HTTP()[0], v1("192.0.2.7"), 0)
	ask(t, served)
	served.Close()
	silent := w.introduced(w.HTTP()[0], "PROXY ", 0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.Drain(ctx); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(silent); len(b) > 0 {
		t.Errorf("the silent proxy: %q, %v", b, err)
	}
}
