package pool

import "sync/atomic"

// Windows of streams: how far one may be ahead of its reader (RFC 9113 section 6.9, RFC 9000 section 4).
const (
	// minWindow is what every stream has: most answers are smaller. What is above is of the budget.
	minWindow = 64 << 10
	// baseWindow is what a stream begins with, unless those before it were faster or the budget is short. 1 MiB at a round trip of
	// 200 ms is 40 Mbit/s, at 50 ms 160 Mbit/s.
	baseWindow = 1 << 20
	// startWindow is the most that one begins with: a slice of the cache, which then comes without waiting for its reader.
	startWindow = 4 << 20
	// maxWindow is the most that one grows to: 640 Mbit/s at 200 ms.
	maxWindow = 16 << 20
)

// windows are the bytes that the streams of all connections of a pool may bring for readers that have not asked for them yet: minWindow
// for each, and the budget for all of them together. Safe for concurrent use.
type windows struct {
	budget int64
	extra  atomic.Int64 // what windows have above minWindow, together
	held   atomic.Int64 // bytes that have come over HTTP/2 and were not read
	start  atomic.Int64 // what a stream begins with, 0 = baseWindow
}

// reserve takes up to n bytes, while what is taken altogether stays below a bound, and returns how many.
func (w *windows) reserve(n, bound int64) int64 {
	for {
		have := w.extra.Load()
		n = min(n, bound-have)
		if n <= 0 {
			return 0
		}
		if w.extra.CompareAndSwap(have, have+n) {
			return n
		}
	}
}

// crowded reports that what readers have not taken is half of the budget: streams have to do with less, and none gets more.
func (w *windows) crowded() bool { return w.held.Load() > w.budget/2 }

// short reports that little is left for those that need more.
func (w *windows) short() bool { return w.crowded() || w.extra.Load() > w.budget/4*3 }

// first is the window of a new stream. A quarter of the budget is kept for those that turn out to need more than others, and half
// of it, where the others' was large.
func (w *windows) first() int64 {
	if w.crowded() {
		return minWindow
	}
	n := w.reserve(baseWindow-minWindow, w.budget/4*3)
	if n == baseWindow-minWindow {
		n += w.reserve(w.start.Load()-baseWindow, w.budget/2)
	}
	return minWindow + n
}

// grow is by how much a window may grow: it doubles, as far as the budget goes.
func (w *windows) grow(window int64) int64 {
	if w.crowded() {
		return 0
	}
	more := w.reserve(min(window, maxWindow-window), w.budget)
	if next := min(window+more, startWindow); more > 0 && next > w.start.Load() {
		w.start.Store(next)
	}
	return more
}

// shrink is by how much the window of a stream with a slow reader shrinks, of at most n bytes.
func (w *windows) shrink(window, n int64) int64 {
	floor := int64(baseWindow)
	if w.short() {
		floor = minWindow
	}
	less := min(n, max(window-floor, 0))
	w.release(less)
	if less > 0 {
		w.start.Store(w.start.Load() / 2)
	}
	return less
}

func (w *windows) release(n int64) { w.extra.Add(-n) }
