package disk

import (
	"fmt"
	"slices"
	"time"
)

// This file makes room: the oldest segment goes, and what was asked for in it since it was written is written anew.

const (
	// keepShare of a segment, 1/keepShare, is the most that is written anew of an evicted one: however much is asked for,
	// three quarters of what is written are new.
	keepShare = 4
	// mostKept bounds what is in memory meanwhile.
	mostKept = 8 << 20
	// leavingShare of the size, 1/leavingShare, is the most that evicted segments may take which are still read. Above it
	// the readers are cut off: else clients that read slowly would have the disk.
	leavingShare = 8
	// grace is how long an evicted segment is readable at least, where there is room for it: for who has found an object
	// in it and not yet begun to read.
	grace = time.Second
)

// room makes room for a record of size bytes in the newest segment. Only the writer calls it.
func (s *Store) room(size int64) error {
	// A log grows by what is removed as well, so it may fill a segment by itself.
	if s.newest.size.Load()+size > s.segment || s.newest.log.Load() > s.segment/4 {
		if err := s.turn(); err != nil {
			return err
		}
	}
	for full := s.full(size); full || s.crowded(); full = s.full(size) {
		if full && s.tidy(false) {
			continue
		}
		s.mu.RLock()
		var oldest *segment
		if len(s.order) > 1 {
			oldest = s.order[0]
		}
		held := int64(0)
		for _, g := range s.leaving {
			held += g.size.Load()
		}
		s.mu.RUnlock()
		switch {
		case full && s.asides.Load() > 0:
			if err := s.removeAsides(); err != nil {
				return err
			}
		case full && held > 0 && (oldest == nil || held > s.c.Size/leavingShare):
			s.tidy(true)
		case oldest == nil:
			return nil
		default:
			if err := s.evict(oldest); err != nil {
				return err
			}
		}
	}
	return nil
}

// turn begins a segment behind the newest.
func (s *Store) turn() error {
	s.change.Lock()
	err := s.begin()
	log := s.sealing
	s.change.Unlock()
	if err == nil {
		err = s.finish(log) // nobody waits for this but who wants to: see syncLog
	}
	if err != nil {
		return err
	}
	s.change.Lock()
	s.sealing = nil
	s.change.Unlock()
	return nil
}

// full reports whether size bytes more would be too many.
func (s *Store) full(size int64) bool { return s.used()+size+s.segment/8 > s.c.Size }

// crowded reports whether the index is too large.
func (s *Store) crowded() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := int64(len(s.index))
	for _, g := range s.order {
		n += int64(len(g.tags)) / 16
	}
	return n > s.c.Objects
}

// tidy closes evicted segments that nobody reads any more; with cut one more, whoever reads it. It reports whether there was one.
func (s *Store) tidy(cut bool) (some bool) {
	s.mu.Lock()
	var closing []*segment
	s.leaving = slices.DeleteFunc(s.leaving, func(g *segment) bool {
		if g.leases.Load() > 0 || time.Since(g.left) < grace {
			if !cut {
				return false
			}
			cut = false
		}
		closing = append(closing, g)
		return true
	})
	s.mu.Unlock()
	for _, g := range closing {
		g.close()
	}
	return len(closing) > 0
}

// check looks after what nobody asks for.
func (s *Store) check() {
	if s.Off() != nil {
		return
	}
	_, err := s.stat(s.path(fileName(s.newest.number, logExt)))
	if err == nil {
		err = s.room(0)
	} else {
		err = fmt.Errorf("the folder is gone: %w", err)
	}
	if err != nil {
		s.fail(err)
	}
}

// evict removes a segment, which is not the newest, with all that lies in it. What was asked for there waits to be written anew. Only
// the writer calls it, and load.
func (s *Store) evict(g *segment) error {
	kept := s.keep(g)
	g.retired.Store(true)
	// Before anything is in the queue instead: of what waits there a removal writes nothing down.
	if err := s.removeFiles(g.number); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range kept {
		e, ok := s.index[k.hash]
		if !ok || !e.at(k.e) || e.flags&(isSoft|isUp) != 0 || g.stale != 0 || s.pending[k.hash] != nil || !k.o.Keep() {
			continue
		}
		s.drop(k.hash)
		it := &item{hash: k.hash, o: k.o, size: recordSize(k.o)}
		s.pending[k.hash] = it
		s.queue = append(s.queue, it)
		s.queued += it.size
		s.counts.kept++
	}
	n := 0
	for hash, e := range s.index {
		if e.slot == g.slot {
			s.drop(hash)
			s.counts.evicted[Size]++
		}
		if n++; n%walkStep == 0 {
			s.mu.Unlock()
			s.mu.Lock()
		}
	}
	s.slots[g.slot], g.tags = nil, nil
	s.order = slices.DeleteFunc(s.order, func(other *segment) bool { return other == g })
	g.left = time.Now()
	s.leaving = append(s.leaving, g)
	return nil
}

// keep reads what in the segment is worth being written anew.
func (s *Store) keep(g *segment) (kept []found) {
	left := min(s.segment/keepShare, mostKept)
	var list []found
	s.walk(func(hash uint64, e entry) {
		if e.slot == g.slot && e.flags&(wasHit|isSoft|isUp) == wasHit && g.stale == 0 && e.size <= upBody && int64(e.size) <= left {
			left -= int64(e.size)
			list = append(list, found{hash: hash, e: e, g: g})
		}
	}, func() {})
	for _, f := range list {
		if o, err := s.read(f, true); err == nil {
			f.o = o
			kept = append(kept, f)
		}
	}
	return kept
}
