package store

import "hither/cache"

// This file is how objects move between a Memory and a tier below it.

// sink lets the tier below have what eviction picked. m.mu is held.
func (m *Memory) sink(e *entry) {
	if o := e.obj.Load(); m.below != nil && !o.Dead() {
		m.below(o, e.proven)
	}
}

// enter stores o, unless something live is under its key. It returns what is, or o where there is no room for it; in tells
// that it is here.
func (m *Memory) enter(o *cache.Object) (x *cache.Object, in bool) {
	h, size := m.hash(o.Key), o.Size()
	var stale []uint64
	defer func() { m.forget(stale) }()
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.table.get(h, o.Key); old != nil {
		if x := old.is(o.Key); x != nil {
			return x, true
		}
		stale = m.remove(old, Killed)
	}
	if m.closed || size > m.size || o.Dead() || !o.Keep() {
		return o, false
	}
	proven := m.queue.ghost.take(h)
	stale = append(stale, m.room(size)...)
	e := newEntry(h, o, size)
	m.table.swap(e, nil)
	m.queue.push(e, proven)
	return o, true
}

// eachProven yields what was asked for since it came, until yield returns false.
func (m *Memory) eachProven(yield func(*cache.Object) bool) {
	var list []*cache.Object
	for i := range m.table.shards {
		list = m.provenIn(i, list[:0])
		for _, o := range list {
			if !o.Dead() && !yield(o) {
				return
			}
		}
	}
}

// provenIn appends those of one shard to list.
func (m *Memory) provenIn(shard int, list []*cache.Object) []*cache.Object {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &m.table.shards[shard]
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, e := range s.m {
		for ; e != nil; e = e.twin {
			if o := e.obj.Load(); o != nil && (e.proven || e.place == inFront || e.freq.Load() > 0) {
				list = append(list, o)
			}
		}
	}
	return list
}
