package discover

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// server answers DNS questions over UDP and TCP at one port, by h.
func server(t *testing.T, h dns.HandlerFunc) string {
	t.Helper()
	for range 20 { // until a port is free for both
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil {
			l.Close()
			continue
		}
		for _, s := range []*dns.Server{{Listener: l, Handler: h}, {PacketConn: p, Handler: h}} {
			started := make(chan struct{})
			s.NotifyStartedFunc = func() { close(started) }
			go s.ActivateAndServe()
			<-started
			t.Cleanup(func() { s.Shutdown() })
		}
		return l.Addr().String()
	}
	t.Fatal("no port is free for UDP and TCP")
	return ""
}

// zoneOf answers by records in zone syntax.
func zoneOf(t *testing.T, records ...string) dns.HandlerFunc {
	t.Helper()
	var all []dns.RR
	for _, s := range records {
		rr, err := dns.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	return func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg).SetReply(q)
		names := []string{q.Question[0].Name}
		for i := 0; i < min(len(names), 20); i++ {
			for _, rr := range all {
				if strings.EqualFold(rr.Header().Name, names[i]) && (rr.Header().Rrtype == q.Question[0].Qtype || rr.Header().Rrtype == dns.TypeCNAME) {
					r.Answer = append(r.Answer, rr)
					if c, ok := rr.(*dns.CNAME); ok {
						names = append(names, c.Target)
					}
				}
			}
		}
		if len(r.Answer) == 0 {
			r.Rcode = dns.RcodeNameError
			soa, _ := dns.NewRR("test. 300 IN SOA ns. m. 1 2 3 4 60")
			r.Ns = append(r.Ns, soa)
		}
		if w.LocalAddr().Network() == "udp" {
			r.Truncate(1232)
		}
		w.WriteMsg(r)
	}
}

func resolv(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestSystem(t *testing.T) {
	records := []string{
		"app.test. 30 IN A 10.0.0.1", "app.test. 20 IN A 10.0.0.2", "app.test. 40 IN AAAA 2001:db8::1",
		"alias.test. 7 IN CNAME other.test.", "other.test. 8 IN CNAME app.test.",
		"_http._tcp.app.test. 9 IN SRV 1 5 8080 app.test.",
		"short.search.test. 30 IN A 10.0.0.9",
		"turn.test. 5 IN CNAME turn.test.",
	}
	for i := range 1000 {
		records = append(records, fmt.Sprintf("many.test. 30 IN A 10.9.%d.%d", i>>8, i&255))
	}
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("10.7.7.7 named.test NAMED2.test\n10.7.7.8 other.test # named.test\n::1 named.test\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &System{Hosts: hosts, Servers: []string{server(t, zoneOf(t, records...))}, Resolv: resolv(t, "search search.test\noptions ndots:1 timeout:5\n")}
	for _, c := range []struct{ name, qtype, want string }{
		{"app.test", "A", "[10.0.0.1 10.0.0.2] [] 20s NOERROR"},
		{"APP.test.", "AAAA", "[2001:db8::1] [] 40s NOERROR"},
		{"alias.test", "A", "[10.0.0.1 10.0.0.2] [] 7s NOERROR"},
		{"_http._tcp.app.test", "SRV", "[] [{app.test. 8080 1 5}] 9s NOERROR"},
		{"short", "A", "[10.0.0.9] [] 30s NOERROR"},
		{"short.", "A", "[] [] 1m0s NXDOMAIN"},
		{"nowhere.test", "A", "[] [] 1m0s NXDOMAIN"},
		{"turn.test.", "A", "[] [] 0s NOERROR"},
		{"named.test", "A", "[10.7.7.7] [] 5s NOERROR"},
		{"named2.TEST.", "A", "[10.7.7.7] [] 5s NOERROR"},
		{"named.test", "AAAA", "[::1] [] 5s NOERROR"},
	} {
		a, err := s.Lookup(t.Context(), c.name, c.qtype)
		if got := fmt.Sprintf("%v %v %v %s", a.Addrs, a.Services, a.TTL, a.Rcode); err != nil || got != c.want {
			t.Errorf("%s %s: %s, %v; want %s", c.name, c.qtype, got, err, c.want)
		}
	}
	if a, err := s.Lookup(t.Context(), "many.test", "A"); err != nil || len(a.Addrs) != 1000 {
		t.Errorf("a thousand addresses, over TCP: %d, %v", len(a.Addrs), err)
	}
	if _, err := s.Lookup(t.Context(), "app.test", "XYZ"); err == nil {
		t.Error("a type that does not exist was looked up")
	}
	if _, err := (&System{Hosts: hosts, Resolv: "/nowhere"}).Lookup(t.Context(), "app.test", "A"); err == nil {
		t.Error("without a resolv.conf there was an answer")
	}
}

func TestSystemBadServers(t *testing.T) {
	var asked atomic.Int32
	good := server(t, zoneOf(t, "app.test. 30 IN A 10.0.0.1"))
	failing := server(t, func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
	})
	liar := server(t, func(w dns.ResponseWriter, q *dns.Msg) { // answers what nobody asked
		r := new(dns.Msg).SetReply(q)
		for _, s := range []string{"other.test. 30 IN A 10.6.6.6", "app.test. 30 IN AAAA ::1", "app.test. 30 CH A 10.6.6.7"} {
			rr, _ := dns.NewRR(s)
			r.Answer = append(r.Answer, rr)
		}
		w.WriteMsg(r)
	})
	garbage := server(t, func(w dns.ResponseWriter, q *dns.Msg) {
		b, _ := new(dns.Msg).SetReply(q).Pack()
		w.Write(b[:len(b)-3]) // cut in its question
	})
	none := filepath.Join(t.TempDir(), "none")
	look := func(servers ...string) (Answer, error) {
		return (&System{Hosts: none, Resolv: none, Servers: servers}).Lookup(t.Context(), "app.test.", "A")
	}
	for name, bad := range map[string]string{"failing": failing, "garbage": garbage} {
		if _, err := look(bad); err == nil || !strings.Contains(err.Error(), "app.test. A at "+bad) {
			t.Errorf("%s server alone: %v", name, err)
		}
		if a, err := look(bad, good); err != nil || len(a.Addrs) != 1 {
			t.Errorf("%s server and a good one: %v, %v", name, a, err)
		}
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("the failing server was asked %d times, want twice alone and once before another", n)
	}
	if a, err := look(liar); err != nil || len(a.Addrs) != 0 {
		t.Errorf("records that nobody asked for: %v, %v", a, err)
	}
	if _, err := look(); err == nil {
		t.Error("without a server there was an answer")
	}
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = (&System{Hosts: none, Resolv: none, Servers: []string{silent.LocalAddr().String()}}).Lookup(ctx, "app.test.", "A")
	if err == nil {
		t.Error("a silent server answered")
	}
}

// Whatever bytes come as a reply, only addresses at the name or where its aliases lead are taken out.
func FuzzRead(f *testing.F) {
	for _, s := range [][]string{{"app.test. 30 IN A 10.0.0.1"}, {"app.test. 3 IN CNAME b.test.", "b.test. 5 IN A 10.0.0.2"}, {"app.test. 3 IN CNAME app.test."}, {"app.test. 3 IN SRV 1 2 3 b.test."}, {"other.test. 3 IN A 10.0.0.3"}} {
		r := new(dns.Msg).SetQuestion("app.test.", dns.TypeA)
		for _, rec := range s {
			rr, err := dns.NewRR(rec)
			if err != nil {
				f.Fatal(err)
			}
			r.Answer = append(r.Answer, rr)
		}
		b, err := r.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, dns.TypeA)
		f.Add(b, dns.TypeAAAA)
	}
	f.Fuzz(func(t *testing.T, b []byte, qtype uint16) {
		r := new(dns.Msg)
		if r.Unpack(b) != nil {
			return
		}
		a := read(r, "app.test.", qtype)
		if a.TTL < 0 {
			t.Errorf("TTL %v", a.TTL)
		}
		aliased := slices.ContainsFunc(r.Answer, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeCNAME })
		for _, addr := range a.Addrs {
			ok := aliased || slices.ContainsFunc(r.Answer, func(rr dns.RR) bool { return strings.EqualFold(rr.Header().Name, "app.test.") })
			if !ok || addr.Is4() != (qtype == dns.TypeA) {
				t.Errorf("took %v for type %d from %v", addr, qtype, r)
			}
		}
	})
}

func FuzzHosts(f *testing.F) {
	f.Add([]byte("127.0.0.1 localhost a.test # b\n::1 a.test."), "a.test")
	f.Add([]byte("1.2.3.4\ta.test\r\n"), "A.test.")
	f.Fuzz(func(t *testing.T, file []byte, name string) {
		for _, four := range []bool{true, false} {
			for _, a := range inHosts(file, name, four) {
				if a.Is4() != four || !a.IsValid() {
					t.Errorf("%v for four=%v", a, four)
				}
			}
		}
		// A line put before it is found, and changes nothing of the rest.
		if n := strings.TrimSuffix(name, "."); n != "" && len(strings.Fields(n)) == 1 && strings.Fields(n)[0] == n && !strings.ContainsAny(n, "#\n") && strings.TrimSuffix(n, ".") == n {
			if upper := strings.ToUpper(n); strings.EqualFold(upper, n) {
				n = upper
			}
			with := inHosts(append([]byte("192.0.2.77 "+n+"\n"), file...), name, true)
			if len(with) == 0 || with[0] != netip.MustParseAddr("192.0.2.77") || len(with) != 1+len(inHosts(file, name, true)) {
				t.Errorf("%q in %q: %v", name, file, with)
			}
		}
	})
}
