package rtt

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hither/bench/visit"
)

const name = "www.example.org"

// serve is a server on loopback, and the URL of a page of it.
func serve(t *testing.T, handler http.HandlerFunc) (*url.URL, *x509.CertPool) {
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
	s, err := visit.Serve(name, l, sock, handler)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &url.URL{Scheme: "https", Host: fmt.Sprintf("%s:%d", name, at.Port()), Path: "/page", RawQuery: "a=1"}, s.Roots
}

// Where the servers are, and an address where they are not.
var loopback, published = netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.1")

// resolver answers every question for A with an address, or none at all.
func resolver(t *testing.T, says netip.Addr) string {
	t.Helper()
	sock, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: sock, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if !says.IsValid() {
			return
		}
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: says.AsSlice()}}
		}
		w.WriteMsg(m)
	})}
	ended := make(chan error)
	go func() { ended <- s.ActivateAndServe() }()
	t.Cleanup(func() {
		sock.Close()
		<-ended
	})
	return sock.LocalAddr().String()
}

func TestRemote(t *testing.T) {
	if racing {
		t.Skip("quic-go's client does not guard the limits of streams that it opens early; over any distance they do not meet")
	}
	var mu sync.Mutex
	asked := map[string]int{}
	edge, roots := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked[r.URL.RawQuery]++
		verdict := "test; fwd=uri-miss; stored"
		if asked[r.URL.RawQuery] > 1 {
			verdict = "test; hit"
		}
		w.Header().Set("Cache-Status", verdict)
		fmt.Fprint(w, "0123456789")
	})
	var steps []string
	o := RemoteOptions{URL: edge, Direct: edge, Resolver: resolver(t, published), Roots: roots, Published: map[netip.Addr]netip.Addr{published: loopback}, Samples: 2, Step: func(s string) { steps = append(steps, s) }}
	r, err := Remote(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range r.Rows {
		got = append(got, row.String())
		if len(row.Samples) != 2 || row.First() == 0 || row.DNS() == 0 || (row.Connect() == 0) != row.Protocol.QUIC() {
			t.Errorf("%v: %+v", row.Case, row.Samples)
		}
		if _, _, ok := row.Rounds(); ok || row.Ratio(r.Distances) != 0 {
			t.Errorf("%v: round trips of a URL", row.Case)
		}
	}
	var want []string
	for _, cache := range []string{"hit", "miss-warm", "direct"} {
		for _, p := range visit.Protocols() {
			want = append(want, fmt.Sprintf("%v %s, 10B", p, cache))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	if len(steps) != o.Steps() {
		t.Errorf("%d steps, announced %d: %v", len(steps), o.Steps(), steps)
	}
	misses := 0
	for query, n := range asked {
		if query != "a=1" && (n != 1 || !strings.HasPrefix(query, "a=1&hither-bench=")) {
			t.Errorf("?%s was asked for %d times", query, n)
		}
		if query != "a=1" {
			misses++
		}
	}
	if misses != 2*len(visit.Protocols()) {
		t.Errorf("%d misses", misses)
	}
}

func TestRemoteErrors(t *testing.T) {
	page, roots := serve(t, func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	down := *page
	down.Host = name + ":1"
	outside := *page
	outside.Host = name + ":70000"
	works := resolver(t, loopback)
	stopped, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	soon, cancelSoon := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancelSoon()
	for what, c := range map[string]struct {
		ctx  context.Context
		o    RemoteOptions
		want string
	}{
		"not found": {t.Context(), RemoteOptions{URL: page, Resolver: works, Roots: roots}, "status 404"},
		"untrusted": {t.Context(), RemoteOptions{URL: page, Resolver: works}, "name whom to trust with --ca FILE"},
		"down":      {t.Context(), RemoteOptions{URL: &down, Resolver: works, Roots: roots}, "connection refused"},
		"silent":    {soon, RemoteOptions{URL: page, Resolver: resolver(t, netip.Addr{}), Roots: roots}, "for the address of " + name},
		"port":      {t.Context(), RemoteOptions{URL: &outside, Resolver: works}, "port 70000"},
		"stopped":   {stopped, RemoteOptions{URL: page, Resolver: works, Roots: roots}, ""},
	} {
		c.o.Samples = 1
		c.o.Note = func(note string) { t.Errorf("%s: %s", what, note) }
		if _, err := Remote(c.ctx, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}
