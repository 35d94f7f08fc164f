package disk

import (
	"time"

	"hither/cache"
)

// An item is an object that waits to be written.
type item struct {
	hash uint64
	o    *cache.Object
	size int64 // of its record, at most
	up   bool  // the upper tier has it as well; guarded by Store.mu
	gone bool  // given up meanwhile; guarded by Store.mu
	// still reports of one that is up whether the upper tier has it.
	still func(*cache.Object) bool
}

// mostKey is the longest key of an object that is written: its log entry would be nothing else.
const mostKey = 64 << 10

// Offer hands over an object that the upper tier gives up. proven tells that it was asked for again while it was there: what
// was not is written when it is given up the second time, and else only taken note of. It waits for nothing, and may be called under the upper tier's
// lock; what finds no room in the queue is dropped.
func (s *Store) Offer(o *cache.Object, proven bool) {
	if s.Off() != nil {
		return
	}
	h := s.hash(o.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.index[h]; ok {
		if e.flags&isUp != 0 {
			e.flags &^= isUp
			s.index[h] = e
		}
		return
	}
	if it := s.pending[h]; it != nil {
		it.up = false
		return
	}
	if proven || o.Kind != cache.Pass && s.seen.again(h) {
		s.enqueue(&item{hash: h, o: o})
	} else {
		s.counts.unproven++
	}
}

// Save is Offer of an object that stays where it is, so that it outlives the process as well. still reports whether the upper
// tier has that very object. Save reports whether there was room for it, or no need.
func (s *Store) Save(o *cache.Object, still func(*cache.Object) bool) bool {
	if s.Off() != nil {
		return false
	}
	h := s.hash(o.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.index[h]; ok || s.pending[h] != nil {
		return true
	}
	if s.queued > 0 && s.queued+recordSize(o) > s.c.Queue/2 { // the rest is for what is given up
		return false
	}
	s.enqueue(&item{hash: h, o: o, up: true, still: still})
	return true
}

// MaxRecord is the largest record that is written, in bytes: an object with its key, fields, tags and checksums.
func (s *Store) MaxRecord() int64 { return s.segment - headerSize }

// enqueue lets an item wait, where there is room. s.mu is held.
func (s *Store) enqueue(it *item) {
	it.size = recordSize(it.o)
	switch {
	case it.o.Kind == cache.Pass: // over before anybody reads it
		return
	case it.size > s.MaxRecord() || it.o.Key.Len() > mostKey:
		s.counts.large++
		return
	case s.queued > 0 && s.queued+it.size > s.c.Queue:
		s.counts.dropped++
		return
	case !it.o.Keep():
		return
	}
	s.queued += it.size
	s.pending[it.hash] = it
	s.queue = append(s.queue, it)
	s.kick()
}

// next takes the first item out of the queue; nil where there is none.
func (s *Store) next() *item {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.queue = nil
		return nil
	}
	it := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	return it
}

// tick is how often the writer looks after what nobody asks it for.
const tick = time.Second

// writer is the one goroutine that writes objects. It ends with Close, when the queue is empty.
func (s *Store) writer() {
	defer close(s.done)
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		for it := s.next(); it != nil; it = s.next() {
			s.take(it)
		}
		s.tidy(false)
		select {
		case <-s.wake:
		case <-t.C:
			s.check()
		case <-s.stop:
			for it := s.next(); it != nil; it = s.next() {
				s.take(it)
			}
			return
		}
	}
}

// take writes an item, and gives it up.
func (s *Store) take(it *item) {
	defer it.o.Drop()
	if s.Off() == nil && s.wanted(it) {
		if err := s.write(it); err != nil {
			s.fail(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued -= it.size
	if s.pending[it.hash] == it {
		delete(s.pending, it.hash)
	}
	s.idle.Broadcast()
}

// Wait returns when nothing waits to be written. It is there for tests, and for who writes down much at once.
func (s *Store) Wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.queued > 0 {
		s.idle.Wait()
	}
}

// wanted reports whether the item was not given up meanwhile.
func (s *Store) wanted(it *item) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return !it.gone && !it.o.Dead()
}

// isUp reports whether the upper tier is said to have the item.
func (s *Store) isUp(it *item) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return it.up
}

// flushAt is how much of a large record is collected before it is written.
const flushAt = 256 << 10

// write writes an object's record to the newest segment and enters it in the index. The error is the disk's.
func (s *Store) write(it *item) error {
	if err := s.room(it.size); err != nil {
		return err
	}
	g := s.newest // which only this goroutine replaces
	off := g.size.Load()
	b, h := appendHead(s.scratch[:0], it.o, s.state.Run)
	sums := summer{head: h}
	at := off
	var failed error
	flush := func() {
		if failed == nil {
			_, failed = g.file.WriteAt(b, at)
			at += int64(len(b))
			b = b[:0]
		}
	}
	read := it.o.Body.Range(0, h.body, func(part []byte) bool {
		sums.write(part)
		for len(part) > 0 && failed == nil {
			n := min(len(part), max(flushAt-len(b), 0))
			b = append(b, part[:n]...)
			if part = part[n:]; len(b) >= flushAt {
				flush()
			}
		}
		return failed == nil
	})
	if read == nil && failed == nil {
		sums.end()
		b = append(b, sums.sums...)
		flush()
	}
	s.scratch = b[:0]
	if failed != nil {
		return failed
	}
	if read != nil || at-off != h.size() {
		return g.file.Truncate(off) // the body was given up meanwhile
	}
	g.size.Store(at)
	return s.enterWritten(it, entry{off: uint32(off), size: uint32(h.size())})
}

// enterWritten makes a record that was written count: in the log, then in the index.
func (s *Store) enterWritten(it *item, e entry) error {
	o := it.o
	e.kind, e.target = o.Kind, s.target(o.Key.Site, o.Key.Target())
	tags := s.tagsOf(o)
	s.change.Lock()
	defer s.change.Unlock()
	if s.Off() != nil || !s.wanted(it) || s.gate != nil && s.gate(o, false) {
		return nil
	}
	// It may have been evicted, without a word here, and replaced since. Where it was evicted later, Offer has cleared up.
	if s.isUp(it) && !it.still(o) && s.isUp(it) {
		return nil
	}
	b := appendPut(s.entries[:0], it.hash, e, tags, o.Key)
	stale := o.PurgedSoftly()
	if !stale.IsZero() {
		b = appendSoft(b, it.hash, stale.UnixNano())
	}
	s.entries = b[:0]
	if err := s.newest.append(b); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.slot, e.tags = s.newest.slot, s.newest.addTags(tags)
	e.site, _ = s.sites.number(o.Key.Site, true)
	if it.up {
		e.flags |= isUp
	}
	s.put(it.hash, e)
	if !stale.IsZero() {
		s.soften(it.hash, e, stale.UnixNano())
	}
	s.counts.written++
	s.counts.writtenBytes += uint64(e.size)
	return nil
}

// Change does what replaces or removes the object under k in the upper tier, by do, and removes it here. When it returns,
// what was here under k is not found any more, nor after a restart. There was something apart from what the upper
// tier has where was is true.
func (s *Store) Change(k cache.Key, why Reason, do func()) (was bool) {
	s.change.Lock()
	defer s.change.Unlock()
	do()
	if s.Off() != nil {
		return false
	}
	h := s.hash(k)
	s.mu.Lock()
	it := s.pending[h]
	if it != nil {
		it.gone = true
		was = !it.up
		delete(s.pending, h)
	}
	e, ok := s.index[h]
	s.mu.Unlock()
	if !ok {
		return was
	}
	return s.void(h, why) && e.flags&isUp == 0 || was
}

// void removes what is in the index under a hash, for good. change is held.
func (s *Store) void(h uint64, why Reason) bool {
	if err := s.newest.append(appendVoid(nil, h)); err != nil {
		s.fail(err)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.drop(h)
	if ok {
		s.counts.evicted[why]++
	}
	return ok
}
