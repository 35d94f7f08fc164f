package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hither/bench/visit"
)

const site = "www.example.org"

// serve is a server of h1, h2 and h3 on loopback, and a load for its pages.
func serve(t *testing.T, handler http.HandlerFunc) HTTPLoad {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	sock, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(errors.Join(err, l.Close()))
	}
	s, err := visit.Serve(site, l, sock, handler)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return HTTPLoad{Protocol: "h1", To: at, URLs: pages(t, at, "/"), TLS: rootsOnly(s), For: 50 * time.Millisecond}
}

func rootsOnly(s *visit.Server) *tls.Config { return &tls.Config{RootCAs: s.Roots} }

// pages are URLs of a server.
func pages(t *testing.T, at netip.AddrPort, paths ...string) (all []*url.URL) {
	t.Helper()
	for _, p := range paths {
		u, err := ParseURL(fmt.Sprintf("https://%s:%d%s", site, at.Port(), p))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

// shapes are the ways to load over each protocol.
func shapes(l HTTPLoad) map[string]HTTPLoad {
	all := map[string]HTTPLoad{}
	for _, p := range HTTPProtocols {
		l.Protocol, l.Connections, l.Streams, l.NewConnections, l.Resume = p, 3, 4, false, false
		if p == "h1" {
			l.Streams = 1
		}
		all[p] = l
		l.Streams, l.NewConnections = 1, true
		all[p+" new"] = l
		l.Resume = true
		all[p+" resumed"] = l
	}
	return all
}

func TestClosedLoop(t *testing.T) {
	var got atomic.Int64
	protos := [4]atomic.Int64{}
	l := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got.Add(1)
		protos[r.ProtoMajor].Add(1)
		io.WriteString(w, strings.Repeat("x", 1000))
	})
	for name, l := range shapes(l) {
		t.Run(name, func(t *testing.T) {
			got.Store(0)
			run, err := l.Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if run.Answered == 0 || run.Answered != run.Requests || run.Requests != got.Load()-1 || run.Failed() > 0 {
				t.Errorf("%d came to the server: %+v", got.Load(), run)
			}
		})
	}
}
