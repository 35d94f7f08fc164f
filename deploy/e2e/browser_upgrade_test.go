//go:build e2e

package e2e_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// A follower is a client that finds the site by its name alone, and goes over to HTTP/3
// where an HTTPS record or an Alt-Svc field tells it to.
type follower struct {
	n        *network
	resolver string       // host:port
	from     netip.Prefix // client subnet that it tells
}

// An endpoint is where to connect, and how.
type endpoint struct {
	target string // name whose addresses these are
	hints  []string
	port   int
	alpn   []string
}

// look asks the resolver.
func (f *follower) look(name string, qtype uint16) ([]dns.RR, error) {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), qtype).SetEdns0(1232, false)
	o := q.IsEdns0()
	o.Option = append(o.Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(f.from.Bits()), Address: f.from.Addr().AsSlice()})
	c := dns.Client{Timeout: lostTime}
	got, _, err := c.Exchange(q, f.resolver)
	if err == nil && got.Rcode != dns.RcodeSuccess {
		err = errors.New(dns.RcodeToString[got.Rcode])
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", name, dns.TypeToString[qtype], err)
	}
	return got.Answer, nil
}

// addresses are where a name is, with a port.
func (f *follower) addresses(name string, port int) (at []string, err error) {
	rrs, err := f.look(name, dns.TypeA)
	for _, rr := range rrs {
		if a, ok := rr.(*dns.A); ok {
			at = append(at, net.JoinHostPort(a.A.String(), strconv.Itoa(port)))
		}
	}
	if err == nil && len(at) == 0 {
		err = fmt.Errorf("%s has no address", name)
	}
	return at, err
}

// endpointOf reads the HTTPS records of a name as a client that speaks HTTP/3 does
// (RFC 9460): the one that comes first.
func endpointOf(owner string, rrs []dns.RR) (e endpoint, err error) {
	var first *dns.HTTPS
	for _, rr := range rrs {
		if h, ok := rr.(*dns.HTTPS); ok && h.Priority > 0 && (first == nil || h.Priority < first.Priority) {
			first = h
		}
	}
	if first == nil {
		return e, fmt.Errorf("%s has no HTTPS record", owner)
	}
	e = endpoint{target: first.Target, port: 443}
	if e.target == "." {
		e.target = owner // RFC 9460 section 2.5.2
	}
	for _, p := range first.Value {
		switch p := p.(type) {
		case *dns.SVCBAlpn:
			e.alpn = p.Alpn
		case *dns.SVCBPort:
			e.port = int(p.Port)
		case *dns.SVCBIPv4Hint:
			for _, ip := range p.Hint {
				e.hints = append(e.hints, ip.String())
			}
		}
	}
	if !slices.Contains(e.alpn, "h3") {
		return e, fmt.Errorf("%s speaks %v, and not h3", owner, e.alpn)
	}
	return e, nil
}

// alternative is the port of the same host at which an Alt-Svc field offers HTTP/3
// (RFC 7838 section 3).
func alternative(field string) (port int, err error) {
	for _, one := range strings.Split(field, ",") {
		service, _, _ := strings.Cut(strings.TrimSpace(one), ";")
		proto, authority, _ := strings.Cut(service, "=")
		at, err := strconv.Unquote(authority)
		if proto == "h3" && err == nil && strings.HasPrefix(at, ":") {
			return strconv.Atoi(at[1:])
		}
	}
	return 0, fmt.Errorf("Alt-Svc: %q offers no h3", field)
}

// get asks for the first page at the first of these addresses.
func (f *follower) get(t *testing.T, proto string, at []string) (answer, error) {
	t.Helper()
	v := f.n.visitor(t, visit{proto: proto})
	v.edges = at[:1]
	a, err := v.get(t.Context(), "/")
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("status %d", a.status)
	}
	return a, err
}

// byRecord connects as the HTTPS record says, over HTTP/3 from the first packet on.
func (f *follower) byRecord(t *testing.T) error {
	t.Helper()
	// Another port than 443 is part of the name that is asked for (RFC 9460 section 9.1).
	owner := "_8443._https." + host + "."
	rrs, err := f.look(owner, dns.TypeHTTPS)
	if err != nil {
		return err
	}
	e, err := endpointOf(owner, rrs)
	if err != nil {
		return err
	}
	at, err := f.addresses(e.target, e.port)
	if err != nil {
		return err
	}
	if len(e.hints) != 1 || net.JoinHostPort(e.hints[0], strconv.Itoa(e.port)) != at[0] {
		return fmt.Errorf("the hints %v are not the addresses %v", e.hints, at)
	}
	_, err = f.get(t, "h3", at)
	return err
}

// byAltSvc begins with HTTP/2 and goes on over HTTP/3 where the answer says.
func (f *follower) byAltSvc(t *testing.T) error {
	t.Helper()
	at, err := f.addresses(host, 8443)
	if err != nil {
		return err
	}
	first, err := f.get(t, "h2", at)
	if err != nil {
		return err
	}
	port, err := alternative(first.header.Get("Alt-Svc"))
	if err != nil {
		return err
	}
	if at, err = f.addresses(host, port); err != nil {
		return err
	}
	_, err = f.get(t, "h3", at)
	return err
}

// TestUpgrade follows both ways to HTTP/3 as clients of each continent do, and counts at
// the edge which they come to.
func TestUpgrade(t *testing.T) {
	scenario(t, "upgrade")
	n := run(t, setup{net: "127.75"})
	resolver := net.JoinHostPort(n.unbound(t), "53")
	for _, l := range []land{{"193.0.6.0/24", "fra"}, {"199.43.0.0/24", "iad"}, {"165.21.83.0/24", "sin"}} {
		f := &follower{n: n, resolver: resolver, from: netip.MustParsePrefix(l.client)}
		all, h2, h3 := newMeters(t, n, l.pop)
		if err := f.byRecord(t); err != nil {
			t.Errorf("%s, by the HTTPS record: %v", l.pop, err)
		}
		h3.expect(t, 1)
		h2.expect(t, 0)
		all.expect(t, 1)
		if err := f.byAltSvc(t); err != nil {
			t.Errorf("%s, by Alt-Svc: %v", l.pop, err)
		}
		h2.expect(t, 1)
		h3.expect(t, 1)
		all.expect(t, 2)
	}
}

// newMeters count the requests to all edges, and to one over two protocols.
func newMeters(t *testing.T, n *network, pop string) (all, h2, h3 *meter) {
	t.Helper()
	const name = "hither_edge_requests_total"
	all = newMeter(t, "requests to all edges", func(t *testing.T) (sum int64) {
		for p := range pops {
			sum += n.counters(t, "edge-"+p).sum(name)
		}
		return sum
	})
	return all, n.meter(t, "edge-"+pop, name, "proto", "h2"), n.meter(t, "edge-"+pop, name, "proto", "h3")
}
