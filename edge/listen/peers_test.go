package listen

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestPeers(t *testing.T) {
	at := time.Unix(1000, 0)
	p := newPeers(Limits{ConnectionsPerAddress: 4, HandshakesPerAddress: 10}, func() time.Time { return at })
	k := netip.MustParseAddr("192.0.2.1")
	for i := range 4 {
		if busy := p.busy(k); busy != (i >= 2) {
			t.Errorf("after %d: busy %v", i, busy)
		}
		if why, ok := p.admit(k); !ok {
			t.Fatalf("connection %d: %s", i, why)
		}
	}
	if why, ok := p.admit(k); ok || why != ReasonConnections {
		t.Errorf("the fifth: %v, %s", ok, why)
	}
	if _, ok := p.admit(netip.MustParseAddr("192.0.2.2")); !ok {
		t.Error("another client was refused")
	}
	for i := range 6 { // short connections: the rate bounds them
		p.release(k)
		if _, ok := p.admit(k); !ok {
			t.Fatalf("handshake %d", i)
		}
	}
	p.release(k)
	if why, ok := p.admit(k); ok || why != ReasonRate {
		t.Errorf("the eleventh in a second: %v, %s", ok, why)
	}
	at = at.Add(100 * time.Millisecond)
	if _, ok := p.admit(k); !ok {
		t.Error("a tenth of a second later: refused")
	}
}

// TestPeersForget shows that clients who came and went leave nothing behind.
func TestPeersForget(t *testing.T) {
	at := time.Unix(1000, 0)
	p := newPeers(Limits{}.withDefaults(), func() time.Time { return at })
	for i := range 100_000 {
		k := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		p.admit(k)
		p.release(k)
		at = at.Add(time.Millisecond)
	}
	if n := len(p.table); n > firstSweep {
		t.Errorf("%d clients are remembered", n)
	}
}

func TestPeerKey(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1:5":               "192.0.2.1",
		"[::ffff:192.0.2.1]:5":      "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:5":  "2001:db8:1:2::",
		"[fe80::1%eth0]:5":          "fe80::",
		"[2001:db8:1:2:ffff::1]:80": "2001:db8:1:2::",
	} {
		ap := netip.MustParseAddrPort(in)
		for _, a := range []net.Addr{net.TCPAddrFromAddrPort(ap), net.UDPAddrFromAddrPort(ap)} {
			if got := peerKey(a); fmt.Sprint(got) != want {
				t.Errorf("peerKey(%s) = %s, want %s", in, got, want)
			}
		}
	}
}
