package disk

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"hither/cache"
)

func TestRestartFindsObjects(t *testing.T) {
	h := build(t, Config{})
	for i := range 100 {
		h.put(object(key(fmt.Sprint("/", i)), i+1, 100*i))
	}
	post := &cache.Object{Key: key("/post"), Kind: cache.Signpost, Vary: []string{"Accept", "Cookie"}, Epoch: 7}
	h.put(post)
	run := h.Run()
	for _, again := range []func(){func() {}, h.restart, func() { h.crash(); h.open() }} {
		again()
		for i := range 100 {
			h.want(fmt.Sprint("/", i), i+1)
		}
		if o := h.Get(post.Key, nowhere{}); o == nil || o.Kind != cache.Signpost || o.Epoch != 7 || len(o.Vary) != 2 {
			t.Errorf("the signpost is %+v", o)
		}
	}
	if h.Run() != run+2 {
		t.Errorf("run %d after %d and two starts", h.Run(), run)
	}
}

func TestOtherKeysAreNotFound(t *testing.T) {
	h := build(t, Config{})
	k := key("/a")
	h.put(object(k, 1, 10))
	for _, other := range []cache.Key{
		{Site: "other", Class: k.Class, Scheme: k.Scheme, Path: k.Path}, {Site: k.Site, Class: 'X', Scheme: k.Scheme, Path: k.Path},
		{Site: k.Site, Class: k.Class, Scheme: "http", Path: k.Path}, {Site: k.Site, Class: k.Class, Scheme: k.Scheme, Path: k.Path, Vary: "gzip"},
	} {
		if h.get(other) != 0 {
			t.Errorf("found %+v", other)
		}
		// Also where the hashes are equal, which only chance makes.
		h.mu.Lock()
		h.index[h.hash(other)] = h.index[h.hash(k)]
		h.mu.Unlock()
		if h.get(other) != 0 {
			t.Errorf("found %+v by a shared hash", other)
		}
	}
}

// What is gone is gone, also for the next process.
func TestRemovedStaysRemoved(t *testing.T) {
	h := build(t, Config{})
	h.put(object(key("/deleted"), 1, 10))
	h.put(object(key("/replaced"), 1, 10))
	h.put(object(key("/twice"), 1, 10))
	h.put(object(key("/twice"), 2, 10))
	h.put(object(key("/kept"), 1, 10))
	if !h.Change(key("/deleted"), Deleted, func() {}) || h.Change(key("/deleted"), Deleted, func() {}) {
		t.Error("what was deleted was not there, or is still")
	}
	h.Change(key("/replaced"), Replaced, func() {}) // and what came in its place is in memory alone
	check := func() {
		h.want("/deleted", 0)
		h.want("/replaced", 0)
		h.want("/twice", 2)
		h.want("/kept", 1)
	}
	check()
	h.crash()
	h.open()
	check()
	h.restart()
	check()
	if got := h.Stats().Objects; got != 2 {
		t.Errorf("%d objects, want 2", got)
	}
}

// What waits to be written when it is removed is not written.
func TestRemovedWhileItWaits(t *testing.T) {
	h := build(t, Config{})
	h.Store.change.Lock() // the writer gets no further
	h.Offer(object(key("/a"), 1, 10), true)
	h.Offer(object(key("/b"), 1, 10), true)
	h.Store.change.Unlock()
	h.Change(key("/a"), Replaced, func() {})
	h.Wait()
	h.want("/a", 0)
	h.want("/b", 1)
	h.crash()
	h.open()
	h.want("/a", 0)
}

// A removal does not last longer than what it removes, and no shorter.
func TestEvictionByBytes(t *testing.T) {
	h := build(t, Config{Size: 8 * 64 << 10})
	const n = 400
	for i := range n {
		h.put(object(key(fmt.Sprint("/", i)), 1, 4000))
		if i%3 == 0 {
			h.Change(key(fmt.Sprint("/", i)), Deleted, func() {})
		}
		if used := h.used(); used > h.config.Size {
			t.Fatalf("%d bytes are used of %d", used, h.config.Size)
		}
	}
	found := 0
	for range 2 {
		found = 0
		for i := range n {
			got := h.get(key(fmt.Sprint("/", i)))
			found += got
			if i%3 == 0 && got != 0 || i < n/2 && got != 0 || i > n-50 && i%3 != 0 && got != 1 {
				t.Errorf("/%d: version %d", i, got)
			}
		}
		h.crash()
		h.open()
	}
	if found < 50 {
		t.Errorf("only %d objects are left", found)
	}
	files, err := os.ReadDir(h.folder)
	if err != nil || len(files) > 2*9+2 {
		t.Errorf("%d files, %v", len(files), err)
	}
}

// What was asked for is written anew when its segment goes.
func TestAskedForIsKept(t *testing.T) {
	h := build(t, Config{Size: 8 * 64 << 10})
	hot := []string{"/hot", "/warm"}
	for _, path := range hot {
		h.put(object(key(path), 1, 1000))
	}
	for i := range 400 {
		h.put(object(key(fmt.Sprint("/", i)), 1, 4000))
		for _, path := range hot {
			h.want(path, 1)
		}
	}
	if s := h.Stats(); s.Kept == 0 || s.Evicted[Size] < 100 {
		t.Errorf("stats %+v", s)
	}
	// What is stale is not worth it.
	h.purge(cache.Purge{Kind: cache.PurgeURL, Site: "www", Value: "/hot", Soft: true})
	for i := range 400 {
		h.put(object(key(fmt.Sprint("/", i)), 2, 4000))
		h.get(key("/hot"))
	}
	h.want("/hot", 0)
}

func TestQueueIsBounded(t *testing.T) {
	h := build(t, Config{Queue: 20_000})
	h.Store.change.Lock()
	for i := range 10 {
		h.Offer(object(key(fmt.Sprint("/", i)), 1, 5000), true)
	}
	h.Store.change.Unlock()
	h.Wait()
	if s := h.Stats(); s.Dropped < 5 || s.Objects+int(s.Dropped) != 10 {
		t.Errorf("stats %+v", s)
	}
	h.Offer(object(key("/once"), 1, 10), false)
	h.Offer(&cache.Object{Key: key("/pass"), Kind: cache.Pass}, true)
	h.Offer(object(key("/large"), 1, 64<<10), true)
	h.Wait()
	h.want("/once", 0)
	h.Offer(object(key("/twice"), 1, 10), false)
	h.Change(key("/twice"), Replaced, func() {})
	h.Offer(object(key("/twice"), 2, 10), false)
	h.Wait()
	h.want("/twice", 2)
	if s := h.Stats(); s.Unproven != 2 || s.Large != 1 || s.Waiting != 0 || h.get(key("/once"))+h.get(key("/large")) != 0 {
		t.Errorf("stats %+v", s)
	}
}

// However small objects are, and however many tags they have, the index does not outgrow its bound.
func TestIndexIsBounded(t *testing.T) {
	for _, tags := range []int{0, 64} {
		h := build(t, Config{Objects: 200, segment: 16 << 10})
		var list []string
		for i := range tags {
			list = append(list, fmt.Sprint("tag", i))
		}
		for i := range 1000 {
			h.put(object(key(fmt.Sprint("/", i)), 1, 0, list...))
		}
		n := h.Stats().Objects
		if most := 200/(1+tags/16) + 1; n > most || n < most/3 {
			t.Errorf("%d objects with %d tags each, want about %d", n, tags, most)
		}
		h.want("/999", 1)
	}
}

// A large body is read from its file, in pieces, for each reader; and for who reads it already after it is evicted.
func TestDeepBody(t *testing.T) {
	const size = 5*mib + 12345
	h := build(t, Config{Size: 64 * mib, segment: 8 * mib, Queue: 64 * mib})
	h.put(object(key("/large"), 1, size))
	o := h.Get(key("/large"), nowhere{})
	if o == nil || !o.Body.Deep() || o.Size() > 2000 {
		t.Fatalf("the object is %+v", o)
	}
	if _, wrong, err := versionOf(o); wrong != nil || err != nil {
		t.Error(wrong, err)
	}
	whole := content(o.Key, 1, size)
	for _, c := range []struct{ off, n int64 }{{0, 1}, {size - 1, 1}, {pieceSize - 1, 2}, {3 * mib, 2 * mib}, {size - 100, 1000}, {size, 5}, {7, 0}} {
		var got []byte
		if err := o.Body.Range(c.off, c.n, func(b []byte) bool { got = append(got, b...); return true }); err != nil {
			t.Error(err)
		}
		if want := whole[c.off:min(c.off+c.n, size)]; string(got) != string(want) {
			t.Errorf("%d bytes at %d: %d others", c.n, c.off, len(got))
		}
	}
	// Its segment is evicted under a reader.
	h.put(object(key("/next"), 1, 4*mib))
	h.mu.RLock()
	oldest := h.order[0]
	h.mu.RUnlock()
	n := 0
	err := o.Body.Range(0, size, func(b []byte) bool {
		if n += len(b); n == pieceSize {
			if err := h.evict(oldest); err != nil {
				t.Error(err)
			}
			h.tidy(false)
		}
		return string(b) == string(whole[n-len(b):n])
	})
	if err != nil || n != size {
		t.Errorf("read %d bytes while it was evicted, %v", n, err)
	}
	if !o.Dead() || h.get(o.Key) != 0 {
		t.Error("an evicted object is found")
	}
	// Where there is no room, who reads is cut off.
	n = 0
	err = o.Body.Range(0, size, func(b []byte) bool {
		n += len(b)
		h.tidy(true)
		return true
	})
	if !errors.Is(err, cache.ErrBehind) {
		t.Errorf("read %d bytes of a closed segment, %v", n, err)
	}
	if err := o.Body.Range(0, size, func([]byte) bool { return true }); !errors.Is(err, cache.ErrBehind) {
		t.Errorf("read a closed segment: %v", err)
	}
}

func TestPurges(t *testing.T) {
	type purge = cache.Purge
	for name, c := range map[string]struct {
		purge purge
		gone  []string
	}{
		"url":         {purge{Kind: cache.PurgeURL, Site: "www", Value: "/a/1"}, []string{"/a/1"}},
		"tag":         {purge{Kind: cache.PurgeTag, Site: "www", Value: "red"}, []string{"/a/1", "/b"}},
		"tag of all":  {purge{Kind: cache.PurgeTag, Value: "red"}, []string{"/a/1", "/b"}},
		"no such tag": {purge{Kind: cache.PurgeTag, Value: "Red"}, nil},
		"other site":  {purge{Kind: cache.PurgeTag, Site: "other", Value: "red"}, nil},
		"prefix":      {purge{Kind: cache.PurgePrefix, Site: "www", Value: "/a"}, []string{"/a/1", "/a/2"}},
		"host":        {purge{Kind: cache.PurgeHost, Site: "www"}, []string{"/a/1", "/a/2", "/b"}},
		"other host":  {purge{Kind: cache.PurgeHost, Site: "other"}, nil},
		"all":         {purge{Kind: cache.PurgeAll}, []string{"/a/1", "/a/2", "/b"}},
	} {
		for _, soft := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " soft=", soft), func(t *testing.T) {
				h := build(t, Config{})
				h.put(object(key("/a/1"), 1, 10, "red", "blue"))
				h.put(object(key("/a/2"), 1, 10, "blue"))
				h.restart() // two segments
				h.put(object(key("/b"), 1, 10, "red"))
				c.purge.Soft = soft
				if found := h.purge(c.purge); found[0] != len(c.gone) {
					t.Errorf("found %d objects, want %d", found[0], len(c.gone))
				}
				for _, again := range []func(){func() {}, func() { h.crash(); h.open() }, h.restart} {
					again()
					for _, path := range []string{"/a/1", "/a/2", "/b"} {
						meant := false
						for _, gone := range c.gone {
							meant = meant || gone == path
						}
						o := h.Get(key(path), nowhere{})
						switch {
						case meant && !soft && o != nil:
							t.Errorf("%s is still there", path)
						case (!meant || soft) && o == nil:
							t.Errorf("%s is gone", path)
						case o != nil && o.PurgedSoftly().IsZero() == (meant && soft):
							t.Errorf("%s was made stale at %v", path, o.PurgedSoftly())
						}
						if p := h.Peek(key(path)); (p == nil) != (o == nil) || p != nil && p.PurgedSoftly() != o.PurgedSoftly() {
							t.Errorf("%s: Peek and Get differ", path)
						}
					}
				}
			})
		}
	}
}

// Several at a time, of which one is hard.
func TestPurgesTogether(t *testing.T) {
	h := build(t, Config{})
	for i := range 3000 {
		h.put(object(key(fmt.Sprint("/", i)), 1, 0, fmt.Sprint("t", i%3), "all"))
	}
	found := h.purge(cache.Purge{Kind: cache.PurgeTag, Value: "t0"}, cache.Purge{Kind: cache.PurgeTag, Value: "all", Soft: true},
		cache.Purge{Kind: cache.PurgePrefix, Site: "www", Value: "/1"}, cache.Purge{Kind: cache.PurgeURL, Site: "www", Value: "/5"})
	live := h.Stats().Objects
	if found[0] > 1000 || found[0] < 1 || found[1] <= found[0] || found[3] > 1 {
		t.Errorf("found %v", found)
	}
	h.restart()
	for i := range 3000 {
		path := fmt.Sprint("/", i)
		if o := h.Get(key(path), nowhere{}); o != nil {
			live--
			if i%3 == 0 || strings.HasPrefix(path, "/1") || i == 5 || o.PurgedSoftly().IsZero() {
				t.Errorf("%s is there, stale since %v", path, o.PurgedSoftly())
			}
		}
	}
	if live != 0 {
		t.Errorf("%d objects more than were found", live)
	}
}

// After the machine itself stopped, nobody knows which removals were the last to reach the disk: what is there may be used once the origin has confirmed it.
func TestMachineStopped(t *testing.T) {
	h := build(t, Config{})
	h.put(object(key("/a"), 1, 10))
	h.crash()
	h.editState(func(st *state) { st.Boot = "another" })
	h.config.Now = func() time.Time { return time.Unix(500, 0) }
	h.open()
	for range 3 { // it stays so
		if o := h.Get(key("/a"), nowhere{}); o == nil || !o.PurgedSoftly().Equal(time.Unix(500, 0)) {
			t.Fatalf("the object is %+v", o)
		}
		h.restart()
	}
	h.put(object(key("/b"), 1, 10))
	if o := h.Get(key("/b"), nowhere{}); o == nil || !o.PurgedSoftly().IsZero() {
		t.Errorf("what came since is %+v", o)
	}
}

func TestUnderAndEach(t *testing.T) {
	h := build(t, Config{})
	k := key("/a")
	for i := range 5 {
		k.Vary = fmt.Sprint(i)
		h.put(object(k, 1, 10))
	}
	h.put(object(key("/b"), 1, 10))
	if n := len(h.Under(key("/a"), 100)); n != 5 {
		t.Errorf("%d under /a", n)
	}
	if n := len(h.Under(key("/a"), 2)); n != 2 {
		t.Errorf("%d of at most 2", n)
	}
	n := 0
	h.Each(func(*cache.Object) bool { n++; return n < 4 })
	if n != 4 {
		t.Errorf("Each went on: %d", n)
	}
}
