package server

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"hither/deploy"
	"hither/dns/geo"
	"hither/dns/steer"
	"hither/dns/zone"
)

// A steered name is answered with PoPs of its site.
type steered struct {
	site    string
	ttl     uint32
	answers int
	serves  []bool // PoPs by their index in the network file
}

func newSteered(n *deploy.Network, st *deploy.Steered) *steered {
	s := &steered{site: st.Site, ttl: uint32(time.Duration(st.TTL) / time.Second), answers: st.Answers, serves: make([]bool, len(n.PoPs))}
	for i := range n.PoPs {
		s.serves[i] = slices.ContainsFunc(n.SitesOf(&n.PoPs[i]), func(site *deploy.Site) bool { return site.Name == st.Site })
	}
	return s
}

// otherPorts are the ports of the site's PoPs which an HTTPS record at the name alone would not be found for.
func (st *steered) otherPorts(n *deploy.Network) []int {
	var ports []int
	for i := range n.PoPs {
		port := n.EdgeOf(n.PoPs[i].Name).Listen.Public
		if st.serves[i] && port != 0 && port != 443 && !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports
}

// client is the network that a question comes from: the client's where it was told, else the address that asked. An
// option of /0 tells to look no further than the latter (RFC 7871 section 7.1.2).
func (r *reply) client() (p netip.Prefix, told bool) {
	if e := r.q.edns; e != nil && e.subnet != nil && e.subnet.prefix.IsValid() {
		return e.subnet.prefix, true
	}
	p, _ = r.from.Prefix(r.from.BitLen()) // its whole length is never too long
	return p, false
}

// families are the address families that a type is answered from.
func families(qtype uint16) []int {
	switch qtype {
	case dns.TypeA:
		return []int{4}
	case dns.TypeAAAA:
		return []int{6}
	}
	return []int{4, 6} // the hints of HTTPS
}

// A choice is which PoPs a client gets, by family.
type choice struct {
	client netip.Prefix
	told   bool // by a client subnet
	found  geo.Found
	picked [2]steer.Answer // IPv4, IPv6
	room   [2][4]int
}

func slot(family int) int { return (family - 4) / 2 }

// choose finds a client's PoPs.
func (r *reply) choose(w *world, st *steered, qtype uint16, c *choice) {
	c.client, c.told = r.client()
	c.found = w.geo.Lookup(c.client.Addr())
	for _, family := range families(qtype) {
		i := slot(family)
		c.picked[i] = w.pops.now.Pick(st.question(c, family), c.room[i][:0])
	}
}

// question is what dns/steer is asked.
func (st *steered) question(c *choice, family int) steer.Question {
	return steer.Question{Client: c.client, Found: c.found, Family: family, Answers: st.answers, Site: st.serves}
}

// scope is the prefix length for which the choice holds.
func (c *choice) scope(w *world, st *steered, qtype uint16) int {
	if !c.told || !w.pops.vary(st, qtype) {
		return 0 // nobody was told of, or everybody gets this answer
	}
	hashed := max(c.picked[0].HashBits, c.picked[1].HashBits)
	hashed = max(hashed, int(c.picked[0].TimeBits), int(c.picked[1].TimeBits))
	if hashed > 0 && c.client.Addr().Is4In6() {
		hashed += 96 // it was counted in the IPv4 address
	}
	return max(c.found.Bits, hashed)
}

// steered answers with the PoPs best for the client.
func (s *Server) steered(r *reply, w *world, z *zone.Zone, res zone.Result) {
	st := res.Dynamic.Value.(*steered)
	var c choice
	r.choose(w, st, r.q.qtype, &c)
	owner := res.Name
	if len(res.Answer) == 0 {
		owner = r.q.name
	}
	found := 0
	switch r.q.qtype {
	case dns.TypeA, dns.TypeAAAA:
		family := families(r.q.qtype)[0]
		addrs := w.pops.ofAll(c.picked[slot(family)].PoPs, family)
		if found = len(addrs); r.msg != nil && len(res.Answer) == 0 {
			r.plain = plain{st.ttl, addrs}
			break
		}
		for _, a := range addrs {
			r.Answer = append(r.Answer, address(owner, st.ttl, a))
		}
	case dns.TypeHTTPS:
		rrs := w.pops.https(owner, st.ttl, &c)
		found = len(rrs)
		r.Answer = append(r.Answer, rrs...)
	}
	if found == 0 {
		r.Ns = append(r.Ns, z.NegativeAuthority()...)
	}
	r.scope = max(r.scope, c.scope(w, st, r.q.qtype))
	if r.trace != nil {
		r.trace.steered, r.trace.choice = st, c
		return
	}
	s.count.steered(w, &c)
}

func address(owner string, ttl uint32, a netip.Addr) dns.RR {
	h := dns.RR_Header{Name: owner, Class: dns.ClassINET, Ttl: ttl}
	if a.Is4() {
		h.Rrtype = dns.TypeA
		return &dns.A{Hdr: h, A: a.AsSlice()}
	}
	h.Rrtype = dns.TypeAAAA
	return &dns.AAAA{Hdr: h, AAAA: a.AsSlice()}
}

// siteOf is the name whose HTTPS record stands at owner: owner without a port's prefix (RFC 9460 section 9.1).
func siteOf(owner string) (name string, port bool) {
	labels := dns.SplitDomainName(owner)
	if len(labels) > 2 && strings.HasPrefix(labels[0], "_") && strings.EqualFold(labels[1], "_https") {
		return dns.Fqdn(strings.Join(labels[2:], ".")), true
	}
	return owner, false
}

// alias answers an ALIAS: with the addresses of its target at its own name.
func (s *Server) alias(r *reply, w *world, z *zone.Zone, res zone.Result, depth int) {
	owner := res.Name
	if len(res.Answer) == 0 {
		owner = r.q.name
	}
	found, ok := s.addresses(r, w, res.Alias.Target, depth)
	if !ok {
		r.Answer, r.Rcode = nil, dns.RcodeServerFailure
		return
	}
	for _, rr := range found {
		rr = dns.Copy(rr)
		rr.Header().Name, rr.Header().Ttl = owner, min(res.Alias.TTL, rr.Header().Ttl)
		r.Answer = append(r.Answer, rr)
	}
	if len(found) == 0 {
		r.Ns = append(r.Ns, z.NegativeAuthority()...)
	}
}

// addresses finds those of an ALIAS's target, in our zones or, looked up before, outside. ok is false where they cannot be
// known: nobody could look them up, or names point to each other.
func (s *Server) addresses(r *reply, w *world, target string, depth int) (rrs []dns.RR, ok bool) {
	qtype := r.q.qtype
	z := w.zoneOf(target, qtype)
	switch {
	case z == nil:
		return s.aliases.answer(target, qtype)
	case depth == 0:
		return nil, false
	}
	q := *r.q
	q.name = target
	at := &reply{q: &q, from: r.from, trace: r.trace}
	res := s.resolve(at, w, z, target, depth-1)
	r.scope = max(r.scope, at.scope)
	if at.Rcode == dns.RcodeServerFailure {
		return nil, false
	}
	for _, rr := range at.Answer {
		if rr.Header().Rrtype == qtype { // and not the CNAMEs that led there
			rrs = append(rrs, rr)
		}
	}
	switch {
	case res.Kind == zone.Delegation:
		return s.aliases.answer(res.Name, qtype)
	case res.Kind == zone.Success && len(rrs) == 0: // CNAMEs lead out of the zone
		return s.addresses(r, w, res.Name, depth-1)
	}
	return rrs, true
}
