// Package trace replays a trace of requests through caches, the real store among them, and counts their hits.
package trace

import (
	"math"
	"time"
)

// A Trace is what clients asked for, in order. It is not changed once read.
type Trace struct {
	File    string
	Skipped int   // lines that were broken and left out
	First   error // the first of them

	// By request: the object, and when it was asked for, counted from the first request. Times never go back: one that
	// does in the file counts as the one before.
	objects []uint32
	at      []time.Duration

	// By object. A key that comes with another size is another object from then on: a new version under a name of its own.
	keys  []string
	sizes []int64

	unique, requested int64
}

// Requests is how many there are.
func (t *Trace) Requests() int { return len(t.objects) }

// Objects is how many different ones are asked for.
func (t *Trace) Objects() int { return len(t.sizes) }

// Unique is the bytes of all objects, each counted once: what an infinite cache holds at the end.
func (t *Trace) Unique() int64 { return t.unique }

// Requested is the bytes of all requests' objects.
func (t *Trace) Requested() int64 { return t.requested }

// Span is the time from the first request to the last.
func (t *Trace) Span() time.Duration {
	if len(t.at) == 0 {
		return 0
	}
	return t.at[len(t.at)-1]
}

// add takes up a request that came at an instant of the trace's clock.
func (t *Trace) add(object uint32, at time.Duration) {
	if n := len(t.at); n > 0 {
		at = max(at, t.at[n-1])
	}
	t.objects, t.at = append(t.objects, object), append(t.at, at)
	t.requested += t.sizes[object]
}

// A Size is a cache's, in bytes or as a share of a trace's unique bytes.
type Size struct {
	Bytes int64   // where Share is 0
	Share float64 // 0.01 is one of a hundred
}

// Of is the size for a trace, in bytes.
func (s Size) Of(t *Trace) int64 {
	if s.Share > 0 {
		return int64(math.Round(s.Share * float64(t.unique)))
	}
	return s.Bytes
}
