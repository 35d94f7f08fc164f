package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// asked is a question for A of a name, with an id.
func asked(t *testing.T, name string, id uint16) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	m.Id = id
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// framed are messages as they stand in a TCP stream.
func framed(messages ...[]byte) (b []byte) {
	for _, m := range messages {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(m))), m...)
	}
	return b
}

func (h *house) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*net.TCPConn)
}

func send(t *testing.T, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

// answered reads one message and holds it to its id and code.
func answered(t *testing.T, conn net.Conn, id uint16, rcode int) *dns.Msg {
	t.Helper()
	b := readTCP(t, conn)
	if b == nil {
		t.Fatalf("no answer to %#x", id)
	}
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatal(err)
	}
	if m.Id != id || m.Rcode != rcode {
		t.Fatalf("answer %#x %s, want %#x %s", m.Id, rcodeWord(m.Rcode), id, rcodeWord(rcode))
	}
	return m
}

// ends reads to the end, which must be one.
func ends(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := io.Copy(io.Discard, conn); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d more bytes, %v", n, err)
	}
}

// waitMetric waits for a counter that changes after the client has seen the end.
func (h *house) waitMetric(t *testing.T, name string, want float64) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(20 * time.Second)
	for h.metric(t, name) != want {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s is %v, want %v", name, h.metric(t, name), want)
		}
	}
}

func dropped(reason string) string {
	return `hither_dns_dropped_total{node="dns-ns1",reason="` + reason + `"}`
}

func TestTCPStream(t *testing.T) {
	h := newHouse(t, localFile(t))

	// Many messages in one segment, some of them faulty, are answered in their order; a client that has shut its side gets all.
	conn := h.dial(t)
	var all [][]byte
	for i := range 200 {
		m := asked(t, "www.hither.test.", uint16(i))
		if i%3 == 1 {
			m[2] |= 0x10 // STATUS
		}
		all = append(all, m)
	}
	send(t, conn, framed(all...))
	conn.CloseWrite()
	for i := range 200 {
		if i%3 == 1 {
			answered(t, conn, uint16(i), dns.RcodeNotImplemented)
		} else if m := answered(t, conn, uint16(i), dns.RcodeSuccess); len(m.Answer) != 1 {
			t.Fatal(m)
		}
	}
	ends(t, conn)

	// Byte by byte, each in a segment of its own.
	conn = h.dial(t)
	conn.SetNoDelay(true)
	for _, b := range framed(asked(t, "www.hither.test.", 7), asked(t, "ns1.hither.test.", 8)) {
		send(t, conn, []byte{b})
	}
	answered(t, conn, 7, dns.RcodeSuccess)
	answered(t, conn, 8, dns.RcodeSuccess)

	// A message of no bytes, and a response, end the connection after what was asked before.
	for _, last := range [][]byte{{}, append([]byte{0, 1, 0x80}, make([]byte, 9)...)} {
		conn = h.dial(t)
		send(t, conn, framed(asked(t, "ns1.hither.test.", 9), last))
		answered(t, conn, 9, dns.RcodeSuccess)
		ends(t, conn)
	}
	for _, reason := range []string{dropCut, dropOversized, dropUnread, dropConnections} {
		if n := h.metric(t, dropped(reason)); n != 0 {
			t.Errorf("%v %s", n, reason)
		}
	}
}

func TestTCPTimes(t *testing.T) {
	t.Parallel()
	h := newHouse(t, localFile(t), func(o *Options) { o.limits = limits{message: time.Second, last: time.Millisecond} })

	// Half a message, and half a length, in the time for one.
	for _, b := range [][]byte{{0}, framed(asked(t, "www.hither.test.", 1))[:20]} {
		conn := h.dial(t)
		send(t, conn, b)
		ends(t, conn)
	}
	h.waitMetric(t, dropped(dropCut), 2)
	conn := h.dial(t) // one that trickles has no more time
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond) // less than a message in its time
		defer tick.Stop()
		for range tick.C {
			if _, err := conn.Write([]byte{0}); err != nil {
				return
			}
			conn.Write([]byte{200})
		}
	}()
	ends(t, conn)
	conn.Close()
	<-ended
	h.waitMetric(t, dropped(dropCut), 3)
	ends(t, h.dial(t)) // nothing at all, which nobody counts
	if n := h.metric(t, dropped(dropCut)); n != 3 {
		t.Errorf("%v cut", n)
	}
}

func TestTCPLimits(t *testing.T) {
	h := newHouse(t, testdata(t, "records.yaml"), func(o *Options) { o.limits = limits{perAddress: 3, last: time.Millisecond} })

	// A length beyond any question: what was asked before is answered, though the client reads it long after.
	slow := h.narrow(t)
	send(t, slow, framed(append(slices.Repeat([][]byte{askedBig(t)}, 16), make([]byte, maxQuery+1))...))
	h.waitMetric(t, dropped(dropOversized), 1)
	h.waitConnections(t, 0)
	for range 16 {
		answered(t, slow, 77, dns.RcodeSuccess)
	}
	ends(t, slow)

	// One more than an address may have; when one is gone there is room.
	h.waitConnections(t, 0)
	three := []*net.TCPConn{h.dial(t), h.dial(t), h.dial(t)}
	for i, c := range three {
		send(t, c, framed(asked(t, "ns1.hither.test.", uint16(i))))
		answered(t, c, uint16(i), dns.RcodeSuccess)
	}
	ends(t, h.dial(t))
	h.waitMetric(t, dropped(dropConnections), 1)
	if n := h.server.Status().Nodes[0].Connections["tcp"]; n > 3 {
		t.Errorf("%d connections", n)
	}
	three[0].Close()
	h.waitConnections(t, 2)
	conn := h.dial(t)
	send(t, conn, framed(asked(t, "ns1.hither.test.", 5)))
	answered(t, conn, 5, dns.RcodeSuccess)
}

// waitConnections waits until at most so many are open.
func (h *house) waitConnections(t *testing.T, most int64) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for h.server.connections() > most {
		<-tick.C
	}
}

// narrow is a connection whose client takes little before it reads.
func (h *house) narrow(t *testing.T) net.Conn {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { // before the window is told
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) })
	}}
	conn, err := d.DialContext(t.Context(), "tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// askedBig is a question whose answer takes two kilobytes.
func askedBig(t *testing.T) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion("big.hither.test.", dns.TypeTXT)
	m.Id = 77
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A client that asks and never reads costs its connection for the time of one write.
func TestTCPUnread(t *testing.T) {
	h := newHouse(t, testdata(t, "records.yaml"), func(o *Options) { o.limits = limits{write: 20 * time.Millisecond, last: time.Millisecond} })
	conn := h.narrow(t)
	many := framed(slices.Repeat([][]byte{askedBig(t)}, 16)...)
	sent := 0
	for {
		n, err := conn.Write(many)
		sent += n
		if err != nil {
			break // reset: the server has given up
		}
	}
	h.waitMetric(t, dropped(dropUnread), 1)
	h.waitConnections(t, 0)
	if sent > 64<<20 {
		t.Errorf("%d bytes taken from a client that reads nothing", sent)
	}
}

// A stop answers what was sent before it, and waits neither for idle clients nor for half a message, nor for one that asks on and on
// and never reads.
func TestTCPDrain(t *testing.T) {
	const last = 2 * time.Second
	h := newHouse(t, testdata(t, "records.yaml"), func(o *Options) { o.limits = limits{last: last, write: last / 4, message: time.Hour} })
	unread, many := h.narrow(t), framed(slices.Repeat([][]byte{askedBig(t)}, 16)...)
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		for {
			if _, err := unread.Write(many); err != nil {
				return
			}
		}
	}()
	idle, half, asks := h.dial(t), h.dial(t), h.dial(t)
	for i, c := range []*net.TCPConn{idle, half, asks} {
		send(t, c, framed(asked(t, "ns1.hither.test.", uint16(i))))
		answered(t, c, uint16(i), dns.RcodeSuccess)
	}
	whole := framed(asked(t, "www.hither.test.", 9))
	send(t, half, whole[:10])
	begin := time.Now()
	h.cancel()
	<-h.server.stopped
	send(t, asks, framed(asked(t, "www.hither.test.", 10), asked(t, "www.hither.test.", 11)))
	answered(t, asks, 10, dns.RcodeSuccess)
	answered(t, asks, 11, dns.RcodeSuccess)
	ends(t, idle)
	ends(t, half)
	ends(t, asks)
	if err := <-h.ended; err != nil {
		t.Error(err)
	}
	h.cancel = nil
	<-pumped
	if took := time.Since(begin); took < last || took > 50*last {
		t.Errorf("the stop took %v", took)
	}
	// Half a message, and perhaps a part of one that was still pumped where it was not cut in an answer.
	if n := h.metric(t, dropped(dropCut)); n != 1 && (n != 2 || h.metric(t, dropped(dropUnread)) != 0) {
		t.Errorf("%v messages cut", n)
	}
	if _, err := net.Dial("tcp", h.addr); err == nil {
		t.Error("a connection after the end")
	}
}

// Limits hold per network: an IPv6 client has a /64 of addresses.
func TestShare(t *testing.T) {
	for a, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "2001:db8::1": "2001:db8::/64", "2001:db8:0:1:ffff::1": "2001:db8:0:1::/64",
	} {
		if got := fmt.Sprint(share(addr(a))); got != want {
			t.Errorf("%s counts as %s, want %s", a, got, want)
		}
	}
}
