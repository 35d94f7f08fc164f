package zone

import (
	"slices"

	"github.com/miekg/dns"
)

// A node is a name that exists: one with records, or one above such a name (an empty non-terminal, RFC 4592 section 2.2.2).
type node struct {
	name     string // canonical
	sets     []rrset
	dynamic  *DynamicName
	alias    *AliasTarget
	parent   *node // nil at the zone's name
	cut      *node // the delegation at or above; nil in what the zone answers for
	wildcard *node // the child `*`
	*draft
}

// An rrset is the records of one type at a name.
type rrset struct {
	rtype uint16
	rrs   []dns.RR
	at    []place // of each; nil once the zone is built
}

// A draft is what is known of a node while the zone is built.
type draft struct {
	aliasAt, dynamicAt place
	dname              *node // with a DNAME, above
}

// set returns the records of a type, nil where there are none. A name has few types, so they are searched in turn.
func (n *node) set(rtype uint16) []dns.RR {
	if s := n.rrset(rtype); s != nil {
		return s.rrs
	}
	return nil
}

func (n *node) rrset(rtype uint16) *rrset {
	for i := range n.sets {
		if n.sets[i].rtype == rtype {
			return &n.sets[i]
		}
	}
	return nil
}

// hasData reports whether the name is more than an empty non-terminal.
func (n *node) hasData() bool { return len(n.sets) > 0 || n.dynamic != nil || n.alias != nil }

// answers reports whether the caller makes the records of a type.
func (n *node) answers(qtype uint16) bool {
	return n.dynamic != nil && slices.Contains(n.dynamic.Types, qtype)
}

func isAddress(rtype uint16) bool { return rtype == dns.TypeA || rtype == dns.TypeAAAA }

// target is the name whose addresses a client needs next; "" where there is none. "." as the target of a service is its
// owner (RFC 9460 section 2.5.2).
func target(rr dns.RR, owner string) string {
	switch rr := rr.(type) {
	case *dns.NS:
		return rr.Ns
	case *dns.MX:
		return rr.Mx
	case *dns.SRV:
		return rr.Target
	case *dns.SVCB:
		return service(rr, owner)
	case *dns.HTTPS:
		return service(&rr.SVCB, owner)
	}
	return ""
}

func service(s *dns.SVCB, owner string) string {
	if s.Target == "." && s.Priority > 0 {
		return owner
	}
	return s.Target
}

// addresses appends the A and AAAA records of the targets of a set of node n, owned by owner: for the NS records of a cut those below
// it too, which are its glue (RFC 9471), else what the zone answers for.
func (z *Zone) addresses(to, set []dns.RR, n *node, owner string) []dns.RR {
	switch set[0].Header().Rrtype {
	case dns.TypeNS, dns.TypeMX, dns.TypeSRV, dns.TypeSVCB, dns.TypeHTTPS:
	default:
		return to
	}
	for i, rr := range set {
		name := target(rr, owner)
		if name == "." || repeats(set[:i], name, owner) {
			continue
		}
		key, ok := canonical(name)
		if !ok || !within(key, z.name) {
			continue
		}
		t := z.nodes[key]
		exact := t != nil
		if !exact {
			if above := z.encloser(key); above.cut == nil && above.set(dns.TypeDNAME) == nil {
				t = above.wildcard
			}
		}
		if t == nil || t.cut != nil && n.cut == nil {
			continue
		}
		for _, rtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
			found := t.set(rtype)
			if !exact {
				found = at(name, found)
			}
			to = append(to, found...)
		}
	}
	return to
}

// repeats reports whether a target was in a record before: services often differ in their port alone.
func repeats(before []dns.RR, name, owner string) bool {
	if len(before) > 16 {
		before = before[len(before)-16:] // what comes twice then costs some bytes
	}
	return slices.ContainsFunc(before, func(rr dns.RR) bool { return target(rr, owner) == name })
}
