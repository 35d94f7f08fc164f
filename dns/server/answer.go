package server

import (
	"net/netip"

	"github.com/miekg/dns"

	"hither/dns/zone"
)

// maxUDP is the largest datagram sent, and the size of our own receive buffer as we tell it: what goes through every
// path without fragments (RFC 9715; the DNS flag day of 2020).
const maxUDP = 1232

// anyTTL is how long the answer to ANY may be kept.
const anyTTL = 3600

// A reply is a message being made.
type reply struct {
	dns.Msg
	q     *question
	from  netip.Addr // the client's or, more often, its resolver's
	glue  bool       // Extra holds addresses without which a delegation may not be followed
	scope int        // prefix length for which the answer holds, told where the question had a client subnet
	msg   []byte     // the question as it came, where the reply may be a plain one
	plain plain

	trace *trace // for an operator, who wants to know why, and is not counted; nil for clients
}

// answer returns the reply to a message, appended to b where it fits there; nil is silence. The reading order is the life
// of a question. It is safe for concurrent use, and waits for nothing.
func (s *Server) answer(msg []byte, from netip.Addr, tr transport, b []byte) []byte {
	q, wrong := parse(msg)
	if wrong != faultNone {
		s.count.faults.WithLabelValues(string(wrong)).Inc()
		if wrong.silent() {
			return nil
		}
	}
	r := &reply{q: &q, from: from}
	if tr == overUDP {
		r.msg = msg
	}
	if r.Rcode = wrong.rcode(); wrong == faultNone {
		s.look(r, s.world.Load())
	}
	out := r.packPlain(b)
	if out == nil {
		out = r.pack(tr, b)
	}
	s.count.answered(tr, q.qtype, r.Rcode)
	return out
}

// begin copies what a reply repeats.
func (r *reply) begin() {
	q := r.q
	r.Id, r.Response, r.Opcode = q.id, true, q.opcode
	r.RecursionDesired = q.flags&0x0100 != 0
	r.CheckingDisabled = q.flags&0x0010 != 0 // RFC 4035 section 3.1.6
	if q.name != "" {
		r.Question = []dns.Question{{Name: q.name, Qtype: q.qtype, Qclass: q.class}}
	}
}

// look finds the answer to a proper question.
func (s *Server) look(r *reply, w *world) {
	q := r.q
	z := w.zoneOf(q.name, q.qtype)
	switch {
	case z == nil, q.class != dns.ClassINET, q.qtype == dns.TypeAXFR, q.qtype == dns.TypeIXFR:
		r.Rcode = dns.RcodeRefused
		return
	case q.qtype == dns.TypeANY:
		r.any(z)
		return
	}
	s.resolve(r, w, z, q.name, aliasDepth)
}

// aliasDepth bounds ALIAS records which point to each other.
const aliasDepth = 8

// resolve answers for a name of a zone: the question's own, or the target of an ALIAS. It returns what the zone found.
func (s *Server) resolve(r *reply, w *world, z *zone.Zone, name string, depth int) zone.Result {
	res := z.Lookup(name, r.q.qtype)
	// AA tells of the first name in the answer (RFC 1034 section 4.3.2): a chain that ends at a delegation has it.
	r.Authoritative, r.glue = res.Kind != zone.Delegation || len(res.Answer) > 0, res.Kind == zone.Delegation
	r.add(&r.Answer, res.Answer)
	r.add(&r.Ns, res.Authority)
	r.add(&r.Extra, res.Additional)
	switch res.Kind {
	case zone.Outside: // a name that is none on the wire; parse let no such name pass
		r.Rcode = dns.RcodeRefused
	case zone.YXDomain:
		r.Rcode = dns.RcodeYXDomain
	case zone.NXDomain:
		// With a chain of CNAMEs before it, the code tells of its end (RFC 6604 section 3).
		r.Rcode = dns.RcodeNameError
	case zone.Dynamic:
		s.steered(r, w, z, res)
	case zone.Alias:
		s.alias(r, w, z, res, depth)
	}
	return res
}

// add appends records of the zone, which are shared: those at the name that was asked are copied and spelled as it was.
func (r *reply) add(to *[]dns.RR, rrs []dns.RR) {
	for _, rr := range rrs {
		if owner := rr.Header().Name; owner != r.q.name && sameName(owner, r.q.name) {
			rr = dns.Copy(rr)
			rr.Header().Name = r.q.name
		}
		*to = append(*to, rr)
	}
}

// any answers ANY with as little as is allowed (RFC 8482 section 4.2), so that a small question never makes a large
// answer to a forged address.
func (r *reply) any(z *zone.Zone) {
	res := z.Lookup(r.q.name, dns.TypeANY)
	r.Authoritative, r.glue = res.Kind != zone.Delegation, res.Kind == zone.Delegation
	switch res.Kind {
	case zone.NXDomain, zone.Delegation, zone.NoData:
		r.add(&r.Ns, res.Authority)
		r.add(&r.Extra, res.Additional)
		if res.Kind == zone.NXDomain {
			r.Rcode = dns.RcodeNameError
		}
	default:
		r.Answer = []dns.RR{&dns.HINFO{
			Hdr: dns.RR_Header{Name: r.q.name, Rrtype: dns.TypeHINFO, Class: dns.ClassINET, Ttl: anyTTL}, Cpu: "RFC8482",
		}}
	}
}

// limit is how long the reply may be.
func (r *reply) limit(tr transport) int {
	switch {
	case tr != overUDP:
		return dns.MaxMsgSize - 1
	case r.q.edns != nil:
		return min(r.q.edns.size, maxUDP)
	}
	return dns.MinMsgSize
}

// pack writes the reply as its transport can take it.
func (r *reply) pack(tr transport, b []byte) []byte {
	r.begin()
	limit := r.limit(tr)
	if !r.fits(limit-r.optLen()) && !r.glue {
		r.Extra = nil // that they are missing is no truncation (RFC 2181 section 9), but for glue (RFC 9471 section 3)
	}
	r.opt()
	if !r.fits(limit) {
		// What is left of a record set would be taken for the whole by some: send none (RFC 2181 section 9).
		r.Answer, r.Ns, r.Extra, r.Truncated = nil, nil, nil, true
		r.opt()
	}
	out, err := r.PackBuffer(b[:cap(b)])
	if err != nil { // a name of a zone that cannot be written: tell so
		r.Answer, r.Ns, r.Extra = nil, nil, nil
		r.Rcode = dns.RcodeServerFailure
		r.opt()
		if out, err = r.PackBuffer(b[:cap(b)]); err != nil {
			return nil
		}
	}
	return out
}

// fits reports whether the reply has at most so many bytes, and has names compressed from now on. How long it is without that costs
// little to know, and is mostly enough; so is the number of records, where a name has thousands.
func (r *reply) fits(limit int) bool {
	if (len(r.Answer)+len(r.Ns)+len(r.Extra))*leastRecord > limit {
		r.Compress = true
		return false
	}
	r.Compress = false
	small := r.Len() <= limit
	r.Compress = true
	return small || r.Len() <= limit
}

// leastRecord is a record of no data at the root.
const leastRecord = 11

// optLen is what opt adds.
func (r *reply) optLen() int {
	switch {
	case r.q.edns == nil:
		return 0
	case r.q.edns.subnet == nil:
		return 11
	}
	return 11 + 4 + 4 + len(r.q.edns.subnet.address)
}

// opt adds the OPT record to the reply of a client that sent one.
func (r *reply) opt() {
	e := r.q.edns
	if e == nil {
		if r.Rcode > 15 {
			r.Rcode = dns.RcodeFormatError
		}
		return
	}
	o := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	o.SetUDPSize(maxUDP)
	o.SetDo(e.do)
	if e.subnet != nil {
		o.Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: dns.EDNS0SUBNET, Data: e.subnet.reply(r.scope)}}
	}
	r.Extra = append(r.Extra, o)
}
