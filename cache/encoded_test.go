package cache_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"hither/cache"
	"hither/cache/store"
)

// forms counts the encoded objects in a store.
func forms(s cache.Store) (n int) {
	s.Each(func(o *cache.Object) bool {
		if o.Kind == cache.Encoded {
			n++
		}
		return true
	})
	return n
}

// bytesOf is all of a body.
func bytesOf(b cache.Body) string {
	var all []byte
	b.Range(0, b.Len(), func(p []byte) bool { all = append(all, p...); return true })
	return string(all)
}

// confirm answers the next request with a 304, when what is stored at path has become stale.
func (b *bed) confirm(path string) {
	b.t.Helper()
	b.clock.advance(61 * time.Second)
	r := b.join(path)
	defer r.Close()
	go b.origin.next().head(304, 0, "Cache-Control", "max-age=60", "Etag", `"1"`)
	state(b.t, r, cache.Refreshed)
}

// Content in a coding lies beside its response: found by it while it has that content, whatever 304s say, and gone with it.
func TestEncoded(t *testing.T) {
	one := func(b *bed) *cache.Object { return b.look("/a/1").Object }
	for name, c := range map[string]struct {
		then  func(b *bed)
		stays bool
	}{
		"nothing":            {func(*bed) {}, true},
		"304":                {func(b *bed) { b.confirm("/a/1"); b.confirm("/a/1") }, true},
		"other content":      {func(b *bed) { b.clock.advance(61 * time.Second); b.fill("/a/1", "other", "Etag", `"1"`) }, false},
		"the same again":     {func(b *bed) { b.clock.advance(61 * time.Second); b.fill("/a/1", "one", "Etag", `"1"`) }, false},
		"invalidation":       {func(b *bed) { b.Invalidate(key("/a/1")) }, false},
		"purge of the URL":   {func(b *bed) { b.Purge(purge(cache.PurgeURL, "/a/1")) }, false},
		"of a tag":           {func(b *bed) { b.Purge(purge(cache.PurgeTag, "red")) }, false},
		"of a prefix":        {func(b *bed) { b.Purge(purge(cache.PurgePrefix, "/a/")) }, false},
		"of the site":        {func(b *bed) { b.Purge(purge(cache.PurgeHost, "")) }, false},
		"of all":             {func(b *bed) { b.Purge(cache.Purge{Kind: cache.PurgeAll}) }, false},
		"soft, then a 304":   {func(b *bed) { b.Purge(soft(purge(cache.PurgeURL, "/a/1"))); b.confirm("/a/1") }, true},
		"soft by a tag":      {func(b *bed) { b.Purge(soft(purge(cache.PurgeTag, "red"))) }, true},
		"purge of something": {func(b *bed) { b.Purge(purge(cache.PurgeURL, "/b")) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s cache.Store) {
				b := newBed(t, s)
				b.fill("/a/1", "one", "Etag", `"1"`, "Surrogate-Key", "red")
				b.fill("/b", "two")
				o := one(b)
				if b.Encoded(o, cache.Gzip) != nil || b.PeekEncoded(o, cache.Gzip) != nil {
					t.Fatal("there before it was put")
				}
				if !b.PutEncoded(o, cache.Gzip, [][]byte{[]byte("g"), []byte("zip")}) || !b.PutEncoded(o, cache.Zstd, nil) {
					t.Fatal("not put")
				}
				c.then(b)
				if n := forms(s); c.stays != (n == 2) || !c.stays && n != 0 {
					t.Errorf("%d forms are stored", n)
				}
				for _, o := range []*cache.Object{o, one(b)} {
					if o == nil || o != one(b) && !c.stays {
						continue
					}
					e, none, peeked := b.Encoded(o, cache.Gzip), b.Encoded(o, cache.Zstd), b.PeekEncoded(o, cache.Gzip)
					if e != peeked || (e != nil) != c.stays || (none != nil) != c.stays || b.Encoded(o, cache.Brotli) != nil {
						t.Fatalf("gzip %v, zstd %v", e, none)
					}
					if c.stays && (bytesOf(e.Body) != "gzip" || none.Body.Len() != 0) {
						t.Errorf("gzip %q, zstd %q", bytesOf(e.Body), bytesOf(none.Body))
					}
				}
				if put := b.PutEncoded(o, cache.Brotli, [][]byte{[]byte("late")}); put != c.stays {
					t.Errorf("put afterwards: %v", put)
				}
				if two := b.look("/b").Object; two != nil && b.Encoded(two, cache.Gzip) != nil {
					t.Error("another response has it too")
				}
			})
		})
	}
}

// Variants of one target have forms of their own.
func TestEncodedVariants(t *testing.T) {
	eachStore(t, func(t *testing.T, s cache.Store) {
		b := newBed(t, s)
		for _, lang := range []string{"de", "en"} {
			r := b.join("/", "Accept", lang)
			go b.origin.next().fresh(lang, "Vary", "Accept")
			read(t, r)
			r.Close()
			if !b.PutEncoded(b.look("/", "Accept", lang).Object, cache.Brotli, [][]byte{[]byte("br " + lang)}) {
				t.Fatal("not put")
			}
		}
		for _, lang := range []string{"de", "en"} {
			if e := b.Encoded(b.look("/", "Accept", lang).Object, cache.Brotli); e == nil || bytesOf(e.Body) != "br "+lang {
				t.Errorf("%s: %v", lang, e)
			}
		}
		// Look finds responses, and nothing of theirs.
		if l := b.look("/", "Accept", "fr"); l.Object != nil {
			t.Errorf("found %+v", l.Object)
		}
		b.Purge(purge(cache.PurgeURL, "/"))
		if n := forms(s); n != 0 {
			t.Errorf("%d forms are left", n)
		}
	})
}

// A large form that is still read when it is evicted is accounted as any body is.
func TestEncodedLoose(t *testing.T) {
	m, err := store.NewMemory(8 << 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	b := newBed(t, m)
	b.fill("/", strings.Repeat("x", 400<<10))
	o := b.look("/").Object
	var pieces [][]byte
	for range 4 {
		pieces = append(pieces, bytes.Repeat([]byte("y"), 64<<10))
	}
	b.PutEncoded(o, cache.Gzip, pieces)
	e := b.Encoded(o, cache.Gzip)
	err = e.Body.Range(0, e.Body.Len(), func([]byte) bool {
		b.Purge(cache.Purge{Kind: cache.PurgeAll})
		if b.Loose() < 256<<10 {
			t.Errorf("%d bytes are accounted", b.Loose())
		}
		return false
	})
	if err != nil || b.Loose() != 0 {
		t.Errorf("%v, and then %d bytes are", err, b.Loose())
	}
}

// Whatever happens in whatever order: a response's form is never that of other content.
func TestEncodedProperty(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		s := newTable(1 << 20)
		b := newBed(t, s)
		type wish struct {
			o *cache.Object
			c cache.Coding
		}
		var late []wish
		found := 0
		for step := range 60 {
			path := pick(rnd, "/a", "/b")
			switch l := b.look(path); rnd.IntN(9) {
			case 0, 1:
				if !l.Fresh() {
					b.fill(path, fmt.Sprint("content ", step), "Etag", `"1"`) // an origin that does not tell them apart
				} else {
					b.clock.advance(61 * time.Second)
				}
			case 2:
				if l.Object != nil && !l.Fresh() {
					r := b.join(path)
					go b.origin.next().head(304, 0, "Cache-Control", "max-age=60", "Etag", `"1"`)
					state(t, r, cache.Refreshed)
					r.Close()
				}
			case 3:
				if rnd.IntN(3) == 0 {
					b.Purge(cache.Purge{Kind: pick(rnd, cache.PurgeURL, cache.PurgeAll), Site: "www", Value: path, Soft: rnd.IntN(2) == 0})
				}
			case 4: // evicted alone
				s.Delete(key(path))
			case 5, 6:
				if l.Object != nil {
					late = append(late, wish{l.Object, pick(rnd, cache.Codings()...)})
				}
			default:
				if len(late) > 0 {
					i := rnd.IntN(len(late))
					w := late[i]
					late = append(late[:i], late[i+1:]...)
					b.PutEncoded(w.o, w.c, [][]byte{[]byte(w.c.String()), []byte(" of " + bytesOf(w.o.Body))})
				}
			}
			for _, path := range []string{"/a", "/b"} {
				o := b.look(path).Object
				for _, c := range cache.Codings() {
					if o == nil {
						continue
					}
					if e := b.Encoded(o, c); e != nil {
						found++
						if got, want := bytesOf(e.Body), c.String()+" of "+bytesOf(o.Body); got != want {
							t.Fatalf("seed %d, step %d: %q, want %q", seed, step, got, want)
						}
					}
				}
			}
		}
		if seed == 0 {
			defer func() {
				if !t.Failed() {
					t.Logf("seed 0 found %d forms", found)
				}
			}()
		}
	}
}
