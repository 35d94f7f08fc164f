package disk

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A segment is a file of records and the log beside it.
type segment struct {
	number uint64
	slot   uint16 // by which entries name it

	size  atomic.Int64 // bytes of the file; the writer's to change
	log   atomic.Int64 // bytes of its log; changed under Store.change
	logTo *file        // while it is the newest; used under Store.change

	retired atomic.Bool    // evicted: nobody begins to read from it any more
	damaged damagedRecords // guards itself
	leases  atomic.Int64   // readers that are under way in it
	left    time.Time      // when it was evicted; guarded by Store.mu

	// tags has the tags of its entries, each list behind its length; changed under Store.mu. Number 0 is no list.
	tags []uint32
	// stale, where not 0, is since when all its entries are, in nanoseconds from 1970. Guarded by Store.mu.
	stale int64

	file   *file
	closed atomic.Bool
}

// damagedRecords are those that could not be read, or were not what was written, by their offset, which no other record gets. The zero value
// has none, and then costs a load.
type damagedRecords struct {
	some atomic.Bool // at has something
	mu   sync.Mutex  // guards at
	at   map[uint32]struct{}
}

// damage notes that the record at an offset is damaged; false where that was known.
func (g *segment) damage(off uint32) (first bool) {
	d := &g.damaged
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.at[off]; known {
		return false
	}
	if d.at == nil {
		d.at = make(map[uint32]struct{})
	}
	d.at[off] = struct{}{}
	d.some.Store(true)
	return true
}

// isDamaged reports whether the record at an offset was found damaged.
func (g *segment) isDamaged(off uint32) bool {
	d := &g.damaged
	if !d.some.Load() {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.at[off]
	return ok
}

// Files begin with what they are and their number.
const (
	dataMagic  = "hitherD1"
	logMagic   = "hitherL1"
	headerSize = 16
)

func header(magic string, number uint64) []byte {
	return binary.LittleEndian.AppendUint64([]byte(magic), number)
}

// errClosed is a segment that went while somebody was about to read from it.
var errClosed = errors.New("disk: the segment was evicted")

// readAt fills p.
func (g *segment) readAt(p []byte, off int64) error {
	_, err := g.file.ReadAt(p, off)
	if err != nil && g.closed.Load() {
		return errClosed
	}
	return err
}

// lease keeps the segment open, for as long as there is room for it.
func (g *segment) lease() bool {
	g.leases.Add(1)
	if g.closed.Load() {
		g.leases.Add(-1)
		return false
	}
	return true
}

// close gives the file up. Who begins to read from it gets errClosed.
func (g *segment) close() {
	if !g.closed.Swap(true) {
		g.file.closeWithin(slow) // of a removed file this is what removes it
	}
}

// append writes entries to the log. When it returns they stay, whatever happens to the process. Store.change is held.
func (g *segment) append(entries []byte) error {
	if _, err := g.logTo.Write(entries); err != nil {
		return err
	}
	g.log.Add(int64(len(entries)))
	return nil
}

// seal writes that the newest log is whole. change is held.
func (s *Store) seal() error { return s.newest.append(appendSeal(nil)) }

// finish makes a sealed log stay if the machine stops.
func (s *Store) finish(log *file) error {
	if err := s.sync(log); err != nil {
		return err
	}
	return log.Close()
}

// sync makes what was written to a file stay if the machine stops.
func (s *Store) sync(f *file) error {
	if s.c.lazy {
		return nil
	}
	return f.Sync()
}

// bytes are those of both files.
func (g *segment) bytes() int64 { return g.size.Load() + g.log.Load() }

// create makes the files of a new segment.
func (s *Store) create(number uint64) (*segment, error) {
	const flags = os.O_RDWR | os.O_CREATE | os.O_EXCL
	g := &segment{number: number, tags: make([]uint32, 1, 64)}
	var err error
	if g.file, err = s.openFile(s.path(fileName(number, dataExt)), flags|noTime); err != nil {
		return nil, err
	}
	if g.logTo, err = s.openFile(s.path(fileName(number, logExt)), flags|os.O_APPEND); err != nil {
		g.file.Close()
		return nil, err
	}
	if _, err = g.file.Write(header(dataMagic, number)); err == nil {
		_, err = g.logTo.Write(header(logMagic, number))
	}
	if err != nil {
		g.file.Close()
		g.logTo.Close()
		return nil, err
	}
	g.size.Store(headerSize)
	g.log.Store(headerSize)
	return g, nil
}

// begin makes a new segment the newest; the one before is sealed first, so that of all logs but the last it is known that they
// are whole. That is sealing then, and yet to be synced, which may take long. change is held.
func (s *Store) begin() error {
	if s.newest != nil {
		if err := s.seal(); err != nil {
			return err
		}
		s.sealing = s.newest.logTo
	}
	g, err := s.create(s.state.Newest + 1)
	if err != nil {
		return err
	}
	s.state.Newest = g.number
	if err := s.writeState(false); err != nil {
		g.close()
		g.logTo.Close()
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(g)
	s.newest = g
	return nil
}

// enter gives the segment a slot. s.mu is held.
func (s *Store) enter(g *segment) {
	for i, other := range s.slots {
		if other == nil {
			g.slot = uint16(i)
			s.slots[i] = g
			s.order = append(s.order, g)
			return
		}
	}
	g.slot = uint16(len(s.slots))
	s.slots = append(s.slots, g)
	s.order = append(s.order, g)
}

// used is what all files take, those of evicted segments that are still read and those put aside as well.
func (s *Store) used() (n int64) {
	n = s.asides.Load()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, g := range s.order {
		n += g.bytes()
	}
	for _, g := range s.leaving {
		n += g.size.Load()
	}
	return n
}
