// Package disk is the lower tier of a cache: objects in append-only files that outlive the process. It has an index of
// what is where in memory, and nothing else of an object there.
//
// Objects lie in segments, files that are written from the beginning to the end and then only read. Beside each lies its
// log, which says what was written to the segment and what was removed, anywhere, while it was the newest. All logs, one
// after the other, are the index: a start reads them, and no object. The oldest segment goes when room is needed, and its
// log with it, for whatever that removed was no younger.
package disk

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"hither/cache"
)

// Config says where a Store lies and how large it is.
type Config struct {
	Folder string // of this Store alone; made where it is missing
	Size   int64  // bytes that all files may have together, at least MinSize
	// Objects bounds the index, which lies in memory: so many objects are kept at most; 16 tags count as one more. Default: one for
	// each 4 KiB of Size.
	Objects int64
	// Queue is how many bytes of objects may wait to be written; what comes above is dropped. Default 16 MiB.
	Queue int64
	Log   *slog.Logger // required
	// Now is the clock of soft purges. Default time.Now.
	Now func() time.Time

	segment int64 // the size of a segment, for tests; 0 = segmentSize
	lazy    bool  // nothing is synced, for tests: that matters where the machine stops
	// stall is called before each call of the file system, by who makes it, for tests: where it does not return, the disk hangs.
	stall func(op, file string)
	after func(time.Duration, func()) *time.Timer // the clock of such calls, for tests; nil = time.AfterFunc
}

// MinSize is the smallest size of a Store.
const MinSize = 16 << 20

// segmentSize is a 64th of the size, so that what is evicted at a time is little of it; where that is little, up to a 16th or 40 MiB,
// for an object is not larger than a segment, and an edge's memory has such of 32 MiB; and at most 1 GiB.
func segmentSize(size int64) int64 { return min(max(size/64, min(size/16, 40<<20)), 1<<30) }

const (
	// upBody is the largest body that is read at once, and moves up whole. A larger one is read from its file for each
	// reader; the pages that the kernel keeps of it are its memory.
	upBody = 1 << 20
	// mostReads bounds the objects that are read at a time, and so the memory for that: 16 of upBody.
	mostReads = 16
	// mostErrors is how many records may be unreadable before the disk is given up: a bad sector is no bad disk.
	mostErrors = 8
)

// A Store is the tier. Its methods may be called concurrently, but Close.
type Store struct {
	c       Config
	segment int64 // the largest size of a segment
	lock    *os.File
	state   state // as it was last written; changed under change
	seed    [8]byte

	// change is held while anything is added to, removed from or marked in the index: the log has all changes in the
	// order in which they were made. It is held during writes to the log; whoever looks something up never waits for it.
	change sync.Mutex
	newest *segment // guarded by change; replaced by the writer alone, which may read it without
	// sealing is the log before the newest while it is not known to stay if the machine stops; else nil. Guarded by change.
	sealing *file
	// entries is room for the writer's entries. Guarded by change.
	entries []byte
	scratch []byte // the writer's own
	// gate, where set, is asked about what is about to be entered: a sweep is under way. Guarded by change.
	gate func(o *cache.Object, count bool) (gone bool)

	off    atomic.Pointer[error] // why the tier is off; nil = it is on
	errors atomic.Int64          // records that could not be read
	asides atomic.Int64          // bytes of what was put aside

	mu      sync.RWMutex // guards what follows; nothing waits while it is held
	index   map[uint64]entry
	softs   softs
	slots   []*segment // by number in entries; nil = free
	order   []*segment // oldest first
	leaving []*segment // evicted, but still read by somebody
	sites   sites
	pending map[uint64]*item // what waits to be written, by hash
	queue   []*item          // in order; also what was given up meanwhile
	queued  int64            // bytes in queue
	seen    *seen            // what was given up unproven, and not written
	reads   map[uint64]*reading
	counts  counts

	idle *sync.Cond // over mu: an item was dealt with

	least time.Duration // of all limits of calls; Open's to change: no request waits for a start

	slot   chan struct{} // one for each read under way
	calls  chan struct{} // one for each call of the file system under way
	wake   chan struct{} // tells the writer that there is something to do
	stop   chan struct{} // closed by Close
	done   chan struct{} // closed by the writer
	opened chan struct{} // closed by Open
	gone   chan struct{} // closed by fail, first
	left   chan struct{} // closed when what is in the folder is not used any more, or that cannot be had
	empty  chan struct{} // closed when nobody does anything in it any more
	ended  chan struct{} // closed when all files are closed

	closing sync.WaitGroup // files that are closed once the store is off and nobody does anything in its folder
}

// Open opens the folder, and reads what is in it: not the objects, only where they are. Files that are not its own are
// left alone. An error is one about the call, or ErrLocked; where the disk itself fails, the store is made, and is off.
func Open(c Config) (*Store, error) {
	if c.Size < MinSize && c.segment == 0 {
		return nil, fmt.Errorf("disk: %d bytes in %s: the least is %d", c.Size, c.Folder, MinSize)
	}
	if c.Queue == 0 {
		c.Queue = 16 << 20
	}
	if c.Objects == 0 {
		c.Objects = c.Size >> 12
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Store{
		c: c, segment: c.segment, index: make(map[uint64]entry), softs: make(softs), pending: make(map[uint64]*item),
		reads: make(map[uint64]*reading), slot: make(chan struct{}, mostReads), wake: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{}), calls: make(chan struct{}, mostCalls), opened: make(chan struct{}),
		gone: make(chan struct{}), left: make(chan struct{}), empty: make(chan struct{}), ended: make(chan struct{}), least: slow,
	}
	if s.c.after == nil {
		s.c.after = time.AfterFunc
	}
	s.idle, s.seen = sync.NewCond(&s.mu), newSeen(c.Size)
	if s.segment == 0 {
		s.segment = segmentSize(c.Size)
	}
	err := s.open()
	if errors.Is(err, ErrLocked) {
		return nil, err
	}
	s.least = 0
	close(s.opened)
	if err != nil {
		s.fail(err)
	}
	go s.writer()
	return s, nil
}

// open takes the folder and loads it.
func (s *Store) open() error {
	var err error
	if s.lock, err = s.takeFolder(); err != nil {
		return err
	}
	found, err := s.readState()
	if err != nil {
		return err
	}
	if found == nil {
		s.state = state{Version: version}
		rand.Read(s.state.Seed[:])
	} else {
		s.state = *found
	}
	s.seed = s.state.Seed
	if err := s.weighAsides(); err != nil {
		return err
	}
	doubt := !s.state.Clean && (s.state.Boot == "" || s.state.Boot != bootID())
	clean := s.state.Clean
	s.state.Run++
	s.state.Clean, s.state.Boot = false, bootID()
	if err := s.writeState(true); err != nil {
		return err
	}
	if err := s.load(found != nil, clean, doubt); err != nil {
		return err
	}
	s.change.Lock()
	defer s.change.Unlock()
	if err := s.begin(); err != nil {
		return err
	}
	if doubt && len(s.order) > 1 {
		at := s.c.Now().UnixNano()
		s.doubt(at)
		return s.newest.append(appendDoubt(nil, at))
	}
	return nil
}

// Run is how often the folder was opened, this time included: an epoch of this process is unlike all before.
func (s *Store) Run() uint64 { return uint64(s.state.Run) }

// Off tells why the store is off: it holds nothing, and takes nothing. nil where it is on.
func (s *Store) Off() error {
	if err := s.off.Load(); err != nil {
		return *err
	}
	return nil
}

// fail turns the store off, for good, and frees all who wait for the disk. What lies in the folder is removed where that is possible:
// from now on nobody writes down what may no longer be used of it.
func (s *Store) fail(err error) {
	if !s.off.CompareAndSwap(nil, &err) {
		return
	}
	close(s.gone)
	s.c.Log.Error("the disk tier is off until the next start; serving from memory", "folder", s.c.Folder, "error", err)
	<-s.opened // by whom nothing is locked
	s.leave(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.index)
	clear(s.softs)
	for _, it := range s.pending {
		it.gone = true
	}
	clear(s.pending)
	for _, seg := range s.order {
		seg.retired.Store(true)
	}
	s.leaving = append(s.leaving, s.order...)
	s.order = nil
	s.kick()
}

// leave sees to it that nothing in the folder is used any more. It waits for that as a request may have to.
func (s *Store) leave(why error) {
	defer close(s.left)
	if errors.Is(why, errHung) && isClosed(s.stop) { // nobody purges any more: it is as after a kill
		go func() {
			defer close(s.empty)
			s.quiet()
		}()
		return
	}
	first, late := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(s.empty)
		err := s.distrust()
		if first <- err; err != nil {
			return
		}
		s.clear()
		s.quiet()
		s.distrust() // and once more: calls that hung may have made something since
		s.clear()
		if isClosed(late) {
			s.c.Log.Warn("the disk answered, and was emptied", "folder", s.c.Folder)
		}
	}()
	defer s.c.after(hangs, func() { close(late) }).Stop()
	var err error
	select {
	case err = <-first:
	case <-late:
		err = errHung
	}
	if err != nil {
		s.c.Log.Error("what is on disk cannot be removed; empty the folder before the next start, for purges from now on do not reach it", "folder", s.c.Folder, "error", err)
	}
}

// Close writes down what waits, and ends the store. It must be called once, after all other calls have returned. It waits for a disk that
// hangs as long as others, and then leaves it.
func (s *Store) Close() error {
	close(s.stop)
	<-s.done
	err := s.Off()
	if err == nil {
		err = s.settle()
	}
	go func() {
		defer close(s.ended)
		if isClosed(s.gone) {
			<-s.empty
		}
		s.end()
		s.closing.Wait()
	}()
	late := make(chan struct{})
	defer s.c.after(hangs, func() { close(late) }).Stop()
	select {
	case <-s.ended:
	case <-late:
	}
	return err
}

// end closes all files. Nobody uses the store any more.
func (s *Store) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range append(s.order, s.leaving...) {
		seg.closed.Store(true)
		seg.file.f.Close()
	}
	s.order, s.leaving = nil, nil
	if s.newest != nil {
		s.newest.logTo.f.Close() // where it was not sealed
	}
	if s.sealing != nil {
		s.sealing.f.Close()
	}
	if s.lock != nil {
		s.lock.Close()
	}
}

// settle ends the newest segment and notes that nothing is missing.
func (s *Store) settle() error {
	s.change.Lock()
	defer s.change.Unlock()
	if err := s.seal(); err != nil {
		return err
	}
	if err := s.finish(s.newest.logTo); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, seg := range s.order { // none is closed but by who evicts it, and that was the writer
		if err := s.sync(seg.file); err != nil {
			return err
		}
	}
	s.state.Clean = true
	if err := s.writeState(true); err != nil {
		return err
	}
	if s.off.CompareAndSwap(nil, &errOver) { // who comes late finds nothing, and does no harm
		close(s.left)
	}
	return nil
}

// errOver is a store that was closed.
var errOver = errors.New("disk: the store was closed")

// kick wakes the writer.
func (s *Store) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// hash finds a key in the index, in this folder's way: nobody outside can make keys that share one.
func (s *Store) hash(k cache.Key) uint64 {
	var room [256]byte
	return xxhash.Sum64(k.AppendTo(append(room[:0], s.seed[:]...)))
}

// short is 32 bits of a text, of one kind.
func (s *Store) short(kind byte, texts ...string) uint32 {
	var room [256]byte
	b := append(append(room[:0], s.seed[:]...), kind)
	for _, t := range texts {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(t))), t...)
	}
	return uint32(xxhash.Sum64(b))
}

// target is by what all keys of a site's target are known.
func (s *Store) target(site, target string) uint32 { return s.short('u', site, target) }

// tag is by what a form of a tag is known.
func (s *Store) tag(form string) uint32 { return s.short('t', form) }
