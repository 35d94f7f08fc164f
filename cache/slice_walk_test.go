package cache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hither/cache"
)

// A book is an origin of one large body, of which parts can be asked for. Its bytes say which version they are of and where
// they lie.
type book struct {
	version atomic.Int64
	asked   atomic.Int64
	gate    func(ranged string) // called before each answer
}

const bookLength = 1000

func bookByte(version, off int64) byte { return byte('a' + (version*7+off*3+off/26)%26) }

func bookTag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// fetch answers as RFC 9110 sections 13 and 14 say.
func (b *book) fetch(_ context.Context, fields http.Header, _ func(int, http.Header)) (*http.Response, error) {
	b.asked.Add(1)
	if b.gate != nil {
		b.gate(fields.Get("Range"))
	}
	return bookAnswer(b.version.Load(), bookLength, fields), nil
}

func bookAnswer(v, length int64, fields http.Header) *http.Response {
	h := http.Header{"Date": {noon.Format(http.TimeFormat)}, "Cache-Control": {"max-age=60"}, "Etag": {bookTag(v)}, "Accept-Ranges": {"bytes"}}
	status, first, last := 200, int64(0), length-1
	if fields.Get("If-None-Match") == bookTag(v) {
		return &http.Response{StatusCode: 304, Header: h, Body: http.NoBody}
	}
	if line := fields.Get("Range"); line != "" && (fields.Get("If-Range") == "" || fields.Get("If-Range") == bookTag(v)) {
		var to int64
		fmt.Sscanf(line, "bytes=%d-%d", &first, &to)
		if first >= length {
			h.Set("Content-Range", fmt.Sprintf("bytes */%d", length))
			return &http.Response{StatusCode: 416, Header: h, Body: http.NoBody}
		}
		last = min(last, to)
		status = 206
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, length))
	}
	var text strings.Builder
	for off := first; off <= last; off++ {
		text.WriteByte(bookByte(v, off))
	}
	return &http.Response{StatusCode: status, Header: h, ContentLength: last - first + 1, Body: io.NopCloser(strings.NewReader(text.String()))}
}

// part is the text of a version from off on.
func bookPart(v, off, n int64) string {
	var text strings.Builder
	for i := range n {
		text.WriteByte(bookByte(v, off+i))
	}
	return text.String()
}

var slicing = cache.Policy{Slice: 100}

// open looks, and where nothing is stored asks for the slice with the byte at off; it returns a walk.
func open(ctx context.Context, c *cache.Cache, clk *clock, fetch cache.Fetch, off int64) (*cache.Walk, error) {
	for range 3 {
		look := c.Look(key("/book"), bare(), clk.now())
		want := cache.Want{Look: look, Request: bare(), Policy: slicing, Fetch: fetch, Ranged: off >= 0, From: off}
		if look.Fresh() {
			return c.Walk(ctx, want, look.Object, nil), nil
		}
		r := c.Join(ctx, want)
		if r == nil {
			continue
		}
		h, err := r.Head(ctx, nil)
		if err == nil && h.State == cache.Sliced {
			return c.Walk(ctx, want, h.Object, r), nil
		}
		r.Close()
		return nil, fmt.Errorf("state %d, %w", h.State, errors.Join(err, h.Err))
	}
	return nil, errors.New("looked too often")
}

func bare() http.Header { return http.Header{} }

// text reads n bytes from off on.
func text(w *cache.Walk, off, n int64) (string, error) {
	var all []byte
	err := w.Range(off, n, func(p []byte) bool { all = append(all, p...); return true })
	return string(all), err
}

// However many want a cold slice, the origin is asked once: whether it is known that there are slices or not.
func TestManyClientsOfOneSlice(t *testing.T) {
	const clients = 10_000
	eachStore(t, func(t *testing.T, s cache.Store) {
		clk := new(clock)
		c := cache.New(cache.Config{Store: s, Now: clk.now})
		var begun sync.WaitGroup
		b := &book{gate: func(string) { begun.Wait() }}
		for round, off := range []int64{500, 730} {
			begun.Add(clients)
			var all sync.WaitGroup
			for range clients {
				all.Go(func() {
					begun.Done()
					w, err := open(t.Context(), c, clk, b.fetch, off)
					if err != nil {
						t.Error(err)
						return
					}
					defer w.Close()
					if got, err := text(w, off, 20); err != nil || got != bookPart(0, off, 20) {
						t.Errorf("%q, %v", got, err)
					}
				})
			}
			all.Wait()
			if n := b.asked.Load(); n != int64(round+1) {
				t.Fatalf("round %d: the origin was asked %d times", round, n)
			}
		}
	})
}

// A client that came first and reads nothing holds nobody back.
func TestSlowFirstReaderOfASlice(t *testing.T) {
	clk := new(clock)
	c := cache.New(cache.Config{Store: newTable(128 << 20), Now: clk.now})
	const size = 4 << 20 // more than a window
	policy := cache.Policy{Slice: size}
	fetch := func(context.Context, http.Header, func(int, http.Header)) (*http.Response, error) {
		return &http.Response{
			StatusCode: 206, ContentLength: size, Body: io.NopCloser(io.LimitReader(zeros{}, size)),
			Header: http.Header{"Cache-Control": {"max-age=60"}, "Etag": {`"1"`}, "Content-Range": {fmt.Sprintf("bytes 0-%d/%d", size-1, int64(10<<30))}},
		}, nil
	}
	want := cache.Want{Look: c.Look(key("/"), bare(), clk.now()), Request: bare(), Policy: policy, Fetch: fetch, Ranged: true}
	slow := c.Join(t.Context(), want)
	defer slow.Close()
	h := state(t, slow, cache.Sliced)
	w := c.Walk(t.Context(), want, h.Object, nil)
	defer w.Close()
	n := 0
	if err := w.Range(0, size, func(p []byte) bool { n += len(p); return true }); err != nil || n != size {
		t.Errorf("%d bytes, %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// The whole of a large response is cut: its first slice is taken from the answer, the others are asked for once.
func TestWholeIsCut(t *testing.T) {
	eachStore(t, func(t *testing.T, s cache.Store) {
		clk := new(clock)
		c := cache.New(cache.Config{Store: s, Now: clk.now})
		var mu sync.Mutex
		var ranges []string
		b := &book{gate: func(r string) {
			mu.Lock()
			defer mu.Unlock()
			ranges = append(ranges, r)
		}}
		for range 2 {
			w, err := open(t.Context(), c, clk, b.fetch, -1)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := text(w, 0, bookLength); err != nil || got != bookPart(0, 0, bookLength) {
				t.Errorf("%q, %v", got, err)
			}
			if got, err := text(w, 995, 5); err != nil || got != bookPart(0, 995, 5) { // and back again
				t.Errorf("%q, %v", got, err)
			}
			if got, err := text(w, 950, 10); err != nil || got != bookPart(0, 950, 10) {
				t.Errorf("%q, %v", got, err)
			}
			w.Close()
		}
		mu.Lock()
		slices.Sort(ranges) // several are on their way at once
		if len(ranges) != 10 || ranges[0] != "" || ranges[1] != "bytes=100-199" || ranges[9] != "bytes=900-999" {
			t.Errorf("the origin was asked for %q", ranges)
		}
		mu.Unlock()
		if filled, differed := c.Slices(); filled != 10 || differed != 0 {
			t.Errorf("%d slices, %d differed", filled, differed)
		}
	})
}

// One that looks at a place and reads no further does not make the origin send the next slice as well.
func TestAhead(t *testing.T) {
	clk := new(clock)
	c := cache.New(cache.Config{Store: newTable(1 << 20), Now: clk.now})
	asked := make(chan string, 10)
	b := &book{gate: func(r string) { asked <- r }}
	w, err := open(t.Context(), c, clk, b.fetch, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	<-asked
	if got, err := text(w, 0, 60); err != nil || got != bookPart(0, 0, 60) {
		t.Fatalf("%q, %v", got, err)
	}
	select {
	case r := <-asked:
		t.Errorf("what is wanted ends in this slice, and %s was asked for", r)
	default:
	}
	if err := w.Range(0, bookLength, func([]byte) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if r := <-asked; r != "bytes=100-199" {
		t.Errorf("the origin was asked for %s", r)
	}
}

// Whose origin is so far that the slice that was asked for ahead has not come whole has more asked for ahead, and no more than
// mostAhead; whose is near has one, however fast it reads, and nobody's goes beyond what is wanted.
func TestAheadOfAFarOrigin(t *testing.T) {
	for name, test := range map[string]struct {
		distance, pause time.Duration // of the origin, of the client after each piece
		end             int64
		most, asked     int64
	}{
		"far":             {200 * time.Millisecond, 0, bookLength, 3, 10},
		"near":            {time.Millisecond, 10 * time.Millisecond, bookLength, 1, 10},
		"near, fast":      {20 * time.Millisecond, 0, bookLength, 1, 10},
		"far, slow":       {200 * time.Millisecond, time.Second, bookLength, 1, 10},
		"far, and a part": {200 * time.Millisecond, 0, 350, 2, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clk, began := new(clock), time.Now()
				c := cache.New(cache.Config{Store: newTable(1 << 20), Now: clk.now})
				var mu sync.Mutex
				var now, most int64
				add := func(n int64) {
					mu.Lock()
					defer mu.Unlock()
					now += n
					most = max(most, now)
				}
				b := &book{gate: func(string) {
					add(1)
					time.Sleep(test.distance)
					clk.nanos.Store(int64(time.Since(began)))
					add(-1)
				}}
				w, err := open(t.Context(), c, clk, b.fetch, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer w.Close()
				var got strings.Builder
				err = w.Range(0, test.end, func(piece []byte) bool {
					got.Write(piece)
					time.Sleep(test.pause)
					return true
				})
				if err != nil || got.String() != bookPart(0, 0, test.end) {
					t.Errorf("%d bytes, %v", got.Len(), err)
				}
				time.Sleep(time.Second) // of the bubble: what was asked for ahead comes to its end
				mu.Lock()
				defer mu.Unlock()
				if most != test.most || b.asked.Load() != test.asked {
					t.Errorf("%d slices asked for, %d at once, want %d and %d", b.asked.Load(), most, test.asked, test.most)
				}
			})
		})
	}
}

// Whatever makes an entry go, its slices go with it, and one that is under way is not stored.
func TestSlicesGoWithTheirManifest(t *testing.T) {
	for name, end := range map[string]func(c *cache.Cache){
		"invalidated": func(c *cache.Cache) { c.Invalidate(key("/book")) },
		"by url":      func(c *cache.Cache) { c.Purge(cache.Purge{Kind: cache.PurgeURL, Site: "www", Value: "/book"}) },
		"by prefix":   func(c *cache.Cache) { c.Purge(cache.Purge{Kind: cache.PurgePrefix, Site: "www", Value: "/bo"}) },
		"all":         func(c *cache.Cache) { c.Purge(cache.Purge{Kind: cache.PurgeAll}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clk := new(clock)
				c := cache.New(cache.Config{Store: newTable(1 << 20), Now: clk.now})
				purge := func(string) {}
				b := &book{gate: func(r string) { purge(r) }}
				read := func(off int64) {
					w, err := open(t.Context(), c, clk, b.fetch, off)
					if err != nil {
						t.Fatal(err)
					}
					defer w.Close()
					if got, err := text(w, off, 50); err != nil || got != bookPart(b.version.Load(), off, 50) {
						t.Errorf("%q, %v", got, err)
					}
				}
				read(0)
				read(100)
				purge = func(r string) { purge = func(string) {}; end(c) }
				read(200) // the purge comes while this slice is asked for
				asked := b.asked.Load()
				b.version.Add(1)
				read(0)
				read(100)
				read(200)
				if n := b.asked.Load() - asked; n != 3 {
					t.Errorf("after it the origin was asked for %d of 3 slices", n)
				}
				synctest.Wait()
				if !c.Idle() {
					t.Error("a fill is left")
				}
			})
		})
	}
}

// Who is refused a slice takes it from nobody: neither from those who wait for his nor from those who come later.
func TestRefusedSlice(t *testing.T) {
	for status, want := range map[int]error{
		401: cache.ErrRefused, 403: cache.ErrRefused, 431: cache.ErrRefused,
		404: cache.ErrVersion, 410: cache.ErrVersion, 416: cache.ErrVersion, 302: cache.ErrVersion, 204: cache.ErrVersion,
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clk := new(clock)
				c := cache.New(cache.Config{Store: newTable(1 << 20), Now: clk.now})
				b, answer := new(book), make(chan struct{})
				refuse := func(context.Context, http.Header, func(int, http.Header)) (*http.Response, error) {
					<-answer
					return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody}, nil
				}
				read := func(w *cache.Walk) error {
					got, err := text(w, 500, 20)
					if err == nil && got != bookPart(0, 500, 20) {
						t.Errorf("%q", got)
					}
					return err
				}
				var walks []*cache.Walk
				for _, fetch := range []cache.Fetch{b.fetch, refuse} {
					w, err := open(t.Context(), c, clk, fetch, 0)
					if err != nil {
						t.Fatal(err)
					}
					defer w.Close()
					walks = append(walks, w)
				}
				var all sync.WaitGroup
				all.Go(func() {
					if err := read(walks[1]); !errors.Is(err, want) {
						t.Errorf("who is refused: %v", err)
					}
				})
				synctest.Wait()
				all.Go(func() {
					if err := read(walks[0]); want == cache.ErrRefused && err != nil {
						t.Errorf("who waited: %v", err)
					}
				})
				synctest.Wait()
				close(answer)
				all.Wait()
				_, differed := c.Slices()
				if stays := c.Look(key("/book"), bare(), clk.now()).Fresh(); stays != (want == cache.ErrRefused) || stays != (differed == 0) {
					t.Errorf("the manifest stays: %v; %d differed", stays, differed)
				}
			})
		})
	}
}

// Who goes on reading what was purged gets it, and nothing of that is stored, nor asked for ahead.
func TestSlicesOfNothingAreNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clk := new(clock)
		s := newTable(1 << 20)
		c := cache.New(cache.Config{Store: s, Now: clk.now})
		b := new(book)
		w, err := open(t.Context(), c, clk, b.fetch, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		c.Invalidate(key("/book"))
		if got, err := text(w, 0, 250); err != nil || got != bookPart(0, 0, 250) {
			t.Errorf("%q, %v", got, err)
		}
		synctest.Wait()
		s.Each(func(o *cache.Object) bool {
			if !strings.HasSuffix(o.Key.Vary, ".0") { // which had come before
				t.Errorf("stored: kind %d, %q", o.Kind, o.Key.Vary)
			}
			return true
		})
		if n := b.asked.Load(); n != 3 {
			t.Errorf("the origin was asked %d times for 3 slices", n)
		}
	})
}

// A soft purge asks whether the version still holds, and the slices stay.
func TestSoftPurgeKeepsSlices(t *testing.T) {
	clk := new(clock)
	c := cache.New(cache.Config{Store: newTable(1 << 20), Now: clk.now})
	b := new(book)
	w, err := open(t.Context(), c, clk, b.fetch, -1)
	if err != nil {
		t.Fatal(err)
	}
	text(w, 0, bookLength)
	w.Close()
	if done := c.Purge(cache.Purge{Kind: cache.PurgeAll, Soft: true}); done.Objects != 1 {
		t.Errorf("%d objects were purged, want the response", done.Objects)
	}
	look := c.Look(key("/book"), bare(), clk.now())
	if look.Object == nil || look.Fresh() {
		t.Fatalf("%+v", look)
	}
	asked := b.asked.Load()
	r := c.Join(t.Context(), cache.Want{Look: look, Request: bare(), Policy: slicing, Fetch: b.fetch})
	defer r.Close()
	h := state(t, r, cache.Refreshed)
	w = c.Walk(t.Context(), cache.Want{Request: bare(), Policy: slicing, Fetch: b.fetch}, h.Object, nil)
	defer w.Close()
	if got, err := text(w, 0, bookLength); err != nil || got != bookPart(0, 0, bookLength) || b.asked.Load() != asked+1 {
		t.Errorf("%q, %v; the origin was asked %d times", got, err, b.asked.Load()-asked)
	}
}
