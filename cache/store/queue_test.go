package store

import (
	"fmt"
	"testing"

	"hither/cache"
)

// Objects asked for more than once survive a scan of any length.
func TestScanLeavesHotObjects(t *testing.T) {
	m := open(t, mib, cache.Key.Hash)
	var kept []*cache.Object
	for i := range 4 {
		o := object(key(fmt.Sprint("/hot/", i)), frontObject) // too large for the front
		kept = append(kept, o)
		m.Put(o)
		hit(t, m, o, 2)
	}
	for i := range 10_000 {
		m.Put(object(key(fmt.Sprint("/scan/", i)), 1000))
	}
	for _, o := range kept {
		hit(t, m, o, 1)
	}
	s := m.Stats()
	if s.Evicted[Queue][Size] == 0 || s.Ghosts == 0 || s.Ghosts > s.Objects[Queue] {
		t.Errorf("stats %+v", s)
	}
}

// In a full store what leaves less than a quarter to others must be asked for twice; the second time it is proven. With room, or
// below that size, once is enough.
func TestLargeObjectsAreProvenFirst(t *testing.T) {
	m := open(t, mib, cache.Key.Hash)
	large, small := key("/large"), key("/small")
	if !m.Admits(large, m.MaxObject()) {
		t.Error("refused in an empty store")
	}
	for i := range 1000 {
		m.Put(object(key(fmt.Sprint("/", i)), 1000))
	}
	before := m.Stats()
	const most = mib - mib/largeShare
	if m.Admits(large, most+1) || !m.Admits(small, most) {
		t.Error("a full store takes what is too large, or not what is small")
	}
	if s := m.Stats(); s.Unproven != 1 || s.Objects != before.Objects {
		t.Errorf("%d objects were not admitted, %v are there of %v", s.Unproven, s.Objects, before.Objects)
	}
	if !m.Admits(large, most+1) {
		t.Error("refused the second time")
	}
	o := object(large, most)
	m.Put(o)
	hit(t, m, o, 1)
	if placeOf(m, large) != inMain {
		t.Error("what was asked for twice is not proven")
	}
	if !m.Admits(large, most+1) {
		t.Error("refused in the place of itself")
	}
	if err := audit(m); err != nil {
		t.Error(err)
	}
}

// Who returns while it is remembered starts in the main list; who was forgotten does not.
func TestGhost(t *testing.T) {
	m := open(t, mib, cache.Key.Hash)
	fill := func(name string, n int) {
		for i := range n {
			m.Put(object(key(fmt.Sprint(name, i)), 1000))
		}
	}
	first := key("/first")
	m.Put(object(first, 1000))
	fill("/a/", 1000) // about 700 fit
	if m.Get(first) != nil {
		t.Fatal("not evicted")
	}
	m.Put(object(first, 1000))
	if got := placeOf(m, first); got != inMain {
		t.Errorf("a returning object is at place %d, want main", got)
	}
	second := key("/second")
	m.Put(object(second, 1000))
	fill("/b/", 5000)
	m.Put(object(second, 1000))
	if got := placeOf(m, second); got != inSmall {
		t.Errorf("an object long forgotten is at place %d, want small", got)
	}
}

// If every object was asked for often, an eviction still ends soon and frees the room.
func TestSecondChancesEnd(t *testing.T) {
	m := open(t, 16*mib, cache.Key.Hash)
	var all []cache.Key
	for i := range 20_000 {
		k := key(fmt.Sprint("/", i))
		all = append(all, k)
		m.Put(object(k, 0))
	}
	for _, k := range all {
		for range maxFreq + 1 {
			m.Get(k)
		}
	}
	m.mu.Lock()
	e := m.queue.evict(len(all))
	freq := e.freq.Load()
	m.table.remove(e)
	e.obj.Store(nil)
	m.mu.Unlock()
	if freq == 0 {
		t.Error("the eviction went on until it found an entry without credit")
	}
	if err := audit(m); err != nil {
		t.Error(err)
	}
}

func TestGhostIsBounded(t *testing.T) {
	g := newGhost()
	for i := range uint64(10_000) {
		g.add(i%100, 1) // the same again and again
	}
	if len(g.slots) != minGhosts || len(g.at) > minGhosts {
		t.Errorf("%d slots, %d hashes; want %d at most", len(g.slots), len(g.at), minGhosts)
	}
	for i := range uint64(100) {
		want := i >= 100-minGhosts // the last ones added
		if got := g.take(i); got != want {
			t.Errorf("take(%d) = %v, want %v", i, got, want)
		}
	}
}
