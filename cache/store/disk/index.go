package disk

import (
	"encoding/binary"
	"math"
	"time"

	"hither/cache"
)

// An entry says where an object lies, and what purges find it by. In a map it takes 32 bytes with its hash, and the map's slots
// are half to seven eighths full.
type entry struct {
	off    uint32 // in the segment's file
	size   uint32 // of the record
	tags   uint32 // where its list begins among the segment's tags; 0 = none
	target uint32 // Store.target of its key
	slot   uint16 // of its segment
	site   uint16 // see sites
	kind   cache.Kind
	flags  flags
}

type flags uint8

const (
	isUp   flags = 1 << iota // the object is in the upper tier as well
	wasHit                   // it was asked for since it was written
	isSoft                   // softs has when it was made stale
)

// softs have since when entries are stale by a purge of their own, in seconds from 1970. A slot takes 12 bytes: with a hash in one piece it
// would take 16. So a million of them stay within what an object may take.
type softs map[[2]uint32]uint32

func softKey(hash uint64) [2]uint32 { return [2]uint32{uint32(hash >> 32), uint32(hash)} }

// at reports whether both are the same record.
func (e entry) at(other entry) bool { return e.slot == other.slot && e.off == other.off }

// sites number the names of sites.
type sites struct {
	numbers map[string]uint16
}

// anySite is the number of all sites for which none was left: a purge of any of them takes their objects.
const anySite = 1<<16 - 1

// number returns the site's number, with add a new one where it has none; ok is false where it has none.
func (s *sites) number(name string, add bool) (n uint16, ok bool) {
	if n, ok = s.numbers[name]; ok || !add {
		return n, ok
	}
	if len(s.numbers) >= anySite {
		return anySite, true
	}
	if s.numbers == nil {
		s.numbers = make(map[string]uint16)
	}
	n = uint16(len(s.numbers))
	s.numbers[name] = n
	return n, true
}

// tagList returns the tags of an entry. s.mu is held.
func (s *Store) tagList(e entry) []uint32 {
	if e.tags == 0 {
		return nil
	}
	all := s.slots[e.slot].tags
	return all[e.tags+1 : e.tags+1+all[e.tags]]
}

// addTags keeps a list of tags, and returns where it begins. It grows by eighths: what append leaves free would be more than
// the tags. s.mu is held.
func (g *segment) addTags(list []uint32) uint32 {
	if len(list) == 0 {
		return 0
	}
	if need := len(g.tags) + 1 + len(list); need > cap(g.tags) {
		grown := make([]uint32, len(g.tags), need+need/8)
		copy(grown, g.tags)
		g.tags = grown
	}
	at := uint32(len(g.tags))
	g.tags = append(append(g.tags, uint32(len(list))), list...)
	return at
}

// tagsOf are the tags of an object as the index has them.
func (s *Store) tagsOf(o *cache.Object) (list []uint32) {
	o.TagForms(func(form string) { list = append(list, s.tag(form)) })
	return list
}

// put enters e in the place of what was under its hash. s.mu is held.
func (s *Store) put(hash uint64, e entry) {
	delete(s.softs, softKey(hash))
	s.index[hash] = e
}

// drop removes the entry under a hash, if there is one. s.mu is held.
func (s *Store) drop(hash uint64) (was entry, ok bool) {
	if was, ok = s.index[hash]; ok {
		delete(s.index, hash)
		if was.flags&isSoft != 0 {
			delete(s.softs, softKey(hash))
		}
	}
	return was, ok
}

// soften notes that an entry is stale since an instant, in nanoseconds from 1970, rounded down: its windows (RFC 5861) may close early, and
// not late. An earlier one stands. s.mu is held.
func (s *Store) soften(hash uint64, e entry, at int64) {
	if _, ok := s.softs[softKey(hash)]; !ok {
		s.softs[softKey(hash)] = uint32(min(max(at/int64(time.Second), 1), math.MaxUint32))
		e.flags |= isSoft
		s.index[hash] = e
	}
}

// staleSince is when an entry was made stale; zero where it was not. s.mu is held.
func (s *Store) staleSince(hash uint64, e entry) time.Time {
	at := s.slots[e.slot].stale
	if own := int64(s.softs[softKey(hash)]) * int64(time.Second); own != 0 && (at == 0 || own < at) {
		at = own
	}
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(0, at)
}

// walkStep is how many entries are looked at under one lock: some 20 µs.
const walkStep = 1024

// walk visits the entries that are there from the beginning to the end, and of others some, with s.mu held for reading; between,
// without it, is called after each step.
func (s *Store) walk(visit func(hash uint64, e entry), between func()) {
	s.mu.RLock()
	n := 0
	for hash, e := range s.index {
		visit(hash, e)
		if n++; n%walkStep == 0 {
			s.mu.RUnlock()
			between()
			s.mu.RLock()
		}
	}
	s.mu.RUnlock()
	between()
}

// loadTags makes a list of what a log has.
func loadTags(b []byte, into []uint32) []uint32 {
	into = into[:0]
	for ; len(b) >= 4; b = b[4:] {
		into = append(into, binary.LittleEndian.Uint32(b))
	}
	return into
}
