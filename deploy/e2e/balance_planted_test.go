//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestBalancePlanted plants a fault for each checker of balance, instances, discover and
// upstreams.
func TestBalancePlanted(t *testing.T) {
	scenario(t, "balance-planted")
	t.Run("round robin without a guard, and a wrong peer", plantRoundRobin)
	t.Run("a share too large or small", plantShare)
	t.Run("an answer of another", plantLine)
	t.Run("a POST lost or repeated", plantPost)
	t.Run("traffic that finds nobody", plantTraffic)
	t.Run("a name server", plantZone)
}

// plantRoundRobin has a balancer that only takes turns in front of the instances that
// fool it, and then of ones that have nothing of what peers have.
func plantRoundRobin(t *testing.T) {
	all := failFast(t, "127.96")
	n := behind(t, "127.96", all, "balance: {algorithm: round-robin, eject: {consecutive: 0, max_percent: 0}}")
	l := n.uncached(t, balanceRate)
	l.begin(t)
	from := l.further(t, balanceRate)
	before := arrived(all)
	l.further(t, 2*balanceRate)
	l.end()
	to := int(l.sent.Load())
	wrong := strings.Join(fooled(since(before, arrived(all)), l.failures(from, to), to-from), "\n")
	for _, word := range []string{"empty got ", "requests failed", "status 200 with 0 bytes"} {
		if !strings.Contains(wrong, word) {
			t.Errorf("no %q:\n%s", word, wrong)
		}
	}

	for _, in := range all {
		in.manner.Store(&manner{status: http.StatusOK, once: true})
	}
	wrong = strings.Join(exchanges(t.Context(), n.via(t, "h2", "fra"), &upstream{hints: true}), "\n")
	for _, word := range []string{
		"GET /text: status 200, not 200; 14 bytes, not 23", "HEAD /text: Content-Length 14, not 23", "GET /file: status 200, not 206",
		"POST /echo: status 200", "GET /trailer: ", "103 came 0 times",
	} {
		if !strings.Contains(wrong, word) {
			t.Errorf("no %q:\n%s", word, wrong)
		}
	}

	// Each of these answers ends its connection.
	p := tunnelTo(t, "127.96.0.8:0", strings.TrimPrefix(all[3].url, "http://"), false)
	n.change(t, instancesKey(urls(all)...), instancesKey(listed{url: "http://" + p.address}))
	if w := reused(t, n, p); len(w) != 1 || !strings.HasPrefix(w[0], "40 requests took 40 connections") {
		t.Errorf("connections that are used once: %q", w)
	}
}

func plantShare(t *testing.T) {
	got := map[string]int64{"a": 10, "b": 11, "c": 979}
	if w := beyond(got, []string{"a", "b"}, 1000, 1); len(w) != 1 || !strings.HasPrefix(w[0], "b got 11 of 1000 requests, 1.10 %") {
		t.Errorf("one with more than a hundredth: %q", w)
	}
	if w := below(got, []string{"a", "b", "c"}, 1000, 1.05); len(w) != 1 || !strings.HasPrefix(w[0], "a got 10 ") {
		t.Errorf("one with less than its share: %q", w)
	}
	five := make([]failure, 5)
	if w := tooMany(five, 1000, 0.5); w != nil {
		t.Errorf("as many failures as may be: %q", w)
	}
	if w := tooMany(append(five, failure{k: 7, err: errors.New("why")}), 1000, 0.5); len(w) != 6 || !strings.HasPrefix(w[0], "6 of 1000 requests failed") {
		t.Errorf("one failure too many: %q", w)
	}
	if w := tooMany(five[:1], 1000, 0); len(w) != 2 {
		t.Errorf("one failure where none may be: %q", w)
	}
}

func plantLine(t *testing.T) {
	if err := isLine("/a", answer{status: http.StatusOK, body: line("/a")}); err != nil {
		t.Error(err)
	}
	for _, a := range []answer{{status: http.StatusOK}, {status: http.StatusOK, body: line("/b")}, {status: http.StatusInternalServerError, body: line("/a")}} {
		if isLine("/a", a) == nil {
			t.Errorf("status %d with %q looks right", a.status, a.body)
		}
	}
}

func plantPost(t *testing.T) {
	for _, c := range []struct {
		arrived, answered []string
		wrong             string
		repeated          int
	}{
		{[]string{"GET /1", "GET /1", "POST /2", "HEAD /1"}, []string{"POST /2"}, "", 1},
		{[]string{"POST /2", "POST /3", "POST /2", "POST /2"}, []string{"POST /2"}, "POST /2 arrived more than once", 0},
		{[]string{"POST /2"}, []string{"POST /2", "POST /3"}, "POST /3 was answered and has not arrived", 0},
	} {
		wrong, repeated := posts(c.arrived, c.answered)
		if strings.Join(wrong, "\n") != c.wrong || repeated != c.repeated {
			t.Errorf("%q, %q: %q, %d repeated", c.arrived, c.answered, wrong, repeated)
		}
	}
	// A failed POST counts where no instance died.
	m := &mix{traffic: &traffic{failed: []failure{{k: 1}, {k: 2}}}}
	if !posted(1) || posted(2) {
		t.Fatal("another request is the POST")
	}
	if got := m.counting(0, 4, true); len(got) != 1 || got[0].k != 2 {
		t.Errorf("without POSTs: %v", got)
	}
	if got := m.counting(0, 4, false); len(got) != 2 {
		t.Errorf("with POSTs: %v", got)
	}

	s := newServer(t, "a", "127.39.0.11:3000")
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		r, err := http.NewRequest(method, s.url()+"/1", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	if got := s.arrived(); !slices.Equal(got, []string{"GET /1", "POST /1"}) {
		t.Errorf("at the server arrived %q", got)
	}
}

// plantTraffic has requests that get no answer, until no more may wait.
func plantTraffic(t *testing.T) {
	gate := make(chan struct{})
	l := &traffic{rate: 1000, most: 3, ask: func(context.Context, int) error {
		<-gate
		return nil
	}}
	l.begin(t)
	l.reach(t, 10)
	if !until(10*time.Second, func() bool { return len(l.failures(3, 10)) == 7 }) {
		t.Errorf("with three under way, %d of the next seven failed", len(l.failures(3, 10)))
	}
	close(gate)
	l.end()
	if n := len(l.failures(0, 3)); n != 0 {
		t.Errorf("%d of the three under way failed", n)
	}
	if l.sent.Load() != l.done.Load() {
		t.Errorf("%d requests were sent, and %d are over", l.sent.Load(), l.done.Load())
	}
}

// plantZone asks the name server of discover by a client that is not the gateway's.
func plantZone(t *testing.T) {
	z := newZone(t, "127.39.0.53:5353")
	ask := asker{peer(t, "dig", "bind9-dnsutils"), []string{"-r", "+tries=1", "+time=5", "@127.39.0.53", "-p", "5353"}}
	var many []string
	for i := range 1000 {
		many = append(many, addressOf("many.test.", fmt.Sprintf("127.1.%d.%d", i/250, i%250)))
	}
	z.set(t, dns.RcodeSuccess, append(many, srv("_http._tcp.test.", "a.test.", 80))...)
	if h := ask.ask(t, "_http._tcp.test.", "SRV"); h.status != "NOERROR" || len(h.records) != 1 || !strings.HasSuffix(h.records[0], "SRV 0 1 80 a.test.") {
		t.Errorf("SRV: %+v", h)
	}
	if h := ask.ask(t, "many.test.", "A"); len(h.records) != 1000 { // over TCP, at the second try
		t.Errorf("%d of a thousand addresses", len(h.records))
	}
	if h := ask.ask(t, "many.test.", "A", "+ignore"); len(h.records) == 1000 || !slices.Contains(h.flags, "tc") {
		t.Errorf("a thousand addresses over UDP: %d, %q", len(h.records), h.flags)
	}
	asked := z.questions()
	z.set(t, dns.RcodeServerFailure, many...)
	if h := ask.ask(t, "many.test.", "A"); h.status != "SERVFAIL" || len(h.records) != 0 {
		t.Errorf("SERVFAIL: %+v", h)
	}
	if n := z.questions(); n != asked+1 {
		t.Errorf("one question was counted as %d", n-asked)
	}
}
