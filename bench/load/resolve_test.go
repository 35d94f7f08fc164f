package load

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// nameServer answers as it is told, over UDP and TCP.
func nameServer(t *testing.T, handler dns.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sock, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(errors.Join(err, l.Close()))
	}
	ended := make(chan error, 2)
	for _, s := range []*dns.Server{{PacketConn: sock, Handler: handler}, {Listener: l, Handler: handler}} {
		go func() { ended <- s.ActivateAndServe() }()
	}
	t.Cleanup(func() {
		sock.Close()
		l.Close()
		<-ended
		<-ended
	})
	return l.Addr().String()
}

func TestResolve(t *testing.T) {
	var asked atomic.Int64
	server := nameServer(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		name, t := q.Question[0].Name, q.Question[0].Qtype
		_, udp := w.LocalAddr().(*net.UDPAddr)
		head := func() dns.RR_Header { return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: 1} }
		alias := dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 1}
		switch {
		case name == "localhost." && t == dns.TypeA, name == "large.test." && t == dns.TypeA && !udp:
			m.Answer = []dns.RR{&dns.CNAME{Hdr: alias, Target: "elsewhere."}, &dns.A{Hdr: head(), A: net.IPv4(192, 0, 2, 7)}}
		case name == "six.test." && t == dns.TypeAAAA:
			m.Answer = []dns.RR{&dns.AAAA{Hdr: head(), AAAA: net.ParseIP("2001:db8::7")}}
		case name == "large.test.":
			m.Truncated = true
		case name == "none.test.":
			m.Rcode = dns.RcodeNameError
		case name == "other.test.":
			m.Rcode = dns.RcodeRefused
		case name == "silent.test.":
			return
		case name == "lossy.test.":
			if asked.Add(1) == 1 {
				return
			}
			m.Answer = []dns.RR{&dns.A{Hdr: head(), A: net.IPv4(192, 0, 2, 8)}}
		}
		w.WriteMsg(m)
	})
	for text, want := range map[string]string{
		"https://localhost/":         "192.0.2.7:443", // which every machine has in its file of hosts
		"http://localhost:8080/":     "192.0.2.7:8080",
		"http://localhost/":          "192.0.2.7:80",
		"https://six.test/":          "[2001:db8::7]:443",
		"https://large.test/":        "192.0.2.7:443",
		"https://lossy.test/":        "192.0.2.8:443",
		"https://198.51.100.1:8443/": "198.51.100.1:8443",
		"https://[2001:db8::1]/":     "[2001:db8::1]:443",
		"https://none.test/":         "no such host",
		"https://other.test/":        "it answers REFUSED",
		"https://empty.test/":        "no such host",
		"https://silent.test/":       "no answer",
		"https://localhost:70000/":   "port 70000",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if strings.Contains(text, "silent") {
			ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
		}
		got, err := Resolve(ctx, u, server)
		cancel()
		if at, bad := netip.ParseAddrPort(want); bad == nil && (err != nil || got != at) || bad != nil && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, %v; want %s", text, got, err, want)
		}
	}
	u := &url.URL{Scheme: "https", Host: "www.example.org"}
	if _, err := Resolve(t.Context(), u, "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "ask 127.0.0.1:1 for the address of www.example.org: ") {
		t.Errorf("nobody listens: %v", err)
	}
}
