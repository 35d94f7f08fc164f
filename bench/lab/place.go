package lab

import (
	"fmt"
	"net/netip"
)

// A Place is one of the places of a lab, each a network namespace with one address.
type Place int

// The places. The zero Place is the client. Those from Second on are there in a lab with a fleet alone.
const (
	Client Place = iota
	Edge
	Origin
	DNS
	Second     // edge
	Third      // edge
	places int = iota
	common     = int(DNS) + 1 // places of every lab
)

var placeNames = [places]string{"client", "edge", "origin", "dns", "second", "third"}

// Edges lists the places of a fleet's edges.
func Edges() []Place { return []Place{Edge, Second, Third} }

// Clients is how many clients with a network of their own stand at the client's place: see [ClientAddr].
const Clients = 256

// ClientAddr is the address of one of the Clients, each in a /24 of its own, for [Node.DialFrom].
func ClientAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 19, byte(i), 1}) }

func (p Place) String() string { return placeNames[p] }

// Addr is the place's address. It is from the block kept for measuring networks (RFC 2544 appendix C.2.2), and exists
// inside the lab's namespaces alone. The upper half of the block is the client's as well.
func (p Place) Addr() netip.Addr { return netip.AddrFrom4([4]byte{198, 18, 0, byte(p) + 1}) }

// placeAt is the place with an address.
func placeAt(a [4]byte) (Place, bool) {
	if a[0] == 198 && a[1] == 19 {
		return Client, true
	}
	p := Place(a[3]) - 1
	return p, a[0] == 198 && a[1] == 18 && a[2] == 0 && p >= 0 && int(p) < places
}

// A Segment is the way between two places, in both directions.
type Segment struct{ a, b Place } // a < b

// Between is the segment between two places, in whatever order they are given.
func Between(a, b Place) Segment {
	if a == b {
		panic(fmt.Sprintf("lab: no segment leads from %v to itself", a))
	}
	return Segment{min(a, b), max(a, b)}
}

// String is the segment's name in documents, such as client_edge.
func (s Segment) String() string { return s.a.String() + "_" + s.b.String() }

// Segments lists the segments of every lab. A fleet's has those of its other edges as well.
func Segments() []Segment {
	var all []Segment
	for a := range Place(common) {
		for b := a + 1; b < Place(common); b++ {
			all = append(all, Segment{a, b})
		}
	}
	return all
}
