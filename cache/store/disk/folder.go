package disk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Names in the folder: "0000000000000007.data" is a segment, "….log" its log.
const (
	lockName  = "lock"
	stateName = "state.json"
	dataExt   = ".data"
	logExt    = ".log"
	asideName = "aside-" // a folder with what is not used, by the time it was found; there until its room is needed

	version = 1 // of all that is written here
)

// ErrLocked is a folder that another process has.
var ErrLocked = errors.New("disk: another process uses this folder")

// A state is what a folder says of itself.
type state struct {
	Version int     `json:"version"`
	Seed    [8]byte `json:"seed"`   // of hashes
	Run     uint32  `json:"run"`    // how often it was opened
	Boot    string  `json:"boot"`   // of the machine, when it was
	Newest  uint64  `json:"newest"` // segment
	Clean   bool    `json:"clean"`  // closed, and nothing lost since
	Sum     uint32  `json:"sum"`    // CRC-32C of its text with 0 here; only in the file
}

// text is the file's.
func (st state) text() ([]byte, error) {
	st.Sum = 0
	b, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	st.Sum = crc32.Checksum(b, castagnoli)
	return json.Marshal(st)
}

// errState is a state that is not what was written.
var errState = errors.New("its checksum is another")

// parseState reads the file's text. What is not to the byte what was written is errState: with another number of starts an epoch would
// come again, and with it what belongs to other content. Another version's is returned as it is.
func parseState(text []byte) (st state, err error) {
	if err := json.Unmarshal(text, &st); err != nil || st.Version != version {
		return st, err
	}
	if want, err := st.text(); err != nil || !bytes.Equal(text, want) {
		return st, errState
	}
	return st, nil
}

// readState returns nil where the folder is new. What another version wrote, or nobody can read, is moved aside with all that
// belongs to it.
func (s *Store) readState() (*state, error) {
	text, err := s.readFile(s.path(stateName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	st, err := parseState(text)
	if err == nil && st.Version == version {
		return &st, nil
	}
	why := "another version wrote it"
	if err != nil {
		why = "it cannot be read: " + err.Error()
	}
	return nil, s.aside(why)
}

// aside moves all files of ours into a folder below.
func (s *Store) aside(why string) error {
	into := s.path(asideName + time.Now().UTC().Format("20060102T150405.000000000"))
	if err := s.mkdir(into); err != nil {
		return err
	}
	numbers, _, err := s.list()
	if err != nil {
		return err
	}
	names := []string{stateName}
	for _, n := range numbers {
		names = append(names, fileName(n, dataExt), fileName(n, logExt))
	}
	for _, name := range names {
		if err := s.rename(s.path(name), filepath.Join(into, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s.c.Log.Warn("what was on disk is not used and was moved aside, until its room is needed; beginning anew", "folder", s.c.Folder, "to", into, "why", why)
	return nil
}

// removeAsides removes what is aside.
func (s *Store) removeAsides() error {
	bytes := s.asides.Swap(0)
	if bytes == 0 {
		return nil
	}
	err := s.run(slow, "remove", s.path(asideName), s.clearAsides)
	s.c.Log.Info("what was moved aside is removed: its room is needed", "folder", s.c.Folder, "bytes", bytes)
	return err
}

// writeState replaces the state in one step. With sync it also stays if the machine stops.
func (s *Store) writeState(sync bool) error {
	text, err := s.state.text()
	if err != nil {
		return err
	}
	next := s.path(stateName + ".next")
	f, err := s.openFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil && sync {
		err = s.sync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := s.rename(next, s.path(stateName)); err != nil || !sync {
		return err
	}
	return s.syncFolder()
}

// syncFolder makes the names of files stay.
func (s *Store) syncFolder() error {
	d, err := s.openFile(s.c.Folder, os.O_RDONLY)
	if err != nil {
		return err
	}
	return errors.Join(s.sync(d), d.Close())
}

// Forget removes what lies in a folder for a process that has no Store there: neither what it replaces nor what it purges would be
// removed. A folder that is not there has nothing. The error may be ErrLocked.
func Forget(folder string) error {
	s := &Store{c: Config{Folder: folder, Log: slog.New(slog.DiscardHandler)}, calls: make(chan struct{}, mostCalls)}
	if err := s.distrust(); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer s.lock.Close()
	s.clear()
	return nil
}

// removeFiles removes a segment, its log first: without it the other is not used.
func (s *Store) removeFiles(number uint64) error {
	var errs error
	for _, ext := range [...]string{logExt, dataExt} {
		errs = errors.Join(errs, s.remove(s.path(fileName(number, ext))))
	}
	return errs
}

func (s *Store) path(name string) string { return filepath.Join(s.c.Folder, name) }

func fileName(number uint64, ext string) string { return fmt.Sprintf("%016x%s", number, ext) }

// list returns the numbers of the segments of which there is a file, in order, and the names that are none of ours.
func (s *Store) list() (numbers []uint64, foreign []string, err error) {
	files, err := s.readDir(s.c.Folder)
	if err != nil {
		return nil, nil, err
	}
	numbers, foreign = ours(files)
	return numbers, foreign, nil
}

// ours is list of what was found.
func ours(files []fs.DirEntry) (numbers []uint64, foreign []string) {
	for _, f := range files {
		name, ext, _ := strings.Cut(f.Name(), ".")
		n, err := strconv.ParseUint(name, 16, 64)
		switch {
		case err == nil && f.Type().IsRegular() && ("."+ext == dataExt || "."+ext == logExt) && f.Name() == fileName(n, "."+ext):
			numbers = append(numbers, n)
		case f.Name() == lockName, f.Name() == stateName, f.Name() == stateName+".next", strings.HasPrefix(f.Name(), asideName):
		default:
			foreign = append(foreign, f.Name())
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers), foreign
}
