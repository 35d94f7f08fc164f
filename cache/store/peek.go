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

// Under returns the live objects under a primary key: it looks at all there are, and
// holds one of the table's locks at a time.
func (m *Memory) Under(primary cache.Key) []*cache.Object {
	var found []*cache.Object
	for i := range m.table.shards {
		s := &m.table.shards[i]
		s.mu.RLock()
		for _, e := range s.m {
			for ; e != nil; e = e.twin {
				if o := e.obj.Load(); o != nil && !o.Dead() && o.Key.Primary() == primary {
					found = append(found, o)
				}
			}
		}
		s.mu.RUnlock()
	}
	return found
}
