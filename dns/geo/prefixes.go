package geo

import (
	"cmp"
	"net/netip"
	"slices"
)

// mapped is where IPv4 stands among the IPv6 addresses, belowMapped the last address before it.
var (
	mapped      = netip.MustParsePrefix("::ffff:0:0/96")
	belowMapped = netip.MustParseAddr("::fffe:ffff:ffff")
)

// entry is one of the operator's prefixes in the space that IPv4 and IPv6 share. A zero answer is the block of IPv4, in which an
// IPv6 prefix around it says nothing.
type entry struct {
	prefix netip.Prefix // as IPv6, masked
	given  netip.Prefix // as the operator sees it, masked
	answer Found        // without Matched and Bits
}

// own is the operator's prefixes, both families in one space of 128 bits.
type own struct {
	entries []entry
	match   spans6 // the longest entry, counted from 1
	answer  spans6 // the same with equal answers merged: the first entry with that answer
}

// find returns the operator's answer for a; SourceNone with the length of the gap where there is none. Lengths count in 128 bits.
func (o *own) find(a netip.Addr) Found {
	w := wideOf(a)
	v, length := o.answer.find(w)
	if v == 0 {
		return Found{Bits: length}
	}
	f := o.entries[v-1].answer
	f.Bits = length
	m, _ := o.match.find(w)
	f.Matched = o.entries[m-1].given
	return f
}

// flatten cuts the space into runs by the longest prefix.
func flatten(prefixes map[netip.Prefix]Spot) own {
	entries := sorted(prefixes)
	o := own{entries: entries}
	firsts := map[Found]int{}
	for i, e := range entries {
		if _, ok := firsts[e.answer]; !ok {
			firsts[e.answer] = i
		}
	}
	var open []int // entries around the current address, the longest last
	value := func() (match, answer uint32) {
		if len(open) == 0 || entries[open[len(open)-1]].answer.Source == SourceNone {
			return 0, 0
		}
		i := open[len(open)-1]
		return uint32(i + 1), uint32(firsts[entries[i].answer] + 1)
	}
	put := func(at wide) {
		match, answer := value()
		o.match.put(at, match)
		o.answer.put(at, answer)
	}
	closeTo := func(stay func(netip.Prefix) bool) {
		for len(open) > 0 && !stay(entries[open[len(open)-1]].prefix) {
			after, ok := lastOf(entries[open[len(open)-1]].prefix).next()
			open = open[:len(open)-1]
			if ok {
				put(after)
			}
		}
	}
	for i, e := range entries {
		closeTo(func(p netip.Prefix) bool { return p.Contains(e.prefix.Addr()) })
		open = append(open, i)
		put(wideOf(e.prefix.Addr()))
	}
	closeTo(func(netip.Prefix) bool { return false })
	return o
}

// sorted brings the prefixes into one space and order: by address, the shorter first, so that each stands behind those around it.
func sorted(prefixes map[netip.Prefix]Spot) []entry {
	keys := make([]netip.Prefix, 0, len(prefixes))
	for p := range prefixes {
		keys = append(keys, p)
	}
	slices.SortFunc(keys, func(p, q netip.Prefix) int {
		return cmp.Or(p.Addr().Compare(q.Addr()), cmp.Compare(p.Bits(), q.Bits()))
	})
	entries := []entry{{prefix: mapped}}
	for _, p := range keys {
		answer, ok := prefixes[p].answer()
		if !ok || !p.IsValid() {
			continue
		}
		given, six := p.Masked(), p.Masked()
		switch {
		case p.Addr().Is4():
			six = netip.PrefixFrom(netip.AddrFrom16(given.Addr().As16()), 96+given.Bits())
		case p.Addr().Is4In6() && p.Bits() >= 96:
			given = netip.PrefixFrom(given.Addr().Unmap(), p.Bits()-96)
		}
		entries = append(entries, entry{prefix: six, given: given, answer: answer})
	}
	slices.SortStableFunc(entries, func(d, e entry) int {
		return cmp.Or(d.prefix.Addr().Compare(e.prefix.Addr()), cmp.Compare(d.prefix.Bits(), e.prefix.Bits()))
	})
	// Of equal prefixes the first is meant, but any is stronger than the bare block.
	return slices.CompactFunc(entries, func(d, e entry) bool {
		return d.prefix == e.prefix && d.answer.Source == e.answer.Source
	})
}

func (s Spot) answer() (Found, bool) {
	switch {
	case s.PoP != "":
		return Found{Source: SourcePrefix, PoP: s.PoP}, true
	case s.Point != nil:
		return Found{Source: SourcePrefix, Point: *s.Point}, true
	}
	return Found{}, false
}

func lastOf(p netip.Prefix) wide {
	w := wideOf(p.Addr())
	if n := p.Bits(); n < 64 {
		w.hi |= ^uint64(0) >> n
		w.lo = ^uint64(0)
	} else if n < 128 {
		w.lo |= ^uint64(0) >> (n - 64)
	}
	return w
}
