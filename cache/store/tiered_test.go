package store

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hither/cache"
	"hither/cache/store/disk"
)

// tier opens both tiers over a folder.
func tier(t testing.TB, folder string, memory int64, hash func(cache.Key) uint64) *Tiered {
	t.Helper()
	m, err := newMemory(memory, hash)
	if err != nil {
		t.Fatal(err)
	}
	d, err := disk.Open(disk.Config{Folder: folder, Size: disk.MinSize, Log: slog.New(slog.DiscardHandler)})
	if err != nil || d.Off() != nil {
		t.Fatal(err, d.Off())
	}
	return NewTiered(m, d, nil)
}

func closed(t testing.TB, s *Tiered) {
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// scratch is a folder for one check of rapid, which makes hundreds.
func scratch(t testing.TB) string {
	folder, err := os.MkdirTemp("", "tiers-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	return folder
}

func TestTiered(t *testing.T) {
	testStore(t, func(t testing.TB, size int64) cache.Store {
		s := tier(t, scratch(t), size, cache.Key.Hash)
		t.Cleanup(func() { closed(t, s) })
		return s
	})
}

// fill puts n objects and asks for each again, so that what memory evicts of them goes down.
func fill(s *Tiered, n int) []*cache.Object {
	var list []*cache.Object
	for i := range n {
		o := object(key(fmt.Sprint("/", i)), 2000)
		s.Put(o)
		s.Get(o.Key)
		list = append(list, o)
	}
	s.Wait()
	return list
}

// What memory gives up is found below, moves up, and is then the one object that everybody gets.
func TestMovesDownAndUp(t *testing.T) {
	s := tier(t, t.TempDir(), 256<<10, cache.Key.Hash)
	defer closed(t, s)
	list := fill(s, 500)
	st := s.disk.Stats()
	if st.Objects < 300 || st.Dropped > 0 {
		t.Fatalf("disk: %+v", st)
	}
	moved := 0
	for _, o := range list {
		s.Wait() // what waits to be written is given back without a read
		up := s.memory.Peek(o.Key) != nil
		got := s.Get(o.Key)
		if !same(got, o) {
			t.Fatalf("%s is lost", o.Key.Path)
		}
		if !up {
			moved++
		}
		if s.Get(o.Key) != got || s.memory.Peek(o.Key) != got {
			t.Fatalf("%s did not move up", o.Key.Path)
		}
	}
	if after := s.disk.Stats(); int(after.Hits) != moved || moved < 300 {
		t.Errorf("moved %d; disk %+v", moved, after)
	}
	// Without a write: what has moved up and is given up again lies there already.
	s.Wait()
	if after := s.disk.Stats(); after.Written > uint64(len(list)) {
		t.Errorf("wrote %d times for %d objects", after.Written, len(list))
	}
	// What nobody asked for again is not worth a write.
	before := s.disk.Stats()
	for i := range 500 {
		s.Put(object(key(fmt.Sprint("/once/", i)), 2000))
	}
	s.Wait()
	if after := s.disk.Stats(); after.Unproven-before.Unproven < 250 || after.Written-before.Written > 200 {
		t.Errorf("before %+v\nafter  %+v", before, after)
	}
}

// What waits to be written is found as well, and is the same object still.
func TestFoundWhileItWaits(t *testing.T) {
	s := tier(t, t.TempDir(), 256<<10, cache.Key.Hash)
	defer closed(t, s)
	taken := 0
	for i := range 500 {
		o := object(key(fmt.Sprint("/", i)), 2000)
		s.Put(o)
		s.Get(o.Key)
		old := key(fmt.Sprint("/", max(i-150, 0)))
		if s.memory.Peek(old) == nil {
			if got := s.Get(old); got == nil {
				t.Fatalf("%s is lost", old.Path)
			}
			taken++
		}
	}
	s.Wait()
	if st := s.disk.Stats(); taken < 200 || st.Dropped > 0 {
		t.Errorf("asked %d times; disk %+v", taken, st)
	}
}

// A hundred who ask at once for what lies below make one read, and get one object.
func TestHerdReadsOnce(t *testing.T) {
	folder := t.TempDir()
	s := tier(t, folder, 256<<10, cache.Key.Hash)
	list := fill(s, 200)
	closed(t, s)
	s = tier(t, folder, 16<<20, cache.Key.Hash) // which has room for all that moves up
	defer closed(t, s)
	for _, o := range list {
		if s.disk.Peek(o.Key) == nil {
			t.Fatalf("%s is not below", o.Key.Path)
		}
		before := s.disk.Stats().Hits
		var herd sync.WaitGroup
		got := make([]*cache.Object, 100)
		for i := range got {
			herd.Go(func() { got[i] = s.Get(o.Key) })
		}
		herd.Wait()
		for _, x := range got {
			if x == nil || !same(x, o) {
				t.Fatal("not all got the object")
			}
			if x != got[0] {
				t.Fatal("there are two of them")
			}
		}
		if n := s.disk.Stats().Hits - before; n != 1 {
			t.Errorf("%d reads for %d who asked", n, len(got))
		}
	}
}

// A restart finds what was hot, in whichever tier it was; and not what was deleted or replaced.
func TestTiersOutliveRestart(t *testing.T) {
	folder := t.TempDir()
	s := tier(t, folder, 256<<10, cache.Key.Hash)
	list := fill(s, 300)
	gone := 0
	for i, o := range list {
		switch i % 10 {
		case 0:
			s.Delete(o.Key)
			gone++
		case 1:
			s.Put(object(o.Key, 10)) // asked for by nobody
			gone++
		case 2:
			list[i] = object(o.Key, 3000)
			s.Put(list[i])
			s.Get(o.Key)
		}
	}
	closed(t, s)
	s = tier(t, folder, 256<<10, cache.Key.Hash)
	defer closed(t, s)
	found := 0
	for i, o := range list {
		got := s.Get(o.Key)
		switch {
		case got != nil && (i%10 < 2 || !same(got, o)):
			t.Errorf("%s: found what was replaced or deleted", o.Key.Path)
		case got != nil:
			found++
		}
	}
	if found < len(list)-gone-5 {
		t.Errorf("found %d of %d", found, len(list)-gone)
	}
}

// Random operations on both tiers, restarts among them: what is found was put last under its key.
func TestTieredModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		folder := scratch(t)
		few := func(k cache.Key) uint64 { return uint64(len(k.Path)) }
		hash := rapid.SampledFrom([]func(cache.Key) uint64{cache.Key.Hash, few}).Draw(r, "hash")
		s := tier(t, folder, 128<<10, hash)
		defer func() { closed(t, s) }()
		model, stale := map[cache.Key]*cache.Object{}, map[cache.Key]bool{}
		keys := rapid.Custom(func(r *rapid.T) cache.Key { return key(fmt.Sprint("/", rapid.IntRange(0, 40).Draw(r, "n"))) })
		get := func(k cache.Key) {
			o := s.Get(k)
			switch want := model[k]; {
			case o == nil:
			case !same(o, want):
				r.Fatalf("Get(%s) is of %v, put was %v", k.Path, o.Request, want)
			case stale[k] && o.PurgedSoftly().IsZero():
				r.Fatalf("%s is fresh after a soft purge", k.Path)
			}
			if o != nil && s.Get(k) != o {
				r.Fatalf("two objects for %s", k.Path)
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"get": func(r *rapid.T) { get(keys.Draw(r, "key")) },
			"put": func(r *rapid.T) {
				o := object(keys.Draw(r, "key"), rapid.IntRange(0, 15_000).Draw(r, "bytes"))
				s.Put(o)
				model[o.Key] = o
				delete(stale, o.Key)
				get(o.Key)
			},
			"delete": func(r *rapid.T) {
				k := keys.Draw(r, "key")
				s.Delete(k)
				delete(model, k)
				get(k)
			},
			"purge": func(r *rapid.T) {
				prefix, soft := rapid.SampledFrom([]string{"/1", "/2", "/3"}).Draw(r, "prefix"), rapid.Bool().Draw(r, "soft")
				p := &cache.DeepPurge{Purge: cache.Purge{Kind: cache.PurgePrefix, Site: "www", Value: prefix, Soft: soft}, At: time.Unix(9, 0)}
				strike := func(o *cache.Object, _ bool) bool {
					means := strings.HasPrefix(o.Key.Path, prefix)
					if means && soft {
						o.MarkStale(p.At)
					}
					return means && !soft
				}
				s.Sweep([]*cache.DeepPurge{p}, strike, func(o *cache.Object) bool {
					if strike(o, true) {
						s.Delete(o.Key)
					}
					return true
				})
				for k := range model {
					if strings.HasPrefix(k.Path, prefix) {
						if stale[k] = true; !soft {
							delete(model, k)
						}
					}
				}
			},
			"wait": func(*rapid.T) { s.Wait() },
			"save": func(*rapid.T) { s.save(0, func(o *cache.Object) bool { return s.disk.Save(o, s.has) }) },
			"restart": func(*rapid.T) {
				closed(t, s)
				s = tier(t, folder, 128<<10, hash)
			},
			"": func(r *rapid.T) {
				if err := audit(s.memory); err != nil {
					r.Fatal(err)
				}
			},
		})
	})
}

// Each, Under and Peek see both tiers, each object once.
func TestTieredSeesAll(t *testing.T) {
	s := tier(t, t.TempDir(), 256<<10, cache.Key.Hash)
	defer closed(t, s)
	list := fill(s, 400)
	for i := range 200 { // some are in both
		s.Get(list[i].Key)
	}
	s.Wait()
	seen := map[cache.Key]int{}
	s.Each(func(o *cache.Object) bool { seen[o.Key]++; return true })
	for _, o := range list {
		n := seen[o.Key]
		if p := s.Peek(o.Key); n > 1 || (p != nil) != (n == 1) || p != nil && !same(p, o) || len(s.Under(o.Key)) != n {
			t.Errorf("%s: yielded %d times, Peek %v, %d under it", o.Key.Path, n, p, len(s.Under(o.Key)))
		}
	}
	if len(seen) < 380 {
		t.Errorf("%d objects of %d", len(seen), len(list))
	}
	n := 0
	s.Each(func(*cache.Object) bool { n++; return n < 350 })
	if n != 350 {
		t.Errorf("Each went on: %d", n)
	}
}

// overwrite damages what lies at an offset in each data file of a folder that is that long.
func overwrite(t testing.TB, folder string, off int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.data"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := f.Stat(); err != nil {
			t.Error(err)
		} else if info.Size() > off {
			_, err = f.WriteAt([]byte("garbage"), off)
			if err != nil {
				t.Error(err)
			}
		}
		f.Close()
	}
}

// A large object that memory has, with its body on disk, is gone from both once that was found damaged: the first reader's answer breaks off,
// and the next asks the origin.
func TestDamagedDeepBody(t *testing.T) {
	folder := t.TempDir()
	m, err := NewMemory(8 * mib)
	if err != nil {
		t.Fatal(err)
	}
	d, err := disk.Open(disk.Config{Folder: folder, Size: 64 * mib, Log: slog.New(slog.DiscardHandler)})
	if err != nil || d.Off() != nil {
		t.Fatal(err, d.Off())
	}
	s := NewTiered(m, d, nil)
	defer closed(t, s)
	k := key("/large")
	content := bytes.Repeat([]byte("0123456789abcdef"), 3*mib/16)
	read := func(o *cache.Object) (n int, err error) {
		err = o.Body.Range(0, o.Body.Len(), func(b []byte) bool {
			if !bytes.Equal(b, content[n:n+len(b)]) {
				t.Errorf("wrong bytes at %d", n)
			}
			n += len(b)
			return true
		})
		return n, err
	}
	d.Offer(&cache.Object{Key: k, Status: 200, Body: cache.NewBody(content)}, true)
	s.Wait()
	o := s.Get(k)
	if o == nil || !o.Body.Deep() || m.Peek(k) != o {
		t.Fatalf("memory has no object with a deep body: %+v", o)
	}
	overwrite(t, folder, 2*mib)
	for range 2 { // by who has it; it counts once
		if n, err := read(o); err == nil || n > 2*mib {
			t.Errorf("a damaged body gave %d bytes, %v", n, err)
		}
	}
	if got := s.Get(k); got != nil || !o.Dead() || s.Peek(k) != nil {
		t.Errorf("it is still found: %+v", got)
	}
	if st := d.Stats(); !st.On || st.Corrupt != 1 || st.Objects != 0 {
		t.Errorf("disk: %+v", st)
	}
	s.Put(&cache.Object{Key: k, Status: 200, Body: cache.NewBody(content)})
	if got := s.Get(k); got == nil {
		t.Error("what came anew is not found")
	} else if n, err := read(got); err != nil || n != len(content) {
		t.Errorf("what came anew has %d bytes, %v", n, err)
	}
}

// A 304 renews a large object whose body lies on disk: the new one reads it there, and can itself be written.
func TestRenewedDeepBody(t *testing.T) {
	s := tier(t, t.TempDir(), 64*mib, cache.Key.Hash)
	defer closed(t, s)
	content := bytes.Repeat([]byte("0123456789abcdef"), 40_000) // below a segment of 1 MiB
	k := key("/large")
	o := &cache.Object{Key: k, Status: 200, Fields: cache.NewFields(http.Header{"Etag": {"1"}}), Body: cache.NewBody(content)}
	s.Put(o)
	s.disk.Offer(o, true)
	s.Wait()
	deep := s.disk.Peek(k)
	if deep == nil || !deep.Body.Deep() {
		t.Fatalf("the body does not lie deep: %+v", deep)
	}
	next := &cache.Object{Key: k, Status: 200, Fields: deep.Fields, Body: deep.Body, Request: time.Unix(77, 0)}
	s.Put(next)
	if got := s.Get(k); got != next || got.Size() > 2000 {
		t.Fatalf("got %+v", got)
	}
	s.disk.Offer(next, true)
	s.Wait()
	again := s.disk.Peek(k)
	if again == nil || !again.Request.Equal(next.Request) {
		t.Fatalf("the renewed one was not written: %+v", again)
	}
	var got []byte
	if err := again.Body.Range(0, again.Body.Len(), func(b []byte) bool { got = append(got, b...); return true }); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
