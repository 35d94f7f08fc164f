package store

import (
	"math"
	"sync/atomic"

	"hither/cache"
)

// place says which list an entry is in.
type place uint8

const (
	nowhere place = iota // not in the table, or about to leave it
	inSmall
	inMain
	inFront
)

// An entry is the store's record of one object. The table refers to it as long as
// the object is stored; the front may refer to it longer, in buffers that nobody can
// reach into. So the front holds the entry and never the object: once obj is nil, all
// that a late buffer keeps alive is this struct.
type entry struct {
	obj  atomic.Pointer[cache.Object] // set to nil when the entry has left the table
	hash uint64
	size int64
	twin *entry // next entry with an equal hash; guarded by the table's shard

	freq  atomic.Uint32 // hits since the last pass of eviction, at most maxFreq
	due   atomic.Int32  // hits in the queue until the entry is offered to the front
	front atomic.Bool   // place == inFront, readable without the lock

	// Guarded by Memory.mu.
	place      place
	held       bool // given to the front, which has not let go of it since
	proven     bool // it was in the main list, or is: it was asked for again, or soon after it was evicted
	prev, next *entry
}

const (
	// maxFreq is where an entry's frequency saturates: three bits, one more than in the
	// S3-FIFO paper, which on traces of small objects gives half a point of hits. A saturated
	// counter is only read, so that a hot object's cache line is not fought over.
	maxFreq = 7

	// firstOffer is the number of hits in the queue after which a small object is
	// offered to the front: one hit may be chance (most objects of a CDN are asked
	// for once or twice), and an offer costs an allocation and a place in a buffer.
	firstOffer = 2

	// nextOffer is the number of hits after which an object that the front dropped,
	// rejected or evicted is offered again.
	nextOffer = 64

	// neverOffer is for objects above frontObject.
	neverOffer = math.MinInt32
)

func newEntry(hash uint64, o *cache.Object, size int64) *entry {
	e := &entry{hash: hash, size: size}
	e.obj.Store(o)
	e.due.Store(neverOffer)
	if size <= frontObject {
		e.due.Store(firstOffer)
	}
	return e
}

// touch counts a hit for eviction.
func (e *entry) touch() {
	if n := e.freq.Load(); n < maxFreq {
		// Lost updates of a race are lost hits of a counter that is soon full.
		e.freq.CompareAndSwap(n, n+1)
	}
}

// wants reports, once per offer that is due, whether this hit is the one after which
// the entry should be offered to the front.
func (e *entry) wants() bool {
	return e.due.Load() > 0 && e.due.Add(-1) == 0
}

// is reports whether the entry holds a live object under exactly k, and returns it.
func (e *entry) is(k cache.Key) *cache.Object {
	if o := e.obj.Load(); o != nil && o.Key == k && !o.Dead() {
		return o
	}
	return nil
}
