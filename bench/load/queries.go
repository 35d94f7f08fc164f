package load

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// Queries are DNS questions as they are on the wire, each with identifier 0. They are not changed once made.
type Queries struct {
	Name     string
	messages [][]byte
}

// NewQueries makes n questions for the A records of name, each with the client subnet (RFC 7871) of another /24 somewhere in the
// world. The same seed makes the same ones.
func NewQueries(name string, n int, seed uint64) (*Queries, error) {
	q := &Queries{Name: dns.Fqdn(name)}
	random := rand.New(rand.NewPCG(seed, 0))
	for range n {
		m := new(dns.Msg)
		m.SetQuestion(q.Name, dns.TypeA)
		m.Id, m.RecursionDesired = 0, false
		m.SetEdns0(1232, false)
		opt := m.IsEdns0()
		opt.Option = append(opt.Option, &dns.EDNS0_SUBNET{
			Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IP(somewhere(random).AsSlice()),
		})
		packed, err := m.Pack()
		if err != nil {
			return nil, fmt.Errorf("load: make a question for %s: %w", q.Name, err)
		}
		q.messages = append(q.messages, packed)
	}
	return q, nil
}

// notPublic is what no client on the internet has (RFC 6890).
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("224.0.0.0/3"),
}

// somewhere is the first address of a /24 that is public.
func somewhere(random *rand.Rand) netip.Addr {
again:
	for {
		v := random.Uint32()
		a := netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8)})
		for _, p := range notPublic {
			if p.Contains(a) {
				continue again
			}
		}
		return a
	}
}

// Len is how many there are.
func (q *Queries) Len() int { return len(q.messages) }

// WriteTo writes them as over TCP (RFC 1035 section 4.2.2): what dnsperf -B reads.
func (q *Queries) WriteTo(w io.Writer) (n int64, err error) {
	for _, m := range q.messages {
		framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...)
		k, err := w.Write(framed)
		n += int64(k)
		if err != nil {
			return n, fmt.Errorf("load: write questions: %w", err)
		}
	}
	return n, nil
}

// Keep makes Queries of those whose client fits.
func (q *Queries) Keep(fits func(client netip.Prefix) bool) (*Queries, error) {
	kept := &Queries{Name: q.Name}
	for _, packed := range q.messages {
		m := new(dns.Msg)
		if err := m.Unpack(packed); err != nil {
			return nil, fmt.Errorf("load: read a question: %w", err)
		}
		sub := m.IsEdns0().Option[0].(*dns.EDNS0_SUBNET)
		a, _ := netip.AddrFromSlice(sub.Address.To4())
		if fits(netip.PrefixFrom(a, int(sub.SourceNetmask))) {
			kept.messages = append(kept.messages, packed)
		}
	}
	return kept, nil
}

// Sample is n of them, at most all, spread over the whole: to ask one by one.
func (q *Queries) Sample(n int) ([]*dns.Msg, error) {
	n = min(n, len(q.messages))
	var sample []*dns.Msg
	for i := range n {
		m := new(dns.Msg)
		if err := m.Unpack(q.messages[i*len(q.messages)/n]); err != nil {
			return nil, fmt.Errorf("load: read a question: %w", err)
		}
		sample = append(sample, m)
	}
	return sample, nil
}
