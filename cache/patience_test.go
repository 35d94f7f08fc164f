package cache_test

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"hither/cache"
)

// A reader that stops does not hold the others of a body that is not kept for longer
// than they can be asked to wait; alone it may be as slow as it likes.
func TestReaderThatHoldsUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, newTable(1<<20))
		body := pattern(8 << 20)
		slow, fast := b.join("/"), b.join("/")
		c := b.origin.next()
		go func() {
			c.head(200, -1, "Cache-Control", "max-age=60")
			c.write(body)
			c.end()
		}()
		state(t, slow, cache.Streaming)
		began, n := time.Now(), 0
		for {
			p, err := fast.Next(t.Context(), -1)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("the fast reader after %d bytes: %v", n, err)
			}
			n += len(p)
		}
		if n != len(body) {
			t.Errorf("the fast reader got %d bytes of %d", n, len(body))
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("the fast reader waited %v, want the patience of 10s and nothing else", took)
		}
		if _, err := slow.Next(t.Context(), -1); !errors.Is(err, cache.ErrBehind) {
			t.Errorf("the slow reader: %v, want ErrBehind", err)
		}
		slow.Close()
		fast.Close()
	})
}

func TestSlowReaderAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, newTable(1<<20))
		body := pattern(4 << 20)
		slow := b.join("/")
		c := b.origin.next()
		go func() {
			c.head(200, -1, "Cache-Control", "max-age=60")
			c.write(body)
			c.end()
		}()
		state(t, slow, cache.Streaming)
		n := 0
		for {
			time.Sleep(time.Minute) // of the bubble
			p, err := slow.Next(t.Context(), -1)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("after %d bytes: %v", n, err)
			}
			n += len(p)
		}
		if n != len(body) {
			t.Errorf("got %d bytes of %d", n, len(body))
		}
		slow.Close()
	})
}
