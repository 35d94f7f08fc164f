package limit

import (
	"container/list"
	"time"
)

// waiter is one request in the queue. What follows answered is written before it is closed and read after.
type waiter struct {
	since    time.Time
	most     time.Duration // it may wait
	element  *list.Element // nil when it is not in the queue
	answered chan struct{} // nil for one that never waited
	pass     *Pass
	refusal  *Refusal
}

func (w *waiter) answer() {
	if w.answered != nil {
		close(w.answered)
	}
}

// queue is who waits, and whether the queue stands.
//
// A queue that a burst left and that drains is good, and is served first come first served. One that stands means that
// more come than are served: whoever is at its end will be served too late to be of use, and so will everybody after.
// CoDel (Nichols and Jacobson 2012, RFC 8289) tells them apart by the least delay of an interval: a good queue is empty at
// some moment of it. From then on the newest is served first, so that some requests are answered at once instead of all
// of them late, and those that wait on are refused (relieve). That is what Maurer describes for
// Facebook ("Fail at Scale", ACM Queue 13(8), 2015: adaptive LIFO, and CoDel in folly/executors/Codel.cpp).
type queue struct {
	waiting list.List // of *waiter, who came first in front

	until    time.Time     // the end of the interval
	least    time.Duration // delay in it
	seen     bool          // somebody got a place in it
	standing bool
}

func (q *queue) len() int          { return q.waiting.Len() }
func (q *queue) push(w *waiter)    { w.element = q.waiting.PushBack(w) }
func (q *queue) oldest() time.Time { return q.waiting.Front().Value.(*waiter).since }
func (q *queue) shift() *waiter    { return q.take(q.waiting.Front()) }

// pop takes out whose turn it is.
func (q *queue) pop() *waiter {
	if q.standing {
		return q.take(q.waiting.Back())
	}
	return q.shift()
}

// ahead is how many are served before one who comes now.
func (q *queue) ahead() int {
	if q.standing {
		return 0
	}
	return q.waiting.Len()
}

func (q *queue) take(e *list.Element) *waiter {
	w := q.waiting.Remove(e).(*waiter)
	w.element = nil
	return w
}

func (q *queue) remove(w *waiter) bool {
	if w.element == nil {
		return false
	}
	q.take(w.element)
	return true
}

// look ends the interval when its time is over. One without anybody served says nothing of delays; then whoever waits for
// all of it has shown that the queue stands.
func (q *queue) look(now time.Time, interval, target time.Duration) {
	if now.Before(q.until) {
		return
	}
	if q.seen && now.Before(q.until.Add(interval)) {
		q.standing = q.least > target
	} else {
		q.standing = q.len() > 0 && now.Sub(q.oldest()) >= interval
	}
	q.until, q.seen = now.Add(interval), false
}

// delayed notes how long whoever waits longest has waited when a place is given away: with newest first, what the others
// waited would hide that the queue stands.
func (q *queue) delayed(d time.Duration) {
	if !q.seen || d < q.least {
		q.least = d
	}
	q.seen = true
}
