//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A chorus is many clients that ask a DNS server without a pause, each on a socket of
// its own and one question at a time. None asks twice: an answer that does not come is
// lost.
type chorus struct {
	server   string        // host:port
	patience time.Duration // how long an answer may take
	lost     ledger
	asked    atomic.Int64
	each     []atomic.Int64 // answers of each client

	// The TXT record has a number that grows. No answer may be older than what has been
	// seen before its question, or newer than what was written.
	seen, written atomic.Int64

	stop context.CancelFunc
	wg   sync.WaitGroup
}

// chorusOf makes clients over UDP and TCP and lets them ask until end.
func chorusOf(t *testing.T, server string, clients int, patience time.Duration) *chorus {
	t.Helper()
	c := &chorus{server: server, patience: patience, each: make([]atomic.Int64, clients)}
	ctx, cancel := context.WithCancel(t.Context())
	c.stop = cancel
	for i := range clients {
		transport := []string{"udp", "tcp"}[i%2]
		conn, err := dns.Dial(transport, server)
		if err != nil {
			t.Fatal(err)
		}
		c.wg.Go(func() {
			defer conn.Close()
			for k := 0; ctx.Err() == nil; k++ {
				if err := c.ask(conn, k); err != nil {
					c.lost.add("%s, client %d, question %d: %v", transport, i, k, err)
					return // what comes late would be taken for the next answer
				}
				c.each[i].Add(1)
			}
		})
	}
	t.Cleanup(c.end)
	return c
}

// lostTime is how long one waits for an answer that a working server gives at once.
const lostTime = 10 * time.Second

// ask sends one question, by turns of a record and of a name that is steered.
func (c *chorus) ask(conn *dns.Conn, k int) error {
	q := new(dns.Msg)
	if k%2 == 0 {
		q.SetQuestion("hither.test.", dns.TypeTXT)
	} else {
		q.SetQuestion(host+".", dns.TypeA)
	}
	oldest := c.seen.Load()
	conn.SetDeadline(time.Now().Add(c.patience))
	c.asked.Add(1)
	if err := conn.WriteMsg(q); err != nil {
		return err
	}
	got, err := conn.ReadMsg()
	switch {
	case err != nil:
		return err
	case got.Id != q.Id || len(got.Question) != 1 || got.Question[0] != q.Question[0]:
		return errors.New("the answer is to another question")
	case got.Rcode != dns.RcodeSuccess || len(got.Answer) != 1:
		return fmt.Errorf("%s, %d records", dns.RcodeToString[got.Rcode], len(got.Answer))
	}
	txt, ok := got.Answer[0].(*dns.TXT)
	if !ok {
		return nil
	}
	var number int64
	if _, err := fmt.Sscanf(txt.Txt[0], "number %d", &number); err != nil {
		return fmt.Errorf("%s: %w", txt, err)
	}
	if newest := c.written.Load(); number < oldest || number > newest {
		return fmt.Errorf("number %d: not from %d to %d", number, oldest, newest)
	}
	for at := c.seen.Load(); number > at && !c.seen.CompareAndSwap(at, number); at = c.seen.Load() {
	}
	return nil
}

// further waits until each client has had so many more answers.
func (c *chorus) further(t *testing.T, answers int64) {
	t.Helper()
	from := make([]int64, len(c.each))
	for i := range from {
		from[i] = c.each[i].Load()
	}
	if !until(crowdTime, func() bool {
		for i := range from {
			if c.lost.lost() == 0 && c.each[i].Load() < from[i]+answers {
				return false
			}
		}
		return true
	}) {
		t.Error("a client gets no more answers")
	}
}

func (c *chorus) end() {
	c.stop()
	c.wg.Wait()
}

// TestDNSReload has the network file read again, changed and bad, while clients ask.
func TestDNSReload(t *testing.T) {
	scenario(t, "dns-reload")
	dig := peer(t, "dig", "bind9-dnsutils")
	n := run(t, setup{net: "127.73", edit: []string{`\"hither\"`, `\"number 0\"`}})
	asked := n.meter(t, "dns-ns1", "hither_dns_queries_total")
	server := net.JoinHostPort(n.nameServer(), fmt.Sprint(dnsPort))
	c := chorusOf(t, server, 8, lostTime)
	c.further(t, 20)

	// And dig, a hundred questions a time. It may not ask again either.
	const batch = 100
	var batches, answers int64
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			cmd := exec.CommandContext(t.Context(), dig, "-r", "@"+n.nameServer(), "-p", fmt.Sprint(dnsPort), "+tries=1", "+time=10", "-f", "-")
			cmd.Stdin = strings.NewReader(strings.Repeat(host+" A\n", batch))
			out, err := cmd.Output()
			if err != nil {
				c.lost.add("dig: %v\n%s", err, last(string(out), 5))
			}
			batches++
			answers += int64(strings.Count(string(out), n.net+".1.1\n"))
		}
	})
	defer func() {
		stop()
		wg.Wait()
	}()
	for number := int64(1); number <= 5; number++ {
		c.written.Store(number)
		n.put(t, edited(t, n.file(t), fmt.Sprintf("number %d", number-1), fmt.Sprintf("number %d", number)))
		n.reload(t, "network file read again")
		if !until(crowdTime, func() bool { return c.seen.Load() == number || c.lost.lost() > 0 }) {
			t.Fatalf("the number stays %d, not %d", c.seen.Load(), number)
		}
		c.further(t, 20)
		good := n.file(t)
		n.put(t, edited(t, good, fmt.Sprintf(`300 TXT \"number %d\"`, number), "300 TXT number nowhere (", "ttl: 30s", "ttl: 31s"))
		n.reload(t, "the network file was not taken")
		c.further(t, 20)
		n.put(t, good)
	}
	c.end()
	stop()
	wg.Wait()
	c.lost.report(t)
	t.Logf("%d questions of ours, %d of dig's", c.asked.Load(), answers)
	if answers != batch*batches {
		t.Errorf("dig had %d answers, not %d", answers, batch*batches)
	}
	asked.expect(t, c.asked.Load()+batch*batches)
}
