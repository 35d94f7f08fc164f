package cache_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"hither/cache"
	"hither/cache/store"
	"hither/cache/store/disk"
)

// openTiers opens a store that outlives the process.
func openTiers(t testing.TB, folder string, memory int64) *store.Tiered {
	t.Helper()
	m, err := store.NewMemory(memory)
	if err != nil {
		t.Fatal(err)
	}
	d, err := disk.Open(disk.Config{Folder: folder, Size: disk.MinSize, Log: slog.New(slog.DiscardHandler)})
	if err != nil || d.Off() != nil {
		t.Fatal(err, d.Off())
	}
	return store.NewTiered(m, d, nil)
}

// A lasting is a cache over a store that outlives it.
type lasting struct {
	t      *testing.T
	folder string
	clk    *clock
	store  *store.Tiered
	*cache.Cache
}

func newLasting(t *testing.T) *lasting {
	l := &lasting{t: t, folder: t.TempDir(), clk: new(clock)}
	l.open()
	t.Cleanup(func() { l.store.Close() })
	return l
}

func (l *lasting) open() {
	l.store = openTiers(l.t, l.folder, 1<<20)
	l.Cache = cache.New(cache.Config{Store: l.store, Now: l.clk.now, Epoch: l.store.Disk().Run() << 32})
}

func (l *lasting) restart() {
	l.t.Helper()
	if err := l.store.Close(); err != nil {
		l.t.Fatal(err)
	}
	l.open()
}

// fill asks an origin for the path and looks at the answer again, so that it is worth keeping.
func (l *lasting) fill(path, text string, request http.Header, h http.Header) {
	l.t.Helper()
	h.Set("Cache-Control", "max-age=3600")
	look := l.Look(key(path), request, l.clk.now())
	r := l.Join(l.t.Context(), cache.Want{Look: look, Request: request, Fetch: func(context.Context, http.Header, func(int, http.Header)) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: h, ContentLength: int64(len(text)), Body: io.NopCloser(strings.NewReader(text))}, nil
	}})
	if r == nil {
		l.t.Fatalf("%s is there already", path)
	}
	if _, err := read(l.t, r); err != nil {
		l.t.Fatal(err)
	}
	r.Close()
	for range 3 {
		if l.get(path, request) != text {
			l.t.Fatalf("%s is not stored", path)
		}
	}
}

// get is the fresh text under a path, "" where there is none, and "stale" before it where it is that.
func (l *lasting) get(path string, request http.Header) string {
	look := l.Look(key(path), request, l.clk.now())
	switch {
	case look.Object == nil:
		return ""
	case !look.Fresh():
		return "stale " + bodyOf(look.Object)
	}
	return bodyOf(look.Object)
}

// Purges mean what was stored by an earlier process as well, by every kind, and hold for the next one.
func TestPurgeOverRestarts(t *testing.T) {
	type fields = http.Header
	for name, c := range map[string]struct {
		purge cache.Purge
		gone  []string
	}{
		"tag":    {purge(cache.PurgeTag, "red"), []string{"/a", "/b/1"}},
		"folded": {purge(cache.PurgeTag, "GREEN"), []string{"/c"}},
		"url":    {purge(cache.PurgeURL, "/a"), []string{"/a"}},
		"prefix": {purge(cache.PurgePrefix, "/b/"), []string{"/b/1", "/b/2"}},
		"host":   {purge(cache.PurgeHost, ""), []string{"/a", "/b/1", "/b/2", "/c"}},
		"all":    {cache.Purge{Kind: cache.PurgeAll}, []string{"/a", "/b/1", "/b/2", "/c"}},
	} {
		for _, softly := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " soft=", softly), func(t *testing.T) {
				l := newLasting(t)
				l.fill("/a", "a", fields{}, fields{"Surrogate-Key": {"red blue"}})
				l.fill("/b/1", "b1", fields{}, fields{"Surrogate-Key": {"red"}})
				l.fill("/b/2", "b2", fields{}, fields{"Surrogate-Key": {"Red"}})
				l.fill("/c", "c", fields{}, fields{"Cache-Tag": {"Green, x"}})
				texts := map[string]string{"/a": "a", "/b/1": "b1", "/b/2": "b2", "/c": "c"}
				l.Purge(purge(cache.PurgeTag, "none")) // what comes after a restart has no later sequence
				l.restart()
				p := c.purge
				p.Soft = softly
				l.get("/b/1", fields{}) // one is in both tiers
				if done := l.Purge(p); done.Objects != len(c.gone) {
					t.Errorf("found %d objects, want %d", done.Objects, len(c.gone))
				}
				for _, path := range c.gone {
					if texts[path] = "stale " + texts[path]; !softly {
						texts[path] = ""
					}
				}
				for range 3 {
					for path, want := range texts {
						if got := l.get(path, fields{}); got != want {
							t.Errorf("%s is %q, want %q", path, got, want)
						}
					}
					l.restart()
				}
			})
		}
	}
}

// A URL that varies, and what invalidates it: variants are found after a restart, those of a signpost that is gone are not, and a new
// signpost has none of them.
func TestVariantsOverRestarts(t *testing.T) {
	l := newLasting(t)
	in := func(language string) http.Header { return http.Header{"X-Tongue": {language}} }
	fill := func(text, language string) {
		l.fill("/v", text, in(language), http.Header{"Vary": {"X-Tongue"}})
	}
	fill("one", "en")
	fill("two", "de")
	for range 3 {
		l.restart()
		if en, de := l.get("/v", in("en")), l.get("/v", in("de")); en != "one" || de != "two" {
			t.Fatalf("en %q, de %q", en, de)
		}
	}
	l.Invalidate(key("/v"))
	l.restart()
	fill("three", "de")
	if en := l.get("/v", in("en")); en != "" {
		t.Errorf("a variant of an earlier signpost is back: %q", en)
	}
	l.restart()
	if en, de := l.get("/v", in("en")), l.get("/v", in("de")); en != "" || de != "three" {
		t.Errorf("en %q, de %q", en, de)
	}
	// By its URL, with all variants, also the two that are behind no signpost any more.
	fill("four", "en")
	l.restart()
	if done := l.Purge(purge(cache.PurgeURL, "/v")); done.Objects != 4 {
		t.Errorf("found %d variants", done.Objects)
	}
	l.restart()
	if en, de := l.get("/v", in("en")), l.get("/v", in("de")); en+de != "" {
		t.Errorf("en %q, de %q", en, de)
	}
}

// What was sliced is there after a restart with its slices, and after another version has come none of those answers.
func TestSlicesAfterARestart(t *testing.T) {
	folder := t.TempDir()
	b := new(book)
	clk := new(clock)
	read := func(off int64) {
		s := openTiers(t, folder, 1<<20)
		c := cache.New(cache.Config{Store: s, Now: clk.now})
		for range 3 { // so that it is hot, and written down
			w, err := open(t.Context(), c, clk, b.fetch, off)
			if err != nil {
				t.Fatal(err)
			}
			v := b.version.Load()
			if got, err := text(w, 0, bookLength); err != nil || got != bookPart(v, 0, bookLength) {
				t.Errorf("%q, %v", got, err)
			}
			w.Close()
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	read(-1)
	asked := b.asked.Load()
	read(-1)
	if n := b.asked.Load(); n != asked {
		t.Errorf("after the restart the origin was asked %d times", n-asked)
	}
	b.version.Add(1)
	clk.advance(61 * time.Second)
	s := openTiers(t, folder, 1<<20)
	c := cache.New(cache.Config{Store: s, Now: clk.now})
	look := c.Look(key("/book"), bare(), clk.now())
	if look.Object == nil || look.Fresh() {
		t.Fatalf("%+v", look)
	}
	r := c.Join(t.Context(), cache.Want{Look: look, Request: bare(), Policy: slicing, Fetch: b.fetch})
	h := state(t, r, cache.Sliced)
	w := c.Walk(t.Context(), cache.Want{Request: bare(), Policy: slicing, Fetch: b.fetch}, h.Object, r)
	if got, err := text(w, 0, bookLength); err != nil || got != bookPart(1, 0, bookLength) {
		t.Errorf("%q, %v", got, err)
	}
	w.Close()
	r.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A purge by URL reaches what memory has just given up and the disk does not have yet.
func TestPurgeOfWhatMovesDown(t *testing.T) {
	l := newLasting(t)
	n := 0
	for i := range 30 {
		path := fmt.Sprint("/", i)
		l.fill(path, strings.Repeat("v", 60<<10), http.Header{}, http.Header{})
		for l.store.Memory().Peek(key(path)) != nil {
			l.fill(fmt.Sprint("/pad", n), strings.Repeat("x", 60<<10), http.Header{}, http.Header{})
			n++
		}
		if l.store.Peek(key(path)) == nil {
			continue // given up for good
		}
		l.Purge(purge(cache.PurgeURL, path))
		if got := l.get(path, http.Header{}); got != "" {
			t.Errorf("%s answers after a purge: %.10q", path, got)
		}
	}
}
