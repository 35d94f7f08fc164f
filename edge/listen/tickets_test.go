package listen_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"hither/edge/listen"
)

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// sessions is a client's store of tickets, which can be frozen: an old ticket is then used again and again.
type sessions struct {
	tls.ClientSessionCache
	mu     sync.Mutex
	frozen bool
	puts   chan struct{}
}

func newSessions() *sessions {
	return &sessions{ClientSessionCache: tls.NewLRUClientSessionCache(10), puts: make(chan struct{}, 100)}
}

func (s *sessions) freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = true
}

func (s *sessions) Put(key string, cs *tls.ClientSessionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen {
		return
	}
	s.ClientSessionCache.Put(key, cs)
	if cs != nil {
		s.puts <- struct{}{}
	}
}

// visit asks once over a new connection and reports whether the session was resumed.
func visit(t *testing.T, w *world, p listen.Proto, s *sessions, name string) (resumed bool) {
	t.Helper()
	conf := w.clientTLS()
	conf.ServerName = name
	conf.ClientSessionCache = s
	c := w.client(p, conf)
	if tr, ok := c.Transport.(*http3.Transport); ok {
		tr.Dial = func(ctx context.Context, _ string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, w.QUIC()[0].String(), tc, qc) // not early: see TestEarly
		}
	}
	resp, err := c.Get("https://" + name + "/")
	body(t, resp, err)
	if s != nil && !s.frozen {
		<-s.puts // the ticket has come
	}
	c.CloseIdleConnections()
	if tr, ok := c.Transport.(*http3.Transport); ok {
		tr.Close()
	}
	return resp.TLS.DidResume
}

func nothing(http.ResponseWriter, *http.Request) {}

// TestTickets rolls the key: an old ticket resumes for three epochs and not in the fourth; a fresh one does at all times.
func TestTickets(t *testing.T) {
	each(t, func(t *testing.T, p listen.Proto) {
		c := &clock{at: time.Now()}
		w := openAt(t, c.now, nothing, nil)
		old := newSessions()
		if visit(t, w, p, old, siteName) {
			t.Fatal("the first visit resumed something")
		}
		old.freeze()
		for epoch, want := range []bool{true, true, true, false, false} {
			if got := visit(t, w, p, old, siteName); got != want {
				t.Errorf("epoch %d: old ticket: resumed %v, want %v", epoch, got, want)
			}
			fresh := newSessions()
			visit(t, w, p, fresh, siteName)
			if !visit(t, w, p, fresh, siteName) {
				t.Errorf("epoch %d: a fresh ticket did not resume", epoch)
			}
			c.advance(time.Hour)
		}
		// One first visit, five old ones of which two did not resume, five fresh pairs.
		w.wait(string(p)+" full", 1+2+5)
		w.wait(string(p)+" resumed", 3+5)
	})
}

// TestEarly sends a request in 0-RTT data, and withholds the server's side of the handshake until the handler has been
// called: the handler can tell. After the key has rolled away the same ticket brings neither 0-RTT nor resumption.
func TestEarly(t *testing.T) {
	c := &clock{at: time.Now()}
	called := make(chan bool, 1)
	w := openAt(t, c.now, func(_ http.ResponseWriter, r *http.Request) { called <- r.TLS.HandshakeComplete }, nil)
	s := newSessions()
	visit(t, w, listen.H3, s, siteName)
	<-called
	s.freeze()

	for _, early := range []bool{true, false} {
		release := make(chan struct{})
		conf := w.clientTLS("h3")
		conf.ClientSessionCache = s
		conn, err := quic.DialAddrEarly(t.Context(), relayUDP(t, w.QUIC()[0], func() { <-release }), conf, nil)
		if err != nil {
			t.Fatal(err)
		}
		str, err := conn.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		str.Write(frame(nil, 1, headerBlock([][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", siteName}, {":path", "/"}})))
		str.Close()
		if early && <-called {
			t.Error("the handler saw a complete handshake")
		}
		close(release)
		<-conn.HandshakeComplete()
		if st := conn.ConnectionState(); st.Used0RTT != early || st.TLS.DidResume != early {
			t.Errorf("0-RTT %v, resumed %v, want %v", st.Used0RTT, st.TLS.DidResume, early)
		}
		w.wait(map[bool]string{true: "h3 early", false: "h3 full"}[early], map[bool]int{true: 1, false: 2}[early])
		conn.CloseWithError(0x100, "")
		c.advance(3 * time.Hour)
	}
	if len(called) > 0 {
		t.Error("0-RTT data reached the handler although it was refused")
	}
}

// relayUDP passes datagrams of one client to server, and back after before has returned.
func relayUDP(t *testing.T, server netip.AddrPort, before func()) (addr string) {
	front, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(any0))
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	t.Cleanup(func() { front.Close(); back.Close(); both.Wait() })
	client := make(chan netip.AddrPort, 1)
	both.Go(func() {
		buf := make([]byte, 1<<16)
		for known := false; ; {
			n, from, err := front.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if !known {
				known = true
				client <- from
			}
			back.Write(buf[:n])
		}
	})
	both.Go(func() {
		buf := make([]byte, 1<<16)
		var to netip.AddrPort
		for {
			n, err := back.Read(buf)
			if err != nil {
				return
			}
			if !to.IsValid() {
				to = <-client
			}
			before()
			front.WriteToUDPAddrPort(buf[:n], to)
		}
	})
	return front.LocalAddr().String()
}

// TestTicketPolicies shows that no session crosses policies, and none exists where a client certificate is asked for.
func TestTicketPolicies(t *testing.T) {
	w := open(t, nothing, nil)
	s := newSessions()
	visit(t, w, listen.H1, s, siteName)
	cs, _ := s.Get(siteName)
	s.ClientSessionCache.Put(otherName, cs)
	if visit(t, w, listen.H1, s, otherName) {
		t.Error("a session of one policy was resumed under another")
	}

	_, issue := authority(t) // of another authority than the one the site asks for
	conf := w.clientTLS()
	conf.ServerName = "client.example.org"
	conf.Certificates = []tls.Certificate{*issue("someone")}
	if _, err := w.client(listen.H1, conf).Get("https://client.example.org/"); err == nil {
		t.Error("a stranger's certificate was taken")
	}
}

// TestOldTLS shows that 1.2 is for those sites alone which allow it.
func TestOldTLS(t *testing.T) {
	w := open(t, nothing, nil)
	for name, want := range map[string]bool{siteName: false, otherName: true} {
		conf := w.clientTLS("http/1.1")
		conf.ServerName, conf.MaxVersion = name, tls.VersionTLS12
		c, err := tls.Dial("tcp", w.addr(), conf)
		if (err == nil) != want {
			t.Errorf("%s with TLS 1.2: %v", name, err)
		}
		if err == nil {
			c.Close()
		}
	}
}
