package node

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"time"

	"hither/deploy/fleet/bus"
)

// Bounds of what is known of clients' distance. An entry takes 32 bytes, and about as many again in the map by which it is found: some
// 4 MiB in all.
const (
	mostRTTs = 65536
	bitsIPv4 = 24 // of a prefix: what is smaller is routed as one, and is nobody in particular
	bitsIPv6 = 48 // a site's (RFC 6177)

	// ackDelay is how long a client may hold back an acknowledgement (Linux: 40 ms at least; QUIC has taken it off already):
	// what is above the least by no more is not told from distance.
	ackDelay = 40 * time.Millisecond
	// forgetRTT is after how long without a word what was known of a prefix counts for nothing.
	forgetRTT = 10 * time.Minute
	// smoothRTT is how many samples the mean goes by (RFC 6298 section 2 has the same for one connection).
	smoothRTT = 8
)

// A ways is how far the clients of each prefix are, by their connections. It holds no address: a prefix is cut before anything is kept.
// It is bounded: the prefix that was not heard of for the longest time makes room. The zero ways knows nothing; it is
// safe for concurrent use.
type ways struct {
	now func() time.Time // nil: time.Now

	mu     sync.Mutex
	began  time.Time
	index  map[uint64]int32 // by key, of all
	all    []way
	newest int32 // -1 where there is none; all are in a list by when they were heard of
	oldest int32
}

// A way is to the clients of one prefix.
type way struct {
	key          uint64
	older, newer int32
	ms           float32 // smoothed
	heard        uint32  // in seconds since the table began
	samples      uint32  // since they were told of
}

// ipv6Key marks a key of IPv6; below it are the first 48 bits of the address, in a key of IPv4 the first 24.
const ipv6Key = 1 << 63

// keyOf cuts an address to its prefix.
func keyOf(a netip.Addr) uint64 {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:]) >> (32 - bitsIPv4))
	}
	b := a.As16()
	return ipv6Key | binary.BigEndian.Uint64(b[:])>>(64-bitsIPv6)
}

// prefixOf is the prefix that a key stands for.
func prefixOf(key uint64) netip.Prefix {
	if key&ipv6Key == 0 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(key)<<(32-bitsIPv4))
		return netip.PrefixFrom(netip.AddrFrom4(b), bitsIPv4)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], key<<(64-bitsIPv6))
	return netip.PrefixFrom(netip.AddrFrom16(b), bitsIPv6)
}

// heard takes what one connection has measured: smoothed and the least. What is above the least by a held back acknowledgement or
// less does not count.
func (t *ways) heard(client netip.Addr, smoothed, least time.Duration) {
	if !client.IsValid() || least <= 0 {
		return
	}
	ms := float32(max(least, smoothed-ackDelay).Seconds() * 1000)
	key := keyOf(client)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.seconds()
	i, known := t.index[key]
	switch {
	case known:
		t.unlink(i)
	case len(t.all) < mostRTTs:
		i = int32(len(t.all))
		t.all = append(t.all, way{})
	default:
		i = t.oldest
		t.unlink(i)
		delete(t.index, t.all[i].key)
	}
	w := &t.all[i]
	if !known {
		*w = way{key: key, ms: ms, heard: now}
		t.index[key] = i
	}
	if now-w.heard > uint32(forgetRTT/time.Second) {
		w.ms = ms
	}
	w.ms += (ms - w.ms) / smoothRTT
	w.heard = now
	w.samples++
	t.link(i)
}

// seconds is the time since the table began, which the first call does. t.mu is held.
func (t *ways) seconds() uint32 {
	now := t.now
	if now == nil {
		now = time.Now
	}
	if t.index == nil {
		t.began, t.index, t.newest, t.oldest = now(), make(map[uint64]int32), -1, -1
	}
	return uint32(max(now().Sub(t.began), 0) / time.Second)
}

// unlink takes an entry out of the list, link makes it the newest. t.mu is held.
func (t *ways) unlink(i int32) {
	w := &t.all[i]
	if w.older >= 0 {
		t.all[w.older].newer = w.newer
	} else {
		t.oldest = w.newer
	}
	if w.newer >= 0 {
		t.all[w.newer].older = w.older
	} else {
		t.newest = w.older
	}
}

func (t *ways) link(i int32) {
	t.all[i].older, t.all[i].newer = t.newest, -1
	if t.newest >= 0 {
		t.all[t.newest].newer = i
	} else {
		t.oldest = i
	}
	t.newest = i
}

// drain returns what was heard since the last call, those with the most samples first and at most bus.MostPrefixes; what has to wait
// gathers samples.
func (t *ways) drain() []bus.PrefixRTT {
	t.mu.Lock()
	defer t.mu.Unlock()
	var changed []int32
	for i := range t.all {
		if t.all[i].samples > 0 {
			changed = append(changed, int32(i))
		}
	}
	if len(changed) > bus.MostPrefixes {
		slices.SortFunc(changed, func(a, b int32) int {
			return cmp.Or(cmp.Compare(t.all[b].samples, t.all[a].samples), cmp.Compare(t.all[a].heard, t.all[b].heard))
		})
		changed = changed[:bus.MostPrefixes]
	}
	out := make([]bus.PrefixRTT, len(changed))
	for n, i := range changed {
		w := &t.all[i]
		out[n] = bus.PrefixRTT{Prefix: prefixOf(w.key), MS: float64(int(w.ms*100+.5)) / 100, Samples: int(w.samples)}
		w.samples = 0
	}
	slices.SortStableFunc(out, func(a, b bus.PrefixRTT) int { return cmp.Compare(b.Samples, a.Samples) })
	return out
}

// RTT returns what the connections of clients have told of their distance since the last call: prefixes, /24 and /48, and no address.
// At most bus.MostPrefixes at once, those with the most samples first.
func (n *Node) RTT() []bus.PrefixRTT { return n.ways.drain() }
