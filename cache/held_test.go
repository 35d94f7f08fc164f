package cache_test

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hither/cache"
	"hither/cache/store"
)

// filling is the budget of a bed.
const filling = 16 << 20

// many starts fills of bodies of unknown length, one reader each, which does not read.
func many(t *testing.T, b *bed, n int, body []byte) (readers []*cache.Reader, calls []*call) {
	for i := range n {
		r := b.join(fmt.Sprintf("/stalled/%d", i))
		c := b.origin.next()
		go func() {
			c.head(200, -1, "Cache-Control", "max-age=60")
			c.body.w.Write(body) // fails where the fill ends before it
			c.end()
		}()
		state(t, r, cache.Streaming)
		synctest.Wait()
		readers, calls = append(readers, r), append(calls, c)
	}
	return readers, calls
}

// pending is what the origin has given to readers that have taken nothing: the bytes that
// somebody must hold.
func pending(calls []*call) (n int64) {
	for _, c := range calls {
		n += c.body.read.Load()
	}
	return n
}

// Clients that ask for many large bodies and read none of them make the cache hold no
// more than its budget and two chunks for each.
func TestClientsThatDoNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, newTable(4<<20))
		const n = 40
		readers, calls := many(t, b, n, pattern(8<<20))
		if got, most := pending(calls), int64(filling+2*n*cache.MostChunk); got > most || got < filling/2 {
			t.Errorf("%d bytes held for %d readers, want at most %d", got, n, most)
		}
		if got := b.Held(); got > filling {
			t.Errorf("%d bytes accounted, the budget is %d", got, filling)
		}
		// Each gets all of it all the same when it reads.
		var got int
		for {
			p, err := readers[n-1].Next(t.Context(), -1)
			if got += len(p); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("after %d bytes: %v", got, err)
			}
		}
		if got != 8<<20 {
			t.Errorf("the last reader got %d bytes", got)
		}
		for _, r := range readers {
			r.Close()
		}
		synctest.Wait()
		b.idle()
	})
}

// Readers that take nothing while another fill finds no room are cut off when the
// patience is over: not sooner, and not only when their clients' connections end.
func TestStalledReadersMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, newTable(filling))
		readers, _ := many(t, b, 2, pattern(2*filling))
		began := time.Now()
		small := pattern(100 << 10)
		stored := func(path string) bool {
			b.fill(path, string(small))
			return b.look(path).Object != nil
		}
		if stored("/first") {
			t.Fatal("stored: there is no pressure to test with")
		}
		for i := 0; !stored(fmt.Sprint("/", i)); i++ {
			time.Sleep(time.Second) // of the bubble
			if i > 60 {
				t.Fatal("two readers that stall keep everything else from being stored")
			}
		}
		if took := time.Since(began).Round(time.Second); took < 10*time.Second || took > 20*time.Second {
			t.Errorf("room after %v, want the patience of 10s once or twice", took)
		}
		behind := 0
		for _, r := range readers {
			if _, err := r.Next(t.Context(), -1); errors.Is(err, cache.ErrBehind) {
				behind++
			}
			r.Close()
		}
		if behind == 0 {
			t.Error("nobody was told that he is behind")
		}
		synctest.Wait()
		b.idle()
	})
}

// A reader that takes a piece now and then is not cut off for others' sake.
func TestSlowReaderUnderPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, newTable(filling))
		readers, _ := many(t, b, 2, pattern(2*filling))
		small := pattern(100 << 10)
		for i := range 30 {
			time.Sleep(4 * time.Second) // of the bubble
			b.fill(fmt.Sprint("/", i), string(small))
			if _, err := readers[0].Next(t.Context(), -1); err != nil {
				t.Fatalf("a piece each 4s: %v after %d", err, i)
			}
		}
		for _, r := range readers {
			r.Close()
		}
	})
}

// What was evicted while it is read is bounded too, however it is read: the bodies from
// which nothing was taken for longest are cut off, the others come whole.
func TestEvictedWhileRead(t *testing.T) {
	const size, n, fit = 4 << 20, 8, filling / (4 << 20)
	ways := map[string]func(b *bed, path string, body []byte, pause func()) error{
		"from a fill": func(b *bed, path string, body []byte, pause func()) error {
			r := b.join(path)
			defer r.Close()
			c := b.origin.next()
			go c.fresh(string(body))
			state(b.t, r, cache.Streaming)
			paused := false
			for got := 0; ; {
				p, err := r.Next(b.t.Context(), -1)
				if err == io.EOF && got == len(body) {
					return nil
				}
				if err != nil {
					return err
				}
				got += len(p)
				if !paused {
					paused = true
					pause() // the rest comes, and is stored
				}
			}
		},
		"from the store": func(b *bed, path string, body []byte, pause func()) error {
			b.fill(path, string(body))
			got, paused := 0, false
			o := b.look(path).Object
			err := o.Body.Range(0, o.Body.Len(), func(p []byte) bool {
				got += len(p)
				if !paused {
					paused = true
					pause()
				}
				return true
			})
			if err == nil && got != len(body) {
				return io.ErrUnexpectedEOF
			}
			return err
		},
	}
	for name, read := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, err := store.NewMemory(8 * (size + 1<<20)) // about ten of them
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				b := newBed(t, m)
				body := pattern(size)
				var results [n]error
				var left atomic.Int32
				gates := make([]chan struct{}, n)
				for i := range n {
					gates[i] = make(chan struct{})
					left.Add(1)
					go func() {
						defer left.Add(-1)
						results[i] = read(b, fmt.Sprintf("/%d", i), body, func() { <-gates[i] })
					}()
					synctest.Wait()
					time.Sleep(time.Second) // of the bubble: who read last is known
				}
				if b.Loose() != 0 {
					t.Fatalf("%d bytes are accounted, and all are stored", b.Loose())
				}
				for i := range 40 { // presses everything out: asked for again, each proves as much as what is there
					b.fill(fmt.Sprintf("/filler/%d", i), string(body))
					b.look(fmt.Sprintf("/filler/%d", i))
				}
				for i := range n {
					if b.look(fmt.Sprintf("/%d", i)).Object != nil {
						t.Fatal("still stored: nothing to see")
					}
				}
				if got := b.Loose(); got > filling || got <= filling-size {
					t.Errorf("%d bytes of evicted bodies are held, want up to %d", got, filling)
				}
				for i := range n {
					close(gates[i])
				}
				synctest.Wait()
				for i, err := range results {
					if cut := errors.Is(err, cache.ErrBehind); cut != (i < n-fit) || !cut && err != nil {
						t.Errorf("reader %d of %d, of which %d fit: %v", i, n, fit, err)
					}
				}
				if left.Load() != 0 {
					t.Error("a reader still waits")
				}
				synctest.Wait()
				b.idle()
			})
		})
	}
}

// A body that a 304 carried over to another object is stored once, and is nobody's.
func TestRefreshedBodyStays(t *testing.T) {
	eachStore(t, func(t *testing.T, s cache.Store) {
		b := newBed(t, s)
		body := pattern(1 << 20)
		b.fill("/", string(body), "Etag", `"1"`)
		old := b.look("/").Object
		b.clock.advance(time.Hour)
		got := 0
		err := old.Body.Range(0, old.Body.Len(), func(p []byte) bool {
			if got == 0 {
				r := b.join("/")
				c := b.origin.next()
				c.head(304, 0, "Cache-Control", "max-age=60", "Etag", `"1"`)
				c.end()
				state(t, r, cache.Refreshed)
				r.Close()
				if b.Loose() != 0 {
					t.Errorf("%d bytes accounted of a body that is stored", b.Loose())
				}
				b.Invalidate(key("/"))
				if got := b.Loose(); got < int64(len(body)) {
					t.Errorf("%d bytes accounted of a body that is read and no longer stored", got)
				}
			}
			got += len(p)
			return true
		})
		if err != nil || got != len(body) {
			t.Errorf("%d bytes, %v", got, err)
		}
		b.idle()
	})
}

// A 304 for a body that was given up while the origin was asked confirms nothing that could
// be served: the whole is asked for.
func TestRefreshOfWhatWasCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, newTable(32<<20))
		const size = 6 << 20 // two fit
		for _, path := range []string{"/", "/1", "/2"} {
			b.fill(path, string(pattern(size)), "Etag", `"1"`)
		}
		objects := []*cache.Object{b.look("/").Object, b.look("/1").Object, b.look("/2").Object}
		b.clock.advance(time.Hour)
		r := b.join("/")
		defer r.Close()
		asked := b.origin.next()
		if asked.validators.Get("If-None-Match") == "" {
			t.Fatal("asked without validators")
		}
		stop := make(chan struct{})
		for i, o := range objects {
			go o.Body.Range(0, size, func([]byte) bool { <-stop; return false })
			synctest.Wait()
			time.Sleep(time.Second) // of the bubble: who read last is known
			b.Invalidate(key([]string{"/", "/1", "/2"}[i]))
		}
		asked.head(304, 0, "Cache-Control", "max-age=60", "Etag", `"1"`)
		asked.end()
		again := b.origin.next()
		if len(again.validators) > 0 {
			t.Errorf("asked again with %v", again.validators)
		}
		go again.fresh("whole")
		if got, err := read(t, r); err != nil || got != "whole" {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		close(stop)
		synctest.Wait()
	})
}
