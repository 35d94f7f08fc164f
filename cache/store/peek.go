package store

import "hither/cache"

var _ cache.Peeker = (*Memory)(nil)

// Peek returns the live object under exactly k, or nil, and is no hit.
func (m *Memory) Peek(k cache.Key) *cache.Object {
	h := m.hash(k)
	e := m.table.get(h, k)
	if e == nil {
		return nil
	}
	if o := e.is(k); o != nil {
		return o
	}
	// Killed: if by a Put under way, this waits for what it puts.
	m.mu.Lock()
	defer m.mu.Unlock()
	if e = m.table.get(h, k); e == nil {
		return nil
	}
	return e.is(k)
}

// Under returns the live objects under a primary key: it looks at all there are.
func (m *Memory) Under(primary cache.Key) []*cache.Object {
	var found []*cache.Object
	m.Each(func(o *cache.Object) bool {
		if o.Key.Primary() == primary {
			found = append(found, o)
		}
		return true
	})
	return found
}

// Each yields the live objects, in no order, until yield returns false. It holds one of the
// table's locks at a time, and none while it yields.
func (m *Memory) Each(yield func(*cache.Object) bool) {
	var shard []*cache.Object
	for i := range m.table.shards {
		shard = m.table.objects(i, shard[:0])
		for _, o := range shard {
			if !o.Dead() && !yield(o) {
				return
			}
		}
	}
}
