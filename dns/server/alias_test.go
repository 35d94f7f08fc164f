package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// A resolver is a DNS server whose answers are the test's to say.
type resolver struct {
	addr string

	mu    sync.Mutex
	asked map[string]int // by transport
	reply func(transport string, m *dns.Msg)
}

func newResolver(t *testing.T, reply func(transport string, m *dns.Msg)) *resolver {
	t.Helper()
	r := &resolver{asked: make(map[string]int), reply: reply}
	pc, err := net.ListenPacket("udp", "127.53.8.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = pc.LocalAddr().String()
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: pc}, {Listener: l}} {
		over := "tcp"
		if s.PacketConn != nil {
			over = "udp"
		}
		s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg)
			m.SetReply(q)
			r.mu.Lock()
			r.asked[over]++
			r.reply(over, m)
			r.mu.Unlock()
			w.WriteMsg(m)
		})
		started, ended := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() {
			defer close(ended)
			s.ActivateAndServe()
		}()
		<-started
		t.Cleanup(func() {
			s.Shutdown()
			<-ended
		})
	}
	return r
}

func rrs(t testing.TB, lines ...string) (out []dns.RR) {
	t.Helper()
	for _, l := range lines {
		rr, err := dns.NewRR(l)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rr)
	}
	return out
}

func TestAliasLookup(t *testing.T) {
	var answer func(over string, m *dns.Msg)
	r := newResolver(t, func(over string, m *dns.Msg) { answer(over, m) })
	set := func(f func(over string, m *dns.Msg)) {
		r.mu.Lock()
		defer r.mu.Unlock()
		answer = f
		clear(r.asked)
	}
	look := func() ([]dns.RR, error) { return lookup([]string{r.addr})(t.Context(), "app.example.net", dns.TypeA) }

	// Addresses at the end of a chain, and nothing else of the answer.
	set(func(_ string, m *dns.Msg) {
		m.Answer = rrs(t, "app.example.net. 60 CNAME lb.example.net.", "lb.example.net. 20 A 192.0.2.7", "lb.example.net. 20 A 192.0.2.8")
	})
	got, err := look()
	if err != nil || len(got) != 2 || got[0].(*dns.A).A.String() != "192.0.2.7" {
		t.Error(got, err)
	}

	// An answer that was cut is asked for over TCP.
	set(func(over string, m *dns.Msg) {
		if m.Truncated = over == "udp"; !m.Truncated {
			m.Answer = rrs(t, "app.example.net. 20 A 192.0.2.9")
		}
	})
	got, err = look()
	if err != nil || len(got) != 1 || r.asked["tcp"] != 1 || r.asked["udp"] != 1 {
		t.Error(got, err, r.asked)
	}

	// A name that does not exist has no addresses, which is an answer. A server that fails gives none.
	set(func(_ string, m *dns.Msg) { m.Rcode = dns.RcodeNameError })
	if got, err = look(); err != nil || len(got) != 0 {
		t.Error(got, err)
	}
	for _, rcode := range []int{dns.RcodeServerFailure, dns.RcodeRefused} {
		set(func(_ string, m *dns.Msg) { m.Rcode = rcode })
		if got, err = look(); err == nil {
			t.Error(got)
		}
	}
	// So does one that answers another question.
	set(func(_ string, m *dns.Msg) {
		m.Question[0].Name = "other.example.net."
		m.Answer = rrs(t, "other.example.net. 20 A 192.0.2.66")
	})
	if got, err = look(); err == nil {
		t.Error(got)
	}

	// The next resolver is asked after one that fails.
	set(func(_ string, m *dns.Msg) { m.Answer = rrs(t, "app.example.net. 20 A 192.0.2.7") })
	nobody := newResolver(t, func(_ string, m *dns.Msg) { m.Rcode = dns.RcodeServerFailure })
	if got, err = lookup([]string{nobody.addr, r.addr})(t.Context(), "app.example.net", dns.TypeA); err != nil || len(got) != 1 {
		t.Error(got, err)
	}
	if _, err = lookup(nil)(t.Context(), "app.example.net", dns.TypeA); err == nil {
		t.Error("looked up without a resolver")
	}
}

// A house with a resolver answers with what that says, through CNAMEs and delegations of its own zones too.
func TestAliasAnswers(t *testing.T) {
	r := newResolver(t, func(_ string, m *dns.Msg) {
		name := m.Question[0].Name
		switch {
		case name == "gone.example.net.":
			m.Rcode = dns.RcodeNameError
		case m.Question[0].Qtype == dns.TypeA:
			m.Answer = rrs(t, name+" 20 A 192.0.2.7", name+" 500 A 192.0.2.8")
		default:
			m.Answer = rrs(t, name+" 400 AAAA 2001:db8::7")
		}
	})
	h := newHouse(t, testdata(t, "alias.yaml"), func(o *Options) { o.Resolvers = []string{r.addr} })
	h.waitMetric(t, `hither_dns_alias_total{node="dns-ns1",result="done"}`, 8)
	for _, c := range []struct {
		name string
		want []string
	}{
		{"app.hither.test.", []string{"app.hither.test. 20 IN A 192.0.2.7", "app.hither.test. 300 IN A 192.0.2.8"}},
		{"gone.hither.test.", nil},
		{"by-cname.hither.test.", []string{"by-cname.hither.test. 20 IN A 192.0.2.7", "by-cname.hither.test. 60 IN A 192.0.2.8"}},
		{"by-cut.hither.test.", []string{"by-cut.hither.test. 20 IN A 192.0.2.7", "by-cut.hither.test. 60 IN A 192.0.2.8"}},
		{"by-zones.hither.test.", []string{"by-zones.hither.test. 60 IN A 192.0.2.99"}},
		{"back.hither.test.", []string{"back.hither.test. 20 IN A 127.53.1.1"}},
		{"chain.hither.test.", []string{"chain.hither.test. 300 IN CNAME app.hither.test.", "app.hither.test. 20 IN A 192.0.2.7", "app.hither.test. 300 IN A 192.0.2.8"}},
	} {
		m := asksUDP(t, h.addr, c.name)
		got := sections(m)
		want := c.want
		if want == nil {
			want = []string{"authority hither.test. 60 IN SOA ns1.hither.test. hostmaster.hither.test. 1700000000 3600 600 604800 60"}
		}
		if m.Rcode != dns.RcodeSuccess || !slices.Equal(got, want) {
			t.Errorf("%s: %s %q, want %q", c.name, rcodeWord(m.Rcode), got, want)
		}
	}
	for _, name := range []string{"loop.hither.test.", "loop.other.test.", "by-loop.hither.test."} {
		if m := asksUDP(t, h.addr, name); m.Rcode != dns.RcodeServerFailure || len(m.Answer) > 0 {
			t.Errorf("%s: %v", name, m)
		}
	}
}

// Looked up before anybody asks, again when the TTL is over, and kept for a day when that fails.
func TestAliasTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // for the race detector; the bubble's steps are one after the other
		var asked []time.Time
		var fails error
		ttl := "300"
		counted := map[string]int{}
		says := func(err error, seconds string) {
			mu.Lock()
			defer mu.Unlock()
			fails, ttl = err, seconds
		}
		looks := func() []time.Time {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(asked)
		}
		a := newAliases(time.Now, func(_ context.Context, name string, qtype uint16) ([]dns.RR, error) {
			if qtype == dns.TypeAAAA {
				return nil, nil
			}
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, time.Now())
			if fails != nil {
				return nil, fails
			}
			return rrs(t, name+" "+ttl+" A 192.0.2.7"), nil
		}, func(result string) {
			mu.Lock()
			defer mu.Unlock()
			counted[result]++
		})
		defer a.close()
		if _, ok := a.answer("app.example.net.", dns.TypeA); ok {
			t.Error("an answer before a look-up")
		}
		a.set([]string{"App.example.net."})
		a.set([]string{"app.example.net."}) // which it has
		begin := looks()[0]
		got, ok := a.answer("app.example.NET.", dns.TypeA)
		if !ok || len(got) != 1 || got[0].Header().Ttl != 300 || len(looks()) != 1 {
			t.Fatal(got, ok, looks())
		}
		if got, ok = a.answer("app.example.net.", dns.TypeAAAA); !ok || len(got) != 0 {
			t.Error(got, ok)
		}
		says(errors.New("SERVFAIL"), "")
		time.Sleep(310 * time.Second) // of the bubble's clock
		if l := looks(); len(l) != 4 || l[1].Sub(begin) != 300*time.Second || l[2].Sub(l[1]) != aliasSoonest {
			t.Error(l)
		}
		if got, ok = a.answer("app.example.net.", dns.TypeA); !ok || got[0].Header().Ttl != aliasStale {
			t.Error("the last answer is not kept for a short time", got, ok)
		}
		time.Sleep(aliasKept - 311*time.Second)
		if _, ok = a.answer("app.example.net.", dns.TypeA); !ok {
			t.Error("lost before its day is over")
		}
		time.Sleep(2 * time.Second)
		if _, ok = a.answer("app.example.net.", dns.TypeA); ok {
			t.Error("an answer of more than a day ago")
		}
		says(nil, "0")
		time.Sleep(3 * aliasSoonest)
		if got, ok = a.answer("app.example.net.", dns.TypeA); !ok || got[0].Header().Ttl != 0 {
			t.Error(got, ok)
		}
		l := looks()
		if n := len(l); l[n-1].Sub(l[n-2]) != aliasSoonest {
			t.Error("a TTL of 0 is asked for all the time")
		}
		a.set(nil)
		time.Sleep(time.Hour)
		if _, ok = a.answer("app.example.net.", dns.TypeA); ok || len(looks()) != len(l) {
			t.Error("a target that is in no zone any more is looked up")
		}
		if counted["done"] == 0 || counted["failed"] == 0 {
			t.Error(counted)
		}
	})
}

// Thousands of targets are not asked for at once, and a resolver that says nothing holds up no end.
func TestAliasTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most, total := 0, 0, 0
		a := newAliases(time.Now, func(ctx context.Context, _ string, _ uint16) ([]dns.RR, error) {
			mu.Lock()
			now++
			total++
			most = max(most, now)
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			now--
			return nil, ctx.Err()
		}, func(string) {})
		var targets []string
		for i := range 1000 {
			targets = append(targets, fmt.Sprintf("t%d.example.net.", i))
		}
		a.set(targets)
		time.Sleep(2000/aliasAtOnce*aliasTimeout + time.Second) // of the bubble
		synctest.Wait()
		mu.Lock()
		if most != aliasAtOnce || total < 2000 {
			t.Errorf("%d at once, %d in all", most, total)
		}
		mu.Unlock()
		a.close()
		a.set(targets)
		if len(a.known) > 0 {
			t.Error("look-ups after the end")
		}
	})
}
