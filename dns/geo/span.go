package geo

import (
	"math/bits"
	"net/netip"
	"sort"
)

// spans6 cuts all addresses into runs of one value each. from[0] is zero once anything was put, neighbours differ in value, so
// the largest prefix around an address with its value is the shortest that leaves out the last address before its run and the
// first behind it.
type spans6 struct {
	from  []wide
	value []uint32
}

// put says that from this address on, up to the next put, the value is v. Addresses must come in order.
func (s *spans6) put(from wide, v uint32) {
	n := len(s.from)
	if n == 0 && from != (wide{}) {
		s.from, s.value, n = append(s.from, wide{}), append(s.value, 0), 1
	}
	if n > 0 && s.from[n-1] == from {
		n--
		s.from, s.value = s.from[:n], s.value[:n]
	}
	if n > 0 && s.value[n-1] == v {
		return
	}
	s.from, s.value = append(s.from, from), append(s.value, v)
}

// fill gives the addresses first to last the value v, and 0 to those behind them.
func (s *spans6) fill(first, last wide, v uint32) {
	s.put(first, v)
	if after, ok := last.next(); ok {
		s.put(after, 0)
	}
}

// find returns the value at a and the length of the largest prefix around a that has it throughout.
func (s *spans6) find(a wide) (v uint32, length int) {
	lo, hi := 0, len(s.from)
	if hi == 0 {
		return 0, 0
	}
	for hi-lo > 1 {
		if mid := int(uint(lo+hi) >> 1); a.less(s.from[mid]) {
			hi = mid
		} else {
			lo = mid
		}
	}
	if lo > 0 {
		length = a.apart(s.from[lo].minus(wide{lo: 1}))
	}
	if lo+1 < len(s.from) {
		length = max(length, a.apart(s.from[lo+1]))
	}
	return s.value[lo], length
}

// spans4 is spans6 for IPv4 at a quarter of the memory. A large one has an index by the first 16 bits.
type spans4 struct {
	from  []uint32
	value []uint32
	top   []uint32 // for each /16 the first run that starts in it or behind it, or nil
}

func (s *spans4) put(from, v uint32) {
	n := len(s.from)
	if n == 0 && from != 0 {
		s.from, s.value, n = append(s.from, 0), append(s.value, 0), 1
	}
	if n > 0 && s.from[n-1] == from {
		n--
		s.from, s.value = s.from[:n], s.value[:n]
	}
	if n > 0 && s.value[n-1] == v {
		return
	}
	s.from, s.value = append(s.from, from), append(s.value, v)
}

func (s *spans4) fill(first, last, v uint32) {
	s.put(first, v)
	if last+1 != 0 {
		s.put(last+1, 0)
	}
}

// index makes find faster: below a few runs per /16 it would only cost memory.
func (s *spans4) index() {
	if len(s.from) < 1<<16 {
		return
	}
	s.top = make([]uint32, 1<<16+1)
	for i := range s.top {
		s.top[i] = uint32(sort.Search(len(s.from), func(r int) bool { return uint64(s.from[r]) >= uint64(i)<<16 }))
	}
}

func (s *spans4) find(a uint32) (v uint32, length int) {
	lo, hi := 0, len(s.from)
	if hi == 0 {
		return 0, 0
	}
	if s.top != nil {
		// The run of a starts in a's /16, or it is the last one before it.
		lo, hi = max(int(s.top[a>>16])-1, 0), int(s.top[a>>16+1])
	}
	for hi-lo > 1 {
		if mid := int(uint(lo+hi) >> 1); a < s.from[mid] {
			hi = mid
		} else {
			lo = mid
		}
	}
	if lo > 0 {
		length = bits.LeadingZeros32(a^(s.from[lo]-1)) + 1
	}
	if lo+1 < len(s.from) {
		length = max(length, bits.LeadingZeros32(a^s.from[lo+1])+1)
	}
	return s.value[lo], length
}

// place is what a database says of a run.
type place struct {
	point   Point
	country string
}

// places is a database in memory: runs of addresses, each with a place or with none. It is what both .mmdb files and the
// embedded table become.
type places struct {
	source Source
	four   spans4
	six    spans6
	all    []place // value v is all[v-1]; no two are equal
}

// Lookup implements Database.
func (p *places) Lookup(a netip.Addr) Found {
	var v uint32
	var f Found
	if a.Is4() {
		v, f.Bits = p.four.find(narrowOf(a))
	} else {
		v, f.Bits = p.six.find(wideOf(a))
	}
	f.Matched, _ = a.Prefix(f.Bits)
	if v > 0 {
		f.Source, f.Point, f.Country = p.source, p.all[v-1].point, p.all[v-1].country
	}
	return f
}
