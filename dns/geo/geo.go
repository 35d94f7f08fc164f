// Package geo says where a client is: the operator's prefixes first, else a database of addresses, and for how many leading
// bits of the address that answer holds. It is pure: it takes bytes, and opens neither files nor sockets.
package geo

import "net/netip"

// Source tells who said where a client is. The zero Source is SourceNone.
type Source uint8

const (
	SourceNone     Source = iota // nobody knows
	SourcePrefix                 // a prefix of the operator
	SourceMMDB                   // the operator's .mmdb file
	SourceEmbedded               // the table in the program
)

// String is the word that logs and `hither explain dns` use.
func (s Source) String() string {
	switch s {
	case SourcePrefix:
		return "prefix"
	case SourceMMDB:
		return "mmdb"
	case SourceEmbedded:
		return "embedded"
	}
	return "none"
}

// Found is where a client is, and for how many of its address's leading bits that holds.
type Found struct {
	Point   Point  // zero where Source is SourceNone, and where PoP is set
	PoP     string // the PoP that the operator's prefix names, "" else
	Source  Source
	Country string // ISO 3166 code of two letters where the database knows it, "" else

	// Matched is the entry that answered: the operator's prefix as configured (masked), else the largest prefix around the
	// address of which the database says the same, else (SourceNone) the gap around the address. IPv4 stays IPv4 here, also
	// where an IPv4-mapped IPv6 address was asked. It is the zero Prefix for the zero Addr only.
	Matched netip.Prefix

	// Bits is the length of the largest prefix around the address in which every address gets this same answer (Point, PoP,
	// Source and Country): the scope of RFC 7871 section 7.2.1. It is counted in the family asked, 0-32 for IPv4, 0-128 for
	// IPv6 with its IPv4-mapped addresses. 0 means that the whole family gets this answer.
	Bits int
}

// same reports whether a client would notice no difference.
func (f Found) same(g Found) bool {
	return f.Point == g.Point && f.PoP == g.PoP && f.Source == g.Source && f.Country == g.Country
}

// Spot is the operator's word on a prefix: the name of a PoP, or else a point. An empty Spot says nothing, and its prefix is
// as if it were not there.
type Spot struct {
	PoP   string
	Point *Point
}

// Database knows places of addresses. Lookup gets an IPv4 or a plain IPv6 address (never an IPv4-mapped one, no zone), fills
// all of Found, with Bits exact for what it knows itself, and may be called concurrently. It must not allocate.
type Database interface {
	Lookup(a netip.Addr) Found
}

// Table answers from the operator's prefixes and one database. It never changes, so it may be used concurrently; a new
// configuration is a new Table. The zero Table and a nil *Table know nothing.
type Table struct {
	own own
	db  Database
}

// New makes a Table. Prefixes are masked; an IPv4-mapped IPv6 prefix of 96 bits or more is the IPv4 prefix in it, and a shorter
// IPv6 prefix says nothing of IPv4. Where two keys are equal when masked, the lower one before masking counts. A nil db means the
// operator's prefixes alone.
func New(prefixes map[netip.Prefix]Spot, db Database) *Table {
	return &Table{own: flatten(prefixes), db: db}
}

// Lookup finds a place for a. The operator's longest matching prefix beats the database. An IPv4-mapped IPv6 address is the IPv4
// address in it; 6to4 (2002::/16), Teredo (2001::/32) and NAT64 (64:ff9b::/96) addresses are plain IPv6 addresses, so only an
// entry for them in IPv6 places them. A zone is ignored. It allocates nothing. The zero Addr is nowhere.
func (t *Table) Lookup(a netip.Addr) Found {
	switch {
	case !a.IsValid():
		return Found{}
	case a.Is4():
		f := t.find(a)
		f.Bits = max(f.Bits-96, 0)
		return f.gap(a)
	}
	return t.find(a.WithZone("")).gap(a.WithZone(""))
}

// find is Lookup with Bits counted in 128 bits, where IPv4 stands in ::ffff:0:0/96. Matched stays zero in a gap.
func (t *Table) find(a netip.Addr) Found {
	if t == nil {
		return Found{}
	}
	f := t.own.find(a)
	if f.Source != SourceNone || t.db == nil {
		return f
	}
	gap := f.Bits
	if a.Is4() || a.Is4In6() {
		f = t.four(a.Unmap())
	} else {
		f = t.six(a)
	}
	f.Bits = max(f.Bits, gap)
	return f
}

// four asks the database for an IPv4 address. One answer for all of IPv4 may reach beyond its block.
func (t *Table) four(a netip.Addr) Found {
	f := t.ask(a)
	if f.Bits > 0 {
		f.Bits += 96
		return f
	}
	f.Bits = 96
	if around := t.ask(belowMapped); around.Bits < 96 && around.same(f) {
		f.Bits = around.Bits
	}
	return f
}

// six asks the database for an IPv6 address. Its IPv4-mapped block is not the database's IPv6 but its IPv4: where that differs,
// the prefix leaves the block out.
func (t *Table) six(a netip.Addr) Found {
	f := t.ask(a)
	if p, _ := a.Prefix(f.Bits); p.Contains(mapped.Addr()) {
		if four := t.ask(netip.IPv4Unspecified()); four.Bits > 0 || !four.same(f) {
			f.Bits = wideOf(a).apart(wideOf(mapped.Addr()))
		}
	}
	return f
}

// ask forgets what the database matched where it knows nothing, as that is the whole table's gap then.
func (t *Table) ask(a netip.Addr) Found {
	f := t.db.Lookup(a)
	if f.Source == SourceNone {
		return Found{Bits: f.Bits}
	}
	return f
}

// gap names the gap around a where nothing matched.
func (f Found) gap(a netip.Addr) Found {
	if f.Source != SourceNone {
		return f
	}
	f.Matched, _ = a.Prefix(f.Bits)
	if a.Is4In6() {
		f.Matched = netip.PrefixFrom(a.Unmap(), max(f.Bits-96, 0)).Masked()
	}
	return f
}
