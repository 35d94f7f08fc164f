package store

// A list is a FIFO of entries with their bytes. Guarded by Memory.mu.
type list struct {
	root    entry // root.next is the newest, root.prev the oldest
	place   place
	objects int
	bytes   int64
}

func (l *list) init(p place) {
	l.root.next, l.root.prev = &l.root, &l.root
	l.place = p
}

func (l *list) push(e *entry) {
	e.prev, e.next = &l.root, l.root.next
	e.prev.next, e.next.prev = e, e
	e.place = l.place
	e.proven = e.proven || l.place == inMain
	l.objects++
	l.bytes += e.size
}

func (l *list) unlink(e *entry) {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
	e.place = nowhere
	l.objects--
	l.bytes -= e.size
}

// oldest returns the entry at the end, or nil.
func (l *list) oldest() *entry {
	if l.objects == 0 {
		return nil
	}
	return l.root.prev
}

// A queue orders entries for eviction by S3-FIFO (Yang et al., "FIFO queues are all
// you need for cache eviction", SOSP 2023), counted in bytes: new entries pass
// through a small list and reach the main one when they were asked for again. A hit
// moves nothing, it only counts, so it needs no lock. Guarded by Memory.mu.
//
// In two ways it is not the paper's, both for objects of unequal sizes. One hit in the small list is
// enough to be proven: the paper's two favour few hot objects, and cost bytes. And in the main list what is
// larger than the mean object of the store has one second chance however often it was asked for: its room is that of several
// others. `bench trace` shows what each does.
//
// There is one queue, not one per shard: only fills and removals take its lock, and
// each of them has cost a request to an origin or to the hub; with shards an object
// would be bounded by a shard's bytes instead of the store's.
type queue struct {
	small, main list
	smallMax    int64 // above it the small list is evicted from first
	largeMax    int64 // what is larger must be proven: see admits
	ghost       *ghost
}

// newQueue makes one for a store of size bytes.
func newQueue(size int64) *queue {
	q := &queue{smallMax: size / smallShare, largeMax: size - size/largeShare, ghost: newGhost()}
	q.small.init(inSmall)
	q.main.init(inMain)
	return q
}

func (q *queue) bytes() int64 { return q.small.bytes + q.main.bytes }
func (q *queue) objects() int { return q.small.objects + q.main.objects }

// admits reports whether a new object of this size may have the room of others. What is larger than largeMax, and than the free
// bytes, must have been asked for before: else one response that is asked for once would throw out most of what many are
// asked for. It is remembered like what the small list evicts. objects is how many the front has.
func (q *queue) admits(hash uint64, size, free int64, objects int) bool {
	if size <= max(q.largeMax, free) || q.ghost.has(hash) {
		return true
	}
	q.ghost.add(hash, objects+q.objects())
	return false
}

// push takes in a new entry. One is proven that was remembered.
func (q *queue) push(e *entry, proven bool) {
	if proven {
		q.main.push(e)
		return
	}
	q.small.push(e)
}

// back takes in an entry that the front gave up. It was hot once, so it need not pass
// the small list again, but it has no credit left there either.
func (q *queue) back(e *entry) {
	e.freq.Store(0)
	q.main.push(e)
}

func (q *queue) unlink(e *entry) {
	if e.place == inSmall {
		q.small.unlink(e)
		return
	}
	q.main.unlink(e)
}

// maxSecondChances bounds the work of one eviction, which the algorithm does not: if
// everything was asked for three times, it would walk the list three times over, with
// the lock held. At some 50 ns an entry this many take 50 µs.
const maxSecondChances = 1000

// evict takes the entry that is worth least out of its list and returns it, or nil
// when the queue is empty. objects is how many there are in the whole store.
func (q *queue) evict(objects int) *entry {
	for chances := 0; ; chances++ {
		if q.small.bytes > q.smallMax || q.main.objects == 0 {
			e := q.small.oldest()
			if e == nil {
				return nil
			}
			q.small.unlink(e)
			if e.freq.Load() > 0 && chances < maxSecondChances {
				e.freq.Store(0)
				q.main.push(e)
				continue
			}
			q.ghost.add(e.hash, objects)
			return e
		}
		e := q.main.oldest()
		q.main.unlink(e)
		if n := e.freq.Load(); n > 0 && chances < maxSecondChances {
			left := n - 1
			if e.size*int64(q.objects()+1) > q.bytes()+e.size {
				left = 0
			}
			e.freq.CompareAndSwap(n, left)
			q.main.push(e)
			continue
		}
		if e.size > q.largeMax { // else it would have to be asked for twice again: see admits
			q.ghost.add(e.hash, objects)
		}
		return e
	}
}
