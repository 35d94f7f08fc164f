package upstream

import "sync"

// span is how many seconds a window looks back.
const span = 10

// window counts two sorts of events over the last ten seconds. The zero value is empty.
type window struct {
	mu    sync.Mutex
	slots [span]slot
}

type slot struct {
	second int64
	a, b   int
}

// add counts events of this second, and returns the sums of the window with them.
func (w *window) add(second int64, a, b int) (sumA, sumB int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.countLocked(second, a, b)
	return w.sumLocked(second)
}

func (w *window) countLocked(second int64, a, b int) {
	s := &w.slots[second%span]
	if s.second != second {
		*s = slot{second: second}
	}
	s.a += a
	s.b += b
}

func (w *window) sumLocked(second int64) (a, b int) {
	for _, s := range w.slots {
		if second-s.second < span {
			a, b = a+s.a, b+s.b
		}
	}
	return a, b
}

// budget bounds how many requests may be sent more than once: else an origin that answers badly because it has too much to
// do gets several times as much (Beyer et al., Site Reliability Engineering, chapter 22; Finagle's RetryBudget).
type budget struct {
	percent int // of the requests of the window; 0 = none
	window      // requests, and those sent again
}

// least is how many may be sent again in any window: a share of few requests is nothing.
const least = 10

// request counts one.
func (b *budget) request(second int64) { b.add(second, 1, 0) }

// take takes one out of the budget, if there is one in it.
func (b *budget) take(second int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if allowed, used := b.stateLocked(second); used >= allowed {
		return false
	}
	b.countLocked(second, 0, 1)
	return true
}

// state is how many may be sent again in this window, and how many were.
func (b *budget) state(second int64) (allowed, used int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stateLocked(second)
}

func (b *budget) stateLocked(second int64) (allowed, used int) {
	requests, used := b.sumLocked(second)
	if b.percent == 0 {
		return 0, used
	}
	return max(least, requests*b.percent/100), used
}
