package store

import (
	"fmt"
	"sync"
	"sync/atomic"

	"hither/cache"
)

// Memory is a [cache.Store] in memory. Every object is found through one table and
// stands in one of two tiers, which decide what is evicted: a queue (S3-FIFO), where
// all objects begin, and a front (ristretto), to which small ones that are asked for
// repeatedly move. The sum of the Size of all objects it refers to is at no time
// above the size it was made with.
//
// All methods may be called concurrently, but Close.
type Memory struct {
	size     int64
	frontMax int64
	hash     func(cache.Key) uint64 // Key.Hash but in tests of collisions

	table *table
	front *front

	// below, where set, is told what is evicted while it is still found here, with mu held: see Tiered.
	below func(o *cache.Object, proven bool)

	frontBytes atomic.Int64 // changed under mu, read without

	// mu is never held while the front is called: the front's goroutine takes it in
	// letGo, and a full buffer of the front waits for that goroutine.
	mu      sync.Mutex
	closed  bool
	queue   *queue
	inFront list // what is in the front, in the order in which it came there
	counts  counts
}

var (
	_ cache.Store    = (*Memory)(nil)
	_ cache.Admitter = (*Memory)(nil)
)

// NewMemory makes a store for objects of size bytes in all, at least 128 KiB. Apart
// from the objects it takes about 0.3 MiB and 0.1 % of size.
func NewMemory(size int64) (*Memory, error) {
	return newMemory(size, cache.Key.Hash)
}

func newMemory(size int64, hash func(cache.Key) uint64) (*Memory, error) {
	if size < minSize {
		return nil, fmt.Errorf("store: make a memory store of %d bytes: the least is %d", size, minSize)
	}
	m := &Memory{
		size:     size,
		frontMax: size / frontShare,
		hash:     hash,
		table:    newTable(),
		queue:    newQueue(size),
	}
	m.inFront.init(inFront)
	var err error
	m.front, err = newFront(m.frontMax, m.letGo)
	return m, err
}

// MaxObject is the store's size. What is large must be asked for twice: see Admits.
func (m *Memory) MaxObject() int64 { return m.size }

// Admits reports whether an object of this size is worth those that would have to go for it: see queue.admits.
func (m *Memory) Admits(k cache.Key, size int64) bool {
	h := m.hash(k)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.table.get(h, k) != nil || m.queue.admits(h, size, m.size-m.used(), m.inFront.objects) {
		return true
	}
	m.counts.unproven++
	return false
}

// Get returns the live object under exactly k, or nil. A hit allocates nothing; in the
// front it takes no lock of the queue's, in the queue it takes one for reading.
func (m *Memory) Get(k cache.Key) *cache.Object {
	h := m.hash(k)
	if e, ok := m.front.get(h); ok {
		if o := e.is(k); o != nil {
			m.hitFront(e)
			return o
		}
	}
	for {
		e := m.table.get(h, k)
		if e == nil {
			return nil
		}
		if o := e.is(k); o != nil {
			m.hitQueue(e)
			return o
		}
		// Killed: either by its owner, and this removes it; or by a Put or Delete
		// that is under way, and this waits for it. Either way the next turn finds
		// another entry or none.
		m.bury(e)
	}
}

// hitFront counts a hit in the front and, if the entry is still in the queue, moves it.
func (m *Memory) hitFront(e *entry) {
	if !e.front.Load() && !m.promote(e) {
		e.touch()
	}
}

// promote moves an entry that the front holds there from the queue, and reports whether it did. A hit waits for nobody: if
// the lock is taken, a later hit will move it.
func (m *Memory) promote(e *entry) bool {
	if m.frontBytes.Load()+e.size > m.frontMax || !m.mu.TryLock() {
		return false
	}
	defer m.mu.Unlock()
	// The front may have let go of e since it was found there; then letGo has
	// cleared held. Without that check the entry would move to a front that
	// does not know it, and nobody would ever evict it. And another hit may have
	// moved it since.
	if !e.held || e.place == nowhere || e.place == inFront || m.frontBytes.Load()+e.size > m.frontMax {
		return false
	}
	m.queue.unlink(e)
	m.enterFront(e)
	m.counts.promoted++
	return true
}

// hitQueue counts a hit in the queue and offers the entry to the front when due.
func (m *Memory) hitQueue(e *entry) {
	e.touch()
	if !e.wants() {
		return
	}
	if !m.mu.TryLock() {
		e.due.Store(1) // a hit waits for nobody: the next one offers
		return
	}
	e.held = e.place != nowhere
	held := e.held
	m.mu.Unlock()
	if held && !m.front.offer(e) {
		m.letGo(e)
	}
}

// Put stores o in place of what was under its key, which is killed. If o is larger
// than MaxObject the old object is killed all the same: it is outdated. A dead o, and
// one that is stored already, change nothing.
func (m *Memory) Put(o *cache.Object) {
	h, size := m.hash(o.Key), o.Size()
	m.mu.Lock()
	old := m.table.get(h, o.Key)
	switch {
	case m.closed, o.Dead(), old != nil && old.obj.Load() == o:
		m.mu.Unlock()
		return
	case size > m.size:
		m.counts.refused++
		var stale []uint64
		if old != nil {
			stale = m.remove(old, Replaced)
		}
		m.mu.Unlock()
		m.forget(stale)
		return
	case !o.Keep():
		m.mu.Unlock()
		return
	}
	if old != nil {
		// In this order: a look-up which finds old from now on, by table or front,
		// finds it dead and waits for mu, so it cannot miss what replaces it.
		old.obj.Load().Kill()
		m.leave(old, Replaced)
	}
	// Before room is made: for a large object so much is evicted that its own hash would be forgotten.
	proven := m.queue.ghost.take(h)
	stale := m.room(size)
	e := newEntry(h, o, size)
	m.table.swap(e, old)
	if old != nil {
		stale = m.drop(old, stale)
	}
	m.queue.push(e, proven)
	m.mu.Unlock()
	m.forget(stale)
}

// Delete removes and kills what is under k.
func (m *Memory) Delete(k cache.Key) bool {
	h := m.hash(k)
	m.mu.Lock()
	e := m.table.get(h, k)
	if e == nil {
		m.mu.Unlock()
		return false
	}
	live := !e.obj.Load().Dead()
	reason := Deleted
	if !live {
		reason = Killed
	}
	stale := m.remove(e, reason)
	m.mu.Unlock()
	m.forget(stale)
	return live
}

// bury removes e if it is still stored and dead.
func (m *Memory) bury(e *entry) {
	m.mu.Lock()
	var stale []uint64
	if e.place != nowhere && e.obj.Load().Dead() {
		stale = m.remove(e, Killed)
	}
	m.mu.Unlock()
	m.forget(stale)
}

// letGo takes back an entry which the front dropped, rejected, replaced or evicted.
func (m *Memory) letGo(e *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.held = false
	if e.place == nowhere {
		return
	}
	e.due.Store(nextOffer)
	if e.place != inFront {
		return
	}
	if e.obj.Load().Dead() {
		m.remove(e, Killed) // nothing to forget: the front has just done so
		return
	}
	m.leaveFront(e)
	m.queue.back(e)
	m.counts.demoted++
}

// Wait returns when the front has applied everything that was told it before. It is
// there for tests: nothing depends on how late the front is.
func (m *Memory) Wait() { m.front.wait() }

// Close forgets all objects, without killing them, and ends the store's goroutines.
// It must be called once, after all other calls have returned; afterwards the store
// is empty and stays so.
func (m *Memory) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.front.close() // gives everything it holds back to the queue
	m.mu.Lock()
	defer m.mu.Unlock()
	for e := m.queue.evict(0); e != nil; e = m.queue.evict(0) {
		m.table.remove(e)
		m.drop(e, nil)
	}
}
