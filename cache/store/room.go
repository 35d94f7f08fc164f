package store

// The methods in this file change tiers and accounts, under Memory.mu. Those which drop
// an entry return its hash in stale if the front was given it; the caller passes stale
// to forget after unlocking.

// used is the sum of the sizes of all objects stored.
func (m *Memory) used() int64 { return m.queue.bytes() + m.frontBytes.Load() }

// room evicts until size more bytes fit, from the front only what is there when the queue is empty: for an object that takes
// nearly all of the store.
func (m *Memory) room(size int64) (stale []uint64) {
	for m.used()+size > m.size {
		e, tier := m.queue.evict(m.queue.objects()+m.inFront.objects), Queue
		if e == nil {
			e, tier = m.inFront.oldest(), Front
			m.leaveFront(e)
		}
		m.counts.count(tier, reasonFor(e))
		m.sink(e)
		m.table.remove(e)
		stale = m.drop(e, stale)
	}
	return stale
}

// reasonFor tells why e, which eviction picked, leaves.
func reasonFor(e *entry) Reason {
	if e.obj.Load().Dead() {
		return Killed
	}
	return Size
}

// remove kills e's object and takes it out of its tier and out of the table.
func (m *Memory) remove(e *entry, why Reason) (stale []uint64) {
	e.obj.Load().Kill()
	m.leave(e, why)
	m.table.remove(e)
	return m.drop(e, nil)
}

// leave takes e out of its tier.
func (m *Memory) leave(e *entry, why Reason) {
	if e.place == inFront {
		m.counts.count(Front, why)
		m.leaveFront(e)
		return
	}
	m.counts.count(Queue, why)
	m.queue.unlink(e)
}

// drop gives up the object of e, which has left tier and table.
func (m *Memory) drop(e *entry, stale []uint64) []uint64 {
	e.obj.Swap(nil).Drop()
	if e.held {
		stale = append(stale, e.hash)
	}
	return stale
}

func (m *Memory) enterFront(e *entry) {
	m.inFront.push(e)
	e.front.Store(true)
	m.frontBytes.Add(e.size)
}

func (m *Memory) leaveFront(e *entry) {
	m.inFront.unlink(e)
	e.front.Store(false)
	m.frontBytes.Add(-e.size)
}

// forget makes the front free the room of entries that ended. By then it may hold
// another entry under one of the hashes: that one goes back to the queue by letGo.
func (m *Memory) forget(stale []uint64) {
	for _, h := range stale {
		m.front.remove(h)
	}
}
