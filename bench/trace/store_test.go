package trace

import (
	"strings"
	"testing"
	"time"

	"hither/cache"
	"hither/cache/store"
)

// quiet are options without an audience.
func quiet(o Options) *Options {
	o.Step, o.Progress = func(Result) {}, func(float64) {}
	return &o
}

func openEdge(t *testing.T, tr *Trace, size int64) *edge {
	t.Helper()
	e, err := newEdge(tr, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.close)
	return e
}

// In a store with room for everything all hits are had that can be: each fill was stored, and none was taken for another.
func TestStoreWithRoom(t *testing.T) {
	tr := synthetic(5000, 300)
	o := quiet(Options{Policies: []string{Store, Infinite}, Sizes: []Size{{Bytes: 2*tr.Unique() + 1000*int64(tr.Objects())}}})
	r, err := o.Run(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	real, all := r[0], r[1]
	if real.Hits != all.Hits || real.HitBytes != all.HitBytes || real.Hits == 0 || real.TooLarge != 0 {
		t.Errorf("%+v, an infinite cache %+v", real, all)
	}
	s := real.Store
	if s.Objects[store.Front]+s.Objects[store.Queue] != tr.Objects() || s.Objects[store.Front] == 0 || s.Marked != 0 {
		t.Errorf("%d objects were stored as %+v", tr.Objects(), s)
	}
	// The store accounts more than the bodies, as it says.
	if more := s.Most - tr.Unique(); more < 512*int64(tr.Objects()) || more > 1024*int64(tr.Objects()) {
		t.Errorf("it accounts %d bytes beside the bodies of %d objects", more, tr.Objects())
	}
}

// Under pressure it stays within its size, and is worth its name: it has more hits than the plainest cache that holds objects
// of the same size, and no more than an infinite one.
func TestStoreUnderPressure(t *testing.T) {
	tr := synthetic(20_000, 3000)
	o := quiet(Options{Policies: []string{Store, "fifo", Infinite}, Sizes: []Size{{Share: 0.1}}, Limits: []float64{StoreLimit}})
	r, err := o.Run(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	real, fifo, all := r[0], r[1], r[2]
	t.Logf("hits: %d, fifo %d, infinite %d; %+v", real.Hits, fifo.Hits, all.Hits, real.Store)
	if real.Hits <= fifo.Hits || real.Hits >= all.Hits {
		t.Errorf("%d hits, fifo %d, infinite %d", real.Hits, fifo.Hits, all.Hits)
	}
	if s := real.Store; s.Most > real.Size || s.Most < real.Size*9/10 || s.Evicted[store.Queue][store.Size] == 0 {
		t.Errorf("a store of %d bytes: %+v", real.Size, s)
	}
}

// Too large an object marks its key for five seconds of the trace's clock; meanwhile requests go past the store.
func TestMarker(t *testing.T) {
	tr := &Trace{keys: []string{"large", "small"}, sizes: []int64{1 << 20, 1 << 10}}
	for _, r := range []struct {
		object  uint32
		seconds time.Duration
	}{{0, 0}, {0, 1}, {0, 4}, {1, 4}, {0, 6}, {0, 7}, {1, 7}} {
		tr.add(r.object, r.seconds*time.Second)
	}
	e := openEdge(t, tr, 1<<20)
	var hits []int
	for n := range tr.objects {
		hit, err := e.ask(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if hit {
			hits = append(hits, n)
		}
	}
	if e.large != 5 || e.marked != 3 || len(hits) != 1 || hits[0] != 6 {
		t.Errorf("too large %d, of which a marker stopped %d; hits %v; want 5, 3, [6]", e.large, e.marked, hits)
	}
	if now := e.cache.Look(cache.Key{}, noFields, e.now); now.Object != nil {
		t.Error("something under no key")
	}
}

// The checker fails where the store has more than it was made for, and a fill that comes to nothing is told.
func TestStoreIsHeldToItsSize(t *testing.T) {
	tr := synthetic(2000, 300)
	e := openEdge(t, tr, 4<<20)
	e.size = 1 << 20
	var err error
	for n := range tr.objects {
		if _, err = e.ask(t.Context(), n); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "and was made for 1048576") {
		t.Errorf("a store of four times its size: %v", err)
	}
	e = openEdge(t, tr, 4<<20)
	e.origin.Set("Cache-Control", "no-store")
	if _, err = e.ask(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "no-store") {
		t.Errorf("a response that is not stored: %v", err)
	}
}
