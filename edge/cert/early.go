package cert

import (
	"crypto/tls"
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// A replayGuard remembers which session tickets have been used, so that each brings early data
// once (RFC 8446 section 8.1): a captured first flight that is sent again resumes at best, and
// its 0-RTT packets are never read.
//
// Used tickets stand in Bloom filters, one per ticket epoch. Memory is bounded however many there are, and where a
// filter is wrong it is so on the safe side: an unused ticket is taken for a used one, which costs
// its client a round trip. It is safe for concurrent use.
type replayGuard struct {
	refused atomic.Uint64

	mu    sync.Mutex
	seed  maphash.Seed
	epoch int64              // of used[0]
	used  [accepted][]uint64 // newest first; nil = none used
}

// 2^25 bits are 4 MiB for each epoch in which tickets are used. With 7 hashes 3.5 million of them, 240 a
// second over four hours, leave one new ticket in a hundred to be mistaken, and twice as many one in six.
const (
	filterBits   = 1 << 25
	filterHashes = 7
)

func newReplayGuard() *replayGuard { return &replayGuard{seed: maphash.MakeSeed()} }

// first reports whether ticket is used for the first time, and remembers it. epoch is the present one: what was
// used before the epochs whose tickets are still accepted needs no memory, for such a ticket does not resume.
func (g *replayGuard) first(ticket []byte, epoch int64) bool {
	h := maphash.Bytes(g.seed, ticket)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn(epoch)
	if g.used[0] == nil {
		g.used[0] = make([]uint64, filterBits/64)
	}
	for _, f := range g.used[1:] {
		if f != nil && !mark(f, h, false) {
			return false
		}
	}
	return mark(g.used[0], h, true)
}

// turn brings the filters to an epoch. Those of a clock that went back stay.
func (g *replayGuard) turn(epoch int64) {
	steps := min(epoch-g.epoch, accepted)
	for range steps {
		copy(g.used[1:], g.used[:])
		g.used[0] = nil
	}
	g.epoch = max(g.epoch, epoch)
}

// mark reports whether any bit of h is missing in f, and sets them all if set.
func mark(f []uint64, h uint64, set bool) (missing bool) {
	step := h>>32 | 1 // double hashing: position, and the distance to the next
	for range filterHashes {
		word, bit := h%filterBits/64, uint64(1)<<(h%64)
		if f[word]&bit == 0 {
			missing = true
		}
		if set {
			f[word] |= bit
		}
		h += step
	}
	return missing
}

// unwrap is the tls.Config.UnwrapSession of a configuration for QUIC: a ticket that was used before keeps its
// session, and loses its early data.
func (t *Tickets) unwrap(conf *tls.Config) func([]byte, tls.ConnectionState) (*tls.SessionState, error) {
	return func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		session, err := conf.DecryptTicket(ticket, cs)
		if session != nil && session.EarlyData && !t.guard.first(ticket, t.epoch.Load()) {
			session.EarlyData = false
			t.guard.refused.Add(1)
		}
		return session, err
	}
}

// EarlyRefused counts the tickets that came a second time, or were taken for such: replays, and clients
// which use one ticket for several connections.
func (t *Tickets) EarlyRefused() uint64 { return t.guard.refused.Load() }
