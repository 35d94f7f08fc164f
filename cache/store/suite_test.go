package store

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hither/cache"
)

const mib = 1 << 20

func key(path string) cache.Key {
	return cache.Key{Site: "www", Class: cache.ClassGet, Scheme: "https", Path: path}
}

// stamps makes every object unlike all others.
var stamps atomic.Int64

func object(k cache.Key, bytes int) *cache.Object {
	return &cache.Object{Key: k, Status: 200, Body: cache.NewBody(make([]byte, bytes)), Request: time.Unix(0, stamps.Add(1))}
}

// same reports whether what a store returned is what was put, or was read from what was written of it.
func same(got, put *cache.Object) bool {
	return got == put || got != nil && put != nil && got.Key == put.Key && got.Request.Equal(put.Request) && got.Body.Len() == put.Body.Len()
}

// kept reports whether a store may read objects anew, so that who has put one does not know whether it is dead.
func kept(s cache.Store) bool {
	_, ok := s.(*Tiered)
	return ok
}

// testStore is what every cache.Store must pass. open makes an empty store of size
// bytes, which the test's clean-up closes.
func testStore(t *testing.T, open func(t testing.TB, size int64) cache.Store) {
	t.Run("empty", func(t *testing.T) {
		s := open(t, mib)
		if o := s.Get(key("/")); o != nil {
			t.Errorf("Get of nothing = %v", o)
		}
		if s.Delete(key("/")) {
			t.Error("Delete of nothing = true")
		}
	})
	t.Run("put and get", func(t *testing.T) {
		s := open(t, mib)
		a, b := object(key("/a"), 10), object(key("/b"), 10)
		s.Put(a)
		s.Put(b)
		for range 10 { // also after a hit has moved it about
			if s.Get(a.Key) != a || s.Get(b.Key) != b {
				t.Fatal("Get finds not what was put")
			}
		}
		for _, k := range []cache.Key{
			{Site: "other", Class: a.Key.Class, Scheme: a.Key.Scheme, Path: a.Key.Path},
			{Site: a.Key.Site, Class: 'X', Scheme: a.Key.Scheme, Path: a.Key.Path},
			{Site: a.Key.Site, Class: a.Key.Class, Scheme: "http", Path: a.Key.Path},
			{Site: a.Key.Site, Class: a.Key.Class, Scheme: a.Key.Scheme, Path: a.Key.Path, Vary: "gzip"},
		} {
			if o := s.Get(k); o != nil {
				t.Errorf("Get(%+v) = %+v", k, o.Key)
			}
		}
	})
	t.Run("replace", func(t *testing.T) {
		s := open(t, mib)
		old, next := object(key("/a"), 10), object(key("/a"), 20)
		s.Put(old)
		hit(t, s, old, 10)
		s.Put(next)
		hit(t, s, next, 10)
		if !old.Dead() || next.Dead() {
			t.Errorf("old dead %v, new dead %v; want true, false", old.Dead(), next.Dead())
		}
	})
	t.Run("put again", func(t *testing.T) {
		s := open(t, mib)
		o := object(key("/a"), 10)
		s.Put(o)
		s.Put(o)
		if o.Dead() || s.Get(o.Key) != o {
			t.Error("an object put twice is gone")
		}
	})
	t.Run("delete", func(t *testing.T) {
		s := open(t, mib)
		o := object(key("/a"), 10)
		s.Put(o)
		hit(t, s, o, 10)
		if !s.Delete(o.Key) || !o.Dead() {
			t.Error("Delete did not remove and kill")
		}
		if s.Delete(o.Key) || s.Get(o.Key) != nil {
			t.Error("found after Delete")
		}
		s.Put(o) // late: dead objects stay dead
		if s.Get(o.Key) != nil {
			t.Error("found a dead object that was put again")
		}
	})
	t.Run("killed by its owner", func(t *testing.T) {
		s := open(t, mib)
		o := object(key("/a"), 10)
		s.Put(o)
		hit(t, s, o, 10)
		o.Kill()
		if s.Get(o.Key) != nil || s.Delete(o.Key) {
			t.Error("a dead object is treated as there")
		}
	})
	t.Run("largest object", func(t *testing.T) {
		s := open(t, mib)
		bare := object(key("/a"), 0).Size()
		fits := object(key("/a"), int(s.MaxObject()-bare))
		s.Put(fits)
		if s.Get(fits.Key) != fits {
			t.Error("an object of MaxObject is refused")
		}
		large := object(key("/a"), int(s.MaxObject()-bare+1))
		s.Put(large)
		if s.Get(fits.Key) != nil || !fits.Dead() {
			t.Error("an object above MaxObject was kept, or left what it replaces")
		}
	})
	t.Run("model", func(t *testing.T) {
		rapid.Check(t, func(r *rapid.T) { againstModel(r, open(t, 256<<10)) })
	})
	t.Run("concurrent", func(t *testing.T) { concurrently(t, open(t, 256<<10)) })
}

func hit(t *testing.T, s cache.Store, o *cache.Object, times int) {
	t.Helper()
	for range times {
		if s.Get(o.Key) != o {
			t.Fatalf("Get(%s) finds not what was put", o.Key.Path)
		}
	}
}

// againstModel runs random operations. The model is a map of what may be returned: a
// store may forget, but never return anything else.
func againstModel(r *rapid.T, s cache.Store) {
	model := map[cache.Key]*cache.Object{}
	keys := rapid.Custom(func(r *rapid.T) cache.Key {
		return key(fmt.Sprint("/", rapid.IntRange(0, 30).Draw(r, "n")))
	})
	audit := func() {
		if m := memoryOf(s); m != nil {
			if err := audit(m); err != nil {
				r.Fatal(err)
			}
		}
	}
	get := func(k cache.Key) {
		o := s.Get(k)
		if want := model[k]; o != nil && (!same(o, want) || want.Dead()) {
			r.Fatalf("Get(%s) = %p, put was %p", k.Path, o, want)
		}
	}
	r.Repeat(map[string]func(*rapid.T){
		"get": func(r *rapid.T) {
			k := keys.Draw(r, "key")
			for range rapid.IntRange(1, 5).Draw(r, "times") {
				get(k)
			}
		},
		"put": func(r *rapid.T) {
			o := object(keys.Draw(r, "key"), rapid.IntRange(0, 40_000).Draw(r, "bytes"))
			s.Put(o)
			if o.Size() <= s.MaxObject() {
				model[o.Key] = o
				if !same(s.Get(o.Key), o) {
					r.Fatalf("Get right after Put finds not what was put")
				}
			} else {
				delete(model, o.Key)
			}
		},
		"delete": func(r *rapid.T) {
			k := keys.Draw(r, "key")
			ok := s.Delete(k)
			if o := model[k]; ok && (o == nil || !o.Dead() && !kept(s)) || s.Get(k) != nil {
				r.Fatalf("Delete(%s) = %v, and nothing was there or it lives", k.Path, ok)
			}
			delete(model, k)
		},
		"kill": func(r *rapid.T) {
			o := model[keys.Draw(r, "key")]
			if o == nil {
				return
			}
			if found := s.Get(o.Key); found != nil {
				found.Kill() // which is o, or was read
				o.Kill()
			}
		},
		"wait": func(r *rapid.T) {
			if w, ok := s.(interface{ Wait() }); ok {
				w.Wait()
			}
		},
		"": func(*rapid.T) { audit() },
	})
}

// concurrently lets writers and readers loose on few keys. Each key has one writer, who
// knows what is right: nothing of what it removed may be found after the removal.
func concurrently(t *testing.T, s cache.Store) {
	const writers, rounds = 4, 3000
	var wg sync.WaitGroup
	for w := range writers {
		k := key(fmt.Sprint("/", w))
		other := key(fmt.Sprint("/", (w+1)%writers))
		wg.Go(func() {
			for i := range rounds {
				o := object(k, i%9000)
				s.Put(o)
				for range 3 {
					if got := s.Get(k); got != nil && !same(got, o) {
						t.Errorf("found %p after %p was put", got, o)
						return
					}
					if got := s.Get(other); got != nil && got.Key != other {
						t.Errorf("found an object of another key")
						return
					}
				}
				if i%3 == 0 {
					s.Delete(k)
					if s.Get(k) != nil {
						t.Error("found after Delete")
						return
					}
				}
			}
		})
		wg.Go(func() { // presses everything else out
			for i := range rounds {
				s.Put(object(key(fmt.Sprint("/filler/", w, "/", i)), 4000))
			}
		})
	}
	wg.Wait()
	if m := memoryOf(s); m != nil {
		m.Wait()
		if err := audit(m); err != nil {
			t.Error(err)
		}
	}
}

// memoryOf is the part of a store that has an audit.
func memoryOf(s cache.Store) *Memory {
	switch s := s.(type) {
	case *Memory:
		return s
	case *Tiered:
		return s.memory
	}
	return nil
}
