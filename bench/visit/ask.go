package visit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/miekg/dns"
)

// A Dialer connects, from wherever the client stands.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// ErrNoHost tells that a DNS server knows no address of a name.
var ErrNoHost = errors.New("no such host")

// patience is for how long an answer is waited for before the question is sent again: one of the two was lost.
var patience = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}

// Ask asks a DNS server, HOST:PORT, for the addresses of a name: for IPv4, and where there are none for IPv6. It asks that
// server and nobody else; net.Resolver looks into /etc/hosts first, whatever server it was given. The error is of a
// server that is silent or refuses, or ErrNoHost.
func Ask(ctx context.Context, dial Dialer, server, name string) ([]netip.Addr, error) {
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		q := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
		q.SetEdns0(1232, false) // what arrives in one packet everywhere (DNS Flag Day 2020)
		r, err := exchange(ctx, dial, "udp", server, q)
		if err == nil && r.Truncated {
			r, err = exchange(ctx, dial, "tcp", server, q)
		}
		if err != nil {
			return nil, err
		}
		switch r.Rcode {
		case dns.RcodeSuccess:
		case dns.RcodeNameError:
			return nil, ErrNoHost
		default:
			return nil, fmt.Errorf("it answers %s", dns.RcodeToString[r.Rcode])
		}
		var found []netip.Addr
		for _, record := range r.Answer {
			var a netip.Addr
			var ok bool
			switch x := record.(type) {
			case *dns.A:
				a, ok = netip.AddrFromSlice(x.A)
			case *dns.AAAA:
				a, ok = netip.AddrFromSlice(x.AAAA)
			}
			if ok {
				found = append(found, a.Unmap())
			}
		}
		if found != nil {
			return found, nil
		}
	}
	return nil, ErrNoHost
}

// exchange sends a question until it is answered.
func exchange(ctx context.Context, dial Dialer, network, server string, q *dns.Msg) (*dns.Msg, error) {
	raw, err := dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	c := &dns.Conn{Conn: raw, UDPSize: 1232}
	for _, wait := range patience {
		c.SetDeadline(time.Now().Add(wait))
		err := c.WriteMsg(q)
		for err == nil {
			var r *dns.Msg
			if r, err = c.ReadMsg(); err == nil && r.Id == q.Id && r.Response {
				return r, nil
			}
		}
		switch {
		case ctx.Err() != nil:
			err = context.Cause(ctx)
			if !errors.Is(err, context.DeadlineExceeded) {
				return nil, err
			}
			return nil, errors.New("no answer")
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, err
		}
	}
	return nil, errors.New("no answer")
}
