package geo

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/oschwald/maxminddb-golang/v2"
)

// OpenMMDB reads a MaxMind DB file of cities or countries. It knows the fields of GeoLite2, GeoIP2 and DB-IP (`location.latitude`,
// `country.iso_code`, `registered_country.iso_code`) and the flat ones of IPinfo and others (`lat` and `lng`, `latitude` and
// `longitude`, `loc`; `country_code`, `country`), numbers also as text. A record without coordinates, or with exactly 0, 0, which
// some publishers write for "unknown", is at its country's point in the embedded table; a record with neither is not known.
//
// The whole file is checked, its records become a table in memory (about 8 bytes per IPv4 network and 20 per IPv6 network whose
// neighbour differs), and data is not kept. An error says what is wrong with the file, or that no record in it gives a place.
func OpenMMDB(data []byte) (Database, error) {
	r, err := maxminddb.OpenBytes(data, maxminddb.DisableStringCache())
	if err != nil {
		return nil, fmt.Errorf("geo: reading mmdb: %w", err)
	}
	name := r.Metadata.DatabaseType
	if name == "" {
		name = "(no type)"
	}
	// Verify wants a name and a description, which say nothing about places and which small writers leave out.
	r.Metadata.DatabaseType = name
	if len(r.Metadata.Description) == 0 {
		r.Metadata.Description = map[string]string{"en": name}
	}
	if err := r.Verify(); err != nil {
		return nil, fmt.Errorf("geo: reading mmdb %q: %w", name, err)
	}
	p, err := readPlaces(r)
	if err != nil {
		return nil, fmt.Errorf("geo: reading mmdb %q: %w", name, err)
	}
	return p, nil
}

var (
	errShared  = errors.New("more networks than the tree has nodes: parts of it are shared")
	errPlaces  = errors.New("no record gives a place: not a database of cities or countries")
	errNoTable = errors.New("countries without coordinates need the embedded table, which this program was built without")
)

// readPlaces walks the tree once, in the order of addresses.
func readPlaces(r *maxminddb.Reader) (*places, error) {
	p := &places{source: SourceMMDB}
	var options []maxminddb.NetworksOption
	if r.Metadata.IPVersion == 6 && r.Lookup(netip.IPv6Unspecified()).Prefix().Bits() <= 96 {
		// Without an IPv4 tree of its own there are no aliases of it, and what the library takes for one is a network that
		// merely has the same record.
		options = append(options, maxminddb.IncludeAliasedNetworks())
	}
	known := map[place]uint32{}
	values := map[uintptr]uint32{} // by the record's offset: many networks share a record
	named := 0                     // records that only the embedded table could place
	left := r.Metadata.NodeCount + 1
	for network := range r.Networks(options...) {
		if err := network.Err(); err != nil {
			return nil, err
		}
		if left == 0 { // Verify looks at each node once; a walk takes each way to it
			return nil, errShared
		}
		left--
		v, seen := values[network.Offset()]
		if !seen {
			var rec record
			if err := network.Decode(&rec); err != nil {
				return nil, fmt.Errorf("record of %s: %w", network.Prefix(), err)
			}
			at, ok := rec.place()
			if ok {
				if v = known[at]; v == 0 {
					p.all = append(p.all, at)
					v = uint32(len(p.all))
					known[at] = v
				}
			} else if at.country != "" {
				named++
			}
			values[network.Offset()] = v
		}
		p.fill(network.Prefix(), v)
	}
	switch {
	case len(p.all) == 0 && named > 0 && len(countries().countries) == 0:
		return nil, errNoTable
	case len(p.all) == 0:
		return nil, errPlaces
	}
	p.four.index()
	return p, nil
}

// fill gives a network its value. In an IPv6 tree IPv4 stands in ::/96, and a network around that is of both families.
func (p *places) fill(n netip.Prefix, v uint32) {
	switch {
	case n.Addr().Is4():
		first := narrowOf(n.Addr())
		p.four.fill(first, first|uint32(uint64(1)<<(32-n.Bits())-1), v)
		return
	case n.Contains(netip.IPv6Unspecified()):
		p.four.fill(0, ^uint32(0), v)
	}
	p.six.fill(wideOf(n.Addr()), lastOf(n), v)
}
