package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// This file has every call of the file system there is here. A disk can hang: a call then neither returns nor fails, and nothing
// ends it. So each is made by a goroutine of its own, for which its caller waits until a limit has passed: then the store is off,
// and nobody waits for the disk any more, whatever locks he holds. What hangs stays until the kernel lets it go, and is forgotten: what a
// caller has given such a call it must not use again.

const (
	// hangs is the longest call that a request may wait for, by itself or for a lock. A disk that works takes milliseconds, one
	// that tries a bad sector again and again a second or two; and a client that waits for a miss has not given up yet.
	hangs = 5 * time.Second
	// slow is the same of calls for which only the writer waits, or a purge, a start, the end: to sync a busy disk takes seconds, and
	// for 30 the kernel itself gives a device before it resets it.
	slow = 30 * time.Second
	// mostCalls bounds the calls under way, each of which keeps a thread: those that hang as well.
	mostCalls = 64
	// noTime opens a file of which nobody wants to know when it was read: to note that may have to wait for the disk.
	noTime = syscall.O_NOATIME
)

// errHung is a disk that does not answer.
var errHung = errors.New("disk: it hangs")

// An answer is what a call returned.
type answer[T any] struct {
	v   T
	err error
}

// call makes a call of the file system. Where the store is off, or goes off meanwhile, the error is why.
func call[T any](s *Store, limit time.Duration, op, name string, do func() (T, error)) (none T, err error) {
	select {
	case s.calls <- struct{}{}:
	case <-s.gone:
		return none, s.Off()
	}
	if isClosed(s.gone) { // both were so; see quiet
		<-s.calls
		return none, s.Off()
	}
	done := make(chan answer[T])
	go func() {
		s.stall(op, name)
		v, err := do()
		select {
		case done <- answer[T]{v, err}:
		case <-s.gone:
			if file, ok := any(v).(io.Closer); ok && err == nil {
				file.Close()
			}
		}
		<-s.calls
	}()
	limit = max(limit, s.least)
	over := make(chan struct{})
	defer close(over)
	defer s.c.after(limit/2, func() {
		// The second half begins when somebody runs: where the whole process, or the machine, stood still, the call may have returned.
		late := make(chan struct{})
		defer s.c.after(limit/2, func() { close(late) }).Stop()
		select {
		case <-over:
		case <-late:
			s.fail(fmt.Errorf("%w: to %s %s takes longer than %v", errHung, op, name, limit))
		}
	}).Stop()
	select {
	case a := <-done:
		return a.v, a.err
	case <-s.gone:
		return none, s.Off()
	}
}

// run is call of what returns no more than an error.
func (s *Store) run(limit time.Duration, op, name string, do func() error) error {
	_, err := call(s, limit, op, name, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

// isClosed reports whether a channel that nothing is sent to was closed.
func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// quiet returns when no call is under way, and none begins any more. The store has gone.
func (s *Store) quiet() {
	for range mostCalls {
		s.calls <- struct{}{}
	}
	for range mostCalls {
		<-s.calls
	}
}

// stall is where tests let a disk hang.
func (s *Store) stall(op, name string) {
	if s.c.stall != nil {
		s.c.stall(op, filepath.Base(name))
	}
}

// A file is an open one of the folder.
type file struct {
	s   *Store
	f   *os.File
	raw syscall.RawConn
}

func (s *Store) openFile(name string, flags int) (*file, error) {
	f, err := call(s, hangs, "open", name, func() (*os.File, error) { return os.OpenFile(name, flags, 0o600) })
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	return &file{s, f, raw}, err
}

func (f *file) name() string { return f.f.Name() }

func (f *file) Read(p []byte) (int, error) {
	return call(f.s, hangs, "read", f.name(), func() (int, error) { return f.f.Read(p) })
}

// ReadAt asks no goroutine for what the kernel has in its pages: of a large body that would nearly double the price.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	n := f.cached(p, off)
	if n == len(p) {
		return n, nil
	}
	more, err := call(f.s, hangs, "read", f.name(), func() (int, error) { return f.f.ReadAt(p[n:], off+int64(n)) })
	return n + more, err
}

// cached reads what can be read without the disk. A file system that cannot tell has nothing.
func (f *file) cached(p []byte, off int64) (n int) {
	if f.s.c.stall != nil {
		return 0
	}
	f.raw.Control(func(fd uintptr) { n, _ = unix.Preadv2(int(fd), [][]byte{p}, off, unix.RWF_NOWAIT) })
	return max(n, 0)
}

// Write is what others wait for, by Store.change.
func (f *file) Write(p []byte) (int, error) {
	return call(f.s, hangs, "write", f.name(), func() (int, error) { return f.f.Write(p) })
}

// WriteAt is what nobody waits for but the writer.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	return call(f.s, slow, "write", f.name(), func() (int, error) { return f.f.WriteAt(p, off) })
}

func (f *file) Truncate(size int64) error {
	return f.s.run(slow, "cut", f.name(), func() error { return f.f.Truncate(size) })
}

func (f *file) Sync() error { return f.s.run(slow, "sync", f.name(), f.f.Sync) }

// Close gives the file up; who reads from it meanwhile does so to the end.
func (f *file) Close() error { return f.closeWithin(hangs) }

func (f *file) closeWithin(limit time.Duration) error {
	err := f.s.run(limit, "close", f.name(), f.f.Close)
	if isClosed(f.s.gone) { // so perhaps nobody did; and os's finalizer, where that hangs, holds up all others of the process
		f.s.closing.Go(func() {
			<-f.s.empty
			f.f.Close()
		})
	}
	return err
}

func (f *file) size() (int64, error) {
	info, err := call(f.s, hangs, "stat", f.name(), f.f.Stat)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (s *Store) readFile(name string) ([]byte, error) {
	return call(s, hangs, "read", name, func() ([]byte, error) { return os.ReadFile(name) })
}

func (s *Store) stat(name string) (fs.FileInfo, error) {
	return call(s, slow, "stat", name, func() (fs.FileInfo, error) { return os.Stat(name) })
}

func (s *Store) readDir(name string) ([]fs.DirEntry, error) {
	return call(s, slow, "list", name, func() ([]fs.DirEntry, error) { return os.ReadDir(name) })
}

func (s *Store) mkdir(name string) error {
	return s.run(slow, "make", name, func() error { return os.Mkdir(name, 0o700) })
}

func (s *Store) rename(from, to string) error {
	return s.run(hangs, "rename", from, func() error { return os.Rename(from, to) })
}

// remove removes a file, if it is there.
func (s *Store) remove(name string) error {
	return s.run(slow, "remove", name, func() error { return removed(name) })
}

func removed(name string) error {
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// weighAsides finds how many bytes are aside, by this start or an earlier one: they count as used.
func (s *Store) weighAsides() error {
	bytes, err := call(s, slow, "list", s.path(asideName), func() (bytes int64, err error) {
		folder := os.DirFS(s.c.Folder)
		names, _ := fs.Glob(folder, asideName+"*/*") // an error would be the pattern's
		for _, name := range names {
			if info, err := fs.Stat(folder, name); err == nil {
				bytes += info.Size()
			}
		}
		return bytes, nil
	})
	s.asides.Store(bytes)
	return err
}

// clearAsides removes the folders with what is aside.
func (s *Store) clearAsides() (errs error) {
	names, _ := fs.Glob(os.DirFS(s.c.Folder), asideName+"*")
	for _, name := range names {
		errs = errors.Join(errs, os.RemoveAll(s.path(name)))
	}
	return errs
}

// lockFolder takes the folder for this process, until the file is closed or the process ends.
func (s *Store) lockFolder() (*os.File, error) {
	f, err := os.OpenFile(s.path(lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s; give each node its own state folder", ErrLocked, s.c.Folder)
		}
		return nil, fmt.Errorf("lock %s: %w", s.c.Folder, err)
	}
	return f, nil
}

// takeFolder is lockFolder, and makes it where it is missing.
func (s *Store) takeFolder() (lock *os.File, err error) {
	return call(s, slow, "lock", s.path(lockName), func() (*os.File, error) {
		if err := os.MkdirAll(s.c.Folder, 0o700); err != nil {
			return nil, err
		}
		return s.lockFolder()
	})
}

// distrust removes the folder's state: without it a later start uses nothing that is here. This and clear are none of the calls above:
// the store is off, and who waits for them does so no longer than he wants to.
func (s *Store) distrust() (err error) {
	if s.lock == nil {
		s.quiet() // one of them may take it yet
		s.stall("lock", lockName)
		if s.lock, err = s.lockFolder(); err != nil { // it may be another's
			return err
		}
	}
	s.stall("remove", stateName)
	return removed(s.path(stateName))
}

// clear removes what a later start would remove.
func (s *Store) clear() {
	s.stall("list", s.c.Folder)
	files, err := os.ReadDir(s.c.Folder)
	if err != nil {
		return
	}
	numbers, _ := ours(files)
	for _, n := range numbers {
		for _, ext := range [...]string{logExt, dataExt} {
			s.stall("remove", fileName(n, ext))
			removed(s.path(fileName(n, ext)))
		}
	}
	s.clearAsides()
}

// bootID is unlike after each start of the machine; "" where it cannot be told.
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // which lies on no disk
	return strings.TrimSpace(string(text))
}
