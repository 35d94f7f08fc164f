package cache_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hither/cache"
	"hither/cache/store"
)

// A library is an origin of several bodies whose versions change at any time, and which lies about ranges now and then.
type library struct {
	honest bool // it never lies
	// planted makes it say of any version that it is the one asked for, which no cache can find out: so that the test can.
	planted  bool
	versions [4]atomic.Int64
	asked    atomic.Uint64
}

// length is that of a version: some are small, and some whole ones large; and there are some of one length.
func (l *library) length(v int64) int64 { return [...]int64{20, 190, 190, 350, 350}[v%5] }

func (l *library) fetch(book int, seed uint64) cache.Fetch {
	return func(ctx context.Context, fields http.Header, _ func(int, http.Header)) (*http.Response, error) {
		rnd := rand.New(rand.NewPCG(seed, l.asked.Add(1)))
		time.Sleep(time.Duration(rnd.IntN(3)) * time.Millisecond)
		v := l.versions[book].Load()
		resp := bookAnswer(v, l.length(v), fields)
		if rnd.IntN(4) == 0 { // it does not know If-Range, which is no lie
			of := fields.Clone()
			of.Del("If-Range")
			resp = bookAnswer(v, l.length(v), of)
		}
		if tag := fields.Get("If-Range"); l.planted && tag != "" {
			of := fields.Clone()
			of.Del("If-Range")
			asked, _ := strconv.ParseInt(strings.Trim(tag, `"`), 10, 64)
			resp = bookAnswer(v, l.length(asked), of)
			resp.Header.Set("Etag", tag)
		}
		resp.Header.Set("Cache-Control", "max-age=3")
		resp.ProtoMajor = 2
		if !l.honest && rnd.IntN(6) == 0 {
			return l.lie(rnd, v, resp)
		}
		resp.Body = slowly(resp.Body, rnd)
		return resp, nil
	}
}

// lie says something else than it should. What it says of a version's bytes stays true where it names the version.
func (l *library) lie(rnd *rand.Rand, v int64, resp *http.Response) (*http.Response, error) {
	switch rnd.IntN(9) {
	case 0:
		return nil, errReset
	case 1:
		resp.StatusCode = 503
	case 2:
		resp.Header.Set("Etag", "W/"+bookTag(v))
	case 3:
		resp.Header.Del("Etag")
	case 4:
		resp.Header.Set("Content-Range", "bytes 0-9/100")
	case 5: // short
		resp.Body = io.NopCloser(io.LimitReader(resp.Body, max(0, resp.ContentLength-5)))
	case 6: // long
		resp.Body = io.NopCloser(io.MultiReader(resp.Body, strings.NewReader("more")))
		return resp, nil
	case 7: // ranges are nothing to it
		whole := bookAnswer(v, l.length(v), http.Header{})
		whole.ProtoMajor = 2
		return whole, nil
	case 8:
		resp.Header.Set("Content-Range", "bytes 0-9/*")
	}
	if rnd.IntN(2) == 0 {
		resp.ContentLength = -1
	}
	return resp, nil
}

// slowly gives a body in pieces that take their time.
func slowly(r io.Reader, rnd *rand.Rand) io.ReadCloser { return &slow{r, rnd} }

type slow struct {
	r   io.Reader
	rnd *rand.Rand
}

func (s *slow) Read(p []byte) (int, error) {
	time.Sleep(time.Duration(s.rnd.IntN(2)) * time.Millisecond)
	return s.r.Read(p[:min(len(p), 1+s.rnd.IntN(40))])
}

func (*slow) Close() error { return nil }

// Whatever is read of whatever version, while others come at any time and the origin lies: all bytes of one answer are of the
// version that its entity-tag names, each where it belongs.
func TestNeverAMixedBody(t *testing.T) {
	for name, newStore := range map[string]func() (cache.Store, func()){
		"table": func() (cache.Store, func()) { return newTable(1 << 20), func() {} },
		"memory": func() (cache.Store, func()) {
			m, err := store.NewMemory(128 << 10)
			if err != nil {
				t.Fatal(err)
			}
			return m, m.Close
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for seed := range uint64(15) {
					s, end := newStore()
					l := &library{honest: seed%3 == 0}
					whole, mixed := browse(t, s, l, seed)
					for _, m := range mixed {
						t.Errorf("seed %d: %s", seed, m)
					}
					if whole < 100 {
						t.Errorf("seed %d: no more than %d parts were read to their end", seed, whole)
					}
					end()
				}
			})
		})
	}
}

// The check bites: an origin that says the old tag of a new version is found out by it, as it can be by nothing else.
func TestMixedBodyIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if _, mixed := browse(t, newTable(1<<20), &library{honest: true, planted: true}, 1); len(mixed) == 0 {
			t.Error("mixed bodies pass for whole ones")
		}
	})
}

// browse lets readers read at random. It returns how many parts were read to their end, and what was wrong.
func browse(t *testing.T, s cache.Store, l *library, seed uint64) (whole int64, mixed []string) {
	clk := new(clock)
	c := cache.New(cache.Config{Store: s, Now: clk.now, Filling: 64 << 10})
	var ended atomic.Int64
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, i))
		all.Go(func() {
			for range 60 {
				book := rnd.IntN(len(l.versions))
				switch rnd.IntN(20) {
				case 0:
					l.versions[book].Add(1)
				case 1:
					c.Invalidate(key("/" + strconv.Itoa(book)))
				case 2:
					c.Purge(cache.Purge{Kind: cache.PurgePrefix, Site: "www", Value: "/", Soft: rnd.IntN(2) == 0})
				case 3:
					clk.advance(time.Second)
				}
				off, n := rnd.Int64N(300), 1+rnd.Int64N(300)
				if rnd.IntN(5) == 0 {
					off = 0
				}
				done, wrong := leaf(t.Context(), c, clk, l.fetch(book, rnd.Uint64()), book, off, n, rnd.IntN(8) == 0)
				if done {
					ended.Add(1)
				}
				if wrong != "" {
					mu.Lock()
					mixed = append(mixed, wrong)
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	time.Sleep(time.Minute) // of the bubble: what was asked for ahead comes to its end
	if !c.Idle() {
		t.Errorf("seed %d: %d bytes are held at the end", seed, c.Held())
	}
	return ended.Load(), mixed
}

// leaf reads n bytes from off on as a proxy does. It reports whether all of them came, and what was wrong with any.
func leaf(ctx context.Context, c *cache.Cache, clk *clock, fetch cache.Fetch, book int, off, n int64, leave bool) (whole bool, wrong string) {
	for range 4 {
		look := c.Look(key("/"+strconv.Itoa(book)), bare(), clk.now())
		want := cache.Want{Look: look, Request: bare(), Policy: cache.Policy{Slice: 32}, Fetch: fetch}
		if look.Fresh() {
			if look.Object.Kind == cache.Manifest {
				return walk(ctx, c, want, look.Object, nil, off, n, leave)
			}
			return held(look.Object, look.Object.Body.Len(), off, n, look.Object.Body.Range)
		}
		want.Ranged, want.From = off > 0 && !c.Unsliced(look.Key, clk.now()) && (look.Object == nil || look.Object.Kind == cache.Manifest), off
		r := c.Join(ctx, want)
		if r == nil {
			continue
		}
		h, err := r.Head(ctx, nil)
		if err != nil {
			r.Close()
			return false, ""
		}
		switch h.State {
		case cache.Sliced:
			return walk(ctx, c, want, h.Object, r, off, n, leave)
		case cache.Refreshed:
			r.Close()
			if h.Object.Kind == cache.Manifest {
				return walk(ctx, c, want, h.Object, nil, off, n, leave)
			}
			return held(h.Object, h.Object.Body.Len(), off, n, h.Object.Body.Range)
		case cache.Streaming:
			defer r.Close()
			return held(h.Object, h.Length, off, n, func(off, n int64, yield func([]byte) bool) error {
				r.Skip(off)
				for {
					p, err := r.Next(ctx, off+n)
					if err == io.EOF {
						return nil
					}
					if err != nil || !yield(p) {
						return err
					}
				}
			})
		}
		r.Close()
		if h.State != cache.Elsewhere {
			return false, "" // past the cache, or an error
		}
	}
	return false, ""
}

func walk(ctx context.Context, c *cache.Cache, want cache.Want, o *cache.Object, r *cache.Reader, off, n int64, leave bool) (whole bool, wrong string) {
	w := c.Walk(ctx, want, o, r)
	defer w.Close()
	content := w.Range
	if leave { // in the middle
		content = func(off, n int64, yield func([]byte) bool) error {
			return w.Range(off, n, func(p []byte) bool { yield(p); return false })
		}
	}
	whole, wrong = held(o, o.Length(), off, n, content)
	return whole && !leave, wrong
}

// held compares what content gives with the version that o says it is. length -1 is one not known.
func held(o *cache.Object, length, off, n int64, content func(off, n int64, yield func([]byte) bool) error) (whole bool, wrong string) {
	tag := strings.Trim(strings.TrimPrefix(o.Fields.Get("Etag"), "W/"), `"`)
	version, err := strconv.ParseInt(tag, 10, 64)
	if err != nil || o.Status != 200 {
		return false, "" // it says nothing of what it is
	}
	if length >= 0 {
		off = min(off, length-1)
		n = min(n, length-off)
	}
	at := off
	err = content(off, n, func(p []byte) bool {
		for _, b := range p {
			if b != bookByte(version, at) && wrong == "" {
				wrong = fmt.Sprintf("byte %d of version %d is another one's (of %d from %d, sliced %v)", at, version, n, off, o.Kind == cache.Manifest)
			}
			at++
		}
		return true
	})
	if err == nil && length >= 0 && at != off+n && wrong == "" {
		return false, "" // left in the middle, which only walk does
	}
	return err == nil, wrong
}
