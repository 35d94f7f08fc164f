package load

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A responder answers questions on a socket of its own, but for those it is told to leave out.
type responder struct {
	conn  *net.UDPConn
	asked atomic.Int64
}

// respond starts one: reply makes the answers to the nth message, from 1.
func respond(t *testing.T, reply func(n int64, b []byte) [][]byte) *responder {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadBuffer(4 << 20)
	r := &responder{conn: conn}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			for _, out := range reply(r.asked.Add(1), b[:n]) {
				conn.WriteToUDPAddrPort(out, from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return r
}

func (r *responder) at() netip.AddrPort { return r.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// answer is a reply with one record, as far as its header says.
func answer(b []byte, rcode byte) []byte {
	out := append([]byte(nil), b...)
	out[2] |= 0x80
	out[3] |= rcode
	out[7] = 1
	return out
}

func loop(t *testing.T, to netip.AddrPort) OpenLoop {
	t.Helper()
	q, err := NewQueries("www.bench.test", 100, 1)
	if err != nil {
		t.Fatal(err)
	}
	return OpenLoop{To: to, Queries: q, Rate: 5000, For: 100 * time.Millisecond, Grace: 200 * time.Millisecond}
}

// TestOpenLoop counts with a responder that errs in every way at known times. What it was asked is what counts: a machine with little
// time may send less than it should.
func TestOpenLoop(t *testing.T) {
	r := respond(t, func(n int64, b []byte) [][]byte {
		switch n % 10 {
		case 1:
			return nil // lost
		case 2:
			return [][]byte{answer(b, 2)} // SERVFAIL
		case 3:
			return [][]byte{answer(b, 0), answer(b, 0)} // twice
		case 4:
			empty := answer(b, 0)
			empty[7] = 0
			return [][]byte{empty}
		case 5:
			return [][]byte{b, b[:5], answer(b, 0)} // no answer, no message, and the answer
		}
		return [][]byte{answer(b, 0)}
	})
	l := loop(t, r.at())
	l.Grace = 2 * time.Second // what is planted is lost, and nothing else, however late this process gets to answer
	run, err := l.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	asked := r.asked.Load()
	of := func(digit int64) int64 { return (asked - digit + 10) / 10 }
	if run.Sent != asked || run.Sent < 10 || run.Sent > 500 {
		t.Fatalf("sent %d, and %d came; 500 were due", run.Sent, asked)
	}
	if run.Lost != of(1) || run.Answered != asked-of(1) {
		t.Errorf("of %d: %d answered and %d lost; every tenth is lost", asked, run.Answered, run.Lost)
	}
	if run.Rcodes["SERVFAIL"] != of(2) || run.Rcodes["NOERROR"] != run.Answered-of(2) || run.Empty != of(4) {
		t.Errorf("of %d: codes %v, %d empty; a tenth each is SERVFAIL and empty", asked, run.Rcodes, run.Empty)
	}
	if run.InTime > run.Answered || run.P50 <= 0 || run.P99 < run.P50 || run.Max < run.P99 || run.Elapsed < 100*time.Millisecond {
		t.Errorf("figures that cannot be: %+v", run)
	}
}

func TestOpenLoopFails(t *testing.T) {
	silent := respond(t, func(int64, []byte) [][]byte { return nil })
	run, err := loop(t, silent.at()).Load(t.Context())
	if err != nil || run.Answered != 0 || run.Lost != run.Sent || run.P99 != 0 {
		t.Errorf("nobody answers: %+v, %v", run, err)
	}

	closed := respond(t, nil)
	at := closed.at()
	closed.conn.Close()
	if run, err := loop(t, at).Load(t.Context()); err == nil || !strings.Contains(err.Error(), at.String()) {
		t.Errorf("nobody listens: %+v, %v", run, err)
	}

	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := loop(t, silent.at()).Load(over); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	none := loop(t, silent.at())
	none.Rate = 0
	if _, err := none.Load(t.Context()); err == nil {
		t.Error("a rate of nothing is none to send at")
	}
}
