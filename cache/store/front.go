package store

import (
	"fmt"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
)

// A front keeps small hot entries, chosen by frequency (TinyLFU), and finds them by
// hash. It is an accelerator and never the record: it may drop what it is offered
// under a burst, reject it, or evict it at any time, and it applies what it is told
// late. Its methods must be called without Memory.mu: they may call letGo, or wait
// for a goroutine that does.
type front struct {
	cache *ristretto.Cache[uint64, *entry]

	offered, dropped, rejected atomic.Uint64
}

// newFront makes a front for max bytes. letGo is called for each entry that the front
// no longer holds, from any goroutine.
func newFront(max int64, letGo func(*entry)) (*front, error) {
	f := &front{}
	c, err := ristretto.NewCache(&ristretto.Config[uint64, *entry]{
		// The library asks for ten counters per object: with objects of 2.5 KiB
		// that is one per 256 bytes. A counter takes 3 bytes, 1.2 % of the front.
		NumCounters:        max / 256,
		MaxCost:            max,
		BufferItems:        64, // the library's advice
		IgnoreInternalCost: true,
		KeyToHash:          func(h uint64) (uint64, uint64) { return h, 0 },
		OnReject:           func(*ristretto.Item[*entry]) { f.rejected.Add(1) },
		OnExit: func(e *entry) {
			// Removing what is not there exits with nil.
			if e != nil {
				letGo(e)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("store: make a front of %d bytes: %w", max, err)
	}
	f.cache = c
	return f, nil
}

// get returns the entry that was last put under h. Its key may be another one.
func (f *front) get(h uint64) (*entry, bool) { return f.cache.Get(h) }

// offer reports false if e was dropped at once. If not, the front may still reject it
// later, and says so by letGo.
func (f *front) offer(e *entry) bool {
	f.offered.Add(1)
	if !f.cache.Set(e.hash, e, e.size) {
		f.dropped.Add(1)
		return false
	}
	return true
}

// remove frees the room of whatever is under h. It waits while the front's buffer is
// full, which its goroutine empties without waiting for anybody else.
func (f *front) remove(h uint64) { f.cache.Del(h) }

func (f *front) wait()  { f.cache.Wait() }
func (f *front) close() { f.cache.Close() }
