package cache

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Purge says what is to be forgotten. Every stored response that was asked for before it and that it is about is gone when
// [Cache.Purge] returns; with Soft it is stale instead: it may be validated, or be used within its windows of RFC 5861, which
// begin at the purge.
type Purge struct {
	Kind PurgeKind
	// Site is the one that is meant. PurgeURL, PurgePrefix and PurgeHost have one. For PurgeTag "" is every site; PurgeAll
	// does not look at it.
	Site string
	// Value is for PurgeURL the target of the key, for PurgePrefix how paths begin, for PurgeTag the tag.
	Value string
	Soft  bool
}

// PurgeKind is what a purge chooses by.
type PurgeKind uint8

const (
	PurgeURL    PurgeKind = iota // one path with its variants, under every scheme
	PurgeTag                     // what was stored with a tag
	PurgePrefix                  // paths that begin alike, byte for byte
	PurgeHost                    // a site: its hosts share what is stored
	PurgeAll                     // everything
)

var purgeWords = [...]string{PurgeURL: "url", PurgeTag: "tag", PurgePrefix: "prefix", PurgeHost: "host", PurgeAll: "all"}

// String returns the kind's word in documents and metrics.
func (k PurgeKind) String() string { return purgeWords[k] }

// PurgeKinds lists every word, for the label set of a metric.
func PurgeKinds() []string { return purgeWords[:] }

// ParsePurgeKind reads a word of PurgeKinds.
func ParsePurgeKind(word string) (PurgeKind, error) {
	i := slices.Index(purgeWords[:], word)
	if i < 0 {
		return 0, fmt.Errorf("cache: purge by %.40q: one of %s", word, strings.Join(purgeWords[:], ", "))
	}
	return PurgeKind(i), nil
}

// Purged is what a purge did.
type Purged struct {
	Sequence uint64 // of this cache's purges, from 1
	Objects  int    // responses found stored, variants counted one by one
	Fills    int    // requests to the origin under way, whose responses are not stored
}

// mostPurges bounds the purges that run at a time; further calls wait.
const mostPurges = 256

// An order is a purge that is being carried out: from the moment it is given until the store has been swept for it, whoever
// looks at an object asks it.
//
// So no list of the objects of each tag is kept, which eviction and replacement would have to keep right: an object carries
// the sequence of its fill's start and its tags, an order carries its own sequence, and the sweep makes it superfluous.
type order struct {
	Purge
	hash     uint32 // of a tag
	sequence uint64
	at       time.Time

	objects int  // guarded by Cache.sweeping
	swept   bool // guarded by Cache.sweeping
}

// meansKey reports whether all under the key is meant.
func (o *order) meansKey(k Key) bool {
	switch o.Kind {
	case PurgeURL:
		return k.Site == o.Site && k.Target() == o.Value
	case PurgePrefix:
		return k.Site == o.Site && strings.HasPrefix(k.Path, o.Value)
	case PurgeHost:
		return k.Site == o.Site
	}
	return o.Kind == PurgeAll
}

// means reports whether the object is, whenever it came.
func (o *order) means(x *Object) bool {
	if o.Kind == PurgeTag {
		return (o.Site == "" || o.Site == x.Key.Site) && x.tagged(o.Value, o.hash)
	}
	return o.meansKey(x.Key)
}

// strikes reports whether the order takes the object, and where it is a soft one marks it stale.
func (o *order) strikes(x *Object) (gone bool) {
	if x.sequence >= o.sequence || !o.means(x) {
		return false
	}
	if o.Soft {
		x.stale.CompareAndSwap(0, o.at.UnixNano())
	}
	return !o.Soft
}

// live is the store without what is being purged.
type live struct{ c *Cache }

func (l live) Get(k Key) *Object { return l.c.get(k) }

// spared is o, or nil where a purge that is being carried out takes it.
func (c *Cache) spared(o *Object) *Object {
	if orders := c.orders.Load(); orders != nil && o != nil {
		for _, order := range *orders {
			if order.strikes(o) {
				return nil
			}
		}
	}
	return o
}

// Purge forgets, or makes stale, what p is about. It has its effect on all requests that begin after it was called, before it
// returns, which it does when it has looked through the store: purges that run at a time share one pass. Fills under way are
// neither stored nor joined any more; those who joined them before asked before the purge.
//
// The fields of a fill that has no answer yet are not known, and so neither are its tags: after a PurgeTag nobody joins it,
// and it is not stored if it then turns out to have the tag.
func (c *Cache) Purge(p Purge) Purged {
	c.purging <- struct{}{}
	defer func() { <-c.purging }()
	o := &order{Purge: p}
	if p.Kind == PurgeTag {
		o.hash = tagHash(p.Value)
	}
	c.mu.Lock()
	o.sequence, o.at = c.sequence.Load()+1, c.now()
	done := Purged{Sequence: o.sequence, Fills: c.bar(o)}
	whole := true
	if objects, ok := c.direct(o); ok {
		done.Objects, whole = objects, false
	} else {
		var orders []*order
		if standing := c.orders.Load(); standing != nil {
			orders = slices.Clip(*standing)
		}
		orders = append(orders, o)
		c.orders.Store(&orders)
	}
	// Last: whoever finds this sequence finds no more of what the purge took.
	c.sequence.Store(o.sequence)
	c.mu.Unlock()
	if whole {
		c.sweep(o)
		done.Objects = o.objects
	}
	c.purged[p.Kind].purges.Add(1)
	c.purged[p.Kind].objects.Add(uint64(done.Objects))
	return done
}

// bar keeps fills that the order is about from being stored and joined. c.mu is held.
func (c *Cache) bar(o *order) (fills int) {
	for primary, set := range c.fills {
		all := o.meansKey(primary)
		if !all && (o.Kind != PurgeTag || o.Site != "" && o.Site != primary.Site) {
			continue
		}
		for f := range set {
			switch {
			case all, f.head != nil && o.means(f.head):
				if !f.gone {
					f.gone = true
					fills++
				}
			case f.head != nil:
				continue
			case len(f.orders) < mostPurges:
				f.orders = append(f.orders, o)
			default:
				f.gone = true
			}
			f.ground()
		}
	}
	return fills
}

// ground keeps others from joining the fill. c.mu is held.
func (f *Fill) ground() {
	if f.c.flights[f.key] == f {
		delete(f.c.flights, f.key)
	}
}

// meet tells the purges since the fill began what came.
func (f *Fill) meet(o *Object) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	f.head = o
	if f.barred(o) {
		f.gone = true
		f.ground()
	}
	f.orders = nil
}

// barred reports whether a purge since the fill began is about o, or about what o was confirmed from. c.mu is held.
func (f *Fill) barred(o *Object) bool {
	return slices.ContainsFunc(f.orders, func(order *order) bool {
		return order.means(o) || f.want.Look.Object != nil && order.means(f.want.Look.Object)
	})
}

// direct carries out the purge of a URL without a look at the whole store; ok is false where there are variants, or may be
// keys of choosers, which nobody knows, and where objects move in the store, so that a look may find one nowhere. c.mu is held.
func (c *Cache) direct(o *order) (objects int, ok bool) {
	if _, moves := c.store.(Sweeper); moves || o.Kind != PurgeURL || c.chosen.Load() {
		return 0, false
	}
	schemes := [...]string{"https", "http", ""}
	var found [len(schemes)]*Object
	for i, scheme := range schemes {
		found[i] = peeking{c}.Get(Key{Site: o.Site, Class: ClassGet, Scheme: scheme, Path: o.Value})
		if found[i] != nil && found[i].Kind == Signpost {
			return 0, false
		}
	}
	for _, x := range found {
		if x == nil {
			continue
		}
		if x.answers() {
			objects++
		}
		if o.strikes(x) {
			c.dropEncoded(x)
			c.store.Delete(x.Key)
		}
	}
	return objects, true
}

// sweep goes through the store for o and all other orders that stand, unless another call has done it meanwhile.
func (c *Cache) sweep(o *order) {
	c.sweeping.Lock()
	defer c.sweeping.Unlock()
	if o.swept {
		return
	}
	batch := *c.orders.Load()
	var counting sync.Mutex // guards objects while strike may be called by others
	strike := func(x *Object, count bool) (gone bool) {
		for _, o := range batch {
			if x.sequence >= o.sequence || !o.means(x) {
				continue
			}
			if count && x.answers() {
				counting.Lock()
				o.objects++
				counting.Unlock()
			}
			if o.strikes(x) {
				gone = true
			}
		}
		return gone
	}
	each := func(x *Object) bool {
		if strike(x, true) {
			c.remove(x)
		}
		return true
	}
	if s, ok := c.store.(Sweeper); ok {
		deep := make([]*DeepPurge, len(batch))
		for i, o := range batch {
			deep[i] = &DeepPurge{Purge: o.Purge, At: o.at}
		}
		s.Sweep(deep, strike, each)
		for i, o := range batch {
			o.objects += deep[i].Objects
		}
	} else {
		c.store.Each(each)
	}
	for _, o := range batch {
		o.swept = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	left := slices.Clone((*c.orders.Load())[len(batch):])
	if len(left) == 0 {
		c.orders.Store(nil)
		return
	}
	c.orders.Store(&left)
}

// remove deletes x and nothing that has come in its place.
func (c *Cache) remove(x *Object) {
	c.mu.Lock() // under which alone objects are put
	defer c.mu.Unlock()
	if !x.Dead() && c.peek(x.Key) == x {
		c.dropEncoded(x)
		c.store.Delete(x.Key)
	}
}

// Blank is a look that has found nothing, from before the request to the origin is sent: of a [Want] with Sent.
func (c *Cache) Blank(k Key) Look { return Look{Key: k, sequence: c.sequence.Load()} }

// Still is the same look now, without its object if that was purged since.
func (c *Cache) Still(l Look, now time.Time) Look {
	if l.Object != nil && l.sequence != c.sequence.Load() && (peeking{c}).Get(l.Object.Key) != l.Object {
		l.Object = nil
	}
	return l.At(now)
}

// PurgedSoftly tells when the object was made stale by a purge; zero where it was not.
func (o *Object) PurgedSoftly() time.Time {
	if at := o.stale.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// PurgeCounts are the purges of a kind so far and the objects that they found.
func (c *Cache) PurgeCounts(k PurgeKind) (purges, objects uint64) {
	return c.purged[k].purges.Load(), c.purged[k].objects.Load()
}

// Overtagged is the number of responses so far that were not stored because of their tags.
func (c *Cache) Overtagged() uint64 { return c.overtagged.Load() }
