package load

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

func TestQueries(t *testing.T) {
	const n = 5000
	q, err := NewQueries("www.bench.test", n, 1)
	if err != nil {
		t.Fatal(err)
	}
	again, err := NewQueries("www.bench.test.", n, 1)
	if err != nil {
		t.Fatal(err)
	}
	var stream, same bytes.Buffer
	if k, err := q.WriteTo(&stream); err != nil || k != int64(stream.Len()) {
		t.Errorf("wrote %d of %d, %v", k, stream.Len(), err)
	}
	if _, err := again.WriteTo(&same); err != nil || !bytes.Equal(stream.Bytes(), same.Bytes()) {
		t.Error("the same seed made other questions")
	}
	subnets := make(map[netip.Addr]int)
	left := stream.Bytes()
	for len(left) > 0 {
		size := int(binary.BigEndian.Uint16(left))
		var m dns.Msg
		if err := m.Unpack(left[2 : 2+size]); err != nil {
			t.Fatal(err)
		}
		left = left[2+size:]
		if m.Id != 0 || m.Response || m.RecursionDesired || len(m.Question) != 1 ||
			m.Question[0] != (dns.Question{Name: "www.bench.test.", Qtype: dns.TypeA, Qclass: dns.ClassINET}) || m.IsEdns0() == nil {
			t.Fatalf("asked %v", &m)
		}
		subnet, ok := m.IsEdns0().Option[0].(*dns.EDNS0_SUBNET)
		if !ok || subnet.SourceNetmask != 24 || subnet.SourceScope != 0 || subnet.Family != 1 {
			t.Fatalf("client subnet %+v", subnet)
		}
		a, _ := netip.AddrFromSlice(subnet.Address.To4())
		if a.IsPrivate() || a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || a.As4()[3] != 0 {
			t.Errorf("nobody has %v/24", a)
		}
		subnets[a]++
	}
	if len(subnets) < n*99/100 {
		t.Errorf("%d questions from %d subnets", n, len(subnets))
	}
	first := make(map[byte]bool)
	for a := range subnets {
		first[a.As4()[0]] = true
	}
	if len(first) < 200 {
		t.Errorf("subnets in %d /8 of 221", len(first))
	}
	if _, err := NewQueries("a..b", 1, 1); err == nil {
		t.Error("a name that is none can be asked for")
	}
}

// TestKeep leaves out questions, and samples what is left.
func TestKeep(t *testing.T) {
	all, err := NewQueries("www.bench.test", 1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	odd := func(client netip.Prefix) bool { return client.Addr().As4()[0]%2 == 1 }
	q, err := all.Keep(odd)
	if err != nil {
		t.Fatal(err)
	}
	if q.Len() < 300 || q.Len() > 700 || all.Len() != 1000 || q.Name != all.Name {
		t.Errorf("%d of %d are left", q.Len(), all.Len())
	}
	for n, want := range map[int]int{0: 0, 7: 7, 5000: q.Len()} {
		sample, err := q.Sample(n)
		if err != nil || len(sample) != want {
			t.Fatalf("a sample of %d: %d, %v", n, len(sample), err)
		}
		seen := make(map[netip.Addr]bool)
		for _, m := range sample {
			a, _ := netip.AddrFromSlice(m.IsEdns0().Option[0].(*dns.EDNS0_SUBNET).Address.To4())
			if !odd(netip.PrefixFrom(a, 24)) || m.Question[0].Name != "www.bench.test." {
				t.Errorf("%v was not to be kept", m)
			}
			seen[a] = true
		}
		if len(seen) < want*9/10 {
			t.Errorf("a sample of %d has %d subnets", n, len(seen))
		}
	}
}
