package store

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"

	"hither/cache"
)

// inQueue puts an object that never leaves the queue.
func inQueue(m *Memory, k cache.Key) *cache.Object {
	o := object(k, frontObject)
	m.Put(o)
	return o
}

func TestHitAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget on purpose, and the front allocate")
	}
	m := open(t, 4*mib, cache.Key.Hash)
	for name, o := range map[string]*cache.Object{
		"front": hot(t, m, key("/front"), 1000),
		"queue": inQueue(m, key("/queue")),
	} {
		if n := testing.AllocsPerRun(10_000, func() { m.Get(o.Key) }); n != 0 {
			t.Errorf("a hit in the %s allocates %v times", name, n)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	const n = 1000
	for _, tier := range []string{"front", "queue"} {
		b.Run(tier, func(b *testing.B) {
			m := open(b, 512*mib, cache.Key.Hash)
			keys := make([]cache.Key, n)
			for i := range keys {
				keys[i] = key(fmt.Sprint("/assets/file-", i, ".js"))
				bytes := 1000
				if tier == "queue" {
					bytes = frontObject
				}
				m.Put(object(keys[i], bytes))
				for range firstOffer {
					m.Get(keys[i])
				}
			}
			m.Wait()
			for _, k := range keys {
				m.Get(k)
			}
			want := map[string]int{"front": m.Stats().Objects[Front], "queue": m.Stats().Objects[Queue]}[tier]
			if want != n {
				b.Fatalf("%d objects in the %s, want %d", want, tier, n)
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.IntN(n); pb.Next(); i++ {
					if m.Get(keys[i%n]) == nil {
						b.Error("missed")
						return
					}
				}
			})
		})
	}
}

func BenchmarkPut(b *testing.B) {
	m := open(b, 64*mib, cache.Key.Hash)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Put(object(key("/"+strconv.Itoa(i)), 1000))
	}
}

// TestOverhead holds what cache.Object.Size counts beyond key, fields and body
// to the memory that an object without any of them really takes in each tier.
func TestOverhead(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("measures the heap")
	}
	const n = 200_000
	keys := make([]cache.Key, n)
	for i := range keys {
		keys[i] = key(fmt.Sprint("/", i))
	}
	accounted := object(key(""), 0).Size() - int64(key("").Len())
	for _, tier := range []Tier{Queue, Front} {
		m := open(t, 2*frontShare*n*accounted, cache.Key.Hash)
		before := heap()
		for _, k := range keys {
			m.Put(&cache.Object{Key: k})
			if tier == Front {
				for range firstOffer {
					m.Get(k)
				}
				m.Wait()
				m.Get(k)
			}
		}
		each := (heap() - before) / n
		if m.Stats().Objects[tier] != n {
			t.Fatalf("%d objects in the %v, want %d", m.Stats().Objects[tier], tier, n)
		}
		t.Logf("%v: %d bytes of heap for each object, accounted %d", tier, each, accounted)
		if each > accounted {
			t.Errorf("%v: an object costs %d bytes besides its content, accounted are %d", tier, each, accounted)
		}
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// What a store takes besides its objects, at the time it is made.
func TestFixedCost(t *testing.T) {
	if raceEnabled {
		t.Skip("measures the heap")
	}
	for _, size := range []int64{mib, 256 * mib, 4096 * mib} {
		before := heap()
		m := open(t, size, cache.Key.Hash)
		got := heap() - before
		most := int64(mib) + size/150
		t.Logf("a store of %d MiB takes %d KiB", size/mib, got>>10)
		if got > most {
			t.Errorf("a store of %d bytes takes %d, want at most %d", size, got, most)
		}
		runtime.KeepAlive(m)
	}
}
