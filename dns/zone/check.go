package zone

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// check finds what is wrong with records beside each other.
func (b *builder) check() {
	for _, n := range b.order { // parents first
		b.inherit(n)
		for i := range n.sets {
			b.checkSet(n, &n.sets[i])
		}
		b.checkPlace(n)
		b.checkBeside(n)
	}
	for _, n := range b.order {
		b.checkTargets(n)
	}
}

// inherit marks what lies below a delegation or a DNAME.
func (b *builder) inherit(n *node) {
	above := n.parent
	if above == nil {
		return
	}
	if n.cut = above.cut; n.cut == nil && n.rrset(dns.TypeNS) != nil {
		n.cut = n
	}
	if n.dname = above.dname; n.dname == nil && above.rrset(dns.TypeDNAME) != nil {
		n.dname = above
	}
}

// maxSet is how many bytes of a message are left for an answer: less the header, an OPT record with a client subnet, and
// the end of the question (RFC 1035 section 4.2.2, RFC 7871 section 6).
const maxSet = dns.MaxMsgSize - 1 - 12 - 35 - 4

// checkSet finds what is wrong with records of one type at a name.
func (b *builder) checkSet(n *node, s *rrset) {
	size, ttl := len(n.name)+1, s.rrs[0].Header().Ttl
	var seen map[string][]int
	if len(s.rrs) > 1 {
		seen = make(map[string][]int, len(s.rrs))
	}
	for i, rr := range s.rrs {
		h := rr.Header()
		if h.Ttl != ttl {
			b.wrong(s.at[i], "the %s records of %s have the TTLs %d (%s) and %d; give all the same (RFC 2181 section 5.2)",
				dns.Type(s.rtype), b.short(n), ttl, b.where(s.at[0]), h.Ttl)
		}
		wire, err := b.pack(rr)
		if err != nil {
			b.wrong(s.at[i], "%s record: %s", dns.Type(s.rtype), plain(err, s.rtype))
			continue
		}
		size += len(wire) - ownerBytes(wire) + 2 // a pointer to the question's name
		if seen == nil {
			continue
		}
		data := lower(string(wire))
		for _, before := range seen[data] {
			if dns.IsDuplicate(s.rrs[before], rr) {
				b.wrong(s.at[i], "the %s record of %s is there already (%s); keep one", dns.Type(s.rtype), b.short(n), b.where(s.at[before]))
				break
			}
		}
		seen[data] = append(seen[data], i)
	}
	if size > maxSet {
		b.wrong(s.at[0], "the %d %s records of %s have %d bytes, which no message holds; %d is the most", len(s.rrs), dns.Type(s.rtype), b.short(n), size, maxSet)
	}
}

// pack writes a record as it is sent alone, until the next one.
func (b *builder) pack(rr dns.RR) ([]byte, error) {
	if need := packedMost(rr); len(b.wire) < need {
		b.wire = make([]byte, 2*need)
	}
	end, err := dns.PackRR(rr, b.wire, 0, nil, false)
	return b.wire[:end], err
}

// ownerBytes is the length of the name with which a packed record begins.
func ownerBytes(wire []byte) int {
	n := 0
	for wire[n] != 0 {
		n += int(wire[n]) + 1
	}
	return n + 1
}

// checkPlace finds records where they may not be.
func (b *builder) checkPlace(n *node) {
	wild := strings.HasPrefix(n.name, "*.")
	for i := range n.sets {
		s := &n.sets[i]
		at := s.at[0]
		switch {
		case s.rtype == dns.TypeSOA && n != b.apex:
			b.wrong(at, "a SOA record stands at %s; it belongs to the zone's own name, %s", b.short(n), b.name)
		case s.rtype == dns.TypeSOA && len(s.rrs) > 1:
			b.wrong(s.at[1], "the zone has a SOA record already (%s); keep one", b.where(at))
		case s.rtype == dns.TypeDS && n == b.apex:
			b.wrong(at, "a DS record stands at the zone's own name; it belongs to the zone above")
		case s.rtype == dns.TypeDS && n.rrset(dns.TypeNS) == nil:
			b.wrong(at, "%s has a DS record and no NS records; it belongs to a delegation", b.short(n))
		case wild && (s.rtype == dns.TypeNS || s.rtype == dns.TypeDNAME):
			b.wrong(at, "%s has %s records, which mean nothing at a wildcard (RFC 4592 section 4); write the names one by one", b.short(n), dns.Type(s.rtype))
		case s.rtype == dns.TypeDNAME && len(s.rrs) > 1:
			b.wrong(s.at[1], "%s has a DNAME already (%s); keep one", b.short(n), b.where(at))
		case s.rtype == dns.TypeDNAME && b.growing(n, s.rrs[0]):
			b.wrong(at, "the DNAME of %s points to a name at or below itself, so every name would grow without end", b.short(n))
		case s.rtype == dns.TypeDNAME && n != b.apex && n.rrset(dns.TypeNS) != nil:
			b.wrong(at, "%s has a DNAME beside a delegation; keep one of them (RFC 6672 section 2.3)", b.short(n))
		}
		b.checkCut(n, s)
		b.checkDNAME(n, at)
	}
	if n.alias != nil {
		b.checkDNAME(n, n.aliasAt)
		if n.cut != nil {
			b.wrong(n.aliasAt, "%s is delegated to other servers at %s; its ALIAS belongs there", b.short(n), b.short(n.cut))
		}
		if n.alias.Target == n.name {
			b.wrong(n.aliasAt, "the ALIAS of %s points to itself", b.short(n))
		}
	}
	if n.dynamic != nil {
		b.checkDNAME(n, n.dynamicAt)
		if n.cut != nil {
			b.wrong(n.dynamicAt, "%s is delegated to other servers at %s, which are asked instead", b.short(n), b.short(n.cut))
		}
	}
}

// growing reports whether a DNAME leads below itself.
func (b *builder) growing(n *node, rr dns.RR) bool {
	key, ok := canonical(rr.(*dns.DNAME).Target)
	return ok && within(key, n.name)
}

// checkCut finds records that another zone holds.
func (b *builder) checkCut(n *node, s *rrset) {
	switch {
	case n.cut == nil, isAddress(s.rtype), n.cut == n && (s.rtype == dns.TypeNS || s.rtype == dns.TypeDS || s.rtype == dns.TypeDNAME):
		return
	}
	to := " at " + b.short(n.cut)
	if n.cut == n {
		to = ""
	}
	b.wrong(s.at[0], "%s is delegated to other servers%s; its %s records belong there, and only addresses may stand here as glue",
		b.short(n), to, dns.Type(s.rtype))
}

// checkDNAME finds names which a DNAME replaces.
func (b *builder) checkDNAME(n *node, at place) {
	if n.dname != nil {
		b.wrong(at, "%s is below %s, whose DNAME (%s) stands for all names there; take one of them out (RFC 6672 section 2.4)",
			b.short(n), b.short(n.dname), b.where(n.dname.rrset(dns.TypeDNAME).at[0]))
	}
}

// checkBeside finds records of one name that exclude each other.
func (b *builder) checkBeside(n *node) {
	if c := n.rrset(dns.TypeCNAME); c != nil {
		b.checkCNAME(n, c)
	}
	if n.alias != nil {
		for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
			if s := n.rrset(t); s != nil {
				b.wrong(s.at[0], "%s has an ALIAS (%s), which stands for its addresses; take the %s records or the ALIAS out", b.short(n), b.where(n.aliasAt), dns.Type(t))
			}
		}
	}
	if n.dynamic == nil {
		return
	}
	for _, t := range n.dynamic.Types {
		if s := n.rrset(t); s != nil {
			b.wrong(s.at[0], "the %s records of %s are made for each client (%s); take this one out", dns.Type(t), b.short(n), b.where(n.dynamicAt))
		}
		if n.alias != nil && isAddress(t) {
			b.wrong(n.aliasAt, "the %s records of %s are made for each client (%s); take the ALIAS out", dns.Type(t), b.short(n), b.where(n.dynamicAt))
		}
	}
}

func (b *builder) checkCNAME(n *node, c *rrset) {
	if len(c.rrs) > 1 {
		b.wrong(c.at[1], "%s has a CNAME already (%s); keep one", b.short(n), b.where(c.at[0]))
	}
	hint := "; take one of them out (RFC 1034 section 3.6.2)"
	if n == b.apex {
		hint = "; the zone's own name has records of its own, so write ALIAS instead"
	}
	for _, s := range n.sets {
		if s.rtype != dns.TypeCNAME {
			b.wrong(c.at[0], "%s has a CNAME beside %s records (%s)%s", b.short(n), dns.Type(s.rtype), b.where(s.at[0]), hint)
			break
		}
	}
	if n.alias != nil {
		b.wrong(c.at[0], "%s has a CNAME beside an ALIAS (%s)%s", b.short(n), b.where(n.aliasAt), hint)
	}
	if n.dynamic != nil {
		b.wrong(c.at[0], "%s has a CNAME, and its records are made for each client (%s); take one of them out", b.short(n), b.where(n.dynamicAt))
	}
}

// checkTargets finds names in data that lead nowhere inside this zone. What lies in another one is its own matter.
func (b *builder) checkTargets(n *node) {
	for i := range n.sets {
		s := &n.sets[i]
		switch s.rtype {
		case dns.TypeCNAME:
			var r Result
			if n.cut == nil && len(s.rrs) == 1 && !b.follow(&r, n.name, n.name, dns.TypeA) {
				b.wrong(s.at[0], "the CNAME of %s leads into a loop, or a chain longer than %d", b.short(n), maxChain)
			}
		case dns.TypeNS, dns.TypeMX, dns.TypeSRV:
			for j, rr := range s.rrs {
				if why := b.unreachable(target(rr, n.name), n, s.rtype); why != "" {
					b.wrong(s.at[j], "the %s record of %s names %s, %s", dns.Type(s.rtype), b.short(n), quote(target(rr, n.name)), why)
				}
			}
		}
	}
}

// unreachable says why a client that is sent to a name of this zone finds no address there.
func (b *builder) unreachable(name string, from *node, rtype uint16) string {
	key, ok := canonical(name)
	if !ok || key == "." || !within(key, b.name) {
		return ""
	}
	var r Result
	switch n := b.nodes[key]; {
	case from.cut != nil && rtype == dns.TypeNS:
		below := within(key, from.cut.name)
		if below && (n == nil || n.set(dns.TypeA) == nil && n.set(dns.TypeAAAA) == nil) && !b.partial && !b.unread[key] {
			return "which is in the delegated zone itself; add its A or AAAA record here as glue"
		}
		if below {
			return ""
		}
	case from.cut != nil:
		return "" // told of as a record of another zone
	}
	for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
		r = Result{}
		b.follow(&r, key, key, t)
		switch {
		case r.Name != key, len(r.Answer) > 0 && r.Answer[0].Header().Rrtype == dns.TypeCNAME:
			return "which is a CNAME; name what it points to (RFC 2181 section 10.3)"
		case b.partial || b.unread[key]:
			return "" // it may be in what could not be read, and is then no mistake of its own
		case r.Kind == NXDomain:
			return fmt.Sprintf("which does not exist in this zone; add it, or end it with a dot if it is meant outside of %s", b.name)
		case r.Kind != NoData:
			return ""
		}
	}
	return "which has no A or AAAA record; add one"
}
