package store

import (
	stdlist "container/list"
	"math"
	"math/rand/v2"
	"sort"
	"strconv"
	"testing"

	"hither/cache"
)

// visit asks for objects as clients of a CDN do: popularity is Zipf's with a = 0.9, a
// quarter of the requests are for objects that nobody asks for again, half-way others
// become popular, and sizes are between 1 and 129 KiB.
func visit(ask func(k cache.Key, bytes int)) {
	const requests, objects = 300_000, 60_000
	r := rand.New(rand.NewPCG(1, 2))
	popular := zipf(0.9, objects)
	for i := range requests {
		id := sort.SearchFloat64s(popular, r.Float64())
		if i > requests/2 {
			id = (id + objects/3) % objects
		}
		if r.IntN(4) == 0 {
			id = objects + i
		}
		size := rand.New(rand.NewPCG(uint64(id), 7))
		ask(key("/"+strconv.Itoa(id)), 1<<(10+size.IntN(8))+size.IntN(1000))
	}
}

// zipf returns the cumulated probabilities of n ranks, that of each being proportional
// to rank^-a. (math/rand's Zipf wants a > 1.)
func zipf(a float64, n int) []float64 {
	sums := make([]float64, n)
	sum := 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -a)
		sums[i] = sum
	}
	for i := range sums {
		sums[i] /= sum
	}
	return sums
}

// TestHitRatio holds the store's hit ratio to that of the plainest cache, and its front
// to that of a store without one: the front may save time, it must not cost hits.
func TestHitRatio(t *testing.T) {
	if raceEnabled {
		t.Skip("counts hits; nothing runs concurrently")
	}
	const size = 128 * mib
	content := make([]byte, 130<<10)
	ratio := func(get func(cache.Key) bool, put func(*cache.Object)) float64 {
		var hits, all float64
		visit(func(k cache.Key, bytes int) {
			all++
			if get(k) {
				hits++
				return
			}
			put(&cache.Object{Key: k, Body: cache.NewBody(content[:bytes])})
		})
		return 100 * hits / all
	}
	oldest := newLRU(size)
	lru := ratio(oldest.get, oldest.put)
	t.Logf("least recently used: %.2f %%", lru)
	withShare := func(share int64) float64 {
		m := open(t, size, cache.Key.Hash)
		m.front.close()
		m.frontMax = size / share
		var err error
		if m.front, err = newFront(m.frontMax, m.letGo); err != nil {
			t.Fatal(err)
		}
		got := ratio(func(k cache.Key) bool { return m.Get(k) != nil }, m.Put)
		s := m.Stats()
		t.Logf("front of 1/%d: %.2f %%; objects %v, bytes %v", share, got, s.Objects, s.Bytes)
		return got
	}
	none := withShare(1000)
	withShare(4)
	withShare(2)
	if got := withShare(frontShare); got < lru+1 || got < none-0.5 {
		t.Errorf("hit ratio %.2f %%; want above %.2f %% (LRU) and about %.2f %% (hardly a front)", got, lru, none)
	}
}

// lru is the yardstick: least recently used, counted in bytes.
type lru struct {
	room  int64
	order stdlist.List
	at    map[cache.Key]*stdlist.Element
}

func newLRU(size int64) *lru { return &lru{room: size, at: map[cache.Key]*stdlist.Element{}} }

func (l *lru) get(k cache.Key) bool {
	e := l.at[k]
	if e != nil {
		l.order.MoveToFront(e)
	}
	return e != nil
}

func (l *lru) put(o *cache.Object) {
	l.at[o.Key] = l.order.PushFront(o)
	for l.room -= o.Size(); l.room < 0; {
		last := l.order.Remove(l.order.Back()).(*cache.Object)
		delete(l.at, last.Key)
		l.room += last.Size()
	}
}
