//go:build linux

package server

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A sender is a client socket whose datagrams are numbered.
type sender struct {
	*net.UDPConn
	first, count int
}

// number is the datagram of a number: its length tells it as well.
func number(i int) []byte {
	return binary.BigEndian.AppendUint16(make([]byte, i%50, i%50+2), uint16(i))
}

// expect reads that many answers, and holds each to be one to this sender: from the address that it asked, and with a
// number of its own, once.
func (c *sender) expect(t *testing.T, count int) {
	t.Helper()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	seen := make(map[int]bool)
	b := make([]byte, 100)
	for range count {
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("%s: %d of %d answers: %v", c.RemoteAddr(), len(seen), count, err)
		}
		i := int(binary.BigEndian.Uint16(b[n-2:]))
		if seen[i] || i < c.first || i >= c.first+c.count || n != len(number(i)) {
			t.Fatalf("%s: the answer %d in %d bytes", c.RemoteAddr(), i, n)
		}
		seen[i] = true
	}
}

// senders ask a socket at two of its addresses, in turn, until there are more datagrams than a batch has.
func senders(t *testing.T, u *udpSocket, hosts ...string) []*sender {
	t.Helper()
	var all []*sender
	for i, host := range hosts {
		at := netip.AddrPortFrom(addr(host), u.conn.LocalAddr().(*net.UDPAddr).AddrPort().Port())
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		all = append(all, &sender{conn, 1000 * i, batchSize})
	}
	for i := range batchSize {
		for _, c := range all {
			send(t, c, number(c.first+i))
		}
	}
	return all
}

// What has come is taken together, and each answer goes to who asked, from the address that was asked.
func TestBatch(t *testing.T) {
	for bind, hosts := range map[string][]string{
		"127.53.0.1": {"127.53.0.1", "127.53.0.1"}, "::1": {"::1", "::1"},
		"0.0.0.0": {"127.53.0.1", "127.53.9.9"}, "::": {"::1", "::1"},
	} {
		t.Run(bind, func(t *testing.T) {
			u, err := listenUDP(netip.AddrPortFrom(addr(bind), 0), limits{}.whole())
			if err != nil {
				t.Fatal(err)
			}
			defer u.conn.Close()
			clients := senders(t, u, hosts...)
			b, err := newBatch(u.conn, addr(bind).IsUnspecified())
			if err != nil {
				t.Fatal(err)
			}
			for range len(hosts) {
				if err := b.receive(); err != nil || b.received != batchSize {
					t.Fatal(b.received, err)
				}
				for i := range b.received {
					msg, from := b.question(i)
					if want := clients[i%2].LocalAddr().(*net.UDPAddr).AddrPort().Addr(); from != want {
						t.Fatalf("%d is from %s, want %s", i, from, want)
					}
					b.answer(i, append(b.answers[i][:0], msg...))
				}
				b.send()
			}
			for _, c := range clients {
				c.expect(t, c.count)
			}
			u.finish()
			if b.receive() == nil {
				t.Error("no end after finish")
			}
		})
	}
}

// Answers that are not made, or that the kernel refuses, take no other with them.
func TestBatchRefused(t *testing.T) {
	u, err := listenUDP(netip.MustParseAddrPort("127.53.0.1:0"), limits{}.whole())
	if err != nil {
		t.Fatal(err)
	}
	defer u.conn.Close()
	clients := senders(t, u, "127.53.0.1", "127.53.0.1")
	b, err := newBatch(u.conn, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.receive(); err != nil || b.received != batchSize {
		t.Fatal(b.received, err)
	}
	for i := range b.received {
		switch msg, _ := b.question(i); i % 4 {
		case 0: // silence
		case 1:
			b.peers[i].Port = 0 // nowhere
			b.answer(i, msg)
		default:
			b.answer(i, msg)
		}
	}
	b.send()
	if b.sent != b.ready || b.ready != batchSize*3/4 {
		t.Fatal(b.sent, b.ready)
	}
	for _, c := range clients {
		c.expect(t, batchSize/4)
	}
	// The next batch knows nothing of this one.
	if err := b.receive(); err != nil || b.received != batchSize {
		t.Fatal(b.received, err)
	}
	for i := range b.received {
		msg, _ := b.question(i)
		b.answer(i, msg)
	}
	b.send()
	for _, c := range clients {
		c.expect(t, batchSize/2)
	}
}

// A client that takes nothing, where the kernel keeps it for him, holds nobody up for long: what does not go is lost.
func TestBatchFull(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "")
		conn, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ends[i] = conn.(*net.UnixConn)
	}
	b, err := newBatch(ends[0], false)
	if err != nil {
		t.Fatal(err)
	}
	fill := func() {
		b.received, b.ready, b.sent = 0, 0, 0
		for i := range batchSize {
			b.in[i].Hdr.Name, b.in[i].Hdr.Namelen = nil, 0 // to the other end
			b.answer(i, number(i))
		}
		b.send()
	}
	kept := 0
	for fill(); b.sent == b.ready; fill() {
		if kept += b.sent; kept > 1<<20 {
			t.Skip("the kernel keeps whatever is sent")
		}
	}
	if !b.full {
		t.Fatal("sending ended without a full buffer")
	}
	kept += b.sent
	room := make([]byte, 100)
	ends[1].SetDeadline(time.Now().Add(20 * time.Second))
	for range kept {
		if _, err := ends[1].Read(room); err != nil {
			t.Fatal(err)
		}
	}
	// There is room again, though the deadline of the last wait is over; somebody reads meanwhile.
	read := make(chan error, 1)
	go func() {
		for range batchSize {
			if _, err := ends[1].Read(room); err != nil {
				read <- err
				return
			}
		}
		read <- nil
	}()
	fill()
	if b.sent != b.ready {
		t.Fatal(b.sent, "sent")
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
}
