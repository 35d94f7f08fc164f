package store

import (
	"time"

	"hither/cache"
	"hither/cache/store/disk"
)

// Tiered is a [cache.Store] in memory with a disk below. Everything begins in memory. What memory evicts goes to the disk, if
// it had been asked for again before that: most objects of a CDN are asked for once, and not worth a write. What is asked for
// and lies on disk alone moves up, and is then in both, until memory evicts it again, without a write, or something takes its
// place, in both. What is in memory and hot is written down as well, behind, so that a restart finds it.
//
// All methods may be called concurrently, but Close.
type Tiered struct {
	memory *Memory
	disk   *disk.Store
	now    func() time.Time
	stop   chan struct{}
	done   chan struct{}
}

var (
	_ cache.Store   = (*Tiered)(nil)
	_ cache.Peeker  = (*Tiered)(nil)
	_ cache.Sweeper = (*Tiered)(nil)
	_ cache.Keeper  = (*Tiered)(nil)
)

const (
	// saveEvery is how often what is hot in memory is written down, and saveAge how old an object is then at least: a crash
	// loses what is younger than both together, and what is replaced every few seconds is never written.
	saveEvery = 20 * time.Second
	saveAge   = 30 * time.Second
	// saveLast is how long Close waits for the rest.
	saveLast = 5 * time.Second
	// mostUnder bounds the objects that are read for Under.
	mostUnder = 10_000
)

// NewTiered joins both; they are its own from then on. now is the clock by which objects were received; nil is time.Now.
func NewTiered(m *Memory, d *disk.Store, now func() time.Time) *Tiered {
	t := &Tiered{memory: m, disk: d, now: now, stop: make(chan struct{}), done: make(chan struct{})}
	if t.now == nil {
		t.now = time.Now
	}
	m.mu.Lock()
	m.below = d.Offer
	m.mu.Unlock()
	go t.saver()
	return t
}

// Memory and Disk are the tiers, for their numbers.
func (t *Tiered) Memory() *Memory   { return t.memory }
func (t *Tiered) Disk() *disk.Store { return t.disk }

// above is a Memory as the disk sees it.
type above struct{ m *Memory }

func (a above) Get(k cache.Key) *cache.Object                    { return a.m.Get(k) }
func (a above) Enter(o *cache.Object) (x *cache.Object, in bool) { return a.m.enter(o) }

// Get returns the live object under exactly k, or nil. It waits for nothing but, where the object lies on disk alone, for that.
func (t *Tiered) Get(k cache.Key) *cache.Object {
	if o := t.memory.Get(k); o != nil {
		return o
	}
	return t.disk.Get(k, above{t.memory})
}

// Put stores o in memory, and removes from the disk what o replaces.
func (t *Tiered) Put(o *cache.Object) {
	t.disk.Change(o.Key, disk.Replaced, func() { t.memory.Put(o) })
}

// Delete removes and kills what is under k, in both tiers.
func (t *Tiered) Delete(k cache.Key) (ok bool) {
	below := t.disk.Change(k, disk.Deleted, func() { ok = t.memory.Delete(k) })
	return ok || below
}

// MaxObject is that of memory, where everything begins. What is larger than a segment of the disk stays in memory.
func (t *Tiered) MaxObject() int64 { return t.memory.MaxObject() }

// MaxKept is the largest object that the disk takes, also once that is off: the layout of slices is not to change.
func (t *Tiered) MaxKept() int64 { return t.disk.MaxRecord() }

// Admits is memory's: what it refuses the first time, the disk does not see.
func (t *Tiered) Admits(k cache.Key, size int64) bool { return t.memory.Admits(k, size) }

// Peek is Get that is no hit; what lies on disk alone stays there.
func (t *Tiered) Peek(k cache.Key) *cache.Object {
	if o := t.memory.Peek(k); o != nil {
		return o
	}
	return t.disk.Peek(k)
}

// Under returns the live objects under a primary key; of those on disk alone at most 10,000.
func (t *Tiered) Under(primary cache.Key) []*cache.Object {
	list := t.memory.Under(primary)
	for _, o := range t.disk.Under(primary, mostUnder) {
		if t.memory.Peek(o.Key) == nil {
			list = append(list, o)
		}
	}
	return list
}

// Each yields the live objects until yield returns false. It reads all that lie on disk alone.
func (t *Tiered) Each(yield func(*cache.Object) bool) {
	going := true
	t.memory.Each(func(o *cache.Object) bool {
		going = yield(o)
		return going
	})
	if going {
		t.disk.Each(func(o *cache.Object) bool { return t.memory.Peek(o.Key) != nil || yield(o) })
	}
}

// Sweep is cache.Sweeper's. The disk comes first: what moves up meanwhile is found in memory then, and what moves down is
// asked about on its way.
func (t *Tiered) Sweep(purges []*cache.DeepPurge, strike func(o *cache.Object, count bool) (gone bool), yield func(*cache.Object) bool) {
	done := t.disk.Sweep(purges, strike)
	defer done()
	t.memory.Each(yield)
}

// Wait returns when nothing waits to be applied or written. It is there for tests.
func (t *Tiered) Wait() {
	t.memory.Wait()
	t.disk.Wait()
}

// saver writes down what is hot.
func (t *Tiered) saver() {
	defer close(t.done)
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.save(saveAge, func(o *cache.Object) bool { return t.disk.Save(o, t.has) })
		case <-t.stop:
			return
		}
	}
}

// has reports whether memory has that very object.
func (t *Tiered) has(o *cache.Object) bool { return t.memory.Peek(o.Key) == o }

// save offers the disk what is hot and was received before, until write returns false.
func (t *Tiered) save(before time.Duration, write func(*cache.Object) bool) {
	now := t.now()
	t.memory.eachProven(func(o *cache.Object) bool {
		if !o.Received.IsZero() && now.Sub(o.Received) < before {
			return true
		}
		return write(o)
	})
}

// Close writes down what is hot, for at most five seconds, and ends both tiers. It must be called once, after all other calls
// have returned. The error is the disk's.
func (t *Tiered) Close() error {
	close(t.stop)
	<-t.done
	late := time.Now().Add(saveLast)
	t.save(0, func(o *cache.Object) bool {
		for !t.disk.Save(o, t.has) {
			if t.disk.Off() != nil || time.Now().After(late) {
				return false
			}
			t.disk.Wait()
		}
		return true
	})
	err := t.disk.Close()
	t.memory.Close()
	return err
}
