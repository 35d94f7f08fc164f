package disk

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"hither/cache"
)

// An Above is the upper tier, as the lower one needs it.
type Above interface {
	// Get returns what it has under k.
	Get(k cache.Key) *cache.Object
	// Enter takes in o, which was read below, unless it has something under its key. It returns what it has then, or o
	// where it takes nothing in; in tells that it has it.
	Enter(o *cache.Object) (x *cache.Object, in bool)
}

// A found is an entry, where it was found, and the object once it was read.
type found struct {
	hash uint64
	e    entry
	g    *segment
	o    *cache.Object
}

// find looks up what is in the index under a hash.
func (s *Store) find(h uint64) (f found, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.index[h]
	if !ok {
		return f, false
	}
	f = found{hash: h, e: e, g: s.slots[e.slot]}
	return f, !f.g.retired.Load()
}

// usable is find of what is not known to be damaged: that is about to be removed.
func (s *Store) usable(h uint64) (f found, ok bool) {
	f, ok = s.find(h)
	return f, ok && !f.g.isDamaged(f.e.off)
}

// here reports whether f is still what the index has. s.mu is held.
func (s *Store) here(f found) (e entry, ok bool) {
	e, ok = s.index[f.hash]
	return e, ok && e.at(f.e) && s.slots[e.slot] == f.g
}

// looks bounds how often a Get begins anew because what it had found went meanwhile.
const looks = 3

// Get returns the object under exactly k, or nil, and moves it to the upper tier, which the caller has asked before. One
// call reads, and others for the same object wait for it.
func (s *Store) Get(k cache.Key, above Above) *cache.Object {
	if s.Off() != nil {
		return nil
	}
	h := s.hash(k)
	for range looks {
		f, ok := s.usable(h)
		switch {
		case !ok:
			o, again := s.takeBack(k, h, above)
			if again {
				continue
			}
			if o == nil {
				o = above.Get(k) // which may have got it since it was asked
			}
			return o
		case f.e.flags&isUp != 0:
			if o := s.lost(k, f, above); o != nil {
				return o
			}
			continue
		}
		if o, ok := s.readOnce(f, k, above); ok {
			return o
		}
	}
	return nil
}

// takeBack gives the upper tier what waits to be written under k. again tells that it is in the index by now, or gone.
func (s *Store) takeBack(k cache.Key, h uint64, above Above) (o *cache.Object, again bool) {
	s.mu.RLock()
	it := s.pending[h]
	s.mu.RUnlock()
	if it == nil || it.o.Key != k || it.o.Dead() {
		return nil, false
	}
	s.change.Lock()
	defer s.change.Unlock()
	s.mu.Lock()
	if s.pending[h] != it {
		s.mu.Unlock()
		return nil, true
	}
	if s.gate != nil {
		s.mu.Unlock()
		gone := s.gate(it.o, false) // the sweep may have been where it goes
		s.mu.Lock()
		if gone {
			it.gone = true
			delete(s.pending, h)
			s.mu.Unlock()
			return nil, false
		}
	}
	// Before it is there: if it is evicted at once, this is taken back.
	it.up, it.still = true, func(o *cache.Object) bool { return above.Get(k) == o }
	s.mu.Unlock()
	o, in := above.Enter(it.o)
	if !in {
		s.mu.Lock()
		it.up = false
		s.mu.Unlock()
	}
	return o, false
}

// lost is what the upper tier has, or nil where it has lost what was there without a word: then somebody killed it, and what is
// here goes as well.
func (s *Store) lost(k cache.Key, f found, above Above) *cache.Object {
	s.change.Lock() // under which alone something moves up
	defer s.change.Unlock()
	if o := above.Get(k); o != nil {
		return o
	}
	s.mu.RLock()
	e, ok := s.here(f)
	s.mu.RUnlock()
	if ok && e.flags&isUp != 0 && s.Off() == nil {
		s.void(f.hash, Killed)
	}
	return nil
}

// A reading is a read that others may wait for.
type reading struct {
	f    found
	done chan struct{}
	o    *cache.Object
	ok   bool
}

// readOnce reads f, or waits for who does. ok is false where it is no longer there, or moved up since it was found.
func (s *Store) readOnce(f found, k cache.Key, above Above) (o *cache.Object, ok bool) {
	s.mu.Lock()
	if r := s.reads[f.hash]; r != nil && r.f.e.at(f.e) && r.f.g == f.g {
		s.mu.Unlock()
		<-r.done
		if r.ok && r.o != nil && r.o.Key != k {
			return nil, true
		}
		return r.o, r.ok
	}
	if e, ok := s.here(f); !ok || e.flags&isUp != 0 { // whoever read it is done
		s.mu.Unlock()
		return nil, false
	}
	r := &reading{f: f, done: make(chan struct{})}
	s.reads[f.hash] = r
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		if s.reads[f.hash] == r {
			delete(s.reads, f.hash)
		}
		s.mu.Unlock()
		close(r.done)
	}()
	s.slot <- struct{}{}
	r.o, r.ok = s.moveUp(f, k, above)
	<-s.slot
	return r.o, r.ok
}

// moveUp reads f and lets the upper tier have it.
func (s *Store) moveUp(f found, k cache.Key, above Above) (o *cache.Object, ok bool) {
	o, err := s.read(f, true)
	switch {
	case errors.Is(err, errClosed):
		return nil, false
	case err != nil:
		s.spoilt(f, err)
		return nil, true
	case o.Key != k: // another key with this hash
		return nil, true
	case o.Dead(): // found damaged meanwhile
		return nil, true
	}
	s.change.Lock()
	defer s.change.Unlock()
	s.mu.Lock()
	e, ok := s.here(f)
	if !ok || s.Off() != nil {
		s.mu.Unlock()
		return nil, s.Off() != nil
	}
	if at := s.staleSince(f.hash, e); !at.IsZero() {
		o.MarkStale(at)
	}
	// Before it is there: if it is evicted at once, this is taken back.
	e.flags |= isUp | wasHit
	s.index[f.hash] = e
	s.counts.hits++
	s.mu.Unlock()
	o, in := above.Enter(o)
	if !in {
		s.mu.Lock()
		if e, ok := s.here(f); ok {
			e.flags &^= isUp
			s.index[f.hash] = e
		}
		s.mu.Unlock()
	}
	return o, true
}

// Peek is Get that moves and counts nothing, and reads no body until that is asked for.
func (s *Store) Peek(k cache.Key) *cache.Object {
	h := s.hash(k)
	s.mu.RLock()
	it := s.pending[h]
	s.mu.RUnlock()
	if it != nil && it.o.Key == k && !it.o.Dead() && s.Off() == nil {
		return it.o
	}
	f, ok := s.usable(h)
	if !ok || s.Off() != nil {
		return nil
	}
	if o := s.peek(f); o != nil && o.Key == k {
		return o
	}
	return nil
}

// peek reads f without its body.
func (s *Store) peek(f found) *cache.Object {
	o, err := s.read(f, false)
	if err != nil {
		if !errors.Is(err, errClosed) {
			s.spoilt(f, err)
		}
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if _, ok := s.here(f); !ok {
		return nil
	}
	if at := s.staleSince(f.hash, f.e); !at.IsZero() {
		o.MarkStale(at)
	}
	return o
}

// rooms are for records on their way.
var rooms = sync.Pool{New: func() any { return new([]byte) }}

// read reads the object of an entry and verifies what it has read. A body up to upBody is read with it if it is wanted;
// else it is a deep one.
func (s *Store) read(f found, body bool) (*cache.Object, error) {
	const first = 16 << 10 // as much as is read in one go to find out how long the object's own record is
	size := int64(f.e.size)
	want := min(size, first)
	if body && size <= upBody+first {
		want = size
	}
	room := rooms.Get().(*[]byte)
	defer s.giveBack(func() { rooms.Put(room) })
	b, err := s.readInto(room, f, 0, want)
	if err != nil {
		return nil, err
	}
	h, err := parseHead(b, size)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) < h.bodyAt() {
		if b, err = s.readInto(room, f, int64(len(b)), h.bodyAt()); err != nil {
			return nil, err
		}
	}
	if err := h.verify(b); err != nil {
		return nil, err
	}
	var content cache.Body
	switch {
	case h.body == 0:
	case int64(len(b)) == size:
		if err := h.verifyBody(b[h.bodyAt():h.sumsAt()], b[h.sumsAt():]); err != nil {
			return nil, err
		}
		content = copied(b[h.bodyAt():h.sumsAt()])
	default:
		content = cache.NewDeepBody(&source{s: s, f: f, h: h}, h.body)
	}
	o, err := cache.ReadObject(b[headSize:h.bodyAt()], content, h.run != s.state.Run)
	if err != nil {
		return nil, errCorrupt
	}
	return o, nil
}

// readInto reads the record's bytes from have, which are there, up to want.
func (s *Store) readInto(room *[]byte, f found, have, want int64) ([]byte, error) {
	if int64(cap(*room)) < want {
		grown := make([]byte, want)
		copy(grown, (*room)[:have])
		*room = grown
	}
	b := (*room)[:want]
	return b, f.g.readAt(b[have:], int64(f.e.off)+have)
}

// giveBack lets others have the room that something was read into, unless that may hang, and come yet.
func (s *Store) giveBack(room func()) {
	if !isClosed(s.gone) {
		room()
	}
}

// copied is a body of its own, in pieces like those of a fill.
func copied(b []byte) cache.Body {
	chunks := make([][]byte, 0, pieces(int64(len(b))))
	for len(b) > 0 {
		n := min(len(b), pieceSize)
		chunk := make([]byte, n)
		copy(chunk, b)
		chunks, b = append(chunks, chunk), b[n:]
	}
	return cache.NewBody(chunks...)
}

// spoilt removes a record that cannot be read, or is not what was written; a body that is read from it is gone. Where the disk says so
// of more than a few records, it is given up: whoever reads one of them again, or reads it at the same time, says nothing new.
func (s *Store) spoilt(f found, err error) {
	if s.Off() != nil || !f.g.damage(f.e.off) {
		return
	}
	s.mu.Lock()
	s.counts.corrupt++
	s.mu.Unlock()
	if damaged(err) {
		s.c.Log.Warn("a stored object on disk is damaged, and was removed", "folder", s.c.Folder, "segment", fileName(f.g.number, dataExt), "offset", f.e.off, "bytes", f.e.size)
	} else if s.errors.Add(1) >= mostErrors {
		s.fail(err)
		return
	}
	s.change.Lock()
	defer s.change.Unlock()
	s.mu.RLock()
	_, ok := s.here(f)
	s.mu.RUnlock()
	if ok && s.Off() == nil {
		s.void(f.hash, Killed)
	}
}

// damaged reports whether an error is about what was read, and not about reading.
func damaged(err error) bool {
	return errors.Is(err, errCorrupt) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// A source reads a body from its segment for each reader anew, piece by piece, each verified before it is handed out.
type source struct {
	s *Store
	f found
	h head
}

var _ cache.Deep = (*source)(nil)

// Gone reports that the segment was evicted, or the record found damaged: the upper tier, which has the object, asks no index.
func (b *source) Gone() bool { return b.f.g.retired.Load() || b.f.g.isDamaged(b.f.e.off) }

// pieceRooms are for pieces on their way.
var pieceRooms = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// Range is cache.Deep's. What it cannot read, or is damaged, ends it with an error, and is removed.
func (b *source) Range(off, n int64, yield func([]byte) bool) error {
	if !b.f.g.lease() {
		return cache.ErrBehind
	}
	defer b.f.g.leases.Add(-1)
	room := pieceRooms.Get().(*[pieceSize]byte)
	defer b.s.giveBack(func() { pieceRooms.Put(room) })
	first, last := off/pieceSize, (off+n-1)/pieceSize
	sums := make([]byte, 4*(last-first+1))
	if err := b.readAt(sums, b.h.sumsAt()+4*first); err != nil {
		return err
	}
	for i := first; i <= last; i++ {
		begin := i * pieceSize
		piece := room[:min(pieceSize, b.h.body-begin)]
		if err := b.readAt(piece, b.h.bodyAt()+begin); err != nil {
			return err
		}
		if b.h.sumPiece(piece) != binary.LittleEndian.Uint32(sums[4*(i-first):]) {
			b.s.spoilt(b.f, errCorrupt)
			return errCorrupt
		}
		if !yield(piece[max(off-begin, 0):min(off+n-begin, int64(len(piece)))]) {
			return nil
		}
	}
	return nil
}

// readAt reads from the record. A reader whose segment went is too far behind.
func (b *source) readAt(p []byte, off int64) error {
	err := b.f.g.readAt(p, int64(b.f.e.off)+off)
	if errors.Is(err, errClosed) {
		return cache.ErrBehind
	}
	if err != nil {
		b.s.spoilt(b.f, err)
	}
	return err
}
