package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// answerTime is how long a server that is not busy may take for an answer; a datagram on loopback is not lost on its way.
const answerTime = 2 * time.Second

// Agrees asks questions one after another, and is nil where all answers are those of places: one record of the right PoP, and a client
// subnet with a scope in which everybody gets it. Else it names the first that differs, and says how many do.
func (s *DNSServer) Agrees(ctx context.Context, questions []*dns.Msg, places *Places) error {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Addr))
	if err != nil {
		return fmt.Errorf("peers: ask %s: %w", s.Name, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	defer stop()
	var first error
	differ := 0
	for i, q := range questions {
		q.Id = uint16(i)
		r, client, err := ask(conn, q)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			err = agrees(q, r, client, places)
		}
		if err != nil {
			if differ++; first == nil {
				first = fmt.Errorf("%s: %w", client, err)
			}
			var silent net.Error
			if errors.As(err, &silent) {
				break // it will not answer the others either, and each would take as long
			}
		}
	}
	if first != nil {
		return fmt.Errorf("peers: %s does not answer as it should in %d of %d questions, first for client subnet %w", s.Name, differ, len(questions), first)
	}
	return nil
}

// ask sends a question and waits for its answer. client is the subnet that was asked for.
func ask(conn *net.UDPConn, q *dns.Msg) (r *dns.Msg, client netip.Prefix, err error) {
	if sub := subnetOf(q); sub != nil {
		a, _ := netip.AddrFromSlice(sub.Address.To4())
		client = netip.PrefixFrom(a, int(sub.SourceNetmask))
	}
	out, err := q.Pack()
	if err != nil {
		return nil, client, err
	}
	conn.SetDeadline(time.Now().Add(answerTime))
	if _, err := conn.Write(out); err != nil {
		return nil, client, err
	}
	in := make([]byte, 4096)
	n, err := conn.Read(in)
	if err != nil {
		return nil, client, err
	}
	r = new(dns.Msg)
	return r, client, r.Unpack(in[:n])
}

// answerTTL is that of a steered name in hither.yaml, and so of every server.
const answerTTL = 30

// agrees is nil where r is what q is to be answered.
func agrees(q, r *dns.Msg, client netip.Prefix, places *Places) error {
	want := places.Lookup(client.Addr())
	switch {
	case r.Id != q.Id || !r.Response || !r.Authoritative || r.Truncated || len(r.Question) != 1 || r.Question[0] != q.Question[0]:
		return errors.New("no authoritative answer to that question")
	case r.Rcode != dns.RcodeSuccess:
		return fmt.Errorf("%s, want %s (%s)", dns.RcodeToString[r.Rcode], want.Addr, want.Name)
	case len(r.Answer) != 1:
		return fmt.Errorf("%d records, want one", len(r.Answer))
	}
	a, ok := r.Answer[0].(*dns.A)
	if !ok || a.Hdr.Name != q.Question[0].Name || a.Hdr.Ttl != answerTTL {
		return fmt.Errorf("%q, want an address with a time to live of %d", r.Answer[0], answerTTL)
	}
	if got, _ := netip.AddrFromSlice(a.A.To4()); got != want.Addr {
		return fmt.Errorf("%s, want %s (%s)", got, want.Addr, want.Name)
	}
	sub := subnetOf(r)
	if sub == nil {
		return errors.New("no client subnet in the answer: nobody could keep it for others")
	}
	if asked := subnetOf(q); sub.Family != asked.Family || sub.SourceNetmask != asked.SourceNetmask || !sub.Address.Equal(asked.Address) {
		return fmt.Errorf("the client subnet of the answer is another: %s", sub)
	}
	scope, err := client.Addr().Prefix(int(sub.SourceScope))
	if err != nil || !places.Alike(scope) {
		return fmt.Errorf("scope %d, and not everybody in it gets %s", sub.SourceScope, want.Name)
	}
	return nil
}

// subnetOf is the client subnet (RFC 7871) of a message, nil where it has none.
func subnetOf(m *dns.Msg) *dns.EDNS0_SUBNET {
	opt := m.IsEdns0()
	if opt == nil {
		return nil
	}
	for _, o := range opt.Option {
		if sub, ok := o.(*dns.EDNS0_SUBNET); ok {
			return sub
		}
	}
	return nil
}
