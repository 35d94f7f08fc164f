package visit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// answers is a DNS server on loopback, over UDP and TCP.
func answers(t *testing.T, handler dns.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sock, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(errors.Join(err, l.Close()))
	}
	ended := make(chan error)
	for _, s := range []*dns.Server{{Listener: l, Handler: handler}, {PacketConn: sock, Handler: handler}} {
		go func() { ended <- s.ActivateAndServe() }()
	}
	t.Cleanup(func() {
		l.Close()
		sock.Close()
		<-ended
		<-ended
	})
	return l.Addr().String()
}

func TestAsk(t *testing.T) {
	record := func(text string) dns.RR {
		r, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	server := answers(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		kind := dns.TypeToString[q.Question[0].Qtype]
		_, tcp := w.RemoteAddr().(*net.TCPAddr)
		switch key := q.Question[0].Name + " " + kind; {
		case key == "localhost. A":
			m.Answer = []dns.RR{record("localhost. 1 A 192.0.2.1")}
		case key == "alias.test. A":
			m.Answer = []dns.RR{record("alias.test. 1 CNAME www.test."), record("www.test. 1 A 192.0.2.2"), record("www.test. 1 A 192.0.2.3")}
		case key == "six.test. AAAA":
			m.Answer = []dns.RR{record("six.test. 1 AAAA 2001:db8::1")}
		case key == "long.test. A" && tcp:
			m.Answer = []dns.RR{record("long.test. 1 A 192.0.2.4")}
		case key == "long.test. A":
			m.Truncated = true
		case key == "none.test. A":
			m.Rcode = dns.RcodeNameError
		case key == "closed.test. A":
			m.Rcode = dns.RcodeRefused
		case key == "late.test. A": // an answer to another question comes first
			other := m.Copy()
			other.Id++
			w.WriteMsg(other)
			m.Answer = []dns.RR{record("late.test. 1 A 192.0.2.5")}
		case strings.HasPrefix(key, "silent.test."):
			return
		}
		w.WriteMsg(m)
	})
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	stopped, stop := context.WithCancelCause(t.Context())
	stop(errors.New("enough"))
	for _, c := range []struct {
		ctx        context.Context
		name, want string
	}{
		{t.Context(), "localhost", "[192.0.2.1]"}, // which /etc/hosts has as well
		{t.Context(), "alias.test", "[192.0.2.2 192.0.2.3]"},
		{t.Context(), "six.test.", "[2001:db8::1]"},
		{t.Context(), "long.test", "[192.0.2.4]"},
		{t.Context(), "late.test", "[192.0.2.5]"},
		{t.Context(), "none.test", "no such host"},
		{t.Context(), "empty.test", "no such host"},
		{t.Context(), "closed.test", "it answers REFUSED"},
		{soon, "silent.test", "no answer"},
		{stopped, "silent.test", ""},
	} {
		found, err := Ask(c.ctx, new(net.Dialer).DialContext, server, c.name)
		got := fmt.Sprint(found)
		if err != nil {
			got = err.Error()
		}
		if got != c.want && c.want != "" || c.want == "" && err == nil {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	nobody := netip.MustParseAddrPort("127.0.0.1:1").String()
	if _, err := Ask(t.Context(), new(net.Dialer).DialContext, nobody, "www.test"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("nobody listens: %v", err)
	}
}
