package disk

// A seen remembers hashes for a while, in two generations of which the older is forgotten when the newer is full: at least the last
// most of them, at most twice as many. It is a Bloom filter of 16 bits for each and two probes: it takes one in about seventy for one
// it has had, which costs a write.
type seen struct {
	now, old []uint64
	mask     uint64
	n, most  int
}

// newSeen makes one for a disk of size bytes: it remembers as many as there are objects of 16 KiB on it, between 2^16 and 2^22 (a
// quarter and 16 MiB in all).
func newSeen(size int64) *seen {
	most := 1 << 16
	for int64(most) < size>>14 && most < 1<<22 {
		most *= 2
	}
	words := most * 16 / 64
	return &seen{now: make([]uint64, words), old: make([]uint64, words), mask: uint64(words) - 1, most: most}
}

// again reports whether it has had h, and remembers it.
func (s *seen) again(h uint64) bool {
	in := func(set []uint64) bool {
		return set[h>>6&s.mask]&(1<<(h&63)) != 0 && set[h>>38&s.mask]&(1<<(h>>32&63)) != 0
	}
	now := in(s.now)
	was := now || in(s.old)
	if !now {
		if s.n++; s.n > s.most {
			s.now, s.old, s.n = s.old, s.now, 1
			clear(s.now)
		}
		s.now[h>>6&s.mask] |= 1 << (h & 63)
		s.now[h>>38&s.mask] |= 1 << (h >> 32 & 63)
	}
	return was
}
