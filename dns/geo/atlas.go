package geo

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Country is a country or territory of a table, as one place.
type Country struct {
	Code   string  // ISO 3166, two letters; also EU and AP, where a registry says no more than Europe, or Asia and Pacific
	Point  Point   // what one place may stand for all its clients
	Weight float64 // its share of the IPv4 addresses in the table, 0 to 1
}

// Range is the addresses First to Last, both of one family and both included, in the country of that code.
type Range struct {
	First, Last netip.Addr
	Country     string
}

// Atlas is a table of countries: which addresses are whose, and where each is. It implements Database with SourceEmbedded and
// never changes. Encode writes it, DecodeAtlas reads it, and dns/geo/maketable makes the one that the program has in it.
type Atlas struct {
	places
	notes     string
	countries []Country
}

// NewAtlas makes a table. Notes name the sources and their licence, lines without an empty one. Ranges must come in order, IPv4
// before IPv6, and must not overlap; each needs its country.
func NewAtlas(notes string, countries []Country, ranges []Range) (*Atlas, error) {
	a := &Atlas{notes: strings.TrimSpace(notes), countries: slices.Clone(countries)}
	slices.SortFunc(a.countries, func(c, d Country) int { return cmp.Compare(c.Code, d.Code) })
	if err := a.finish(); err != nil {
		return nil, err
	}
	values := map[string]uint32{}
	for i, c := range a.countries {
		values[c.Code] = uint32(i + 1)
	}
	var before netip.Addr
	for _, r := range ranges {
		v, ok := values[r.Country]
		switch {
		case !r.First.IsValid() || !r.Last.IsValid() || r.First.BitLen() != r.Last.BitLen() || r.Last.Less(r.First):
			return nil, fmt.Errorf("geo: %s-%s is not a range", r.First, r.Last)
		case before.IsValid() && !before.Less(r.First):
			return nil, fmt.Errorf("geo: range %s-%s overlaps or precedes the one that ends at %s", r.First, r.Last, before)
		case !ok:
			return nil, fmt.Errorf("geo: range %s-%s: no country %q", r.First, r.Last, r.Country)
		case r.First.Is4():
			a.four.fill(narrowOf(r.First), narrowOf(r.Last), v)
		default:
			a.six.fill(wideOf(r.First), wideOf(r.Last), v)
		}
		before = r.Last
	}
	a.four.index()
	return a, nil
}

// finish checks the countries and makes places of them.
func (a *Atlas) finish() error {
	a.source = SourceEmbedded
	if strings.Contains(a.notes, "\n\n") {
		return fmt.Errorf("geo: notes have an empty line")
	}
	for i, c := range a.countries {
		switch {
		case len(c.Code) != 2:
			return fmt.Errorf("geo: country %q: not two letters", c.Code)
		case i > 0 && a.countries[i-1].Code >= c.Code:
			return fmt.Errorf("geo: country %q stands twice or out of order", c.Code)
		case !(c.Point.Lat >= -90 && c.Point.Lat <= 90 && c.Point.Lon >= -180 && c.Point.Lon <= 180):
			return fmt.Errorf("geo: country %s: %v is not on Earth", c.Code, c.Point)
		case !(c.Weight >= 0 && c.Weight <= 1):
			return fmt.Errorf("geo: country %s: weight %v is not a share", c.Code, c.Weight)
		}
		a.countries[i].Point = rounded(c.Point)
		a.all = append(a.all, place{a.countries[i].Point, c.Code})
	}
	return nil
}

// Notes names the sources of the table and their licence.
func (a *Atlas) Notes() string { return a.notes }

// Countries is every country of the table in the order of codes, also those without an address.
func (a *Atlas) Countries() []Country { return slices.Clone(a.countries) }

// point is where the country of that code is.
func (a *Atlas) point(code string) (Point, bool) {
	i, ok := slices.BinarySearchFunc(a.countries, code, func(c Country, code string) int { return cmp.Compare(c.Code, code) })
	if !ok {
		return Point{}, false
	}
	return a.countries[i].Point, true
}
