package listen_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
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

// visit asks once over a new connection and reports whether the session was resumed and whether the
// handler saw the request before the handshake was complete.
func visit(t *testing.T, w *world, p listen.Proto, s *sessions, name string) (resumed, early bool) {
	t.Helper()
	conf := w.clientTLS()
	conf.ServerName = name
	conf.ClientSessionCache = s
	c := w.client(p, conf)
	method := http.MethodGet
	if p == listen.H3 {
		method = http3.MethodGet0RTT
	}
	req, err := http.NewRequest(method, "https://"+name+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if errors.Is(err, quic.Err0RTTRejected) { // quic-go's client leaves the repetition to us; the front's counters tell the kind
		c.Transport.(*http3.Transport).Close()
		return false, false
	}
	got := body(t, resp, err)
	resumed = resp.TLS.DidResume
	if s != nil && !s.frozen {
		<-s.puts // the ticket has come
	}
	c.CloseIdleConnections()
	if tr, ok := c.Transport.(*http3.Transport); ok {
		tr.Close()
	}
	return resumed, got == "complete=false"
}

func sayComplete(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "complete=%v", r.TLS.HandshakeComplete)
}

// TestTickets rolls the key: an old ticket resumes for three epochs and not in the fourth; a fresh one does at all times.
func TestTickets(t *testing.T) {
	each(t, func(t *testing.T, p listen.Proto) {
		c := &clock{at: time.Now()}
		w := openAt(t, c.now, sayComplete, nil)
		old := newSessions()
		if resumed, early := visit(t, w, p, old, siteName); resumed || early {
			t.Fatal("the first visit resumed something")
		}
		old.freeze()
		for epoch, want := range []bool{true, true, true, false, false} {
			resumed, early := visit(t, w, p, old, siteName)
			if resumed != want || early != (want && p == listen.H3) {
				t.Errorf("epoch %d: old ticket: resumed %v, early %v, want %v", epoch, resumed, early, want)
			}
			fresh := newSessions()
			visit(t, w, p, fresh, siteName)
			if resumed, early := visit(t, w, p, fresh, siteName); !resumed || early != (p == listen.H3) {
				t.Errorf("epoch %d: fresh ticket: resumed %v, early %v", epoch, resumed, early)
			}
			c.advance(time.Hour)
		}
		// One first visit, five old ones of which two did not resume, five fresh pairs.
		kind := " resumed"
		if p == listen.H3 {
			kind = " early"
		}
		w.wait(string(p)+" full", 1+2+5)
		w.wait(string(p)+kind, 3+5)
	})
}

// TestTicketPolicies shows that no session crosses policies, and none exists where a client certificate is asked for.
func TestTicketPolicies(t *testing.T) {
	w := open(t, sayComplete, nil)
	s := newSessions()
	visit(t, w, listen.H1, s, siteName)
	cs, _ := s.Get(siteName)
	s.ClientSessionCache.Put(otherName, cs)
	if resumed, _ := visit(t, w, listen.H1, s, otherName); resumed {
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
	w := open(t, sayComplete, nil)
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
