package cache_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"hither/cache"
	"hither/cache/store"
)

// A choosy store wants what is accounted with more than 1000 bytes only once it was asked for before.
type choosy struct {
	*table
	asked map[cache.Key]bool
}

func (s choosy) Admits(k cache.Key, size int64) bool {
	if size <= 1000 || s.asked[k] {
		return true
	}
	s.asked[k] = true
	return false
}

// What the store does not want goes to all who have joined, is not stored, and sends nobody past the next fill.
func TestLargeObjectIsStoredTheSecondTime(t *testing.T) {
	b := newBed(t, choosy{newTable(8 << 20), map[cache.Key]bool{}})
	body := string(pattern(100 << 10))
	first, other := b.join("/"), b.join("/")
	c := b.origin.next()
	go c.fresh(body)
	for _, r := range []*cache.Reader{first, other} {
		if h := state(t, r, cache.Streaming); h.Stored || h.Reason != cache.ReasonTooLarge {
			t.Errorf("head %+v", h)
		}
	}
	done := make(chan string)
	go func() { got, _ := read(t, other); done <- got }()
	if got, err := read(t, first); got != body || err != nil {
		t.Errorf("the leader reads %d bytes, %v", len(got), err)
	}
	if got := <-done; got != body {
		t.Errorf("who has joined reads %d bytes", len(got))
	}
	first.Close()
	other.Close()
	if l := b.look("/"); l.Object != nil || l.Pass {
		t.Errorf("after the first: %+v", l)
	}
	again := b.join("/")
	defer again.Close()
	go b.origin.next().fresh(body)
	if h := state(t, again, cache.Streaming); !h.Stored {
		t.Errorf("the second time: %+v", h)
	}
	if got, err := read(t, again); got != body || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if b.stored("/") != body {
		t.Error("not stored")
	}
	b.origin.count(2)
	b.idle()
}

// In a full store one response that nobody asked for before throws out nothing, however large, and whether or not its length
// was known; asked for again, it is stored.
func TestOneResponseDoesNotEmptyTheStore(t *testing.T) {
	for name, unknown := range map[string]bool{"known": false, "unknown": true} {
		t.Run(name, func(t *testing.T) {
			m, err := store.NewMemory(8 << 20)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			b := newBed(t, m)
			small := string(pattern(60 << 10))
			paths := make([]string, 200) // more than fit
			for i := range paths {
				paths[i] = "/" + string(rune('a'+i/26)) + string(rune('a'+i%26))
				b.fill(paths[i], small)
			}
			count := func() (n int) {
				for _, path := range paths {
					if m.Peek(key(path)) != nil {
						n++
					}
				}
				return n
			}
			before := count()
			large := string(pattern(6<<20 + 1))
			length := int64(len(large))
			if unknown {
				length = -1
			}
			if h := b.ask("/large", large, length); h.Reason != cache.ReasonTooLarge || h.Stored {
				t.Errorf("passed on as %+v", h)
			}
			if after := count(); after != before || b.stored("/large") != "" {
				t.Errorf("of %d responses one that was asked for once has left %d", before, after)
			}
			if b.look("/large").Pass {
				t.Error("the next requests pass one another")
			}
			if h := b.ask("/large", large, length); h.Reason != "" || !h.Stored {
				t.Errorf("stored as %+v", h)
			}
			if b.stored("/large") != large || count() >= before {
				t.Error("asked for twice, it is not stored")
			}
			b.idle()
		})
	}
}

// A body of unknown length that fits into one chunk, and comes with its end, is judged as well.
func TestUnknownLengthIsJudgedAtItsEnd(t *testing.T) {
	b := newBed(t, choosy{newTable(8 << 20), map[cache.Key]bool{}})
	small, large := string(pattern(100)), string(pattern(2000))
	for _, ask := range []struct {
		path, body string
		stored     bool
	}{{"/small", small, true}, {"/large", large, false}, {"/large", large, true}} {
		if h := b.ask(ask.path, ask.body, -1); h.Stored != ask.stored || (b.stored(ask.path) == ask.body) != ask.stored {
			t.Errorf("%s: head %+v", ask.path, h)
		}
	}
	b.idle()
}

// ask leads a fill whose body comes with its end, reads it, and returns the head as it is then.
func (b *bed) ask(path, body string, length int64) cache.Head {
	b.t.Helper()
	want := b.want(path)
	want.Fetch = func(context.Context, http.Header, func(int, http.Header)) (*http.Response, error) {
		h := http.Header{"Cache-Control": {"max-age=60"}}
		return &http.Response{StatusCode: 200, Header: h, ContentLength: length, Body: io.NopCloser(iotest.DataErrReader(strings.NewReader(body)))}, nil
	}
	r := b.Join(b.t.Context(), want)
	defer r.Close()
	if got, err := read(b.t, r); got != body || err != nil {
		b.t.Errorf("%d bytes, %v", len(got), err)
	}
	return head(b.t, r)
}

// While large bodies come slowly, and take all that large ones may, what is small is stored; the one of them that finds no room is
// passed on.
func TestLargeFillLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, newTable(4*filling))
		const most = filling / 4 * 3
		slow := b.join("/slow")
		defer slow.Close()
		c := b.origin.next()
		go func() {
			c.head(200, most, "Cache-Control", "max-age=60")
			c.write(make([]byte, most-1))
		}()
		state(t, slow, cache.Streaming)
		synctest.Wait()
		if got := b.Held(); got != most {
			t.Errorf("%d bytes accounted, want %d", got, most)
		}
		second := b.join("/second")
		d := b.origin.next()
		go func() {
			d.head(200, filling/4, "Cache-Control", "max-age=60")
			d.body.w.Write(make([]byte, filling/4)) // nobody takes it
		}()
		state(t, second, cache.Streaming)
		synctest.Wait()
		for _, path := range []string{"/1", "/2"} {
			b.fill(path, string(pattern(filling/8)))
			if b.look(path).Object == nil {
				t.Errorf("%s is not stored", path)
			}
		}
		second.Close()
		go func() {
			c.write([]byte{0})
			c.end()
		}()
		if got, err := read(t, slow); len(got) != most || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if b.look("/slow").Object == nil {
			t.Error("the large one itself is not stored")
		}
		if b.look("/second").Object != nil {
			t.Error("two large ones have what is for all")
		}
		synctest.Wait()
		b.idle()
	})
}

// A body larger than all that readers may hold of what no store has is not cut off while it is the only one.
func TestOneLooseBodyIsRead(t *testing.T) {
	b := newBed(t, newTable(64<<20))
	b.Cache = cache.New(cache.Config{Store: newTable(64 << 20), Now: b.clock.now, Filling: 16 << 20, Loose: 1 << 20})
	body := pattern(4 << 20)
	b.fill("/", string(body))
	o, got := b.look("/").Object, 0
	err := o.Body.Range(0, o.Body.Len(), func(p []byte) bool {
		if got == 0 {
			b.Invalidate(key("/"))
		}
		got += len(p)
		return true
	})
	if err != nil || got != len(body) {
		t.Errorf("%d bytes, %v", got, err)
	}
	b.idle()
}
