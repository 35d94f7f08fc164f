//go:build e2e

package lab_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"hither/bench/lab"
)

// datagrams sends UDP packets from the client to the edge, one by one, and returns how many came.
func datagrams(t *testing.T, l *lab.Lab, n int) (came int) {
	t.Helper()
	from, err := l.At(lab.Client).ListenUDP(0)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := l.At(lab.Edge).ListenUDP(7)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := to.SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	counted := make(chan int)
	go func() {
		var b [2000]byte
		n := 0
		defer func() { counted <- n }()
		for {
			if _, err := to.Read(b[:]); err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error(err)
				}
				return
			}
			n++
		}
	}()
	for range n {
		if _, err := from.WriteToUDPAddrPort(make([]byte, 1000), netip.AddrPortFrom(lab.Edge.Addr(), 7)); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, l)
	// What has come is in the socket's buffer: reading goes on until that is empty.
	to.SetReadDeadline(time.Now().Add(time.Second))
	return <-counted
}

func TestLossOfTheSeed(t *testing.T) {
	const packets = 2000
	lost := func(seed uint64) int64 {
		l := start(t, lab.Options{Seed: seed, Segments: map[lab.Segment]lab.Conditions{clientEdge: {Distance: near, Loss: 0.1}}})
		came := datagrams(t, l, packets)
		n := l.Count(lab.Client, lab.Edge)
		if n.Packets != packets || n.Dropped != 0 || n.Refused != 0 || int64(came) != packets-n.Lost {
			t.Errorf("%d of %d came: %+v", came, packets, n)
		}
		return n.Lost
	}
	// Which packets get lost is a function of their number and the seed.
	dice, want := rand.New(rand.NewPCG(7, 1)), int64(0)
	for range packets {
		if dice.Float64() < 0.1 {
			want++
		}
	}
	if got := lost(7); got != want {
		t.Errorf("seed 7 lost %d, want %d", got, want)
	}
	if got := lost(7); got != want {
		t.Errorf("seed 7 lost %d the second time, want %d", got, want)
	}
}

func TestMebibyteAtTenMegabits(t *testing.T) {
	const rate = 10e6
	l := start(t, lab.Options{Segments: map[lab.Segment]lab.Conditions{clientOrigin: {Distance: 20 * time.Millisecond, Rate: rate}}})
	server, err := l.At(lab.Origin).Listen(t.Context(), "tcp", "198.18.0.3:80")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	const size = 1 << 20
	sent := make(chan error, 1)
	go func() {
		c, err := server.Accept()
		if err == nil {
			_, err = c.Write(make([]byte, size))
			c.Close()
		}
		sent <- err
	}()
	l.Record()
	c, err := l.At(lab.Client).DialContext(t.Context(), "tcp", "198.18.0.3:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := io.Copy(io.Discard, c.(*net.TCPConn)); n != size || err != nil {
		t.Fatalf("%d bytes came: %v", n, err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	var first, last lab.Packet
	bytes, most := 0, 0
	for _, p := range l.Stop().On(clientOrigin) {
		if p.From != lab.Origin || p.Lost || p.Arrived.IsZero() {
			continue
		}
		if first.Arrived.IsZero() {
			first = p
		}
		last, bytes, most = p, bytes+p.Bytes, max(most, p.Bytes)
	}
	if most > 1500 || bytes < size {
		t.Errorf("%d bytes went by, in packets of up to %d", bytes, most)
	}
	// The first packet has gone in before it arrives, the rest after that. Being late once (the scheduler) does not
	// count: the line makes up for nothing, so only less time than this is a fault.
	must := time.Duration(float64(bytes-first.Bytes) * 8 / rate * float64(time.Second))
	took := last.Arrived.Sub(first.Arrived)
	t.Logf("%d bytes in %v; the line alone takes %v; %+v", bytes, took, must, l.Count(lab.Origin, lab.Client))
	if took < must-10*time.Millisecond {
		t.Errorf("%d bytes took %v, the line alone takes %v", bytes, took, must)
	}
	if n := l.Count(lab.Origin, lab.Client); n.Backlog > 25000 {
		t.Errorf("%d bytes waited, one bandwidth-delay product is 25000", n.Backlog)
	}
}
