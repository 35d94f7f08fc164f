package control

import (
	"sort"
	"time"
)

// A count is what an edge did between two instants.
type count struct {
	Requests int64 `json:"requests"`
	Errors   int64 `json:"errors"` // answers of 5xx, and those that broke off
	Hits     int64 `json:"hits"`
}

// share is the part of the requests that were errors; 0 of none.
func (c count) share() float64 {
	if c.Requests <= 0 {
		return 0
	}
	return float64(min(c.Errors, c.Requests)) / float64(c.Requests)
}

func (c count) plus(d count) count {
	return count{c.Requests + d.Requests, c.Errors + d.Errors, c.Hits + d.Hits}
}

func (c count) minus(d count) count {
	return count{c.Requests - d.Requests, c.Errors - d.Errors, c.Hits - d.Hits}
}

// seriesTime is how far a series goes back, and seriesMost how many samples it has at most: one each second.
const (
	seriesTime = 10 * time.Minute
	seriesMost = int(seriesTime / time.Second)
)

// A sample is what an edge had done in all since its series began, by the control's clock.
type sample struct {
	at    time.Time
	total count
}

// A series is what one edge has counted over the last ten minutes. A node that starts anew counts from 0 again; the series goes on.
type series struct {
	samples []sample
	started time.Time // of the process that the last counters are of
	last    count     // its counters
}

// add takes counters that came at an instant. It passes over those of less than a second after the last: what comes oftener tells
// nothing more.
func (s *series) add(at, started time.Time, now count) {
	if len(s.samples) == 0 {
		s.samples = append(s.samples, sample{at: at})
		s.started, s.last = started, now
		return
	}
	before := s.samples[len(s.samples)-1]
	if at.Sub(before.at) < time.Second {
		return
	}
	grown := now.minus(s.last)
	if !started.Equal(s.started) || grown.Requests < 0 || grown.Errors < 0 || grown.Hits < 0 {
		grown = now // it counts from 0 again
	}
	s.started, s.last = started, now
	s.samples = append(s.samples, sample{at, before.total.plus(grown)})
	if first := sort.Search(len(s.samples), func(i int) bool { return at.Sub(s.samples[i].at) <= seriesTime }); first > 0 || len(s.samples) > seriesMost {
		first = max(first, len(s.samples)-seriesMost)
		s.samples = append(s.samples[:0], s.samples[first:]...)
	}
}

// between is what was counted from the last sample at or before from, or the first there is, to the last at or before to, and how
// long that was. It is nothing where there are no two samples.
func (s *series) between(from, to time.Time) (count, time.Duration) {
	i := max(sort.Search(len(s.samples), func(i int) bool { return s.samples[i].at.After(from) })-1, 0)
	j := sort.Search(len(s.samples), func(i int) bool { return s.samples[i].at.After(to) }) - 1
	if j <= i {
		return count{}, 0
	}
	return s.samples[j].total.minus(s.samples[i].total), s.samples[j].at.Sub(s.samples[i].at)
}
