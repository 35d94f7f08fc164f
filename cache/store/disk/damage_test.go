package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hither/cache"
)

// A ledger knows what may be found: of each path the newest version, and whether it may be used without being validated.
type ledger struct {
	newest map[string]int
	tags   map[string]string
	stale  map[string]bool
}

func newLedger() *ledger {
	return &ledger{newest: map[string]int{}, tags: map[string]string{}, stale: map[string]bool{}}
}

// check holds what is found under every path to the ledger. Nothing is always right.
func (l *ledger) check(s *Store, paths []string) error {
	for _, path := range paths {
		o := s.Get(key(path), nowhere{})
		if o == nil {
			continue
		}
		version, wrong, err := versionOf(o)
		switch {
		case wrong != nil:
			return wrong
		case err != nil && !errors.Is(err, errCorrupt): // broken off, which nobody takes for whole
			return err
		case version != l.newest[path]:
			return fmt.Errorf("%s: version %d, the newest is %d", path, version, l.newest[path])
		case l.stale[path] && o.PurgedSoftly().IsZero():
			return fmt.Errorf("%s is fresh after a soft purge", path)
		}
	}
	return nil
}

var modelPaths = func() (list []string) {
	for i := range 12 {
		list = append(list, fmt.Sprint("/", i%3, "/", i))
	}
	return list
}()

// Random operations, restarts and kills between them: what is found is the newest, whole, and never what was removed.
func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		folder, err := os.MkdirTemp("", "disk-")
		if err != nil {
			r.Fatal(err)
		}
		defer os.RemoveAll(folder)
		h := build(t, Config{Folder: folder, Size: 512 << 10, segment: 32 << 10, lazy: true})
		defer func() {
			if h.Store != nil {
				h.shut()
			}
		}()
		l := newLedger()
		path := rapid.SampledFrom(modelPaths)
		version := 0
		r.Repeat(map[string]func(*rapid.T){
			"put": func(r *rapid.T) {
				p, tag := path.Draw(r, "path"), rapid.SampledFrom([]string{"x", "y", "z"}).Draw(r, "tag")
				version++
				l.newest[p], l.tags[p] = version, tag
				delete(l.stale, p)
				h.put(object(key(p), version, rapid.IntRange(0, 30_000).Draw(r, "size"), tag))
			},
			"delete": func(r *rapid.T) {
				p := path.Draw(r, "path")
				h.Change(key(p), Deleted, func() {})
				delete(l.newest, p)
			},
			"purge": func(r *rapid.T) {
				p := cache.Purge{Kind: cache.PurgeKind(rapid.IntRange(0, int(cache.PurgeAll)).Draw(r, "kind")), Site: "www", Soft: rapid.Bool().Draw(r, "soft")}
				switch p.Kind {
				case cache.PurgeURL:
					p.Value = path.Draw(r, "url")
				case cache.PurgeTag:
					p.Value = rapid.SampledFrom([]string{"x", "y", "z"}).Draw(r, "tag")
				case cache.PurgePrefix:
					p.Value = rapid.SampledFrom([]string{"/0", "/1/", "/2/1"}).Draw(r, "prefix")
				}
				h.purge(p)
				for q := range l.newest {
					if p.Kind >= cache.PurgeHost || p.Kind == cache.PurgeTag && l.tags[q] == p.Value || p.Kind == cache.PurgeURL && q == p.Value ||
						p.Kind == cache.PurgePrefix && strings.HasPrefix(q, p.Value) {
						if l.stale[q] = true; !p.Soft {
							delete(l.newest, q)
						}
					}
				}
			},
			"restart": func(*rapid.T) { h.restart() },
			"kill":    func(*rapid.T) { h.crash(); h.open() },
			"": func(r *rapid.T) {
				if err := l.check(h.Store, modelPaths); err != nil {
					r.Fatal(err)
				}
				if used := h.used(); used > h.config.Size {
					r.Fatalf("%d bytes of %d", used, h.config.Size)
				}
			},
		})
	})
}

// Files that were cut or changed anywhere: only misses, and never a wrong body, nor one that was replaced or purged. A change of
// the newest log of a process that was killed is the exception: nobody can tell a log that was cut from one that was not longer.
func TestDamage(t *testing.T) {
	rounds := 40
	if os.Getenv(soak) != "" {
		rounds = 1000
	}
	found, whole := 0, 0
	for i := range rounds {
		rnd := rand.New(rand.NewPCG(uint64(i), 1))
		h := build(t, Config{Size: 512 << 10, segment: 32 << 10, lazy: true})
		l := newLedger()
		for version := 1; version < 60; version++ {
			p, tag := modelPaths[rnd.IntN(len(modelPaths))], fmt.Sprint("t", rnd.IntN(3))
			l.newest[p], l.tags[p] = version, tag
			delete(l.stale, p)
			h.put(object(key(p), version, rnd.IntN(8000), tag))
			switch rnd.IntN(8) {
			case 0:
				h.Change(key(p), Deleted, func() {})
				delete(l.newest, p)
			case 1:
				soft := rnd.IntN(2) == 0
				h.purge(cache.Purge{Kind: cache.PurgeTag, Value: tag, Soft: soft})
				for q := range l.newest {
					if l.tags[q] != tag {
						continue
					}
					if l.stale[q] = true; !soft {
						delete(l.newest, q)
					}
				}
			}
		}
		whole += len(l.newest)
		run := h.Run()
		h.shut()
		damage(t, rnd, h.folder)
		h.open()
		if err := l.check(h.Store, modelPaths); err != nil {
			t.Errorf("round %d: %v\n%s", i, err, h.said)
		}
		here := 0
		for range modelPaths {
			here += min(1, h.get(key(modelPaths[rnd.IntN(len(modelPaths))])))
		}
		found += here
		if here > 0 && h.Run() <= run {
			t.Errorf("round %d: start %d after start %d has what that one wrote", i, h.Run(), run)
		}
		h.restart()
		if err := l.check(h.Store, modelPaths); err != nil {
			t.Errorf("round %d, later: %v\n%s", i, err, h.said)
		}
	}
	t.Logf("found %d times something in %d damaged folders that had %d objects", found, rounds, whole)
	if found == 0 {
		t.Error("nothing was ever found: the test tests nothing")
	}
}

// damage does to one file of a folder what happens to files.
func damage(t *testing.T, rnd *rand.Rand, folder string) {
	files, err := filepath.Glob(filepath.Join(folder, "[0s]*")) // segments, their logs, and the state
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	file := files[rnd.IntN(len(files))]
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	switch rnd.IntN(5) {
	case 0:
		err = os.Truncate(file, rnd.Int64N(info.Size()))
	case 1:
		err = os.Remove(file)
	case 2:
		err = os.WriteFile(file, make([]byte, info.Size()), 0o600)
	default:
		for range 1 + rnd.IntN(3) {
			flipIn(t, file, rnd.Int64N(info.Size()))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Every byte of a record, one after the other: a miss, or what was written.
func TestEveryByteOfARecord(t *testing.T) {
	h := build(t, Config{})
	o := object(key("/a"), 1, 300, "red")
	h.put(o)
	f, ok := h.find(h.hash(o.Key))
	if !ok {
		t.Fatal("nothing is there")
	}
	file := filepath.Join(h.folder, fileName(f.g.number, dataExt))
	for off := range int64(f.e.size) {
		flipIn(t, file, int64(f.e.off)+off)
		if got, err := h.read(f, true); err == nil {
			t.Errorf("byte %d is another, and %+v was read", off, got)
		}
		flipIn(t, file, int64(f.e.off)+off) // and back
	}
	if h.get(o.Key) != 1 {
		t.Error("the record is not as it was")
	}
	flipIn(t, file, int64(f.e.off)+40)
	if h.get(o.Key) != 0 || h.Stats().Corrupt != 1 || h.Stats().Objects != 0 {
		t.Errorf("stats %+v", h.Stats())
	}
	h.crash()
	h.open()
	if h.Stats().Objects != 0 {
		t.Error("a damaged record is back")
	}
}

// Every bit of the state, one after the other: it is not taken for what was written. What belongs to it is moved aside.
func TestEveryBitOfTheState(t *testing.T) {
	h := build(t, Config{})
	h.put(object(key("/a"), 1, 10))
	h.restart()
	h.want("/a", 1)
	h.shut()
	file := filepath.Join(h.folder, stateName)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := parseState(text); err != nil || st.Run != 2 {
		t.Fatalf("%s: %+v, %v", text, st, err)
	}
	for bit := range 8 * len(text) {
		text[bit/8] ^= 1 << (bit % 8)
		if st, err := parseState(text); err == nil && st.Version == version {
			t.Errorf("taken as it is: %s", text)
		}
		text[bit/8] ^= 1 << (bit % 8)
	}
	for _, changed := range []string{
		strings.Replace(string(text), `"run":2`, `"run":0`, 1),
		string(text[:bytes.Index(text, []byte(`,"sum"`))]) + "}",
	} {
		if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		h.said.text.Reset()
		h.open()
		h.want("/a", 0)
		if !strings.Contains(h.said.String(), errState.Error()) {
			t.Errorf("%s: said %s", changed, h.said)
		}
		h.put(object(key("/a"), 1, 10))
		h.shut()
	}
}

// A piece of a large body that is damaged ends the body there, and the object is gone.
func TestDamageInsideOfALargeBody(t *testing.T) {
	h := build(t, Config{Size: 64 * mib, segment: 8 * mib})
	h.put(object(key("/large"), 1, 3*mib))
	o := h.Get(key("/large"), nowhere{})
	f, _ := h.find(h.hash(o.Key))
	flipIn(t, filepath.Join(h.folder, fileName(f.g.number, dataExt)), int64(f.e.off)+2*mib)
	n := 0
	want := content(o.Key, 1, 3*mib)
	err := o.Body.Range(0, o.Body.Len(), func(piece []byte) bool {
		if string(piece) != string(want[n:n+len(piece)]) {
			t.Errorf("a wrong piece at %d", n)
		}
		n += len(piece)
		return true
	})
	if !errors.Is(err, errCorrupt) || n > 2*mib {
		t.Errorf("%d bytes, %v", n, err)
	}
	if h.get(o.Key) != 0 {
		t.Error("it is still found")
	}
}

// Files that are none of ours are left alone; what another version wrote is moved aside.
func TestForeignFiles(t *testing.T) {
	folder := t.TempDir()
	text := map[string]string{"notes.txt": "mine", "0000000000000001.bak": "a copy", "1.data": "short name"}
	for name := range text {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text[name]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := build(t, Config{Folder: folder})
	h.put(object(key("/a"), 1, 10))
	h.shut()
	for name := range maps.Keys(text) {
		if got, err := os.ReadFile(filepath.Join(folder, name)); err != nil || string(got) != text[name] {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	if !strings.Contains(h.said.String(), "notes.txt") {
		t.Errorf("nothing was said of them: %s", h.said)
	}
	for _, state := range []string{`{"version":2}`, "nonsense", ""} {
		h.open()
		h.put(object(key("/b"), 1, 10))
		h.shut()
		if err := os.WriteFile(filepath.Join(folder, stateName), []byte(state), 0o600); err != nil {
			t.Fatal(err)
		}
		files, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := ours(files)
		h.open()
		h.want("/b", 0)
		aside, err := filepath.Glob(filepath.Join(folder, asideName+"*"))
		if err != nil || len(aside) == 0 {
			t.Fatal(aside, err)
		}
		slices.Sort(aside)
		if kept, err := os.ReadDir(aside[len(aside)-1]); err != nil || len(kept) != 2*len(before)+1 {
			t.Errorf("%d segments were there, %d files are aside, %v", len(before), len(kept), err)
		}
		h.shut()
	}
	// Without its state nobody knows what a folder's segments are worth.
	h.open()
	h.put(object(key("/c"), 1, 10))
	h.shut()
	if err := os.Remove(filepath.Join(folder, stateName)); err != nil {
		t.Fatal(err)
	}
	h.open()
	h.want("/c", 0)
}

// withAside opens a store of 1 MiB in whose folder lie 600,000 bytes aside.
func withAside(t *testing.T) *house {
	t.Helper()
	h := build(t, Config{})
	for i := range 60 {
		h.put(object(key(fmt.Sprint("/old/", i)), 1, 10_000))
	}
	h.shut()
	if err := os.WriteFile(filepath.Join(h.folder, stateName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.open()
	for range 2 {
		if n, st := h.asides(), h.Stats(); n != 1 || st.Bytes < 600_000 {
			t.Fatalf("%d folders are aside; stats %+v", n, st)
		}
		h.restart()
	}
	return h
}

func (h *house) asides() int {
	h.t.Helper()
	found, err := filepath.Glob(filepath.Join(h.folder, asideName+"*"))
	if err != nil {
		h.t.Fatal(err)
	}
	return len(found)
}

// What was moved aside counts as used, over restarts too, and goes before anything that is of use.
func TestAsideGoesForRoom(t *testing.T) {
	h := withAside(t)
	for i := range 60 {
		h.put(object(key(fmt.Sprint("/", i)), 1, 10_000))
		if n := filesIn(t, h.folder); n > h.config.Size {
			t.Fatalf("%d bytes are in the folder after %d objects", n, i+1)
		}
	}
	if n := h.asides(); n != 0 {
		t.Errorf("%d folders are still aside", n)
	}
	if n := strings.Count(h.said.String(), "is removed: its room"); n != 1 {
		t.Errorf("said %d times:\n%s", n, h.said)
	}
	for i := range 60 {
		h.want(fmt.Sprint("/", i), 1)
	}
}

// So it does where the size is smaller than before.
func TestAsideGoesForASmallerSize(t *testing.T) {
	h := withAside(t)
	for i := range 20 {
		h.put(object(key(fmt.Sprint("/", i)), 1, 10_000))
	}
	h.config.Size = 512 << 10
	h.restart()
	if n := h.asides(); n != 0 {
		t.Errorf("%d folders are aside in half of the room", n)
	}
	for i := range 20 {
		h.want(fmt.Sprint("/", i), 1)
	}
}

// Nothing is left for a process that has no store.
func TestForget(t *testing.T) {
	h := withAside(t)
	h.put(object(key("/"), 1, 10_000))
	h.shut()
	if err := Forget(h.folder); err != nil {
		t.Fatal(err)
	}
	if n := filesIn(t, h.folder); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
	h.open()
	h.want("/", 0)
	if err := Forget(h.folder); !errors.Is(err, ErrLocked) {
		t.Errorf("in the folder of a store: %v", err)
	}
}

// filesIn is how many bytes all files below a folder have.
func filesIn(t *testing.T, folder string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err == nil { // else it went meanwhile
			n += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOneProcessAtATime(t *testing.T) {
	h := build(t, Config{})
	if _, err := Open(h.config); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), h.folder) {
		t.Errorf("a second store in one folder: %v", err)
	}
	h.restart()
}

func TestSmallerThanBefore(t *testing.T) {
	h := build(t, Config{Size: mib})
	for i := range 150 {
		h.put(object(key(fmt.Sprint("/", i)), 1, 5000))
	}
	h.config.Size = 512 << 10
	h.restart()
	if used := h.used(); used > h.config.Size {
		t.Errorf("%d bytes are used of %d", used, h.config.Size)
	}
	h.want("/149", 1)
	h.want("/0", 0)
}
