package store

import (
	"sync"

	"hither/cache"
)

// tableShards is the number of locks of a table: a hit holds one of them for the time
// of a map look-up, so that with dozens of cores two rarely meet. A power of two.
const tableShards = 64

// A table finds the entry of a key. It is the record: what is not in it is not
// stored. Entries whose keys have equal hashes hang on one another as twins.
type table struct {
	shards [tableShards]struct {
		mu sync.RWMutex
		m  map[uint64]*entry
		_  [24]byte // one shard per cache line of 64 bytes
	}
}

func newTable() *table {
	t := &table{}
	for i := range t.shards {
		t.shards[i].m = make(map[uint64]*entry)
	}
	return t
}

// get returns the entry under exactly k, whose hash is h. Its object may be dead.
func (t *table) get(h uint64, k cache.Key) *entry {
	s := &t.shards[h%tableShards]
	s.mu.RLock()
	defer s.mu.RUnlock()
	for e := s.m[h]; e != nil; e = e.twin {
		// An entry in the table has an object: remove and swap take it out first.
		if e.obj.Load().Key == k {
			return e
		}
	}
	return nil
}

// swap puts e in old's place in one step, so that no look-up finds neither; with old
// nil it adds e.
func (t *table) swap(e, old *entry) {
	s := &t.shards[e.hash%tableShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if old != nil {
		unchain(s.m, old)
	}
	e.twin = s.m[e.hash]
	s.m[e.hash] = e
}

// objects appends those of one shard to list.
func (t *table) objects(shard int, list []*cache.Object) []*cache.Object {
	s := &t.shards[shard]
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, e := range s.m {
		for ; e != nil; e = e.twin {
			if o := e.obj.Load(); o != nil {
				list = append(list, o)
			}
		}
	}
	return list
}

// remove takes e out.
func (t *table) remove(e *entry) {
	s := &t.shards[e.hash%tableShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	unchain(s.m, e)
}

// unchain takes e, which must be there, out of its chain of twins.
func unchain(m map[uint64]*entry, e *entry) {
	first := m[e.hash]
	switch {
	case first != e:
		for first.twin != e {
			first = first.twin
		}
		first.twin = e.twin
	case e.twin != nil:
		m[e.hash] = e.twin
	default:
		delete(m, e.hash)
	}
	e.twin = nil
}
