package peers

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"sort"

	"hither/deploy"
	"hither/dns/geo"
	"hither/dns/steer"
)

// Places is which PoP of hither.yaml every IPv4 address gets: what hither decides from the table of countries in the program. The
// peers are told it as prefixes, so that all know the same of the world. It never changes.
type Places struct {
	PoPs []PlacePoP // the first one is for addresses of which nobody knows the place

	starts []uint32 // of ranges with one PoP, ascending, the first 0
	pops   []int    // by range
}

// A PlacePoP is a PoP as peers are told of it.
type PlacePoP struct {
	Name string
	Addr netip.Addr
}

// NewPlaces asks for every address, of the network moved to net, 127.N.
func NewPlaces(net string) (*Places, error) {
	text, _, err := hitherFile(net)
	if err != nil {
		return nil, err
	}
	n, err := deploy.Parse("hither.yaml", []byte(text))
	if err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	p := &Places{}
	var pops []steer.PoP
	for i := range n.PoPs {
		pop := &n.PoPs[i]
		p.PoPs = append(p.PoPs, PlacePoP{pop.Name, pop.Addresses[0]})
		pops = append(pops, steer.PoP{Name: pop.Name, At: geo.Point{Lat: pop.Place.Lat, Lon: pop.Place.Lon}, Weight: 1, V4: steer.Up})
	}
	snapshot, err := steer.New(pops, nil)
	if err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	table := geo.New(nil, geo.Embedded())
	var room [1]int
	for at := uint64(0); at < 1<<32; {
		a := addressOf(uint32(at))
		found := table.Lookup(a)
		answer := snapshot.Pick(steer.Question{Client: netip.PrefixFrom(a, 24), Found: found, Family: 4}, room[:0])
		if len(answer.PoPs) != 1 || answer.HashBits != 0 {
			return nil, fmt.Errorf("peers: hither.yaml has no one PoP for %s: prefixes cannot say the same", a)
		}
		p.add(uint32(at), answer.PoPs[0])
		at += 1 << (32 - found.Bits)
	}
	return p, nil
}

// add says which PoP addresses get from start on.
func (p *Places) add(start uint32, pop int) {
	if n := len(p.pops); n > 0 && p.pops[n-1] == pop {
		return
	}
	p.starts, p.pops = append(p.starts, start), append(p.pops, pop)
}

// rangeOf is the index of the range that has an address.
func (p *Places) rangeOf(v uint32) int {
	return sort.Search(len(p.starts), func(i int) bool { return p.starts[i] > v }) - 1
}

// end is the last address of a range.
func (p *Places) end(i int) uint32 {
	if i+1 < len(p.starts) {
		return p.starts[i+1] - 1
	}
	return 1<<32 - 1
}

// Lookup is the PoP for an IPv4 address.
func (p *Places) Lookup(a netip.Addr) PlacePoP { return p.PoPs[p.pops[p.rangeOf(valueOf(a))]] }

// Alike reports whether all of a prefix gets one PoP, so that an answer with this scope is true (RFC 7871 section 7.2.1).
func (p *Places) Alike(prefix netip.Prefix) bool {
	first := valueOf(prefix.Masked().Addr())
	return p.end(p.rangeOf(first)) >= first|uint32(uint64(1)<<(32-prefix.Bits())-1)
}

// A Placed is a prefix and the name of its PoP.
type Placed struct {
	Prefix netip.Prefix
	PoP    string
}

// Prefixes cuts the world into as few prefixes as there can be, none inside another, in order.
func (p *Places) Prefixes() []Placed {
	var all []Placed
	for i := range p.starts {
		for at, last := uint64(p.starts[i]), uint64(p.end(i)); at <= last; {
			// The largest block that begins here and ends in the range.
			size := min(bits.TrailingZeros64(at|1<<32), bits.Len64(last-at+1)-1)
			all = append(all, Placed{netip.PrefixFrom(addressOf(uint32(at)), 32-size), p.PoPs[p.pops[i]].Name})
			at += 1 << size
		}
	}
	return all
}

func addressOf(v uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, v)))
}

func valueOf(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
