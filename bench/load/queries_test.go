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
