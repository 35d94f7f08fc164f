package disk

import (
	"fmt"
	"runtime"
	"testing"

	"hither/cache"
)

// The index is held to what it may take: 120 bytes for an object, also where each was made stale by a purge, and 24 more for each tag of
// one.
func TestIndexMemory(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("measures the heap")
	}
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	// At these numbers the map has just grown, or is about to.
	for _, n := range []int{100_000, 200_000, 230_000, 240_000} {
		var each [2]float64
		var stale float64
		for tags := range each {
			h := build(t, Config{Size: 64 * mib, segment: 16 * mib})
			list := make([]uint32, tags)
			before := heap()
			h.mu.Lock()
			for i := range n {
				for j := range list {
					list[j] = uint32(i + j)
				}
				h.entered(uint64(i)*0x9e3779b97f4a7c15, list)
			}
			h.mu.Unlock()
			each[tags] = float64(heap()-before) / float64(n)
			if tags == 0 {
				h.mu.Lock()
				for hash, e := range h.index {
					h.soften(hash, e, 1)
				}
				h.mu.Unlock()
				stale = float64(heap()-before) / float64(n)
			}
			runtime.KeepAlive(h)
		}
		t.Logf("%d objects: %.1f bytes each, stale ones %.1f; %.1f more for a tag", n, each[0], stale, each[1]-each[0])
		if each[0] > 120 || stale > 120 || each[1]-each[0] > 24 {
			t.Errorf("%d objects: %.1f bytes each, stale ones %.1f, want 120; %.1f more for a tag, want 24", n, each[0], stale, each[1]-each[0])
		}
	}
}

// entered enters what a record in the newest segment would be. s.mu is held.
func (h *house) entered(hash uint64, tags []uint32) {
	e := entry{off: 16, size: 1000, slot: h.newest.slot, tags: h.newest.addTags(tags), kind: cache.Response}
	h.Store.put(hash, e)
}

func BenchmarkGet(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			h := build(b, Config{Size: 256 * mib, segment: 16 * mib, Queue: 64 * mib})
			const n = 500
			for i := range n {
				h.put(object(key(fmt.Sprint("/", i)), 1, size))
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if h.Get(key(fmt.Sprint("/", i%n)), nowhere{}) == nil {
					b.Fatal("missed")
				}
			}
		})
	}
}

func BenchmarkPut(b *testing.B) {
	h := build(b, Config{Size: 256 * mib, segment: 4 * mib, Queue: 64 * mib})
	o := object(key("/a"), 1, 1<<10, "red")
	b.SetBytes(1 << 10)
	b.ReportAllocs()
	for b.Loop() {
		h.put(o)
	}
}
