package listen_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"hither/edge/cert"
	"hither/edge/listen"
)

// ears are a client's socket, which can be deaf for a time.
type ears struct {
	net.PacketConn
	retries atomic.Int64 // heard (RFC 9000 section 17.2.5)
	deaf    atomic.Bool
	again   chan struct{} // has one when they hear again
}

func newEars(t *testing.T) (*ears, *quic.Transport) {
	t.Helper()
	t.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	sock, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	e := &ears{PacketConn: sock, again: make(chan struct{}, 1)}
	tr := &quic.Transport{Conn: e}
	t.Cleanup(func() { tr.Close(); sock.Close() })
	return e, tr
}

const hearAgain = "hear again"

func (e *ears) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := e.PacketConn.ReadFrom(b)
		switch {
		case err != nil:
			return n, from, err
		case !e.deaf.Load():
			if n > 0 && b[0]&0xf0 == 0xf0 {
				e.retries.Add(1)
			}
			return n, from, err
		case string(b[:n]) == hearAgain:
			e.deaf.Store(false)
			e.again <- struct{}{}
		}
	}
}

// listen ends deafness behind all that was sent before.
func (e *ears) listen(t *testing.T) {
	t.Helper()
	c, err := net.Dial("udp", e.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte(hearAgain))
	<-e.again
}

// restarted ends a front, and starts another process' on its UDP address.
func (w *world) restarted(t *testing.T, change func(*listen.Config)) *world {
	t.Helper()
	at := w.QUIC()
	w.Close()
	return w.again(t, cert.NewTickets(time.Hour, w.now), nothing, func(c *listen.Config) {
		change(c)
		c.QUIC = at
	})
}

// TestResetAfterCrash has a connection whose server is gone without a word: the one that has begun on its address says so (RFC 9000 section 10.3).
func TestResetAfterCrash(t *testing.T) {
	secret := func(c *listen.Config) { c.Secret = bytes.Repeat([]byte{1}, 32) }
	w := open(t, nothing, secret)
	e, tr := newEars(t)
	conn, err := tr.Dial(t.Context(), net.UDPAddrFromAddrPort(w.QUIC()[0]), w.clientTLS("h3"), nil)
	if err != nil {
		t.Fatal(err)
	}
	e.deaf.Store(true)
	w.restarted(t, secret)
	e.listen(t)
	str, err := conn.OpenUniStream()
	if err != nil {
		t.Fatal(err)
	}
	str.Write(make([]byte, 100))
	select {
	case <-conn.Context().Done():
	case <-time.After(3 * patience):
		t.Fatal("the client was told nothing")
	}
	if err := context.Cause(conn.Context()); !errors.As(err, new(*quic.StatelessResetError)) {
		t.Errorf("the client was told %v, want a stateless reset", err)
	}
}

// TestResetTokens asks what would reset a connection: an address tells its own connections' alone, shorter than it was asked.
func TestResetTokens(t *testing.T) {
	w := open(t, nothing, func(c *listen.Config) {
		c.QUIC = []netip.AddrPort{any0, any0}
		c.HTTPS = nil
		c.Secret = bytes.Repeat([]byte{1}, 32)
	})
	packet := make([]byte, 60)
	rand.Read(packet)
	packet[0] = 0x40 // a short header, and a connection that is not there
	token := func(at netip.AddrPort) string {
		t.Helper()
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		c.Write(packet)
		buf := make([]byte, 2000)
		n, err := c.Read(buf)
		if err != nil || n < 21 || n >= len(packet) {
			t.Fatalf("%d bytes, %v", n, err)
		}
		return string(buf[n-16 : n])
	}
	one, other := w.QUIC()[0], w.QUIC()[1]
	if one == other {
		t.Fatalf("both on %s", one)
	}
	told := token(one)
	if again := token(one); again != told {
		t.Error("one connection ID has two tokens")
	}
	if token(other) == told {
		t.Error("one address tells what resets connections of another")
	}
	f, err := listen.Listen(listen.Config{QUIC: []netip.AddrPort{any0}, Handler: http.HandlerFunc(nothing), TLS: w.names.Config, Secret: []byte("short")})
	if err == nil {
		f.Close()
		t.Error("a secret of five bytes was taken")
	}
}

// TestTokenAfterRestart asks each address for a proof: one that was proven to the process of before is known (RFC 9000 section 8.1.3).
func TestTokenAfterRestart(t *testing.T) {
	for _, test := range []struct {
		before, after byte // the secrets
		retried       bool
	}{{1, 1, false}, {1, 2, true}} {
		with := func(secret byte) func(*listen.Config) {
			return func(c *listen.Config) {
				c.Limits.RetryAbove, c.Secret = -1, bytes.Repeat([]byte{secret}, 32)
			}
		}
		w := open(t, nothing, with(test.before))
		e, tr := newEars(t)
		store := &tokens{TokenStore: quic.NewLRUTokenStore(1, 1), put: make(chan struct{}, 9)}
		dial := func(w *world) (retried bool) {
			before := e.retries.Load()
			conn, err := tr.Dial(t.Context(), net.UDPAddrFromAddrPort(w.QUIC()[0]), w.clientTLS("h3"), &quic.Config{TokenStore: store})
			if err != nil {
				t.Fatal(err)
			}
			<-store.put
			conn.CloseWithError(0x100, "")
			return e.retries.Load() > before // its hello comes in two packets, and each is answered
		}
		if !dial(w) {
			t.Error("a stranger need not prove its address")
		}
		if got := dial(w.restarted(t, with(test.after))); got != test.retried {
			t.Errorf("secret %d and then %d: retried %v, want %v", test.before, test.after, got, test.retried)
		}
	}
}

// tokens are a client's store of address tokens, which says when it has got one.
type tokens struct {
	quic.TokenStore
	put chan struct{}
}

func (s *tokens) Put(key string, token *quic.ClientToken) {
	s.TokenStore.Put(key, token)
	s.put <- struct{}{}
}
