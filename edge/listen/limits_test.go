package listen_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"hither/edge/listen"
)

// TestConnectionsPerAddress fills one client's share over TCP and QUIC together; another client is served.
func TestConnectionsPerAddress(t *testing.T) {
	w := open(t, nothing, func(c *listen.Config) { c.Limits.ConnectionsPerAddress = 4 })
	w.raw("http/1.1")
	w.raw("h2")
	var quics []*quic.Conn
	for range 2 { // the fourth is busy already: it must come back with a token, and does
		c, err := quic.DialAddr(t.Context(), w.QUIC()[0].String(), w.clientTLS("h3"), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseWithError(0x100, "")
		quics = append(quics, c)
	}
	if c, err := tls.Dial("tcp", w.addr(), w.clientTLS("h2")); err == nil {
		c.Close()
		t.Error("the fifth TCP connection was taken")
	}
	w.wait("connections-per-address", 1)
	_, err := quic.DialAddr(t.Context(), w.QUIC()[0].String(), w.clientTLS("h3"), nil)
	var refused *quic.TransportError
	if !errors.As(err, &refused) || refused.ErrorCode != quic.ConnectionRefused {
		t.Errorf("the fifth QUIC connection: %v", err)
	}
	if n := w.get("connections-per-address"); n < 2 { // its hello comes in two packets, which may both be refused
		t.Errorf("connections-per-address was counted %d times", n)
	}

	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 77, 0, 9)}}
	c, err := tls.DialWithDialer(&other, "tcp", w.addr(), w.clientTLS("h2"))
	if err != nil {
		t.Fatalf("another client: %v", err)
	}
	c.Close()

	quics[0].CloseWithError(0x100, "")
	w.wait("open h3", 1)
	c = w.raw("h2")
	c.Close()
}

func TestHandshakeRate(t *testing.T) {
	w := open(t, nothing, func(c *listen.Config) { c.Limits.HandshakesPerAddress = 2 })
	taken := 0
	for range 10 {
		if c, err := tls.Dial("tcp", w.addr(), w.clientTLS("h2")); err == nil {
			taken++
			c.Close()
		}
	}
	if n := w.get("handshake-rate"); taken < 2 || taken+n != 10 || n == 0 {
		t.Errorf("%d taken, %d refused", taken, n)
	}
}

// TestRetry always asks for a token; a client finds its way all the same. That it was asked shows in the bytes.
func TestRetry(t *testing.T) {
	w := open(t, nothing, func(c *listen.Config) { c.Limits.RetryAbove = -1 })
	resp, err := w.client(listen.H3, nil).Get("https://" + siteName + "/")
	body(t, resp, err)
	if got := firstAnswer(t, w, initial(1)); got[0]&0xf0 != 0xf0 {
		t.Errorf("first byte %#x, want a Retry packet (RFC 9000 section 17.2.5)", got[0])
	}
}

// initial makes a datagram with an Initial packet of a version, whose payload is nonsense.
func initial(version uint32) []byte {
	b := make([]byte, 1200)
	b[0] = 0xc3
	binary.BigEndian.PutUint32(b[1:], version)
	b[5] = 8                                        // length of the destination's connection ID
	b[14] = 8                                       // and the source's
	b[23] = 0                                       // no token
	binary.BigEndian.PutUint16(b[24:], 0x4000|1174) // length of the rest
	return b
}

func firstAnswer(t *testing.T, w *world, datagram []byte) []byte {
	t.Helper()
	c, err := net.Dial("udp", w.QUIC()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(datagram); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// TestJunk sends datagrams that are no QUIC, or of no version, or of no connection: they are counted, nothing
// else comes of them, and HTTP/3 goes on.
func TestJunk(t *testing.T) {
	w := open(t, nothing, nil)
	got := firstAnswer(t, w, initial(0x1a2a3a4a))
	if got[0]&0x80 == 0 || binary.BigEndian.Uint32(got[1:]) != 0 {
		t.Errorf("answer % x, want Version Negotiation (RFC 9000 section 17.2.1)", got[:5])
	}
	w.wait("quic-version", 1)

	c, err := net.Dial("udp", w.QUIC()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	negotiation := append([]byte{0xff, 0, 0, 0, 0, 8}, initial(1)[6:60]...)
	for i, junk := range [][]byte{
		[]byte("GET / HTTP/1.1\r\n\r\n"),        // a short header of no connection
		{0x00, 1, 2, 3},                         // no QUIC: the fixed bit is zero
		{0xc0},                                  // a long header that ends
		negotiation,                             // Version Negotiation to a server
		initial(0x1a2a3a4a)[:100],               // an unknown version, too small to be answered
		initial(1)[:600],                        // an Initial too small (RFC 9000 section 14.1)
		append([]byte{0xe3}, initial(1)[1:]...), // a Handshake packet of no connection
	} {
		if _, err := c.Write(junk); err != nil {
			t.Fatal(err)
		}
		w.wait("datagram", i+1)
	}
	resp, err := w.client(listen.H3, nil).Get("https://" + siteName + "/")
	body(t, resp, err)
}

// TestStreams opens more requests than allowed: the client waits for its turn.
func TestStreams(t *testing.T) {
	end := make(chan struct{})
	w := open(t, func(http.ResponseWriter, *http.Request) { <-end }, func(c *listen.Config) { c.Limits.Streams = 3 })
	h := dialH2(t, w)
	for i := range 4 {
		h.writeRequest(uint32(2*i + 1))
	}
	w.wait("h2-error", 1)
	close(end)

	q := dialH3(t, w)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 4 {
		_, err := q.conn.OpenStream()
		if i < 3 && err != nil || i == 3 && err == nil {
			t.Errorf("stream %d: %v", i, err)
		}
	}
	if _, err := q.conn.OpenStreamSync(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a stream beyond the limit: %v", err)
	}
}

// TestPanic aborts the answer, logs it once, and goes on.
func TestPanic(t *testing.T) {
	each(t, func(t *testing.T, p listen.Proto) {
		var logged journal
		w := open(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/panic" {
				panic("ouch")
			}
		}, func(c *listen.Config) { c.Logger = slog.New(slog.NewTextHandler(&logged, nil)) })
		c := w.client(p, nil)
		if resp, err := c.Get("https://" + siteName + "/panic"); err == nil {
			resp.Body.Close()
			t.Error("there was an answer")
		}
		resp, err := c.Get("https://" + siteName + "/")
		body(t, resp, err)
		if n := strings.Count(logged.String(), "level=ERROR msg=\"handler panics\" panic=ouch"); n == 0 || n != strings.Count(logged.String(), "level=") {
			t.Errorf("log:\n%s", logged.String())
		}
	})
}

// TestALPN holds the lists which others build their configurations from.
func TestALPN(t *testing.T) {
	for quic, want := range map[bool]string{false: "h2", true: "h3"} {
		if got := listen.ALPN(quic)[0]; got != want {
			t.Errorf("ALPN(%v) begins with %s", quic, got)
		}
	}
	listen.ALPN(false)[0] = "x"
	if listen.ALPN(false)[0] != "h2" {
		t.Error("the list is shared")
	}
}

// TestManyAddresses binds several addresses, each for all.
func TestManyAddresses(t *testing.T) {
	second := netip.MustParseAddrPort("127.77.0.2:0")
	w := open(t, nothing, func(c *listen.Config) {
		c.HTTPS, c.QUIC, c.HTTP = append(c.HTTPS, second), append(c.QUIC, second), nil
	})
	if len(w.HTTP()) != 0 {
		t.Errorf("plain HTTP on %v", w.HTTP())
	}
	for i, a := range w.HTTPS() {
		if w.QUIC()[i] != a {
			t.Errorf("QUIC on %s, HTTPS on %s", w.QUIC()[i], a)
		}
		c, err := tls.Dial("tcp", a.String(), w.clientTLS("http/1.1"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+siteName+"\r\nConnection: close\r\n\r\n")
		if b, _ := io.ReadAll(c); len(b) == 0 {
			t.Errorf("no answer from %s", a)
		}
		c.Close()
	}
}

// A journal is what has been logged, by whomever.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}
