package cache_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"hither/cache"
	"hither/cache/store"
)

// objects is how many TestMemoryPerObject stores: `make soak` says a million.
var objects = flag.Int("objects", 50_000, "how many objects TestMemoryPerObject stores")

// mostPerObject is what an object may take of the heap beyond its body, with its key of 100 bytes and its fields: in bytes.
const mostPerObject = 700

// A shop is a cache over a Memory, filled as an edge fills it.
type shop struct {
	*cache.Cache
	store cache.Store
	body  int64
	known bool // the length is told before
}

// named is a key of 100 bytes in strings of its own, as one that was made of a request has.
func named(i int) cache.Key {
	return key(fmt.Sprintf("/%090d?", i))
}

// fields are those that an origin sends with a page, each value in memory of its own.
func fields(i int) http.Header {
	return http.Header{
		"Cache-Control": {strings.Clone("public, max-age=3600")}, "Content-Type": {strings.Clone("text/html; charset=utf-8")},
		"Date": {noon.Format(http.TimeFormat)}, "Etag": {fmt.Sprintf("%q", fmt.Sprintf("%016x", i))},
		"Last-Modified": {noon.Add(-time.Hour).Format(http.TimeFormat)},
	}
}

// fill asks for the object with number i, and reads all of it.
func (s *shop) fill(t *testing.T, i int) {
	t.Helper()
	fetch := func(context.Context, http.Header, func(int, http.Header)) (*http.Response, error) {
		length := s.body
		if !s.known {
			length = -1
		}
		return &http.Response{StatusCode: 200, ProtoMajor: 2, Header: fields(i), ContentLength: length, Body: io.NopCloser(io.LimitReader(zeros{}, s.body))}, nil
	}
	r := s.Join(t.Context(), cache.Want{Look: s.Look(named(i), http.Header{}, noon), Request: http.Header{}, Fetch: fetch})
	defer r.Close()
	if _, err := read(t, r); err != nil {
		t.Fatal(err)
	}
}

// heap is what is live.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// measure fills a new Memory of size bytes n times, asks for each so often again, and returns what an object that is stored
// takes of the heap beyond its body: of a million or more objects with its share of what the store takes by itself, which among
// few of them would hide the rest. wrap, where not nil, stands between cache and store.
func measure(t *testing.T, size int64, body int64, known bool, n, again int, wrap func(cache.Store) cache.Store) float64 {
	t.Helper()
	before := heap()
	m, err := store.NewMemory(size)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if n < 1_000_000 {
		before = heap()
	}
	s := &shop{store: m, body: body, known: known}
	if wrap != nil {
		s.store = wrap(m)
	}
	s.Cache = cache.New(cache.Config{Store: s.store, Filling: max(64<<20, size), Now: func() time.Time { return noon }})
	for i := range n {
		s.fill(t, i)
		for range again {
			if !s.Look(named(i), http.Header{}, noon).Fresh() {
				t.Fatalf("object %d is not stored", i)
			}
			m.Wait()
		}
	}
	m.Wait()
	after := heap()
	stats := m.Stats()
	stored := stats.Objects[store.Front] + stats.Objects[store.Queue]
	each := float64(after-before)/float64(stored) - float64(body)
	t.Logf("%d bytes of body, known %v: %d objects stored, %d of them in the front, %d evicted, %d remembered: %.0f bytes each beyond the body, accounted %d",
		body, known, stored, stats.Objects[store.Front], stats.Evicted[store.Queue][store.Size], stats.Ghosts, each,
		(stats.Bytes[store.Front]+stats.Bytes[store.Queue])/int64(stored)-body)
	runtime.KeepAlive(s)
	return each
}

// What an object of 1 KiB takes of the heap beyond its body, with a key of 100 bytes and the fields that origins send, on the way by
// which an edge stores it.
func TestMemoryPerObject(t *testing.T) {
	if testing.Short() || cache.RaceEnabled {
		t.Skip("measures the heap")
	}
	if n := named(1).Len(); n != 100 {
		t.Fatalf("a key of %d bytes", n)
	}
	const accounted = 2 << 10 // more than any is accounted with
	n, most := *objects, float64(mostPerObject)
	if n < 1_000_000 {
		most *= 1.05 // few of them fill the tables, which grow by doubling, less well
	}
	for name, c := range map[string]struct {
		size  int64
		again int
	}{
		"asked for once":  {int64(n) * accounted, 0},
		"asked for often": {int64(n) * accounted, 4},
		"with evictions":  {int64(n) * accounted / 4, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if each := measure(t, c.size, 1<<10, true, n, c.again, nil); each > most || each < most/2 {
				t.Errorf("%.0f bytes each beyond the body, want at most %.0f", each, most)
			}
		})
	}
}

// A keeper is a store with a fault: it keeps the fields as a map.
type keeper struct {
	cache.Store
	kept map[cache.Key]http.Header
}

func (k keeper) Put(o *cache.Object) {
	k.kept[o.Key] = o.Fields.Header()
	k.Store.Put(o)
}

// The measurement finds what is kept besides.
func TestMemoryPerObjectPlanted(t *testing.T) {
	if testing.Short() || cache.RaceEnabled {
		t.Skip("measures the heap")
	}
	wrap := func(s cache.Store) cache.Store { return keeper{s, map[cache.Key]http.Header{}} }
	if each := measure(t, 64<<20, 1<<10, true, 10_000, 0, wrap); each <= mostPerObject {
		t.Errorf("a map of the fields is kept with each object, and it takes %.0f bytes beyond the body", each)
	}
}

// Bodies above 32 KiB take at most a twentieth more than they have, whether or not their length is told before.
func TestMemoryOfBodies(t *testing.T) {
	if testing.Short() || cache.RaceEnabled {
		t.Skip("measures the heap")
	}
	for _, body := range []int64{
		32<<10 + 1, 33 << 10, 40<<10 + 1, 48 << 10, 57<<10 + 1, 60<<10 + 7000, 64<<10 - 1, 64<<10 + 1, 90 << 10, 92<<10 + 1, 97 << 10, 124<<10 + 1,
		128<<10 + 33<<10, 200_000, 1<<20 + 1,
	} {
		for _, known := range []bool{true, false} {
			n := int(max(16<<20/body, 16))
			size := int64(n) * (body + 4096)
			if each := measure(t, size, body, known, n, 0, nil); each > float64(body)/20+mostPerObject {
				t.Errorf("bodies of %d bytes (known %v) take %.0f more, %.1f %%", body, known, each, 100*each/float64(body))
			}
		}
	}
}
