package visit_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"hither/bench/visit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open is a plain server on loopback, and a client of it.
func open(handler http.Handler) (*visit.Client, *visit.Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	to := l.Addr().(*net.TCPAddr).AddrPort()
	sock, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	s, err := visit.Serve("www.example.org", l, sock, handler)
	if err != nil {
		return nil, nil, err
	}
	return &visit.Client{
		Dial:      new(net.Dialer).DialContext,
		ListenUDP: listenUDP,
		To:        to, TLS: &tls.Config{RootCAs: s.Roots, ServerName: "www.example.org"},
	}, s, nil
}

func listenUDP() (net.PacketConn, error) { return net.ListenUDP("udp4", nil) }

// all is the protocols to test. When quic-go's client sends early, it opens streams beside the handshake that sets their
// limits, and does not guard these: over any distance one is long before the other, on loopback the race detector sees it.
func all() []visit.Protocol {
	if racing {
		return slices.DeleteFunc(visit.Protocols(), func(p visit.Protocol) bool { return p == visit.H3Early })
	}
	return visit.Protocols()
}

func start(t *testing.T, handler http.HandlerFunc) *visit.Client {
	t.Helper()
	c, s, err := open(handler)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestVisits(t *testing.T) {
	var mu sync.Mutex
	var versions, protos []string
	c := start(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		versions, protos = append(versions, tls.VersionName(r.TLS.Version)), append(protos, r.Proto)
		w.Header().Set("Cache-Status", "test; hit")
		fmt.Fprint(w, r.Method, r.URL)
	})
	for _, p := range all() {
		for range 3 { // each leaves a ticket for the next
			if err := c.Prime(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			v, err := c.Visit(t.Context(), p, "/path?q")
			if err != nil {
				t.Fatal(err)
			}
			if v.Status != 200 || v.Verdict != "test; hit" || v.Bytes != int64(len("GET/path?q")) || v.Port == 0 {
				t.Errorf("%v: %+v", p, v)
			}
			if v.Resumed != p.Resumes() || v.Early != (p == visit.H3Early) {
				t.Errorf("%v: resumed %v, early %v", p, v.Resumed, v.Early)
			}
			if v.Connected.IsZero() != p.QUIC() || v.Shaken.IsZero() != (p == visit.H3Early) {
				t.Errorf("%v: connected %v, handshake %v", p, v.Connected, v.Shaken)
			}
			since := v.Start
			for _, at := range []struct {
				name string
				is   bool
			}{
				{"connect", !since.After(v.Connected) || p.QUIC()}, {"handshake", !v.Connected.After(v.Shaken) || v.Early}, {"first", v.First.After(v.Shaken) && v.First.After(since)}, {"last", !v.First.After(v.Last)},
			} {
				if !at.is {
					t.Errorf("%v: %s is out of order: %+v", p, at.name, v)
				}
			}
		}
		wantVersion, wantProto := "TLS 1.3", "HTTP/2.0"
		if p == visit.TLS12 {
			wantVersion = "TLS 1.2"
		}
		if p.QUIC() {
			wantProto = "HTTP/3.0"
		}
		mu.Lock()
		if got, proto := versions[len(versions)-1], protos[len(protos)-1]; got != wantVersion || proto != wantProto {
			t.Errorf("%v: %s, %s", p, got, proto)
		}
		mu.Unlock()
	}
}

// A visit brings the next ticket along, and each is used once.
func TestTickets(t *testing.T) {
	c := start(t, func(w http.ResponseWriter, r *http.Request) {})
	for _, p := range all() {
		if !p.Resumes() {
			continue
		}
		if _, err := c.Visit(t.Context(), p, "/"); !errors.Is(err, visit.ErrNoTicket) {
			t.Errorf("%v without a ticket: %v", p, err)
		}
		if err := c.Prime(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if !c.Primed(p) {
				t.Errorf("%v, visit %d after the first: no ticket", p, i)
			}
			if v, err := c.Visit(t.Context(), p, "/"); err != nil || !v.Resumed {
				t.Errorf("%v, visit %d after the first: resumed %v, %v", p, i, v.Resumed, err)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	c := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		fmt.Fprint(w, "cut")
		panic(http.ErrAbortHandler)
	})
	stopped, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	stranger := &visit.Client{Dial: c.Dial, ListenUDP: c.ListenUDP, To: c.To, TLS: &tls.Config{ServerName: "www.example.org"}}
	nowhere := &visit.Client{Dial: c.Dial, ListenUDP: c.ListenUDP, To: netip.MustParseAddrPort("127.0.0.1:1"), TLS: c.TLS}
	for _, p := range []visit.Protocol{visit.TLS12, visit.TLS13, visit.H3} {
		for name, try := range map[string]func() (visit.Visit, error){
			"cut":      func() (visit.Visit, error) { return c.Visit(t.Context(), p, "/") },
			"stopped":  func() (visit.Visit, error) { return c.Visit(stopped, p, "/") },
			"stranger": func() (visit.Visit, error) { return stranger.Visit(t.Context(), p, "/") },
			"nowhere": func() (visit.Visit, error) {
				if p.QUIC() {
					return visit.Visit{}, errors.New("visit: get / from 127.0.0.1:1 over h3: UDP does not tell")
				}
				return nowhere.Visit(t.Context(), p, "/")
			},
		} {
			v, err := try()
			if err == nil || !strings.HasPrefix(err.Error(), "visit: get / from 127.0.0.1:") || !strings.Contains(err.Error(), " over "+p.String()+": ") {
				t.Errorf("%s over %v: %+v, %v", name, p, v, err)
			}
		}
	}
}

func ExampleClient() {
	c, s, err := open(http.FileServer(http.Dir("testdata")))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	ctx := context.Background()
	if err := c.Prime(ctx, visit.TLS13Resumed); err != nil {
		fmt.Println(err)
		return
	}
	v, err := c.Visit(ctx, visit.TLS13Resumed, "/nothing")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(v.Status, v.Resumed, v.First.After(v.Shaken))
	// Output: 404 true true
}
