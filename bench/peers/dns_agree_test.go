package peers

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"hither/bench/load"
)

// serveDNS answers with what answer makes of a right answer; nil is silence.
func serveDNS(t *testing.T, places *Places, answer func(n int, r *dns.Msg, client netip.Prefix) *dns.Msg) *DNSServer {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int32
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		sub := subnetOf(q)
		a, _ := netip.AddrFromSlice(sub.Address.To4())
		client := netip.PrefixFrom(a, int(sub.SourceNetmask))
		r := new(dns.Msg)
		r.SetReply(q)
		r.Authoritative = true
		r.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 30}, A: net.IP(places.Lookup(a).Addr.AsSlice())}}
		r.SetEdns0(1232, false)
		r.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, SourceScope: 24, Address: sub.Address}}
		if r = answer(int(n.Add(1)), r, client); r != nil {
			w.WriteMsg(r)
		}
	})}
	ended := make(chan error)
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	go func() { ended <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { server.Shutdown(); <-ended })
	return &DNSServer{process: process{Name: "model"}, Addr: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
}

// TestAgrees shows the check passing, and failing on each fault that a server may have.
func TestAgrees(t *testing.T) {
	places := &Places{PoPs: []PlacePoP{{"fra", netip.MustParseAddr("127.83.1.1")}, {"iad", netip.MustParseAddr("127.83.1.2")}}}
	places.add(0, 0)
	places.add(valueOf(netip.MustParseAddr("100.0.0.0")), 1)
	queries, err := load.NewQueries(Name, 300, 1)
	if err != nil {
		t.Fatal(err)
	}
	questions, err := queries.Sample(20)
	if err != nil {
		t.Fatal(err)
	}
	at := func(which int, do func(r *dns.Msg)) func(int, *dns.Msg, netip.Prefix) *dns.Msg {
		return func(n int, r *dns.Msg, _ netip.Prefix) *dns.Msg {
			if n == which {
				do(r)
			}
			return r
		}
	}
	address := func(r *dns.Msg) *dns.A { return r.Answer[0].(*dns.A) }
	for _, c := range []struct {
		name   string
		answer func(int, *dns.Msg, netip.Prefix) *dns.Msg
		why    string
	}{
		{"right", at(0, nil), ""},
		{"a scope that is longer than what was told", at(3, func(r *dns.Msg) { subnetOf(r).SourceScope = 32 }), ""},
		{"another PoP", at(3, func(r *dns.Msg) { address(r).A[3] ^= 3 }), "in 1 of 20 questions"},
		{"one PoP for all", func(_ int, r *dns.Msg, _ netip.Prefix) *dns.Msg { address(r).A = net.IPv4(127, 83, 1, 1); return r }, "127.83.1.1, want 127.83.1.2 (iad)"},
		{"no client subnet", at(3, func(r *dns.Msg) { r.IsEdns0().Option = nil }), "no client subnet"},
		{"no EDNS", at(3, func(r *dns.Msg) { r.Extra = nil }), "no client subnet"},
		{"a scope that is too wide", at(3, func(r *dns.Msg) { subnetOf(r).SourceScope = 0 }), "scope 0, and not everybody in it"},
		{"no scope at all", at(3, func(r *dns.Msg) { subnetOf(r).SourceScope = 200 }), "bad netmask"},
		{"somebody else's subnet", at(3, func(r *dns.Msg) { subnetOf(r).Address = net.IPv4(9, 9, 9, 0) }), "is another"},
		{"NXDOMAIN", at(3, func(r *dns.Msg) { r.Rcode, r.Answer = dns.RcodeNameError, nil }), "NXDOMAIN, want"},
		{"nothing", at(3, func(r *dns.Msg) { r.Answer = nil }), "0 records"},
		{"two", at(3, func(r *dns.Msg) { r.Answer = append(r.Answer, r.Answer[0]) }), "2 records"},
		{"another time to live", at(3, func(r *dns.Msg) { address(r).Hdr.Ttl = 31 }), "time to live of 30"},
		{"another name", at(3, func(r *dns.Msg) { address(r).Hdr.Name = "fra.bench.test." }), "time to live of 30"},
		{"no authority", at(3, func(r *dns.Msg) { r.Authoritative = false }), "no authoritative answer"},
		{"cut", at(3, func(r *dns.Msg) { r.Truncated = true }), "no authoritative answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := serveDNS(t, places, c.answer).Agrees(t.Context(), questions, places)
			switch {
			case c.why == "" && err != nil:
				t.Error(err)
			case c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why) || !strings.Contains(err.Error(), "peers: model does not answer as it should")):
				t.Errorf("%v, want %q", err, c.why)
			}
		})
	}
}

// TestAgreesStops ends when it is told to, though the server is silent.
func TestAgreesStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	places := &Places{PoPs: []PlacePoP{{"fra", netip.MustParseAddr("127.83.1.1")}}}
	places.add(0, 0)
	s := serveDNS(t, places, func(int, *dns.Msg, netip.Prefix) *dns.Msg { cancel(); return nil })
	queries, err := load.NewQueries(Name, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	questions, _ := queries.Sample(5)
	if err := s.Agrees(ctx, questions, places); err != context.Canceled || len(questions) != 1 {
		t.Errorf("%v after %d questions", err, len(questions))
	}
}
