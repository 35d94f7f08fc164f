package store

import (
	"fmt"
	"testing"

	"hither/cache"
)

// To be looked at makes nothing hotter: after many looks an object is evicted as one that
// nobody has asked for.
func TestPeek(t *testing.T) {
	m := open(t, mib, cache.Key.Hash)
	o := object(key("/a"), 1000)
	m.Put(o)
	for range 100 {
		if m.Peek(o.Key) != o {
			t.Fatal("what is stored is not seen")
		}
	}
	e := m.table.get(m.hash(o.Key), o.Key)
	if n, due := e.freq.Load(), e.due.Load(); n != 0 || due != firstOffer {
		t.Errorf("100 looks left %d hits, and the entry is offered after %d", n, due)
	}
	if m.Get(o.Key); e.freq.Load() != 1 {
		t.Error("a hit is none")
	}
	if m.Peek(key("/b")) != nil {
		t.Error("something where nothing is")
	}
	m.Delete(o.Key)
	if m.Peek(o.Key) != nil || len(m.Under(o.Key)) != 0 {
		t.Error("what was deleted is seen")
	}
}

func TestUnder(t *testing.T) {
	// All hashes equal: entries hang on one another.
	for name, hash := range map[string]func(cache.Key) uint64{"spread": cache.Key.Hash, "twins": func(cache.Key) uint64 { return 7 }} {
		m := open(t, 4*mib, hash)
		want := make(map[*cache.Object]bool)
		for i := range 200 {
			k := key("/a")
			k.Vary = fmt.Sprint(i)
			o := object(k, 10)
			m.Put(o)
			want[o] = true
			m.Put(object(key(fmt.Sprint("/", i)), 10))
		}
		got := m.Under(key("/a"))
		for _, o := range got {
			delete(want, o)
		}
		if len(got) != 200 || len(want) != 0 {
			t.Errorf("%s: %d objects under /a, %d missing", name, len(got), len(want))
		}
	}
}
