package steer

import (
	"math"
	"net/netip"
	"time"

	"hither/dns/geo"
)

// Limits of what a PoP's word does, and how long it is good for.
const (
	mostPrefixes = 200_000 // at about 150 bytes each
	mostSeen     = 4       // PoPs of which a prefix remembers the round trip: it has two or three that are worth it
	leastSamples = 3       // connections before a round trip counts: the first may be of one phone in a lift
	mostSamples  = 10      // what is remembered weighs as much as that many connections at most
	halfLife     = 10 * time.Minute

	// memory is how long a round trip counts that nobody measured again. A PoP that lost its clients is measured by the share that
	// explores, once in 100 slices of a minute; six hours are three such turns. Forgotten earlier, it would get them back by the map.
	memory = 6 * time.Hour

	// gain and gainPart are what another PoP must be better by to become the first. Measured round trips of one network spread by
	// some milliseconds from hour to hour, and by about a tenth where they are long.
	gain     = 5.0
	gainPart = 0.1

	// stay is how long a first choice lasts at least: several TTLs, so that what is measured after a change comes from it.
	stay = time.Minute

	// pull is the part of the known prefixes that change to a PoP in a minute at most for no other reason than its own word. A thief of an
	// edge's identity who claims to be near everybody is so found out, or seen in hither_dns_moves_total, before many clients are his.
	pull = 0.05

	exploreOf    = 100         // one prefix of so many explores at a time
	exploreSlice = time.Minute // several TTLs
	exploreWorst = 100.0       // milliseconds that exploring may cost; with a hundredth of clients a millisecond on average

	// A PoP lies that claims less than half of what a DNS server's own probes of it take from the same network, and 5 ms less, also of
	// the fastest of the last eight. Both are round trips of TCP on the same way: what differs is the noise, and a server that is itself
	// too busy to look at the clock in time. What the PoP says is set aside for so long.
	lieFactor = 2.0
	lieLeast  = 5.0
	lieAside  = 10 * time.Minute
)

// Times is what is known of the round trips between prefixes of clients (/24 and /48) and PoPs, and the order of PoPs that
// follows for each prefix. Edges report what they measure, and a DNS server adds what its own probes take. It is bounded: in memory, in
// what a PoP's own word can do, and in how often an order changes.
//
// It has no clock of its own; now may not run backwards between calls, and where it does no time has passed. It is used by one
// goroutine at a time. What it yields, a View, may be used by many.
type Times struct {
	s     *Snapshot
	place func(netip.Addr) geo.Found
	most  int
	moved func(pop string, why Move) // optional

	records []record // those with a key of none are free
	index   map[uint64]int32
	free    []int32
	own     map[uint64]bool // prefixes that a probe of this server stands for

	pops  []standing // by PoP
	hand  int        // where the search for one to give up goes on
	swept int        // where Sweep goes on
	last  int64      // second of the last call
	slice int64      // that explores in the last View
	dirty bool       // the View is not as it was
}

// standing is what is known of a PoP as a speaker.
type standing struct {
	aside   int64      // second until which its word does not count
	probe   float64    // what this server's own probes take, smoothed, in milliseconds; 0 = none
	recent  [8]float64 // the last of them
	probes  int        // how many
	brought int        // prefixes that are known because it told of them
	pulled  [60]int32  // prefixes that changed to it by its own word, by second of the minute
	at      int64      // the second to which pulled belongs
	sum     int32      // of pulled
}

// A record is what is known of a prefix.
type record struct {
	key     uint64 // with sixBit where it is a /48; none where it is free
	seen    [mostSeen]seen
	list    order7 // the order as of now, that of the map at first
	changed uint32 // second at which its first last changed; 0 = never
	by      int16  // the PoP that brought it, -1 = a probe
	waits   Waits  // why the one that is best by time is not first
	differs bool   // list is not what the map has
}

// seen is what was measured between a prefix and a PoP.
type seen struct {
	pop    int16 // -1 = none
	sure   bool  // there were enough samples once
	probed bool  // by this server itself
	dark   bool  // less than light needs: it never counts
	n      float32
	ms     float32
	at     uint32 // second of the last
}

const (
	sixBit = 1 << 48
	none   = math.MaxUint64
)

// A Move says why the first PoP of a prefix changed. Its word is a metric's label.
type Move string

const (
	MoveReport  Move = "report"  // the new one's own word
	MoveProbe   Move = "probe"   // this server's own probe
	MoveAway    Move = "away"    // the old one takes longer than the new one does by the map: the new one's word was not needed
	MoveAside   Move = "aside"   // the old one's word does not count any more, as it lied
	MoveAged    Move = "aged"    // what was measured is forgotten
	MoveExplore Move = "explore" // for a slice of time, to be measured
)

// Moves lists them, for the label set of a metric.
func Moves() []Move { return []Move{MoveReport, MoveProbe, MoveAway, MoveAside, MoveAged, MoveExplore} }

// Waits says why a PoP that is best by time is not first. The zero Waits is that there is none.
type Waits uint8

const (
	waitsNot    Waits = iota
	waitsGain         // it is not better by enough
	waitsStay         // the first changed only just now
	waitsBudget       // its own word has moved as many prefixes as it may
)

// NewTimes makes an empty one for the PoPs of s; their states do not count. place says where a client is. most bounds the prefixes;
// 0 = 200,000. moved is called for each change of a first PoP; nil = nobody wants to know.
func NewTimes(s *Snapshot, place func(netip.Addr) geo.Found, most int, moved func(pop string, why Move)) *Times {
	if most <= 0 {
		most = mostPrefixes
	}
	if moved == nil {
		moved = func(string, Move) {}
	}
	return &Times{
		s: s, place: place, most: most, moved: moved, index: make(map[uint64]int32), own: make(map[uint64]bool),
		pops: make([]standing, s.Len()), slice: -1,
	}
}

// Use goes on with the PoPs and places of a new network file. What is known of PoPs that it has not is forgotten.
func (t *Times) Use(s *Snapshot, place func(netip.Addr) geo.Found, now time.Time) {
	second := t.second(now)
	to := make([]int16, len(t.pops))
	pops := make([]standing, s.Len())
	for i := range t.pops {
		to[i] = -1
		if j, ok := s.Index(t.s.pops[i].Name); ok {
			to[i] = int16(j)
			pops[j] = t.pops[i]
		}
	}
	moved := func(p int16) int16 {
		if p < 0 {
			return -1
		}
		return to[p]
	}
	t.s, t.place, t.pops, t.dirty = s, place, pops, true
	for at := range t.records {
		r := &t.records[at]
		if r.key == none {
			continue
		}
		r.by = moved(r.by)
		for i := range r.seen {
			r.seen[i].pop = moved(r.seen[i].pop)
		}
		list := r.list
		if list[0] >= 0 && to[list[0]] < 0 {
			r.changed = 0
		}
		n := 0
		for _, p := range list {
			if p = moved(p); p >= 0 {
				r.list[n] = p
				n++
			}
		}
		for ; n < ahead; n++ {
			r.list[n] = -1
		}
		if r.empty() {
			t.drop(at)
			continue
		}
		t.judge(r, second)
	}
}

// second is now, never before the last one.
func (t *Times) second(now time.Time) int64 {
	t.last = max(t.last, now.Unix())
	return t.last
}

// Own says for which prefixes this server's own probes stand: those of its addresses.
func (t *Times) Own(addrs []netip.Addr) {
	clear(t.own)
	for _, a := range addrs {
		k, six, _ := keyOf(netip.PrefixFrom(a, a.BitLen()))
		t.own[keyed(k, six)] = true
	}
}

func keyed(k uint64, six bool) uint64 {
	if six {
		return k | sixBit
	}
	return k
}

func (r *record) client() netip.Prefix { return prefixOf(r.key&^sixBit, r.key&sixBit != 0) }

// Len is how many prefixes are known.
func (t *Times) Len() int { return len(t.index) }

// of returns the record of a key, nil where there is none.
func (t *Times) of(key uint64) *record {
	if at, ok := t.index[key]; ok {
		return &t.records[at]
	}
	return nil
}

// add makes a record for a key. Where there is no room, the PoP that brought the most gives one up, so that a PoP which tells of many
// takes the room of its own; nil where that is the same PoP and nothing of its is older.
func (t *Times) add(key uint64, by int16) *record {
	if len(t.index) >= t.most && !t.giveUp(by) {
		return nil
	}
	var at int32
	if n := len(t.free); n > 0 {
		at = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		at = int32(len(t.records))
		t.records = append(t.records, record{})
	}
	r := &t.records[at]
	*r = record{key: key, by: by}
	for i := range r.seen {
		r.seen[i].pop = -1
	}
	r.forget()
	t.index[key] = at
	if by >= 0 {
		t.pops[by].brought++
	}
	return r
}

// giveUp frees a record of the PoP that brought the most, other than by; false where by itself has as many.
func (t *Times) giveUp(by int16) bool {
	most := int16(-1)
	for i := range t.pops {
		if most < 0 || t.pops[i].brought > t.pops[most].brought {
			most = int16(i)
		}
	}
	if most < 0 || by >= 0 && t.pops[most].brought <= t.pops[by].brought {
		return false
	}
	for range t.records {
		t.hand = (t.hand + 1) % len(t.records)
		if r := &t.records[t.hand]; r.key != none && r.by == most {
			t.drop(t.hand)
			return true
		}
	}
	return false
}

// drop frees a record.
func (t *Times) drop(at int) {
	r := &t.records[at]
	if r.by >= 0 {
		t.pops[r.by].brought--
	}
	t.dirty = t.dirty || r.differs
	delete(t.index, r.key)
	*r = record{key: none}
	t.free = append(t.free, int32(at))
}

// empty says that nothing is known of it any more.
func (r *record) empty() bool {
	for i := range r.seen {
		if r.seen[i].pop >= 0 {
			return false
		}
	}
	return true
}
