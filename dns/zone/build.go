package zone

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// A builder makes a zone, and collects what is wrong.
type builder struct {
	list
	*Zone
	bound   bound
	order   []*node // parents before children
	records int
	full    bool            // a bound is reached
	unread  map[string]bool // names of records that could not be read
	partial bool            // something could not be read whose names are not known
	wire    []byte          // for one record
}

func build(c Config, most bound) (*Zone, error) {
	b := &builder{
		list: list{file: c.File, dynamic: c.Dynamic}, Zone: &Zone{nodes: make(map[string]*node)}, bound: most, unread: make(map[string]bool),
	}
	if b.file == "" {
		b.file = "file"
	}
	if err := b.found(c.Name); err != nil {
		b.wrong(place{}, "the name of the zone: %v", err)
		return nil, b.err()
	}
	b.readRecords(c.Records)
	if c.File != "" || len(c.Data) > 0 {
		b.readFile(c.Data)
	}
	b.makeApex(c)
	for i := range c.Dynamic {
		b.addDynamic(c.Dynamic[i], place{fromDynamic, int32(i)})
	}
	b.check()
	if err := b.err(); err != nil {
		return nil, err
	}
	b.finish()
	return b.Zone, nil
}

// found makes the node of the zone's own name.
func (b *builder) found(name string) error {
	if name == "" {
		return fmt.Errorf("there is none; write one such as `example.org`")
	}
	full, err := absolute(name, ".")
	if err != nil {
		return err
	}
	b.name, _ = canonical(full)
	var at [maxLabels]int
	b.labels = starts(b.name, &at)
	b.apex = &node{name: b.name, draft: &draft{}}
	b.nodes[b.name] = b.apex
	b.order = append(b.order, b.apex)
	return nil
}

func (b *builder) readRecords(lines []string) {
	p := &parser{zone: b.name, origin: b.name, strict: true, bound: b.bound}
	for i, line := range lines {
		at := place{fromRecords, int32(i)}
		s := newSplitter([]byte(line), b.bound.entry)
		p.named = false
		e, ok, err := s.next()
		switch {
		case err != nil:
		case !ok:
			err = fmt.Errorf("the record is empty; write NAME TTL TYPE DATA, such as `ns1 300 A 192.0.2.1`")
		case s.pos < len(s.data):
			err = fmt.Errorf("a record is one line")
		default:
			err = b.entry(p, e, at)
		}
		if err != nil {
			b.partial = b.partial || !p.named
			b.wrong(at, "%v", err)
		}
	}
}

func (b *builder) readFile(data []byte) {
	if len(data) > b.bound.file {
		b.wrong(place{fromFile, 1}, "the file has %d bytes; a zone may have %d", len(data), b.bound.file)
		return
	}
	before := b.records + b.mistakes()
	data, marked := bytes.CutPrefix(data, []byte("\xef\xbb\xbf"))
	if marked {
		b.wrong(place{fromFile, 1}, "the file begins with a byte order mark (the bytes EF BB BF), which is no part of a zone file; save it as UTF-8 without one")
	}
	p := &parser{zone: b.name, origin: b.name, bound: b.bound, left: b.bound.generated}
	s := newSplitter(data, b.bound.entry)
	for !b.full {
		p.named = false
		e, ok, err := s.next()
		if !ok {
			if b.records+b.mistakes() == before {
				b.wrong(place{fromFile, 1}, "the file has no record; write the zone's records into it, or take the file out of the zone")
			}
			return
		}
		at := place{fromFile, int32(e.line)}
		if err == nil {
			err = b.entry(p, e, at)
		} else if !e.indented {
			p.lost = true
		}
		if err != nil {
			b.partial = b.partial || !p.named
			b.wrong(at, "%v", err)
		}
	}
}

// entry reads one entry with a parser.
func (b *builder) entry(p *parser, e entry, at place) error {
	err := p.entry(e, func(r record) { b.add(r, at) })
	if err != nil && p.named {
		key, _ := canonical(p.owner)
		b.unread[key] = true
	}
	return err
}

// add puts a record in its place.
func (b *builder) add(r record, at place) {
	if b.records++; b.records > b.bound.records {
		if !b.full {
			b.wrong(at, "the zone has more than %d records from here on", b.bound.records)
		}
		b.full, b.partial = true, true
		return
	}
	n := b.node(r.owner, at)
	switch {
	case n == nil:
	case r.alias == nil:
		if strings.Contains(r.owner, `\`) {
			r.rr.Header().Name, _ = asSent(r.owner)
		}
		b.addRR(n, r.rr, at)
	case n.alias != nil:
		b.wrong(at, "%s has an ALIAS already (%s); keep one", b.short(n), b.where(n.aliasAt))
	default:
		n.alias, n.aliasAt = r.alias, at
	}
}

func (b *builder) addRR(n *node, rr dns.RR, at place) {
	s := n.rrset(rr.Header().Rrtype)
	if s == nil {
		n.sets = append(n.sets, rrset{rtype: rr.Header().Rrtype})
		s = &n.sets[len(n.sets)-1]
	}
	s.rrs, s.at = append(s.rrs, rr), append(s.at, at)
}

// node returns the node of a name that stands at a place, made with those above it; nil where it may not be.
func (b *builder) node(name string, at place) *node {
	key, ok := canonical(name)
	switch {
	case !ok:
		b.wrong(at, "%s is not a domain name", quote(name))
		return nil
	case !within(key, b.name):
		b.wrong(at, "%s is outside the zone %s; write names relative to the zone, without a last dot", quote(name), b.name)
		return nil
	case len(b.nodes) > b.bound.names:
		if !b.full {
			b.wrong(at, "the zone has more than %d names from here on, with those between", b.bound.names)
		}
		b.full, b.partial = true, true
		return nil
	}
	return b.path(key)
}

func (b *builder) path(key string) *node {
	if n := b.nodes[key]; n != nil {
		return n
	}
	above := b.path(parent(key))
	n := &node{name: key, parent: above, draft: &draft{}}
	if key[0] == '*' && key[1] == '.' {
		above.wildcard = n
	}
	b.nodes[key] = n
	b.order = append(b.order, n)
	return n
}

// makeApex adds the SOA and NS records that no line gave.
func (b *builder) makeApex(c Config) {
	var servers []string
	for i, name := range c.NameServers {
		full, err := absolute(name, ".")
		if err != nil {
			b.wrong(place{fromServers, int32(i)}, "%v", err)
			continue
		}
		servers = append(servers, full)
	}
	if b.apex.rrset(dns.TypeNS) == nil {
		if len(c.NameServers) == 0 {
			b.wrong(place{}, "%s has no name servers; name at least one, or give NS records", b.name)
		}
		for i, name := range servers {
			h := dns.RR_Header{Name: b.name, Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: madeTTL}
			b.addRR(b.apex, &dns.NS{Hdr: h, Ns: name}, place{fromServers, int32(i)})
		}
	}
	if ns := b.apex.set(dns.TypeNS); b.apex.rrset(dns.TypeSOA) == nil && ns != nil {
		soa, err := c.SOA.record(b.name, ns[0].(*dns.NS).Ns)
		if err != nil {
			b.wrong(place{}, "SOA: %v", err)
			return
		}
		b.addRR(b.apex, soa, place{})
	}
}

func (b *builder) addDynamic(d DynamicName, at place) {
	full, err := absolute(d.Name, ".")
	if err != nil {
		b.wrong(at, "%v", err)
		return
	}
	if len(d.Types) == 0 {
		b.wrong(at, "%s has no types to be answered", quote(d.Name))
	}
	for _, t := range d.Types {
		switch t {
		case dns.TypeNone, dns.TypeSOA, dns.TypeNS, dns.TypeDS, dns.TypeCNAME, dns.TypeDNAME, dns.TypeOPT, dns.TypeANY, dns.TypeAXFR, dns.TypeIXFR:
			b.wrong(at, "%s: %s records are not made for each client", quote(d.Name), dns.Type(t))
		}
	}
	n := b.node(full, at)
	switch {
	case n == nil:
	case n.dynamic != nil:
		b.wrong(at, "%s is answered for each client already (%s)", b.short(n), b.where(n.dynamicAt))
	default:
		n.dynamic, n.dynamicAt = &d, at
	}
}

// finish prepares what look-ups hand out, and lets go of what was for messages.
func (b *builder) finish() {
	b.soa = b.apex.set(dns.TypeSOA)[0].(*dns.SOA)
	no := dns.Copy(b.soa)
	no.Header().Ttl = min(b.soa.Hdr.Ttl, b.soa.Minttl)
	b.negative = []dns.RR{no}
	known := make(map[string]bool)
	for _, n := range b.order {
		n.draft = nil
		for i := range n.sets {
			n.sets[i].at = nil
		}
		if n.alias != nil && !known[n.alias.Target] {
			known[n.alias.Target] = true
			b.aliases = append(b.aliases, *n.alias)
		}
	}
}

// short is a node's name in a message.
func (b *builder) short(n *node) string { return quote(n.name) }
