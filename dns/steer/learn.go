package steer

import (
	"math"
	"net/netip"
	"slices"
	"time"
)

// A Sample is what a PoP has measured of one prefix.
type Sample struct {
	Prefix netip.Prefix // a /24 or a /48
	MS     float64      // the smoothed round trip in milliseconds
	N      int          // connections
}

// Learned says what became of Samples.
type Learned struct {
	Taken   int
	Light   int  // less than light needs for the distance
	Invalid int  // no /24 or /48, no number of milliseconds from 0 to 10,000 above 0, no samples
	Place   int  // of places nobody knows, or that the operator's prefix gives to a PoP: there round trips do not count
	Full    int  // there is no room for another prefix of this PoP
	Aside   int  // the PoP has lied
	Lied    bool // it was just now found to lie
}

// Report takes what a PoP says of its clients. A PoP that does not exist says nothing.
func (t *Times) Report(pop int, samples []Sample, now time.Time) (l Learned) {
	second := t.second(now)
	if pop < 0 || pop >= len(t.pops) {
		return Learned{Invalid: len(samples)}
	}
	for _, s := range samples {
		if t.pops[pop].aside > second {
			l.Aside++
			continue
		}
		p := s.Prefix
		valid := p.IsValid() && p == p.Masked() && (p.Addr().Is4() && p.Bits() == hashBits4 || p.Addr().Is6() && !p.Addr().Is4In6() && p.Bits() == hashBits6)
		if !valid || !(s.MS > 0 && s.MS <= 10_000) || s.N <= 0 {
			l.Invalid++
			continue
		}
		k, six, _ := keyOf(p)
		key := keyed(k, six)
		if t.own[key] {
			if t.lies(pop, s.MS) {
				t.pops[pop].aside = second + int64(lieAside/time.Second)
				l.Lied = true
				l.Aside++
				t.judgeAll(second)
			} else {
				l.Taken++ // and this server's own probe is what counts
			}
			continue
		}
		dark, ok := t.tooFast(p, pop, s.MS)
		if !ok {
			l.Place++
			continue
		}
		r := t.of(key)
		if dark {
			l.Light++
			if r == nil {
				continue
			}
		} else if r == nil {
			if r = t.add(key, int16(pop)); r == nil {
				l.Full++
				continue
			}
		}
		if !dark {
			l.Taken++
		}
		r.take(pop, s.MS, s.N, second, dark, false)
		t.judge(r, second)
	}
	return l
}

// lies says whether a PoP's word of the network where this server stands is contradicted by this server's own probe.
func (t *Times) lies(pop int, ms float64) bool {
	p := &t.pops[pop]
	if p.probes < leastSamples {
		return false
	}
	least := slices.Min(p.recent[:min(p.probes, len(p.recent))])
	return ms*lieFactor < least && ms+lieLeast < least
}

// tooFast says whether light needs longer from a prefix to a PoP; ok is false where round trips do not count for the prefix.
func (t *Times) tooFast(p netip.Prefix, pop int, ms float64) (dark, ok bool) {
	found := t.place(p.Addr())
	from, known := t.s.base(&found)
	if !known || found.PoP != "" {
		return false, false
	}
	v := vectorOf(from)
	return ms < leastRTT(kmOf(v.chord2(&t.s.pops[pop].at))), true
}

// Probe takes how long this server's own probe took to connect to a PoP. It counts for the prefixes of Own instead of the PoP's word.
func (t *Times) Probe(pop int, ms float64, now time.Time) {
	second := t.second(now)
	if pop < 0 || pop >= len(t.pops) || !(ms > 0 && ms <= 10_000) {
		return
	}
	p := &t.pops[pop]
	if p.probes++; p.probes == 1 {
		p.probe = ms
	}
	p.recent[(p.probes-1)%len(p.recent)] = ms
	p.probe += (ms - p.probe) / 8 // as TCP smooths (RFC 6298 section 2)
	for key := range t.own {
		client := prefixOf(key&^sixBit, key&sixBit != 0)
		if _, ok := t.tooFast(client, pop, ms); !ok {
			continue
		}
		r := t.of(key)
		if r == nil {
			if r = t.add(key, -1); r == nil {
				continue
			}
		}
		r.take(pop, ms, 1, second, false, true) // no bound of light: it was measured, so the map is wrong
		t.judge(r, second)
	}
}

// take adds what was measured.
func (r *record) take(pop int, ms float64, n int, second int64, dark, probed bool) {
	at := r.room(pop, ms, probed)
	if at < 0 {
		return
	}
	s := &r.seen[at]
	if s.pop != int16(pop) || s.dark != dark || s.probed != probed {
		*s = seen{pop: int16(pop), dark: dark, probed: probed}
	}
	old := float64(s.n) * math.Exp2(-float64(second-int64(s.at))/halfLife.Seconds())
	if s.n == 0 {
		old = 0
	}
	more := max(float64(min(n, mostSamples)), old/2) // PoPs smooth what they tell: at least a third of it is new
	s.ms = float32((float64(s.ms)*old + ms*more) / (old + more))
	s.n = float32(min(old+float64(min(n, mostSamples)), mostSamples))
	s.at = uint32(second)
	s.sure = s.sure || s.n >= leastSamples-0.01
}

// room is where a PoP's round trip is kept: where it stands, else where nothing does, else in the place of the oldest; of probes, which
// are all as old, in that of the longest, and -1 where it is itself the longest.
func (r *record) room(pop int, ms float64, probed bool) int {
	at := 0
	for i := range r.seen {
		s := &r.seen[i]
		if s.pop == int16(pop) {
			return i
		}
		switch worst := &r.seen[at]; {
		case worst.pop < 0:
		case s.pop < 0, probed && s.ms > worst.ms, !probed && s.at < worst.at:
			at = i
		}
	}
	if s := &r.seen[at]; probed && s.pop >= 0 && float64(s.ms) <= ms {
		return -1
	}
	return at
}

// Sweep forgets what is too old and looks at orders that wait, a part of them at each call: 60 calls are once around. It is for
// being called every second.
func (t *Times) Sweep(now time.Time) {
	second := t.second(now)
	for range (len(t.records) + 59) / 60 {
		t.swept++
		if t.swept >= len(t.records) {
			t.swept = 0
		}
		t.refresh(t.swept, second)
	}
}

// refresh looks at one record.
func (t *Times) refresh(at int, second int64) {
	r := &t.records[at]
	if r.key == none {
		return
	}
	for i := range r.seen {
		if s := &r.seen[i]; s.pop >= 0 && second-int64(s.at) > int64(memory/time.Second) {
			*s = seen{pop: -1}
		}
	}
	t.judge(r, second)
	if r.empty() {
		t.drop(at)
	}
}

func (t *Times) judgeAll(second int64) {
	for at := range t.records {
		t.refresh(at, second)
	}
}

// known is how many prefixes there are that others brought: a PoP that tells of many may not move more by it.
func (t *Times) known(pop int) int { return len(t.index) - t.pops[pop].brought }

// mayPull says whether one more prefix may change to a PoP for its own word within a minute.
func (t *Times) mayPull(pop int, second int64) bool {
	p := &t.pops[pop]
	for ; p.at < second; p.at++ {
		if second-p.at > 60 {
			p.at = second - 60
		}
		next := &p.pulled[(p.at+1)%60]
		p.sum -= *next
		*next = 0
	}
	return int(p.sum) < max(1, int(pull*float64(t.known(pop))))
}

func (t *Times) pulled(pop int, second int64) {
	t.pops[pop].pulled[second%60]++
	t.pops[pop].sum++
}
