package balance

import (
	"container/list"
	"net/http"
	"slices"
	"time"
)

// anomaly is an answer whose status is good and which is not.
type anomaly uint8

const (
	none      anomaly = iota
	short             // a 200 with less content than MinBytes
	shorter           // a 200 far shorter than what the others give for the path
	oddStatus         // 404 or 410 where the others have content
)

var anomalyWords = [...]string{"", "short", "shorter", "odd-status"}

// Others are heard when they answered often and lately.
const (
	answersToCount = 3
	answersHold    = 60 // seconds
)

// expected sets the verdict of an answer to Bad when it is not what Expect declares, and to Pending when that hangs on a
// length which is still unknown (below 0).
func (b *Balancer) expected(p *Pick, length int64, now time.Time) {
	e, h := b.cfg.Expect, p.header
	compare := e.MinRatio > 0 && h.Comparable && p.path != 0
	switch {
	case h.Status == http.StatusNotFound || h.Status == http.StatusGone:
		if b.paths.othersHave(p.path, p.at, b.second(now)) {
			b.bad(p, oddStatus)
		}
		b.paths.forget(p.path, p.at) // so that what is gone everywhere costs each instance one answer at most
	case h.Status != http.StatusOK || h.Head:
	case length < 0:
		if e.MinBytes > 0 || compare {
			p.verdict = Pending
		}
	case length < e.MinBytes:
		b.bad(p, short)
	case compare:
		if others, ok := b.paths.othersLength(p.path, p.at, b.second(now)); ok && float64(length) < e.MinRatio*others {
			b.bad(p, shorter)
		}
	}
}

func (b *Balancer) bad(p *Pick, a anomaly) {
	p.verdict, p.anomaly = Bad, a
	b.anomalies[a]++
}

// learn remembers an answer for comparison with the others'. One that was too short to be good counts as well: when the
// content has shrunk everywhere, the instances soon agree again.
func (b *Balancer) learn(p *Pick, bytes int64, now time.Time) {
	h := p.header
	if b.cfg.Expect == (Expect{}) || p.path == 0 || h.Status < 200 || h.Status > 299 || p.verdict == Bad && p.anomaly != shorter {
		return
	}
	if bytes < 0 {
		bytes = h.Length
	}
	if !h.Comparable || h.Head {
		bytes = -1
	}
	b.paths.learn(p.path, p.at, bytes, b.cfg.Expect.MinRatio, b.second(now))
}

// Bounds of the table of paths: 24 bytes an instance, 400 KiB in all.
const (
	mostPaths = 1024
	mostSeen  = 16
)

// paths is what instances answered of late to paths, the least used of which are forgotten. The zero value is empty.
type paths struct {
	by    map[uint64]*list.Element // of *pathSeen
	order list.List                // the one used last in front
}

type pathSeen struct {
	path uint64
	each []seen
}

// seen is what one instance answered to one path.
type seen struct {
	at     *instance
	length float32                // moving average; below 0 = unknown
	last   [answersToCount]uint32 // seconds + 1 of the last good answers, the newest first; 0 = none
}

// lately counts answers that still hold.
func (s *seen) lately(second int64) (n int) {
	for _, t := range s.last {
		if t > 0 && second-int64(t-1) <= answersHold {
			n++
		}
	}
	return n
}

func (p *paths) find(path uint64) *pathSeen {
	e := p.by[path]
	if e == nil {
		return nil
	}
	p.order.MoveToFront(e)
	return e.Value.(*pathSeen)
}

// learnWeight is the weight of a new length in the average.
const learnWeight = 0.1

// learn puts an answer into the table. A length that is far from the instance's own average is new content: the average
// begins anew.
func (p *paths) learn(path uint64, at *instance, length int64, ratio float64, second int64) {
	ps := p.find(path)
	if ps == nil {
		if p.by == nil {
			p.by = make(map[uint64]*list.Element)
		}
		if len(p.by) >= mostPaths {
			old := p.order.Back()
			delete(p.by, p.order.Remove(old).(*pathSeen).path)
		}
		ps = &pathSeen{path: path}
		p.by[path] = p.order.PushFront(ps)
	}
	n := slices.IndexFunc(ps.each, func(s seen) bool { return s.at == at })
	if n < 0 {
		if n = len(ps.each); n < mostSeen {
			ps.each = append(ps.each, seen{})
		} else { // the one that answered longest ago
			n = 0
			for k := range ps.each {
				if ps.each[k].last[0] < ps.each[n].last[0] {
					n = k
				}
			}
		}
		ps.each[n] = seen{at: at, length: -1}
	}
	s := &ps.each[n]
	copy(s.last[1:], s.last[:])
	s.last[0] = uint32(second) + 1
	switch {
	case length < 0:
	case s.length < 0, float64(length) < ratio*float64(s.length), float64(s.length) < ratio*float64(length):
		s.length = float32(length)
	default:
		s.length += learnWeight * (float32(length) - s.length)
	}
}

func (p *paths) forget(path uint64, at *instance) {
	if ps := p.find(path); ps != nil {
		ps.each = slices.DeleteFunc(ps.each, func(s seen) bool { return s.at == at })
	}
}

// othersHave says whether instances other than at have content at a path.
func (p *paths) othersHave(path uint64, at *instance, second int64) bool {
	n := 0
	if ps := p.find(path); ps != nil {
		for k := range ps.each {
			if s := &ps.each[k]; s.at != at && !s.at.gone {
				n += s.lately(second)
			}
		}
	}
	return n >= answersToCount
}

// othersLength returns the median length that instances other than at give for a path, the lower of two; false when none
// of them has answered often enough.
func (p *paths) othersLength(path uint64, at *instance, second int64) (float64, bool) {
	var lengths []float32
	if ps := p.find(path); ps != nil {
		for k := range ps.each {
			if s := &ps.each[k]; s.at != at && !s.at.gone && s.length >= 0 && s.lately(second) >= answersToCount {
				lengths = append(lengths, s.length)
			}
		}
	}
	if len(lengths) == 0 {
		return 0, false
	}
	slices.Sort(lengths)
	return float64(lengths[(len(lengths)-1)/2]), true
}
