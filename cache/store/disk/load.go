package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// load reads the logs of the folder's segments, oldest first. known: the folder's state is here; clean: whoever had it last closed it.
//
// What a log says last counts, so a log that is not whole takes from all objects in its own and earlier segments the certainty
// that they may still be used, and they go. The newest log of a process that was killed is the exception: it may end anywhere,
// for what is missing was not acknowledged. With doubt the machine was stopped meanwhile, and how it ends says nothing.
func (s *Store) load(known, clean, doubt bool) error {
	began := time.Now()
	numbers, foreign, err := s.list()
	if err != nil {
		return err
	}
	if len(foreign) > 0 {
		s.c.Log.Warn("files in the folder of the disk tier are none of it; they are left alone", "folder", s.c.Folder, "files", foreign[:min(len(foreign), 10)])
	}
	newest := s.state.Newest
	if n := len(numbers); n > 0 {
		newest = max(newest, numbers[n-1])
	}
	lost := 0
	give := func(number uint64, why string) error {
		lost++
		s.c.Log.Warn("a segment on disk is not whole; what was written up to it is not used", "folder", s.c.Folder, "segment", fileName(number, ""), "why", why)
		return s.forget(number)
	}
	open := newest // whose log has no seal, where one has none
	// Where that was only being made, it never was, and its number is the next one's: what is before a gap is not whole.
	if n := len(numbers); n > 0 && numbers[n-1] == newest && !clean && s.unbegun(newest) {
		if err := s.unmake(newest); err != nil {
			return err
		}
		numbers, newest = numbers[:n-1], s.state.Newest
	}
	last := uint64(0)
	for _, n := range numbers {
		if last != 0 && n != last+1 {
			if err := give(last, "one behind it is missing"); err != nil {
				return err
			}
		}
		last = n
		end := s.loadSegment(n, func(end error) bool {
			return n == open && (errors.Is(end, errTorn) && !clean || errors.Is(end, errLog) && doubt)
		})
		switch {
		case !known:
			end = give(n, "the folder's state is missing")
		case errors.Is(end, errTorn), errors.Is(end, errLog), errors.Is(end, errData), errors.Is(end, fs.ErrNotExist):
			end = give(n, end.Error())
		}
		if end != nil {
			return end
		}
	}
	if known && last != 0 && last < newest {
		if err := give(last, "one behind it is missing"); err != nil {
			return err
		}
	}
	s.counts = counts{}
	s.state.Newest = newest
	if s.used() > s.c.Size {
		if err := s.removeAsides(); err != nil {
			return err
		}
	}
	for s.used() > s.c.Size && len(s.order) > 0 { // it was larger before
		if err := s.evict(s.order[0]); err != nil {
			return err
		}
		s.tidy(true) // nobody reads yet
	}
	s.c.Log.Info("the disk tier is open", "folder", s.c.Folder, "objects", len(s.index), "bytes", s.used(), "segments", len(s.order),
		"lost", lost, "doubt", doubt && len(s.order) > 0, "took", time.Since(began).Round(time.Millisecond).String())
	return nil
}

// errData is a segment's file that is not one.
var errData = errors.New("disk: the file of a segment is damaged")

// loadSegment applies a segment's log to the index. cut tells whether a log that ends so may have ended so; what is behind the
// last good entry is then cut off.
func (s *Store) loadSegment(number uint64, cut func(end error) bool) error {
	g := &segment{number: number, tags: make([]uint32, 1, 64)}
	log, err := s.openFile(s.path(fileName(number, logExt)), os.O_RDWR)
	if err != nil {
		return err
	}
	defer log.Close()
	if g.file, err = s.openFile(s.path(fileName(number, dataExt)), os.O_RDONLY|noTime); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(g)
	size, err := g.file.size()
	if err != nil {
		return err
	}
	g.size.Store(size)
	var begin [headerSize]byte
	if err := fill(g.file, begin[:]); err != nil || string(begin[:]) != string(header(dataMagic, number)) {
		return fmt.Errorf("%w: %s", errData, g.file.name())
	}
	good, err := scan(log, number, s.applyTo(g))
	if err != nil && cut(err) {
		if err = log.Truncate(good); err == nil {
			_, err = log.WriteAt(appendSeal(nil), good)
			good += int64(len(appendSeal(nil)))
		}
	}
	g.log.Store(good)
	return err
}

// unbegun reports whether a segment was being made when the process ended: nothing was written to it.
func (s *Store) unbegun(number uint64) bool {
	for ext, most := range map[string]int64{dataExt: headerSize, logExt: headerSize - 1} { // in this order they are written
		info, err := s.stat(s.path(fileName(number, ext)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() > most {
			return false
		}
	}
	return true
}

// unmake removes a segment that was only being made, and is the newest, so that the one before is. The state goes first: with it as it
// was, a folder that has no such segment has lost one.
func (s *Store) unmake(number uint64) error {
	was := s.state.Newest
	s.state.Newest = max(number, 1) - 1
	if was >= number { // it stayed where the machine stopped, and what was written to the segment did not
		if err := s.writeState(true); err != nil {
			return err
		}
	}
	return s.removeFiles(number)
}

// applyTo returns what makes the entries of the segment's log count. s.mu is held while it is called.
func (s *Store) applyTo(g *segment) func(*logEntry) bool {
	var tags []uint32
	var name string // of the last site, which most often is the next as well
	var site uint16
	known := false
	size := g.size.Load()
	return func(e *logEntry) bool {
		switch e.kind {
		case putEntry:
			if e.off < headerSize || int64(e.off)+int64(e.size) > size {
				s.drop(e.hash) // the file was cut: what it replaced is outdated all the same
				return true
			}
			if !known || string(e.site) != name {
				name, known = string(e.site), true
				site, _ = s.sites.number(name, true)
			}
			tags = loadTags(e.tags, tags)
			s.put(e.hash, entry{
				off: e.off, size: e.size, tags: g.addTags(tags), target: e.target, slot: g.slot, site: site, kind: e.object,
			})
		case voidEntry:
			s.drop(e.hash)
		case softEntry:
			if was, ok := s.index[e.hash]; ok {
				s.soften(e.hash, was, e.at)
			}
		case doubtEntry:
			s.doubtBefore(g, e.at)
		}
		return true
	}
}

// doubt makes all stale that lies in earlier segments than the newest.
func (s *Store) doubt(at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doubtBefore(s.newest, at)
}

func (s *Store) doubtBefore(g *segment, at int64) {
	for _, other := range s.order {
		if other.number < g.number && other.stale == 0 {
			other.stale = at
		}
	}
}

// forget removes all segments up to number, with all that lies in them.
func (s *Store) forget(number uint64) error {
	for len(s.order) > 0 && s.order[0].number <= number {
		if err := s.evict(s.order[0]); err != nil {
			return err
		}
		s.tidy(true)
	}
	return s.removeFiles(number)
}
