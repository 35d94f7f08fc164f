//go:build e2e

package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// discoverTime bounds the wait for what DNS says now: a name is asked for every five
// seconds at most.
const discoverTime = 30 * time.Second

// manyAddresses is what a name may have at most: the rest of a larger answer is not used.
const manyAddresses = 64

// TestDiscover has the gateway find its instances by DNS, and changes under load what DNS
// says, to what is right and to what is not.
func TestDiscover(t *testing.T) {
	scenario(t, "discover")
	t.Parallel()
	const net127, service = "127.94", "_http._tcp.app.test."
	all := several(t, net127, 4, manner{status: http.StatusOK, after: 5 * time.Millisecond})
	host := func(i int) string { return fmt.Sprintf("%s.0.%d", net127, 11+i) }
	z := newZone(t, net127+".0.53:5353")
	z.set(t, dns.RcodeSuccess,
		srv(service, "a.app.test.", 3000), addressOf("a.app.test.", host(0)),
		srv(service, "b.app.test.", 3000), addressOf("b.app.test.", host(1)))
	bySRV := fmt.Sprintf("discover: {dns: _http._tcp.app.test, type: SRV, servers: [%q], networks: [%s.0.0/16]}", z.address, net127)
	n := run(t, setup{net: net127, edit: []string{exampleApp, bySRV, exampleBalance, "balance: {slow_start: 1s}"}})
	m := n.mixed(t, instancesRate)
	m.begin(t)
	part := 0
	over := func(what string) {
		t.Helper()
		m.further(t, instancesRate/2)
		m.further(t, instancesRate/2)
		to := int(m.done.Load()) - instancesRate/4
		m.lost(t, what, part, to, false)
		part = to
	}
	gets := func(in *instance) {
		t.Helper()
		before := in.requests.Load()
		if !until(discoverTime, func() bool { return in.requests.Load() >= before+10 }) {
			t.Errorf("%s got %d requests, not 10", in.name, in.requests.Load()-before)
		}
	}
	said := func(word string) {
		t.Helper()
		var problems []string
		if !until(discoverTime, func() bool {
			problems = n.status(t, "origin-us").Problems
			return strings.Contains(strings.Join(problems, "\n"), word)
		}) {
			t.Errorf("the status does not say %q: %q", word, problems)
		}
		t.Logf("problems: %q", problems)
	}
	gets(all[0])
	gets(all[1])
	over("two found by SRV")

	z.set(t, dns.RcodeSuccess,
		srv(service, "b.app.test.", 3000), addressOf("b.app.test.", host(3)),
		srv(service, "c.app.test.", 3000), addressOf("c.app.test.", host(2)))
	gets(all[2])
	gets(all[3])
	m.further(t, instancesRate/2)
	before := arrived(all[:2])
	over("another target, and another address of the one that stays")
	for name, count := range since(before, arrived(all[:2])) {
		if count != 0 {
			t.Errorf("%s got %d requests after DNS named it no more", name, count)
		}
	}

	right := []string{srv(service, "c.app.test.", 3000), addressOf("c.app.test.", host(2)), srv(service, "d.app.test.", 3000), addressOf("d.app.test.", host(3))}
	z.set(t, dns.RcodeSuccess)
	said("nothing is found any more")
	over("the answer is empty")

	z.set(t, dns.RcodeServerFailure)
	said("SERVFAIL")
	asked := z.questions()
	over("SERVFAIL")
	if more := z.questions() - asked; more > 10 {
		t.Errorf("%d questions in a second of SERVFAIL", more)
	}

	z.set(t, dns.RcodeSuccess, append(right, srv(service, "evil.app.test.", 3000), addressOf("evil.app.test.", "127.0.0.1"))...)
	said("127.0.0.1:3000 of evil.app.test. is outside the allowed networks")
	gets(all[2])
	over("an address outside the networks")

	e := newEverywhere(t)
	var records []string
	for i := range 1000 {
		records = append(records, addressOf("many.app.test.", fmt.Sprintf("%s.%d.%d", net127, 100+i/250, 1+i%250)))
	}
	z.set(t, dns.RcodeSuccess, append(right, records...)...)
	byA := fmt.Sprintf("discover: {dns: many.app.test, type: A, port: %d, servers: [%q], networks: [%s.0.0/16]}", e.port, z.address, net127)
	n.change(t, bySRV, byA)
	said(fmt.Sprintf("1000 addresses found, %d are used", manyAddresses))
	m.further(t, 4*instancesRate)
	over("a thousand addresses by A")
	if used := len(e.addresses()); used < manyAddresses/2 || used > manyAddresses {
		t.Errorf("%d addresses got requests, not up to %d", used, manyAddresses)
	}
	m.end()
	m.lost(t, "the end", part, int(m.sent.Load()), false)

	n.change(t, byA, strings.Replace(byA, fmt.Sprintf(", networks: [%s.0.0/16]", net127), "", 1))
	said("is outside the allowed networks")
	v := n.via(t, "h2", "fra")
	var got answer
	if !until(discoverTime, func() bool {
		got = v.must(t, "/once/loopback")
		return got.status != http.StatusOK
	}) || got.status != http.StatusServiceUnavailable || !strings.Contains(got.header.Get("Proxy-Status"), "destination_unavailable") {
		t.Errorf("with loopback addresses alone, which nobody has allowed: status %d, Proxy-Status: %s", got.status, got.header.Get("Proxy-Status"))
	}
}

// An everywhere is an instance at every loopback address, which remembers where it was
// asked.
type everywhere struct {
	port int

	mu sync.Mutex
	at map[string]int
}

func newEverywhere(t *testing.T) *everywhere {
	t.Helper()
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &everywhere{port: ln.Addr().(*net.TCPAddr).Port, at: map[string]int{}}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.at[r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()]++
		e.mu.Unlock()
		w.Header().Set("Cache-Control", "no-store")
		w.Write(line(r.URL.Path))
	})}
	done := make(chan struct{})
	go func() {
		s.Serve(ln)
		close(done)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return e
}

// addresses is how often each address was asked.
func (e *everywhere) addresses() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[string]int{}
	for a, count := range e.at {
		all[a] = count
	}
	return all
}
