package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// testdata is a network file of that folder.
func testdata(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// asksUDP asks from a socket that takes answers of one address alone.
func asksUDP(t *testing.T, at, name string) *dns.Msg {
	t.Helper()
	conn, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	send(t, conn, asked(t, name, 1))
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(at, err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(b[:n]); err != nil {
		t.Fatal(err)
	}
	return m
}

// Bound to an unspecified address, the server answers from the one that was asked, and the resolver's own is the client's.
// On [::] it takes IPv6 alone, for 0.0.0.0 can be bound beside it.
func TestUnspecifiedAddresses(t *testing.T) {
	t.Run("0.0.0.0", func(t *testing.T) {
		h := boundTo(t, "0.0.0.0")
		h.answersAt(t, "127.53.0.1", "127.53.1.1")
		h.answersAt(t, "127.53.9.9", "127.53.1.1")
	})
	t.Run("[::]", func(t *testing.T) {
		h := boundTo(t, "::")
		h.answersAt(t, "::1", "127.53.1.3")
		_, port, _ := net.SplitHostPort(h.addr)
		l, err := net.Listen("tcp4", "127.53.0.1:"+port)
		if err != nil {
			t.Fatal("IPv4 is taken too:", err)
		}
		l.Close()
	})
}

func boundTo(t *testing.T, bind string) *house {
	t.Helper()
	file := strings.Replace(localFile(t), "addresses: [127.53.0.1], port", `addresses: [127.53.0.1, "::1"], bind: ["`+bind+`"], port`, 1)
	return newHouse(t, strings.Replace(file, "{127.0.0.0/8: fra,", `{127.0.0.0/8: fra, "::1/128": sin,`, 1))
}

// answersAt asks the server at one of this machine's addresses, for the PoP that is that address's.
func (h *house) answersAt(t *testing.T, host, want string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(h.addr)
	h.addr = net.JoinHostPort(host, port)
	m := asksUDP(t, h.addr, "www.hither.test.")
	if len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != want {
		t.Errorf("asked at %s: %v, want %s", host, m.Answer, want)
	}
	conn := h.dial(t)
	send(t, conn, framed(asked(t, "www.hither.test.", 3)))
	if m := answered(t, conn, 3, dns.RcodeSuccess); len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != want {
		t.Errorf("asked at %s over TCP: %v, want %s", host, m.Answer, want)
	}
}

func TestUDPBadDatagrams(t *testing.T) {
	h := newHouse(t, localFile(t))
	conn, err := net.Dial("udp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))

	// Longer than any question: no answer, counted. The longest that is read is one.
	long := asked(t, "ns1.hither.test.", 1)
	send(t, conn, append(long, make([]byte, maxQuery+1-len(long))...))
	h.waitMetric(t, dropped(dropOversized), 1)
	send(t, conn, make([]byte, 60_000))
	h.waitMetric(t, dropped(dropOversized), 2)
	send(t, conn, append(long, make([]byte, maxQuery-len(long))...))
	b := make([]byte, 4096)
	if n, err := conn.Read(b); err != nil || b[3]&15 != dns.RcodeFormatError {
		t.Fatal(n, err)
	}
	send(t, conn, nil)
	h.waitMetric(t, `hither_dns_faults_total{node="dns-ns1",reason="short"}`, 1)

	// A flood of garbage makes no more series than there are words, and questions are answered meanwhile.
	random := rand.New(rand.NewPCG(1, 2))
	answers := 0
	for range 3000 {
		garbage := make([]byte, random.IntN(200))
		for i := range garbage {
			garbage[i] = byte(random.Uint32())
		}
		if len(garbage) > 12 && random.IntN(2) == 0 {
			copy(garbage, []byte{0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, byte(random.IntN(3))})
		}
		if len(garbage) > 2 {
			garbage[2] &= 0x7f
		}
		send(t, conn, garbage)
		if len(garbage) >= headerBytes {
			if _, err := conn.Read(b); err != nil {
				t.Fatalf("no answer to %x: %v", garbage, err)
			}
			answers++
		}
	}
	if answers < 2000 {
		t.Fatal(answers)
	}
	if m := asksUDP(t, h.addr, "www.hither.test."); len(m.Answer) != 1 {
		t.Error(m)
	}
	boundedLabels(t, h.server)
}

// boundedLabels holds what clients can make of labels against closed sets.
func boundedLabels(t *testing.T, s *Server) {
	t.Helper()
	most := map[string]int{"qtype": len(countedTypes) + 1, "rcode": 8, "transport": 2, "reason": len(faults)}
	seen := make(map[string]map[string]bool)
	for line := range strings.Lines(page(s)) {
		name, rest, _ := strings.Cut(line, "{")
		labels, _, found := strings.Cut(rest, "} ")
		if !found || !strings.HasPrefix(name, "hither_dns_") {
			continue
		}
		for label := range strings.SplitSeq(labels, ",") {
			key, value, _ := strings.Cut(label, "=")
			of := name + " " + key
			if seen[of] == nil {
				seen[of] = make(map[string]bool)
			}
			if seen[of][value] = true; most[key] > 0 && len(seen[of]) > most[key] {
				t.Fatalf("%s: %d values: %v", of, len(seen[of]), seen[of])
			}
		}
	}
	if len(seen["hither_dns_queries_total qtype"]) < 2 {
		t.Fatal("no metrics were seen", seen)
	}
}

// All types, classes and opcodes there are make a bounded set of series.
func TestLabelsBounded(t *testing.T) {
	s := bare(t, localFile(t))
	b := asked(t, "www.hither.test.", 1)
	for qtype := range 1 << 16 {
		b[2] = byte(qtype>>3&1) * byte(qtype>>4&15) << 3 // half of them with each opcode in turn
		binary.BigEndian.PutUint16(b[len(b)-4:], uint16(qtype))
		b[len(b)-1] = byte(1 + qtype>>8%2) // class
		s.answer(b, addr("192.0.2.1"), transport(qtype&1), nil)
	}
	boundedLabels(t, s)
}

// What cannot be had at start is one error that says what to do, and nothing stays open.
func TestAddressTaken(t *testing.T) {
	h := newHouse(t, localFile(t))
	for _, c := range []struct{ bind, want string }{
		{"", "another program, or another network, answers DNS there"},
		{"192.0.2.53", "this machine does not have the address"},
	} {
		n := *h.network
		n.DNS.Servers = append(n.DNS.Servers[:0:0], n.DNS.Servers...)
		if c.bind != "" {
			n.DNS.Servers[0].Bind = []netip.Addr{addr(c.bind)}
		}
		o := h.server.o
		o.Network, o.State = &n, t.TempDir()
		s, err := New(o)
		if s != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// After a stop over UDP what has arrived is answered.
func TestUDPDrain(t *testing.T) {
	h := newHouse(t, localFile(t), func(o *Options) { o.limits = limits{last: 2 * time.Second} })
	conn, err := net.Dial("udp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	h.cancel()
	<-h.server.stopped
	b := make([]byte, 4096)
	for i := range 10 {
		send(t, conn, asked(t, "ns1.hither.test.", uint16(i)))
		if _, err := conn.Read(b); err != nil || b[1] != byte(i) {
			t.Fatal(i, err)
		}
	}
	if err := <-h.ended; err != nil {
		t.Error(err)
	}
	h.cancel = nil
	conn.Write(asked(t, "ns1.hither.test.", 99))
	if _, err := conn.Read(b); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("an answer after the end, or an open socket", err)
	}
	if got := fmt.Sprint(h.server.life.State()); got != "down" {
		t.Error(got)
	}
}
