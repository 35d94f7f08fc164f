// Package cache decides what may be stored and reused, for how long, and for whom: it
// is RFC 9111 for a shared cache, with one shared fill per key. It knows neither
// sockets nor media: a proxy asks it, a [Store] keeps what it decides to keep.
//
// A request asks [Cache.Look]. What is fresh is answered from the object; anything else
// goes through [Cache.Join], where one request becomes the leader of a [Fill] and all
// others for the same key wait for its field section and then stream from it while it
// arrives. A response is stored only when it is whole.
package cache

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Config tells a Cache its limits. Zero values take the default named.
type Config struct {
	Store Store // where objects lie; required
	// Filling bounds the bytes that all fills in flight hold together, for their readers
	// as well as to be stored; a fill that finds no room goes on without being stored,
	// two chunks of 64 KiB at a time. One that holds more than an eighth of it leaves the last
	// eighth to others: no body is stored that is above seven eighths. Default 64 MiB.
	Filling int64
	// Loose bounds, apart from those, the bytes of bodies that are still being read while no
	// store has them any more: above it they are cut off, first what nobody has read from
	// for longest, but never the last one. Default: as Filling.
	Loose int64
	// Patience is how long in all the readers of a body that is not kept wait for ones
	// slower than themselves, before those are cut off, and how long a reader may take
	// nothing while it holds what another fill found no room for. Default 10 s.
	Patience time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Epoch is above every epoch that an object in the store may have: for a store that
	// outlives the process, its number of starts shifted by 40 bits. Else 0.
	Epoch uint64
}

// A Cache ties the rules, a store and the fills in flight together. Its methods may
// be called concurrently.
type Cache struct {
	store   Store
	now     func() time.Time
	filling int64
	// patience: see Config.
	patience time.Duration

	held      atomic.Int64  // bytes that fills have reserved
	began     time.Time     // what short counts from
	short     atomic.Int64  // when a fill last found no room, in nanoseconds from began; 0 = never
	loose     loose         // bodies that only readers hold
	epochs    atomic.Uint64 // the newest epoch
	collapsed atomic.Uint64
	sliced    atomic.Uint64
	differed  atomic.Uint64

	chosen     atomic.Bool              // something was stored whose key has more than its target: see Policy.Choose
	sequence   atomic.Uint64            // of the newest purge; changed under mu
	orders     atomic.Pointer[[]*order] // purges that are being carried out; nil = none; changed under mu
	sweeping   sync.Mutex               // held while the store is gone through for orders; before mu
	purging    chan struct{}            // one for each purge under way
	purged     [PurgeAll + 1]struct{ purges, objects atomic.Uint64 }
	overtagged atomic.Uint64

	mu      sync.Mutex                 // guards what follows
	flights map[Key]*Fill              // fills that may be joined, by their exact key
	fills   map[Key]map[*Fill]struct{} // fills that may yet be stored, by primary key
}

// New returns a cache over cfg.Store.
func New(cfg Config) *Cache {
	c := &Cache{
		store: cfg.Store, now: cfg.Now, filling: cfg.Filling, patience: cfg.Patience, began: time.Now(),
		flights: make(map[Key]*Fill), fills: make(map[Key]map[*Fill]struct{}),
		purging: make(chan struct{}, mostPurges),
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.patience == 0 {
		c.patience = 10 * time.Second
	}
	if c.filling == 0 {
		c.filling = 64 << 20
	}
	if cfg.Loose == 0 {
		cfg.Loose = c.filling
	}
	c.loose = loose{limit: cfg.Loose, table: make(map[*content]struct{})}
	if c.epochs.Store(cfg.Epoch); cfg.Epoch == 0 {
		// What a store still has from another process must not meet its own epoch again.
		c.epochs.Store(rand.Uint64N(1 << 56))
	}
	return c
}

// Collapsed is the number of requests so far that were answered from a fill another
// request had begun.
func (c *Cache) Collapsed() uint64 { return c.collapsed.Load() }

// A Look is what the store holds for one request at one moment.
type Look struct {
	Key    Key     // the variant's key where the primary key's responses vary
	Object *Object // nil where nothing usable is stored
	Pass   bool    // the last response could not be reused: go alone
	Age    time.Duration
	TTL    time.Duration // what is left of the lifetime; negative when stale

	sequence uint64 // of the newest purge before it
}

// Fresh reports whether the object may be used without asking the origin
// (RFC 9111 section 4.2).
func (l Look) Fresh() bool { return l.Object != nil && l.TTL > 0 && !l.Object.NoCache }

// Updating reports whether the object may be used while it is revalidated in the
// background (RFC 5861 section 3).
func (l Look) Updating() bool { return l.Object != nil && l.within(l.Object.WhileRevalidate) }

// IfError reports whether the object may be used because the origin failed
// (RFC 5861 section 4; RFC 9111 section 4.2.4).
func (l Look) IfError() bool { return l.Object != nil && l.within(l.Object.IfError) }

func (l Look) within(window time.Duration) bool {
	return l.TTL <= 0 && -l.TTL < window && !l.Object.NoCache
}

// Look finds what is stored for the primary key k and a request with these fields.
func (c *Cache) Look(k Key, request FieldReader, now time.Time) Look {
	sequence := c.sequence.Load()
	l := look(live{c}, k, request, now, nil)
	l.sequence = sequence
	return l
}

// look is Look in what is stored; t, where not nil, is told what is found on the way.
func look(stored getter, k Key, request FieldReader, now time.Time, t *trail) Look {
	o := stored.Get(k)
	if post := o; o != nil && o.Kind == Signpost {
		if t != nil {
			t.signpost = post
		}
		k.Vary = variant(post, request)
		if o = stored.Get(k); o == nil {
			if l := inLanguage(stored, k, post, request, now); l.Object != nil {
				return l
			}
		}
	}
	l := Look{Key: k}
	switch {
	case o == nil:
	case o.Kind == Pass:
		if t != nil {
			t.pass = o
		}
		l.Pass = o.passes(now)
	case o.Kind == Response, o.Kind == Manifest && o.Layout() != (Layout{}):
		l.Object = o
	}
	return l.At(now)
}

// get is what the store has under k and no purge takes.
func (c *Cache) get(k Key) *Object { return c.spared(c.store.Get(k)) }

// A getter is the part of a Store that a look needs.
type getter interface{ Get(k Key) *Object }

// A trail is what a look passes. The zero trail has passed nothing.
type trail struct {
	signpost *Object
	pass     *Object
}

// At is the same look at another moment.
func (l Look) At(now time.Time) Look {
	if l.Object != nil {
		l.Age = l.Object.currentAge(now)
		l.TTL = l.Object.Lifetime - l.Age
		if l.Object.ahead(now) {
			l.TTL = min(l.TTL, 0)
		}
		if at := l.Object.stale.Load(); at != 0 {
			l.TTL = min(l.TTL, 0, time.Unix(0, at).Sub(now))
		}
	}
	return l
}

// Invalidate removes every response under the primary key k, and keeps fills for it
// that are in flight from being stored or joined (RFC 9111 section 4.4). Those who have
// joined already asked before it, and get what they asked for.
func (c *Cache) Invalidate(k Key) {
	k = k.Primary()
	c.mu.Lock()
	for f := range c.fills[k] {
		f.gone = true
		f.ground()
	}
	c.dropEncoded(c.peek(k))
	c.store.Delete(k)
	c.mu.Unlock()
}
