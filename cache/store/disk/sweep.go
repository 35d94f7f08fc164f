package disk

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"hither/cache"
)

// A hunt finds what purges are about by what the index has: 32 bits of a tag and of a target, and the number of a site. Two
// that share them are taken for one, which costs an object of another name once in some thousand million; nothing that is meant is missed.
type hunt struct {
	s      *Store
	all    []*cache.DeepPurge            // of everything
	hosts  map[uint16][]*cache.DeepPurge // by site
	urls   map[uint32][]*cache.DeepPurge // by target
	tags   map[uint32][]tagHunt          // by tag
	prefix []*cache.DeepPurge            // for which the logs are read
	prey   []prey                        // found, and not yet dealt with
}

type tagHunt struct {
	*cache.DeepPurge
	site uint16
	any  bool // site
}

// A prey is an entry that a purge means.
type prey struct {
	found
	hard bool
	at   int64 // of the first soft one
}

// Sweep carries out purges on what is here: see cache.Sweeper. What moves in from then on is asked about by strike, until done is
// called, which is to be when the upper tier was gone through as well.
func (s *Store) Sweep(purges []*cache.DeepPurge, strike func(o *cache.Object, count bool) (gone bool)) (done func()) {
	s.change.Lock()
	s.gate = strike
	s.strikePending(strike, true)
	s.change.Unlock()
	done = func() {
		s.change.Lock()
		defer s.change.Unlock()
		// What was yielded while it waited here was not found above, and so not removed.
		s.strikePending(strike, false)
		s.gate = nil
	}
	if s.Off() == nil {
		h := s.newHunt(purges)
		if len(h.all)+len(h.hosts)+len(h.urls)+len(h.tags) > 0 {
			s.walk(h.look, h.kill)
		}
		if len(h.prefix) > 0 {
			h.readLogs()
		}
	}
	s.syncLog()
	return done
}

// strikePending carries purges out on what waits to be written. change is held.
func (s *Store) strikePending(strike func(*cache.Object, bool) bool, count bool) {
	s.mu.Lock()
	waiting := make([]*item, 0, len(s.pending))
	for _, it := range s.pending {
		waiting = append(waiting, it)
	}
	s.mu.Unlock()
	for _, it := range waiting {
		s.mu.RLock()
		up := it.up // then it is counted, and removed, where it is yielded
		s.mu.RUnlock()
		if !strike(it.o, count && !up) {
			continue
		}
		s.mu.Lock()
		it.gone = true
		if s.pending[it.hash] == it {
			delete(s.pending, it.hash)
		}
		s.mu.Unlock()
	}
}

// newHunt sorts purges by what finds them.
func (s *Store) newHunt(purges []*cache.DeepPurge) *hunt {
	h := &hunt{s: s, hosts: map[uint16][]*cache.DeepPurge{}, urls: map[uint32][]*cache.DeepPurge{}, tags: map[uint32][]tagHunt{}}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range purges {
		site, known := s.sites.number(p.Site, false)
		if !known {
			site = anySite
		}
		switch p.Kind {
		case cache.PurgeAll:
			h.all = append(h.all, p)
		case cache.PurgeTag:
			for _, form := range p.TagForms() {
				t := s.tag(form)
				h.tags[t] = append(h.tags[t], tagHunt{p, site, p.Site == ""})
			}
		case cache.PurgeHost:
			if known {
				h.hosts[site] = append(h.hosts[site], p)
			}
			h.hosts[anySite] = append(h.hosts[anySite], p)
		case cache.PurgeURL:
			t := s.target(p.Site, p.Value)
			h.urls[t] = append(h.urls[t], p)
		case cache.PurgePrefix:
			h.prefix = append(h.prefix, p)
		}
	}
	return h
}

// look notes an entry that is meant. s.mu is held for reading.
func (h *hunt) look(hash uint64, e entry) {
	p := prey{found: found{hash: hash, e: e, g: h.s.slots[e.slot]}}
	for _, by := range h.all {
		p.by(by)
	}
	for _, by := range h.hosts[e.site] {
		p.by(by)
	}
	for _, by := range h.urls[e.target] {
		p.by(by)
	}
	if len(h.tags) > 0 {
		var last *cache.DeepPurge // an object may have a tag in both fields, or twice
		for _, t := range h.s.tagList(e) {
			for _, by := range h.tags[t] {
				if by.DeepPurge != last && (by.any || by.site == e.site || e.site == anySite) {
					p.by(by.DeepPurge)
					last = by.DeepPurge
				}
			}
		}
	}
	if p.hard || p.at != 0 {
		h.prey = append(h.prey, p)
	}
}

// by notes that a purge means it.
func (p *prey) by(by *cache.DeepPurge) {
	if (p.e.kind == cache.Response || p.e.kind == cache.Manifest) && p.e.flags&isUp == 0 {
		by.Objects++
	}
	if !by.Soft {
		p.hard = true
	} else if at := by.At.UnixNano(); p.at == 0 || at < p.at {
		p.at = at
	}
}

// kill removes what was found, or marks it stale.
func (h *hunt) kill() {
	if len(h.prey) == 0 {
		return
	}
	s := h.s
	s.change.Lock()
	defer s.change.Unlock()
	if s.Off() == nil {
		var b []byte
		for _, p := range h.prey {
			if p.hard {
				b = appendVoid(b, p.hash)
			} else {
				b = appendSoft(b, p.hash, p.at)
			}
		}
		if err := s.newest.append(b); err != nil {
			s.fail(err)
		}
		s.mu.Lock()
		for _, p := range h.prey {
			e, ok := s.index[p.hash]
			switch {
			case !ok:
			case !p.hard:
				s.soften(p.hash, e, p.at)
			default:
				s.drop(p.hash)
				s.counts.evicted[Deleted]++
			}
		}
		s.mu.Unlock()
	}
	clear(h.prey) // lets go of segments
	h.prey = h.prey[:0]
}

// readLogs finds what prefixes mean: the keys are in the logs alone. What is entered meanwhile is asked about by the gate.
func (h *hunt) readLogs() {
	s := h.s
	s.mu.RLock()
	list := slices.Clone(s.order)
	s.mu.RUnlock()
	for _, g := range list {
		log, err := s.openFile(s.path(fileName(g.number, logExt)), os.O_RDONLY)
		if errors.Is(err, fs.ErrNotExist) && g.retired.Load() {
			continue
		}
		if err == nil {
			// The newest has no seal yet, and what is behind this may be half written.
			if _, err = scan(io.LimitReader(log, g.log.Load()), g.number, h.lookAt); errors.Is(err, errTorn) {
				err = nil
			}
			log.Close()
		}
		if err != nil {
			s.fail(err) // what it does not tell might be meant
			return
		}
		h.kill()
	}
}

// lookAt notes what an entry of a log is about, where a prefix means it and it still counts.
func (h *hunt) lookAt(l *logEntry) bool {
	if l.kind != putEntry {
		return true
	}
	var p prey
	for _, by := range h.prefix {
		if string(l.site) != by.Site || !bytes.HasPrefix(l.path, []byte(by.Value)) {
			continue
		}
		if p.g == nil {
			var ok bool
			if p.found, ok = h.s.find(l.hash); !ok || p.e.off != l.off || p.e.size != l.size {
				return true
			}
		}
		p.by(by)
	}
	if p.hard || p.at != 0 {
		h.prey = append(h.prey, p)
		if len(h.prey) >= walkStep {
			h.kill()
		}
	}
	return true
}

// syncLog returns when what was removed and marked stays so even if the machine stops. Where the store is off that is when its folder was
// emptied, or the log says that it could not be.
func (s *Store) syncLog() {
	s.change.Lock()
	logs := make([]*file, 0, 2)
	if s.sealing != nil {
		logs = append(logs, s.sealing)
	}
	if s.newest != nil {
		logs = append(logs, s.newest.logTo)
	}
	s.change.Unlock()
	for _, log := range logs {
		if s.Off() != nil {
			break
		}
		if err := s.sync(log); err != nil && !errors.Is(err, fs.ErrClosed) { // closed: sealed, and synced for that
			s.fail(err)
		}
	}
	if s.Off() != nil {
		<-s.left
	}
}

// Under returns up to most of the objects under a primary key, without their bodies.
func (s *Store) Under(primary cache.Key, most int) (list []*cache.Object) {
	if s.Off() != nil {
		return nil
	}
	target := s.target(primary.Site, primary.Target())
	var all []found
	s.walk(func(hash uint64, e entry) {
		if e.target == target && len(all) < most {
			all = append(all, found{hash: hash, e: e, g: s.slots[e.slot]})
		}
	}, func() {})
	for _, f := range all {
		if o := s.peek(f); o != nil && o.Key.Primary() == primary {
			list = append(list, o)
		}
	}
	return list
}

// Each yields the objects that are here, without their bodies, until yield returns false. It reads all of them.
func (s *Store) Each(yield func(*cache.Object) bool) {
	var step []found
	going := true
	s.walk(func(hash uint64, e entry) {
		if going {
			step = append(step, found{hash: hash, e: e, g: s.slots[e.slot]})
		}
	}, func() {
		for _, f := range step {
			if o := s.peek(f); o != nil && going {
				going = yield(o)
			}
		}
		step = step[:0]
	})
}
