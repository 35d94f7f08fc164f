//go:build e2e

package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestDNSPlanted plants a fault for each checker of the scenarios that go by name.
func TestDNSPlanted(t *testing.T) {
	scenario(t, "dns-planted")
	t.Run("answers", plantAnswers)
	t.Run("questions lost", plantLostQuestions)
	t.Run("clients moved", plantMoves)
	t.Run("the edge of a scope", plantScope)
	t.Run("no upgrade", plantUpgrade)
	t.Run("a broken page", plantPage)
}

// A dnsLiar is a DNS server that answers as it is told.
type dnsLiar func(q *dns.Msg) *dns.Msg

func (l dnsLiar) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	if a := l(q); a != nil {
		w.WriteMsg(a)
	}
}

// serve answers over UDP and TCP until the test ends.
func (l dnsLiar) serve(t *testing.T, address string) {
	t.Helper()
	for _, transport := range []string{"udp", "tcp"} {
		started := make(chan struct{})
		s := &dns.Server{Addr: address, Net: transport, Handler: l, NotifyStartedFunc: func() { close(started) }}
		done := make(chan error, 1)
		go func() { done <- s.ListenAndServe() }()
		select {
		case <-started:
		case err := <-done:
			t.Fatal(err)
		}
		t.Cleanup(func() {
			s.Shutdown()
			<-done
		})
	}
}

// record is one in zone syntax.
func record(t *testing.T, line string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(line)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

func plantAnswers(t *testing.T) {
	truth := func(q *dns.Msg) *dns.Msg {
		a := new(dns.Msg).SetReply(q)
		a.Authoritative = true
		rr := record(t, "x. 30 IN A 127.76.1.1")
		rr.Header().Name = q.Question[0].Name
		a.Answer = []dns.RR{rr}
		e := *q.IsEdns0().Option[0].(*dns.EDNS0_SUBNET)
		e.SourceScope = 20
		a.SetEdns0(1232, false)
		a.IsEdns0().Option = []dns.EDNS0{&e}
		return a
	}
	faults := []struct {
		word  string // of what the checker says; "" = nothing is wrong
		plant func(a *dns.Msg)
	}{
		{"", func(*dns.Msg) {}},
		{"127.76.1.2", func(a *dns.Msg) { a.Answer[0] = record(t, "www.hither.test. 30 IN A 127.76.1.2") }},
		{"31 IN A", func(a *dns.Msg) { a.Answer[0].Header().Ttl = 31 }},
		{"127.76.1.3", func(a *dns.Msg) { a.Answer = append(a.Answer, record(t, "www.hither.test. 30 IN A 127.76.1.3")) }},
		{"[]", func(a *dns.Msg) { a.Answer = nil }},
		{"scope /21, not /20", func(a *dns.Msg) { a.IsEdns0().Option[0].(*dns.EDNS0_SUBNET).SourceScope = 21 }},
		{"scope /-1, not /20", func(a *dns.Msg) { a.IsEdns0().Option = nil }},
		{"NXDOMAIN", func(a *dns.Msg) { a.Rcode = dns.RcodeNameError }},
		{"no flag aa", func(a *dns.Msg) { a.Authoritative = false }},
		{"truncated", func(a *dns.Msg) { a.Truncated = true }},
		{"came back as Www", func(a *dns.Msg) { a.Question[0].Name = "Www.hither.test." }},
		{"Www", func(a *dns.Msg) { a.Answer[0].Header().Name = "Www.hither.test." }},
	}
	var now atomic.Int64
	dnsLiar(func(q *dns.Msg) *dns.Msg {
		a := truth(q)
		faults[now.Load()].plant(a)
		return a
	}).serve(t, "127.76.0.1:5300")
	want := expected{flags: "qr aa", name: host + ".", scope: 20, records: []string{host + ". 30 IN A 127.76.1.1"}}
	for i, f := range faults {
		now.Store(int64(i))
		for _, a := range askersOf(t, "127.76.0.1", 5300) {
			err := a.ask(t, "+ignore", "+subnet=193.0.6.0/24", host, "A").differs(want)
			if f.word == "" && err != nil || f.word != "" && (err == nil || !strings.Contains(err.Error(), f.word)) {
				t.Errorf("%s, %q planted: %v", a.path, f.word, err)
			}
		}
	}
}

func plantLostQuestions(t *testing.T) {
	var count, fault atomic.Int64
	const none, drop, old, future, other = 0, 1, 2, 3, 4
	dnsLiar(func(q *dns.Msg) *dns.Msg {
		a := new(dns.Msg).SetReply(q)
		name, number := q.Question[0].Name, 7
		if q.Question[0].Qtype == dns.TypeA {
			a.Answer = []dns.RR{record(t, name+" 30 IN A 127.77.1.1")}
			return a
		}
		if count.Add(1)%20 == 0 {
			switch fault.Load() {
			case drop:
				return nil
			case old:
				number = 6
			case future:
				number = 9
			case other:
				a.Id++
			}
		}
		a.Answer = []dns.RR{record(t, fmt.Sprintf(`%s 30 IN TXT "number %d"`, name, number))}
		return a
	}).serve(t, "127.77.0.1:5300")
	for f, word := range map[int64]string{none: "", drop: "timeout", old: "number 6", future: "number 9", other: "another question"} {
		fault.Store(f)
		c := &chorus{server: "127.77.0.1:5300", patience: time.Second}
		c.written.Store(8)
		conn, err := dns.Dial("udp", c.server)
		if err != nil {
			t.Fatal(err)
		}
		for k := 0; k < 100 && err == nil; k++ {
			err = c.ask(conn, k)
		}
		conn.Close()
		if (err == nil) != (word == "") || err != nil && !strings.Contains(err.Error(), word) {
			t.Errorf("%q planted: %v", word, err)
		}
	}
	fault.Store(drop)
	c := chorusOf(t, "127.77.0.1:5300", 4, time.Second)
	c.written.Store(8)
	if !until(10*time.Second, func() bool { return c.lost.lost() == 4 }) {
		t.Errorf("%d of 4 clients lost a question", c.lost.lost())
	}
	c.end()
}

func plantMoves(t *testing.T) {
	for _, c := range []struct {
		word  string
		steps []step
	}{
		{"", []step{{"fra", 0}, {"fra", 2}, {"fra", 3}, {"iad", 3}, {"iad", 4}}},
		{"answer 1 is iad after 2 probes", []step{{"fra", 1}, {"iad", 2}}},
		{"none of 2", []step{{"fra", 1}, {"fra", 9}}},
		{"neither", []step{{"fra", 1}, {"sin", 3}, {"iad", 3}}},
		{"neither", []step{{"fra", 1}, {"SERVFAIL[]", 3}, {"iad", 3}}},
		{"fra again", []step{{"iad", 3}, {"fra", 3}, {"iad", 3}}},
	} {
		err := strayed(c.steps, "fra", "iad", 3)
		if (err == nil) != (c.word == "") || err != nil && !strings.Contains(err.Error(), c.word) {
			t.Errorf("%v: %v", c.steps, err)
		}
	}
}

func plantScope(t *testing.T) {
	for prefix, want := range map[string][2]string{
		"193.0.0.0/20":   {"193.0.15.255", "193.0.16.0"},
		"199.43.0.0/24":  {"199.43.0.255", "199.43.1.0"},
		"165.21.83.7/16": {"165.21.255.255", "165.22.0.0"},
		"2001:200::/40":  {"2001:200:ff:ffff:ffff:ffff:ffff:ffff", "2001:200:100::"},
		"255.255.0.0/16": {"255.255.255.255", netip.Addr{}.String()},
		"203.0.113.9/32": {"203.0.113.9", "203.0.113.10"},
	} {
		if last, next := bounds(netip.MustParsePrefix(prefix)); last.String() != want[0] || next.String() != want[1] {
			t.Errorf("%s ends with %v, and then comes %v", prefix, last, next)
		}
	}
}

func plantUpgrade(t *testing.T) {
	for line, want := range map[string]string{
		`. alpn="h3,h2" port=8443 ipv4hint=127.77.1.1`: "",
		`. alpn="h2" port=8443`:                        "not h3",
		`. port=8443`:                                  "not h3",
	} {
		e, err := endpointOf("www.hither.test.", []dns.RR{record(t, "www.hither.test. 30 IN HTTPS 1 "+line)})
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", line, err)
		case want == "" && (err != nil || e.target != "www.hither.test." || e.port != 8443 || fmt.Sprint(e.hints) != "[127.77.1.1]"):
			t.Errorf("%s: %+v %v", line, e, err)
		}
	}
	if _, err := endpointOf("www.hither.test.", []dns.RR{record(t, "www.hither.test. 30 IN A 127.77.1.1")}); err == nil {
		t.Error("an address is no HTTPS record")
	}
	for field, port := range map[string]int{
		`h3=":8443"; ma=86400`: 8443, `h2=":1", h3=":444"`: 444,
		``: 0, `clear`: 0, `h2=":8443"`: 0, `h3=":x"`: 0, `h3="elsewhere.test:8443"`: 0, `h3-29=":8443"`: 0,
	} {
		if got, err := alternative(field); got != port || (err == nil) != (port != 0) {
			t.Errorf("Alt-Svc: %s is port %d: %v", field, got, err)
		}
	}
}

// plantPage has Chromium load a page that is whole, one that is not, and one whose name
// nobody knows.
func plantPage(t *testing.T) {
	const picture = `<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>`
	pages := map[string]string{
		"/whole":  `<title>whole</title><link rel="icon" href="/a.svg"><img src="/a.svg">`,
		"/broken": `<title>broken</title><link rel="icon" href="/a.svg"><img src="/a.svg"><img src="/none.svg"><script>console.error("planted")</script><script>thrown()</script>`,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch page, ok := pages[r.URL.Path]; {
		case ok:
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, page)
		case r.URL.Path == "/a.svg":
			w.Header().Set("Content-Type", "image/svg+xml")
			fmt.Fprint(w, picture)
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	// Nobody is there.
	b := startBrowser(t, "127.78.0.2", "")
	l, err := b.load(s.URL + "/whole")
	if err != nil {
		t.Fatal(err)
	}
	if wrong := l.wrong("http/1.1", 1); len(wrong) > 0 {
		t.Errorf("a page that is whole: %q", wrong)
	}
	if wrong := strings.Join(l.wrong("h3", 2), "\n"); !strings.Contains(wrong, `the page came over "http/1.1", not h3`) || !strings.Contains(wrong, "1 images, not 2") ||
		!strings.Contains(wrong, "a.svg came over") {
		t.Errorf("another protocol, and an image too few: %s", wrong)
	}
	if l, err = b.load(s.URL + "/broken"); err != nil {
		t.Fatal(err)
	}
	wrong := strings.Join(l.wrong("http/1.1", 2), "\n")
	for _, word := range []string{"none.svg has no natural width", `console.error "planted"`, "exception: Uncaught", "404"} {
		if !strings.Contains(wrong, word) {
			t.Errorf("%q is not among what is wrong with a broken page:\n%s", word, wrong)
		}
	}
	if _, err := b.load(site); err == nil || !strings.Contains(err.Error(), "ERR_NAME_NOT_RESOLVED") {
		t.Errorf("a name without a resolver that works: %v", err)
	}
}
