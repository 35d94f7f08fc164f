// Package zone holds the records of one DNS zone and finds the answer to a question about it.
//
// [New] reads record lines and a zone file, and tells all mistakes at once; a [Zone] is read-only afterwards.
// [Zone.Lookup] is the search of an authoritative server (RFC 1034 section 4.3.2) with wildcards (RFC 4592),
// delegations, DNAME (RFC 6672), and two kinds of names that the caller answers: dynamic ones, and those with an ALIAS.
package zone

import (
	"fmt"
	"time"

	"github.com/miekg/dns"
)

// Config is what a zone is made of. The texts are not kept.
type Config struct {
	// Name of the zone, with or without the last dot.
	Name string

	// NameServers are absolute names, with or without the last dot, from which the zone's NS records are made. NS records of
	// the zone's own name in Records or Data replace the made set as a whole: a file from elsewhere is served as it is written.
	NameServers []string

	// SOA is what the SOA record is made from. One in Records or Data replaces it as a whole, serial included, for the same reason.
	SOA SOA

	// Records are lines `NAME TTL TYPE DATA` (RFC 1035 section 5.1), names relative to the zone. A class IN may stand beside the TTL.
	Records []string

	// Data is a zone file (RFC 1035 section 5.1, RFC 2308 section 4), and File its name for messages. $ORIGIN, $TTL and
	// $GENERATE are understood, $INCLUDE is a mistake.
	File string
	Data []byte

	// Dynamic names are answered by the caller.
	Dynamic []DynamicName
}

// SOA holds the fields of a SOA record (RFC 1035 section 3.3.13). Times are whole seconds.
type SOA struct {
	Mailbox  string        // with a dot for the @; empty: hostmaster in the zone
	Serial   uint32        // as it is, 0 included
	Refresh  time.Duration // 0: 1h
	Retry    time.Duration // 0: 10m
	Expire   time.Duration // 0: 168h
	Negative time.Duration // how long resolvers remember that something does not exist (RFC 2308 section 4); 0: not at all
}

// A DynamicName is a name whose records of some types the caller makes. It may be a wildcard. Records of other types may stand
// beside it as in any zone, but no CNAME.
type DynamicName struct {
	Name  string   // absolute, with or without the last dot
	Types []uint16 // that the caller answers; at least one
	Value any      // the caller's
	Where string   // the place a mistake is told by; empty: dynamic[i]
}

// An AliasTarget is what an ALIAS record says: the caller answers A and AAAA with the addresses of Target, which must not
// be kept longer than TTL seconds.
type AliasTarget struct {
	Target string // canonical
	TTL    uint32
}

// madeTTL is that of the SOA and NS records which New makes, in seconds: a changed set of name servers is known everywhere
// within an hour.
const madeTTL = 3600

// A Zone is one zone, read-only and safe for concurrent use. The records it hands out are shared: a caller copies before it changes one.
type Zone struct {
	name     string // canonical
	labels   int    // of name
	nodes    map[string]*node
	apex     *node
	soa      *dns.SOA
	negative []dns.RR
	aliases  []AliasTarget
}

// New builds a zone. The error is of type [Mistakes] and holds all that is wrong; there is no zone then.
func New(c Config) (*Zone, error) { return build(c, limits) }

// Name is the zone's, lower case and with the last dot.
func (z *Zone) Name() string { return z.name }

// SOA is the zone's SOA record; it is shared.
func (z *Zone) SOA() *dns.SOA { return z.soa }

// NegativeAuthority is the authority section of an answer that says no: the SOA record with the TTL for which a no may be kept,
// the lesser of the record's own and its last field (RFC 2308 section 3). It is shared.
func (z *Zone) NegativeAuthority() []dns.RR { return z.negative }

// Aliases are the different ALIAS targets of the zone, so that they can be looked up before anybody asks. It is shared.
func (z *Zone) Aliases() []AliasTarget { return z.aliases }

// A bound is how much a zone may hold; more is a mistake. It keeps a file that was given by mistake, or written by a program that
// does not stop, from taking all memory.
type bound struct {
	records   int // in all
	names     int // with those that only stand above others
	file      int // bytes
	entry     int // bytes of one record in the file
	generated int // records of all $GENERATE lines
	pattern   int // bytes of a $GENERATE line
}

var limits = bound{
	records:   1_000_000,
	names:     2_000_000,
	file:      64 << 20,
	entry:     1 << 18, // 65,535 bytes of data (RFC 1035 section 3.2.1), four characters for each
	generated: 1 << 16, // the last 16 bits of reverse names
	pattern:   1 << 10,
}

func (s SOA) record(zone, server string) (*dns.SOA, error) {
	soa := &dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: madeTTL},
		Ns:  server, Mbox: s.Mailbox, Serial: s.Serial,
	}
	if soa.Mbox == "" {
		soa.Mbox = "hostmaster." + zone
		if zone == "." {
			soa.Mbox = "hostmaster."
		}
	}
	mbox, err := absolute(soa.Mbox, ".")
	if err != nil {
		return nil, fmt.Errorf("the mailbox %w", err)
	}
	soa.Mbox = mbox
	for _, f := range []struct {
		name    string
		given   time.Duration
		absent  time.Duration
		seconds *uint32
	}{
		{"refresh", s.Refresh, time.Hour, &soa.Refresh},
		{"retry", s.Retry, 10 * time.Minute, &soa.Retry},
		{"expire", s.Expire, 168 * time.Hour, &soa.Expire},
		{"negative", s.Negative, 0, &soa.Minttl},
	} {
		if f.given == 0 {
			f.given = f.absent
		}
		if f.given < 0 || f.given > maxTTL*time.Second || f.given%time.Second != 0 {
			return nil, fmt.Errorf("%s is %v; give whole seconds from 0 to %d", f.name, f.given, maxTTL)
		}
		*f.seconds = uint32(f.given / time.Second)
	}
	return soa, nil
}
