//go:build e2e

package e2e_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// A zone is a name server in the test's process, whose answers change when the test says
// so. It speaks UDP and TCP.
type zone struct {
	address string // host:port

	mu      sync.Mutex
	records []dns.RR
	rcode   int // of every answer; one that is not 0 comes without records
	asked   int
}

// newZone serves at a loopback address.
func newZone(t *testing.T, address string) *zone {
	t.Helper()
	pc, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{address: pc.LocalAddr().String()}
	for _, srv := range []*dns.Server{{PacketConn: pc, Handler: z}, {Listener: ln, Handler: z}} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		done := make(chan struct{})
		go func() {
			srv.ActivateAndServe()
			close(done)
		}()
		<-started
		t.Cleanup(func() {
			srv.Shutdown()
			<-done
		})
	}
	return z
}

// set replaces all records, written as in a zone file, and the code of the answers.
func (z *zone) set(t *testing.T, rcode int, records ...string) {
	t.Helper()
	var all []dns.RR
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records, z.rcode = all, rcode
}

// questions is how many there were.
func (z *zone) questions() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked
}

// ServeDNS answers one question.
func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	z.asked++
	m := new(dns.Msg).SetRcode(q, z.rcode)
	for _, rr := range z.records {
		h := rr.Header()
		if z.rcode == dns.RcodeSuccess && strings.EqualFold(h.Name, q.Question[0].Name) && h.Rrtype == q.Question[0].Qtype {
			m.Answer = append(m.Answer, rr)
		}
	}
	z.mu.Unlock()
	if _, udp := w.LocalAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
		m.Truncate(size)
	}
	w.WriteMsg(m)
}

// srv is an SRV record of a service without a time to live: "now", not "for ever".
func srv(service, target string, port int) string {
	return fmt.Sprintf("%s 0 IN SRV 0 1 %d %s", service, port, target)
}

// addressOf is an A record.
func addressOf(name, address string) string { return fmt.Sprintf("%s 0 IN A %s", name, address) }
