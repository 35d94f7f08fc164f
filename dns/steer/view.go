package steer

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// A View is what measured round trips change in the order of PoPs, by client prefix. It never changes, so it may be used
// concurrently; see [Times.View]. The zero View and a nil *View change nothing.
//
// Only prefixes whose order is another than that of the map are in it, so a network where the map is right costs nothing.
type View struct {
	four, six index
}

// ahead is how many PoPs the order of a prefix begins with; those that follow do so by distance. More are of no use: what is
// eighth by time is no good answer.
const ahead = 7

// order7 is the beginning of an order: indices of PoPs, none = -1 at its end.
type order7 [ahead]int16

// A change is what a View says of one prefix.
type change struct {
	list    order7
	explore bool // the second goes first, to be measured
}

// An index finds a prefix among sorted ones. The first bits of a key lead to a part of the list, so that what is left to search
// is a few keys, in one or two lines of the processor's cache.
type index struct {
	keys    []uint64
	changes []change // of keys
	width   int      // bits of a key: 24 or 48
	part    []uint32 // where keys begin whose first bits are at least the place in part
	shift   int      // what is left of a key's bits
}

// makeIndex takes keys in their order.
func makeIndex(keys []uint64, changes []change, width int) index {
	x := index{keys: keys, changes: changes, width: width}
	if len(keys) == 0 {
		return x
	}
	first := min(bits.Len(uint(len(keys)))+1, 17, width)
	x.shift = width - first
	x.part = make([]uint32, 1<<first+1)
	at := 0
	for p := range x.part {
		for at < len(keys) && keys[at]>>x.shift < uint64(p) {
			at++
		}
		x.part[p] = uint32(at)
	}
	return x
}

// find returns the place of the first key that is not below k.
func (x *index) find(k uint64) int {
	p := k >> x.shift
	from, to := int(x.part[p]), int(x.part[p+1])
	for from < to {
		middle := int(uint(from+to) >> 1)
		if x.keys[middle] < k {
			from = middle + 1
		} else {
			to = middle
		}
	}
	return from
}

// keyOf is a /24 or /48 as a number, and how many bits of the client were told of it: at most 24 or 48.
func keyOf(client netip.Prefix) (k uint64, six bool, told int) {
	a, n := client.Addr(), max(client.Bits(), 0)
	if a.Is4In6() {
		a, n = a.Unmap(), max(n-96, 0)
	}
	if a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:]) >> 8), false, min(n, hashBits4)
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]) >> 16, true, min(n, hashBits6)
}

// prefixOf is the other way.
func prefixOf(k uint64, six bool) netip.Prefix {
	if six {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], k<<16)
		return netip.PrefixFrom(netip.AddrFrom16(b), hashBits6)
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(k<<8))
	return netip.PrefixFrom(netip.AddrFrom4(b), hashBits4)
}

// find says what changes for a client, nil = nothing, and for how many leading bits of its address that holds: for its own prefix
// where something does, else for the largest around it in which nothing does.
//
// A client of whom less was told than a prefix has gets the order of the map, as its prefix is not known; where one within what was
// told has another order, all its bits are said to count, which tells resolvers that more would have helped (RFC 7871 section 7.2.1).
func (v *View) find(client netip.Prefix) (c *change, depends int) {
	if v == nil {
		return nil, 0
	}
	k, six, told := keyOf(client)
	x := &v.four
	if six {
		x = &v.six
	}
	if len(x.keys) == 0 {
		return nil, 0
	}
	k = k >> (x.width - told) << (x.width - told) // as it was told
	at := x.find(k)
	if at < len(x.keys) && (x.keys[at]^k)>>(x.width-told) == 0 {
		if told < x.width {
			return nil, x.width
		}
		return &x.changes[at], x.width
	}
	if at < len(x.keys) {
		depends = x.apart(k, x.keys[at])
	}
	if at > 0 {
		depends = max(depends, x.apart(k, x.keys[at-1]))
	}
	return nil, depends
}

// apart is the length of the largest prefix that holds the one and not the other.
func (x *index) apart(a, b uint64) int { return x.width - bits.Len64(a^b) + 1 }

// Len is how many prefixes have another order than that of the map.
func (v *View) Len() int {
	if v == nil {
		return 0
	}
	return len(v.four.keys) + len(v.six.keys)
}

// entry is a change with its key, before it is sorted.
type entry struct {
	key uint64
	change
}

func makeView(four, six []entry) *View {
	make1 := func(list []entry, width int) index {
		slices.SortFunc(list, func(a, b entry) int {
			switch {
			case a.key < b.key:
				return -1
			case a.key > b.key:
				return 1
			}
			return 0
		})
		keys, changes := make([]uint64, len(list)), make([]change, len(list))
		for i := range list {
			keys[i], changes[i] = list[i].key, list[i].change
		}
		return makeIndex(keys, changes, width)
	}
	return &View{four: make1(four, hashBits4), six: make1(six, hashBits6)}
}

// With is the Snapshot with what v changes in its orders; nil = nothing. v is of a Times that uses the same PoPs.
func (s *Snapshot) With(v *View) *Snapshot {
	next := *s
	if next.view = v; v.Len() == 0 {
		next.view = nil
	}
	return &next
}
