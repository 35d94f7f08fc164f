package steer

import (
	"encoding/binary"
	"net/netip"

	"hither/dns/geo"
)

// A Question is what a DNS server asks.
type Question struct {
	// Client is the network that decides: the client subnet as far as it was told (RFC 7871), else the resolver's whole address.
	// Only its first bits count (see HashBits and TimeBits), and only where load, weights or round trips choose among PoPs.
	Client netip.Prefix

	// Found is where that network is. A place that is none (NaN, or degrees out of range) and a PoP that does not exist
	// count as a place nobody knows.
	Found geo.Found

	// Family of the addresses asked for: 4 or 6. No PoP has an address of another.
	Family int

	// Answers is how many PoPs are wanted. 0 = 1.
	Answers int

	// Site says which PoPs serve the site, by index; PoPs beyond its end do not. nil = all do.
	Site []bool
}

// An Answer is whom the client gets.
type Answer struct {
	PoPs    []int  // by index, first choice first; fewer than wanted where fewer are fit; none where no PoP of the site has an address of the family
	Reason  Reason // why the first; "" where there is none
	AllDown bool   // no PoP with an address of the family is up: answered as if all were

	// TimeBits is for how many leading bits of the client's address the answer holds as far as round trips go: 24 or 48 where those of the client's prefix
	// have a part in it, else as many as keep the prefixes out where they do; 0 where none are known near. It may be more than Client
	// told, and is counted in the IPv4 address of an IPv4-mapped one, as HashBits is. The scope is the largest of all three.
	TimeBits uint8

	// HashBits is how many leading bits of the client's address were hashed to choose among PoPs, at most 24 for IPv4 and 48 for
	// IPv6; 0 where the choice depended on its place alone (or Client told no bit). The answer holds for no more addresses than
	// those bits and the bits of Found say.
	HashBits int
}

// Granularity of the hash. A /24 and a /48 are what resolvers tell by RFC 7871 section 11.1, and what is one network to the
// routers of the Internet: finer would only divide the resolvers' caches.
const (
	hashBits4 = 24
	hashBits6 = 48
)

// key is what is hashed of a client, and how many bits of its address that is.
func key(client netip.Prefix) (k uint64, bits int) {
	a, n := client.Addr(), max(client.Bits(), 0)
	if a.Is4In6() {
		a, n = a.Unmap(), max(n-96, 0)
	}
	switch {
	case a.Is4():
		b := a.As4()
		n = min(n, hashBits4)
		return uint64(binary.BigEndian.Uint32(b[:])) &^ (1<<(32-n) - 1), n
	case a.Is6():
		b := a.As16()
		n = min(n, hashBits6)
		return binary.BigEndian.Uint64(b[:8]) &^ (1<<(64-n) - 1), n
	}
	return 0, 0
}

// mix is the finaliser of SplitMix64: each bit of x changes each bit of the result with probability one half. All servers must
// agree on it, so it has no seed.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Salts, so that who is moved by load says nothing about who was chosen by weight.
const (
	saltWeight = 0x77656967687421
	saltShed   = 0x736865642121
)

// draw is a number in (0, 1), evenly distributed over clients, and independent from PoP to PoP and from salt to salt.
func draw(client, pop, salt uint64) float64 {
	return (float64(mix(mix(client^salt)^pop)>>11) + 0.5) / (1 << 53)
}
