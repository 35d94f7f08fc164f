package store

import (
	"fmt"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"hither/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, size int64, hash func(cache.Key) uint64) *Memory {
	t.Helper()
	m, err := newMemory(size, hash)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Close()
		if s := m.Stats(); s.Objects != [numTiers]int{} || s.Bytes != [numTiers]int64{} {
			t.Errorf("closed store still holds %v objects, %v bytes", s.Objects, s.Bytes)
		}
	})
	return m
}

func TestMemory(t *testing.T) {
	testStore(t, func(t testing.TB, size int64) cache.Store { return open(t, size, cache.Key.Hash) })
}

// Every hash has many keys, in both tiers: nothing may change but speed.
func TestMemoryWithCollisions(t *testing.T) {
	few := func(k cache.Key) uint64 { return uint64(len(k.Path)) }
	testStore(t, func(t testing.TB, size int64) cache.Store { return open(t, size, few) })
}

func TestTooSmall(t *testing.T) {
	if _, err := NewMemory(minSize - 1); err == nil {
		t.Error("a store that can hold nothing is made")
	}
}

// plug stops the front's goroutine, as a slow machine would, until the returned func
// is called: what is offered then waits in its buffer, and is dropped when that is full.
func plug(t *testing.T, m *Memory) (unplug func()) {
	t.Helper()
	m.front.close()
	e := newEntry(0, nil, m.frontMax+1) // larger than the front: will be rejected
	reached, release := make(chan struct{}), make(chan struct{})
	var err error
	m.front, err = newFront(m.frontMax, func(gone *entry) {
		if gone == e {
			close(reached)
			<-release
			return
		}
		m.letGo(gone)
	})
	if err != nil {
		t.Fatal(err)
	}
	m.front.offer(e)
	<-reached
	unplug = sync.OnceFunc(func() { close(release) })
	t.Cleanup(unplug) // else Close would wait for ever when the test fails
	return unplug
}

// The front drops what a burst offers it: its buffer holds 32,768 and no more. That
// loses nothing, neither at the time nor later.
func TestBurstLosesNothing(t *testing.T) {
	const n, buffer = 50_000, 32 << 10
	m := open(t, frontShare*n*2048, cache.Key.Hash) // even the front has room for all
	unplug := plug(t, m)
	objects := make([]*cache.Object, n)
	for i := range objects {
		objects[i] = object(key(fmt.Sprint("/", i)), 1024)
		m.Put(objects[i])
		hit(t, m, objects[i], firstOffer)
	}
	if s := m.Stats(); s.Offered != n+1 || s.Dropped != n-buffer {
		t.Errorf("offered %d, dropped %d; want %d, %d", s.Offered, s.Dropped, n+1, n-buffer)
	}
	all := func(when string) {
		for _, o := range objects {
			if m.Get(o.Key) != o {
				t.Fatalf("%s: %s is lost", when, o.Key.Path)
			}
		}
	}
	all("while the front stands still")
	unplug()
	m.Wait()
	all("when it has caught up")
	s := m.Stats()
	if s.Objects[Front] != buffer || s.Objects[Queue] != n-buffer {
		t.Errorf("%d objects in the front, %d in the queue; want %d, %d",
			s.Objects[Front], s.Objects[Queue], buffer, n-buffer)
	}
	if s.Evicted != [numTiers][numReasons]uint64{} {
		t.Errorf("evicted %v though all fit", s.Evicted)
	}
	for range nextOffer { // what was dropped is offered again, and finds room now
		all("later")
	}
	m.Wait()
	all("at the end")
	if s := m.Stats(); s.Objects[Front] != n {
		t.Errorf("%d objects in the front after a second offer, want %d", s.Objects[Front], n)
	}
}

// hot puts an object and hits it until it is in the front.
func hot(t *testing.T, m *Memory, k cache.Key, bytes int) *cache.Object {
	t.Helper()
	o := object(k, bytes)
	m.Put(o)
	hit(t, m, o, firstOffer)
	m.Wait()
	hit(t, m, o, 1)
	if place := placeOf(m, k); place != inFront {
		t.Fatalf("%s is at place %d, not in the front", k.Path, place)
	}
	return o
}

func placeOf(m *Memory, k cache.Key) place {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.table.get(m.hash(k), k); e != nil {
		return e.place
	}
	return nowhere
}

func TestSmallHotObjectsMoveToTheFront(t *testing.T) {
	m := open(t, mib, cache.Key.Hash)
	o := hot(t, m, key("/a"), 100)
	hit(t, m, o, 10)
	large := object(key("/large"), frontObject)
	m.Put(large)
	hit(t, m, large, 100)
	m.Wait()
	hit(t, m, large, 1)
	if placeOf(m, large.Key) == inFront {
		t.Error("a large object is in the front")
	}
	s := m.Stats()
	if s.Offered != 1 || s.Promoted != 1 || s.Bytes[Front] != o.Size() || s.Bytes[Queue] != large.Size() {
		t.Errorf("stats %+v", s)
	}
}

// A hit that found its entry in the front just before the front let go of it must not
// move it there: nobody would ever evict it.
func TestHitThatComesTooLate(t *testing.T) {
	m := open(t, mib, cache.Key.Hash)
	o := object(key("/a"), 100)
	m.Put(o)
	hit(t, m, o, firstOffer)
	m.Wait()
	e, ok := m.front.get(m.hash(o.Key))
	if !ok || e.place == inFront {
		t.Fatalf("the front has %v, moved already: %v", ok, e.place == inFront)
	}
	m.front.remove(e.hash)
	m.hitFront(e)
	if err := audit(m); err != nil {
		t.Error(err)
	}
	hit(t, m, o, 1)
}

// What the front gives up for others comes back to the queue.
func TestFrontEvictionLosesNothing(t *testing.T) {
	m := open(t, mib, cache.Key.Hash)
	var objects []*cache.Object
	for i := range 400 { // more than the front holds, less than the store
		o := object(key(fmt.Sprint("/", i)), 1500)
		objects = append(objects, o)
		m.Put(o)
		for range 2 + i { // ever hotter, so that the front prefers the newer
			hit(t, m, o, 1)
		}
		m.Wait()
		hit(t, m, o, 1)
	}
	for _, o := range objects {
		hit(t, m, o, 1)
	}
	if err := audit(m); err != nil {
		t.Error(err)
	}
	if s := m.Stats(); s.Demoted == 0 || s.Objects[Front]+s.Objects[Queue] != len(objects) {
		t.Errorf("stats %+v", s)
	}
}

// A Set that waits in the front's buffer while its object is removed or replaced must
// not bring it back.
func TestLateSet(t *testing.T) {
	for name, end := range map[string]func(m *Memory, o *cache.Object){
		"delete":  func(m *Memory, o *cache.Object) { m.Delete(o.Key) },
		"replace": func(m *Memory, o *cache.Object) { m.Put(object(o.Key, 2000)) },
		"kill":    func(_ *Memory, o *cache.Object) { o.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			m := open(t, mib, cache.Key.Hash)
			unplug := plug(t, m)
			var objects []*cache.Object
			for i := range 100 {
				o := object(key(fmt.Sprint("/", i)), 1000)
				objects = append(objects, o)
				m.Put(o)
				hit(t, m, o, firstOffer) // its Set waits in the buffer
				end(m, o)
				if m.Get(o.Key) == o {
					t.Fatal("found at once")
				}
			}
			unplug()
			m.Wait()
			for _, o := range objects {
				if m.Get(o.Key) == o {
					t.Fatal("found when the front had caught up")
				}
			}
			if err := audit(m); err != nil {
				t.Error(err)
			}
		})
	}
}

// The same when the front has its entry and another Put comes in between.
func TestHotObjectIsReplaced(t *testing.T) {
	m := open(t, mib, cache.Key.Hash)
	old := hot(t, m, key("/a"), 100)
	next := object(old.Key, 100)
	m.Put(next)
	hit(t, m, next, nextOffer+firstOffer)
	m.Wait()
	hit(t, m, next, 1)
	if !old.Dead() || placeOf(m, next.Key) != inFront {
		t.Errorf("old dead %v, new at place %d", old.Dead(), placeOf(m, next.Key))
	}
	if s := m.Stats(); s.Evicted[Front][Replaced] != 1 {
		t.Errorf("stats %+v", s)
	}
	if !m.Delete(next.Key) {
		t.Error("not there to delete")
	}
	if s := m.Stats(); s.Evicted[Front][Deleted] != 1 || s.Objects[Front] != 0 {
		t.Errorf("stats %+v", s)
	}
}

// A reader never misses an object that is being replaced, only gets the old or the new.
func TestReplaceLeavesNoGap(t *testing.T) {
	m := open(t, mib, cache.Key.Hash)
	hot(t, m, key("/a"), 100)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if m.Get(key("/a")) == nil {
					t.Error("missed")
					return
				}
			}
		})
	}
	for i := range 5000 {
		m.Put(object(key("/a"), i%1000))
	}
	close(done)
	wg.Wait()
}

// Two keys with one hash both stay, whichever of them the front knows.
func TestCollision(t *testing.T) {
	m := open(t, mib, func(cache.Key) uint64 { return 7 })
	a := hot(t, m, key("/a"), 100)
	b := object(key("/b"), 100)
	m.Put(b)
	for range 300 {
		hit(t, m, b, 1)
		hit(t, m, a, 1)
		m.Wait()
	}
	if s := m.Stats(); s.Demoted == 0 {
		t.Errorf("the front never changed its mind: %+v", s)
	}
	if err := audit(m); err != nil {
		t.Error(err)
	}
	m.Delete(a.Key)
	m.Wait()
	hit(t, m, b, 1)
	if m.Get(a.Key) != nil {
		t.Error("found after Delete")
	}
}

func TestClosedStoreStaysEmpty(t *testing.T) {
	m, err := NewMemory(mib)
	if err != nil {
		t.Fatal(err)
	}
	hot(t, m, key("/a"), 100)
	m.Put(object(key("/b"), 100))
	m.Close()
	m.Put(object(key("/c"), 100))
	for _, path := range []string{"/a", "/b", "/c"} {
		if m.Get(key(path)) != nil {
			t.Errorf("%s found after Close", path)
		}
	}
}
