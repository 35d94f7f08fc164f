package zone

import (
	"slices"

	"github.com/miekg/dns"
)

// A Kind says what a look-up came to.
type Kind uint8

const (
	Outside    Kind = iota // the name is not in this zone; nothing else is set
	Success                // Answer holds it, or a chain of CNAMEs that leads out of the zone (or nowhere: a loop)
	NoData                 // the name exists, this type does not (RFC 2308 section 2.2)
	NXDomain               // there is no such name, and none below it (RFC 8020)
	YXDomain               // a DNAME leads to a name that is too long (RFC 6672 section 2.2)
	Delegation             // Authority holds the NS records of a zone below, Additional the addresses to reach it
	Dynamic                // the caller answers for Result.Name, by Result.Dynamic
	Alias                  // the caller answers for Result.Name, by Result.Alias
)

// String is the kind in lower case, as a log or an explanation has it.
func (k Kind) String() string {
	return [...]string{"outside", "success", "nodata", "nxdomain", "yxdomain", "delegation", "dynamic", "alias"}[k]
}

// A Result is what was found. Its records are the zone's own and shared, and so are the arrays below the slices: a caller copies
// before it changes one, and appends to none.
type Result struct {
	Kind Kind

	// Answer, Authority and Additional are the sections of a response. With NoData and NXDomain, Authority is the zone's
	// NegativeAuthority. Before what Kind says, Answer may hold the chain of CNAME and DNAME records that led there.
	Answer, Authority, Additional []dns.RR

	// Name is where the look-up ended, canonical: the name asked for, or what the chain led to.
	Name string

	// Dynamic and Alias belong to the kinds of these names; they are shared.
	Dynamic *DynamicName
	Alias   *AliasTarget
}

// maxChain is how many CNAMEs are followed. New finds longer chains of the zone; those that grow by a DNAME which points
// below itself end here.
const maxChain = 16

// Lookup finds the answer to a question of class IN. The name is absolute and valid on the wire, in any case; qtype is any but
// the transfer types, which no look-up answers. ANY tells only whether the name exists, by Success or NoData.
func (z *Zone) Lookup(name string, qtype uint16) Result {
	var r Result
	key, ok := canonical(name)
	if !ok || !within(key, z.name) {
		return r
	}
	z.follow(&r, dns.Fqdn(name), key, qtype)
	return r
}

// follow is the look-up with its CNAMEs. It reports whether the chain came to an end.
func (z *Zone) follow(r *Result, name, key string, qtype uint16) (ended bool) {
	var seen [maxChain]string
	for i := range seen {
		for _, before := range seen[:i] {
			if before == key {
				r.Kind = Success
				return false
			}
		}
		seen[i] = key
		next := z.step(r, name, key, qtype)
		if next == "" {
			return true
		}
		var ok bool
		if key, ok = canonical(next); !ok {
			r.Kind = Success
			return true
		}
		name, r.Name = next, key
		if !within(key, z.name) {
			r.Kind = Success
			return true
		}
	}
	r.Kind = Success
	return false
}

// step looks one name up, and returns the name with which to go on, or "".
func (z *Zone) step(r *Result, name, key string, qtype uint16) (next string) {
	r.Name = key
	n := z.nodes[key]
	exact := n != nil
	if !exact {
		above := z.encloser(key)
		switch {
		case above.cut != nil:
			n = above
		case above.set(dns.TypeDNAME) != nil:
			return z.substitute(r, above, name, key, qtype)
		case above.wildcard != nil:
			n = above.wildcard
		default:
			r.Kind, r.Authority = NXDomain, z.negative
			return ""
		}
	}
	// The parent answers for DS alone at a cut (RFC 4035 section 3.1.4.1), and for nothing below one.
	if n.cut != nil && (n.cut != n || !exact || qtype != dns.TypeDS) {
		ns := n.cut.set(dns.TypeNS)
		r.Kind, r.Authority = Delegation, ns
		r.Additional = z.addresses(r.Additional, ns, n.cut, "")
		return ""
	}
	if qtype == dns.TypeANY {
		if r.Kind = Success; !n.hasData() {
			r.Kind, r.Authority = NoData, z.negative
		}
		return ""
	}
	if n.answers(qtype) {
		r.Kind, r.Dynamic = Dynamic, n.dynamic
		return ""
	}
	if n.alias != nil && isAddress(qtype) {
		r.Kind, r.Alias = Alias, n.alias
		return ""
	}
	found := n.set(qtype)
	cname := n.set(dns.TypeCNAME)
	switch {
	case found != nil:
		r.Kind = Success
		if !exact {
			found = at(name, found)
		}
		r.add(found)
		r.Additional = z.addresses(r.Additional, found, n, name)
	case cname != nil:
		next = cname[0].(*dns.CNAME).Target
		if !exact {
			cname = at(name, cname)
		}
		r.add(cname)
	default:
		r.Kind, r.Authority = NoData, z.negative
	}
	return next
}

// encloser is the closest existing ancestor of a name that does not exist (RFC 4592 section 3.3.1). It goes down from the zone's
// name, so its cost is the depth of the zone and not that of a name somebody made up.
func (z *Zone) encloser(key string) *node {
	var at [maxLabels]int
	n := starts(key, &at)
	if n > maxLabels {
		return z.apex
	}
	e := z.apex
	for i := n - z.labels - 1; i >= 0; i-- {
		below := z.nodes[key[at[i]:]]
		if below == nil {
			break
		}
		e = below
	}
	return e
}

// substitute answers below a DNAME (RFC 6672 section 3.2): with it, and a CNAME made from it that has its TTL.
func (z *Zone) substitute(r *Result, n *node, name, key string, qtype uint16) (next string) {
	dname := n.set(dns.TypeDNAME)[0].(*dns.DNAME)
	r.add(n.set(dns.TypeDNAME))
	if len(name) != len(key) { // spelled with escapes of its own
		name = key
	}
	target := name
	if n.name != "." {
		target = name[:len(name)-len(n.name)]
	}
	if dname.Target != "." {
		target += dname.Target
	}
	if wireable(target) != nil {
		r.Kind = YXDomain
		return ""
	}
	r.add([]dns.RR{&dns.CNAME{
		Hdr:    dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: dname.Hdr.Ttl},
		Target: target,
	}})
	if qtype == dns.TypeCNAME || qtype == dns.TypeANY {
		r.Kind = Success
		return ""
	}
	return target
}

// add appends to the answer without writing into an array of the zone. A DNAME that a chain passes again is there already.
func (r *Result) add(rrs []dns.RR) {
	switch {
	case rrs[0].Header().Rrtype == dns.TypeDNAME && slices.Contains(r.Answer, rrs[0]):
		return
	case r.Answer == nil:
		r.Answer = rrs[:len(rrs):len(rrs)]
		return
	}
	r.Answer = append(r.Answer, rrs...)
}

// at returns copies of a wildcard's records with the name that was asked for (RFC 4592 section 3.3.2).
func at(name string, rrs []dns.RR) []dns.RR {
	made := make([]dns.RR, len(rrs))
	for i, rr := range rrs {
		made[i] = dns.Copy(rr)
		made[i].Header().Name = name
	}
	return made
}
