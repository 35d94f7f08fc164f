package geo

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// wide is an IPv6 address as a number; IPv4 addresses stand in its block ::ffff:0:0/96 where both share a table.
type wide struct{ hi, lo uint64 }

func wideOf(a netip.Addr) wide {
	b := a.As16()
	return wide{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func narrowOf(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func (w wide) less(v wide) bool { return w.hi < v.hi || w.hi == v.hi && w.lo < v.lo }

func (w wide) minus(v wide) wide {
	lo, borrow := bits.Sub64(w.lo, v.lo, 0)
	hi, _ := bits.Sub64(w.hi, v.hi, borrow)
	return wide{hi, lo}
}

func (w wide) plus(v wide) wide {
	lo, carry := bits.Add64(w.lo, v.lo, 0)
	hi, _ := bits.Add64(w.hi, v.hi, carry)
	return wide{hi, lo}
}

// next is w + 1; false at the last address.
func (w wide) next() (wide, bool) {
	v := w.plus(wide{lo: 1})
	return v, v != wide{}
}

// apart is the length of the shortest prefix of w that leaves v out: one bit more than they share. 129 where they are equal.
func (w wide) apart(v wide) int {
	if w.hi != v.hi {
		return bits.LeadingZeros64(w.hi^v.hi) + 1
	}
	return 64 + bits.LeadingZeros64(w.lo^v.lo) + 1
}

func (w wide) trailing() int {
	if w.lo == 0 {
		return 64 + bits.TrailingZeros64(w.hi)
	}
	return bits.TrailingZeros64(w.lo)
}

// shifted is w >> n.
func (w wide) shifted(n int) wide {
	if n >= 64 {
		return wide{0, w.hi >> (n - 64)}
	}
	return wide{w.hi >> n, w.lo>>n | w.hi<<(64-n)}
}

// lifted is w << n, false where bits are lost.
func (w wide) lifted(n int) (wide, bool) {
	var v wide
	if n >= 64 {
		v = wide{w.lo << (n - 64), 0}
	} else {
		v = wide{w.hi<<n | w.lo>>(64-n), w.lo << n}
	}
	return v, n < 128 && v.shifted(n) == w
}
