package cache_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"hither/cache"
	"hither/cache/store"
)

func TestNoStoreReleasesWaiters(t *testing.T) {
	eachStore(t, func(t *testing.T, s cache.Store) {
		b := newBed(t, s)
		leader := b.join("/")
		var wg sync.WaitGroup
		for range 100 {
			r := b.join("/")
			wg.Go(func() {
				defer r.Close()
				if h, err := r.Head(t.Context(), nil); err != nil || h.State != cache.Alone || h.Response != nil || h.Reason != cache.ReasonHitForMiss {
					t.Errorf("waiter's head %+v, %v", h, err)
				}
			})
		}
		c := b.origin.next()
		c.head(200, 5, "Cache-Control", "no-store")
		wg.Wait() // while the leader's body has not begun
		h := state(t, leader, cache.Alone)
		if h.Response == nil || h.Reason != cache.ReasonNoStore || !h.Leader {
			t.Fatalf("leader's head %+v", h)
		}
		go func() { c.write([]byte("hello")); c.end() }()
		if got, err := io.ReadAll(h.Response.Body); string(got) != "hello" || err != nil {
			t.Errorf("the leader reads %q, %v", got, err)
		}
		leader.Close()
		if n := c.body.closed.Load(); n != 1 {
			t.Errorf("body closed %d times", n)
		}
		b.idle()
		// For a while requests go past one another.
		if l := b.look("/"); !l.Pass || l.Object != nil {
			t.Errorf("look %+v", l)
		}
		b.clock.advance(cache.PassLifetime)
		if b.look("/").Pass {
			t.Error("the marker outlived its time")
		}
		b.fill("/", "hello")
	})
}

func TestLeaderOfAloneHasLeft(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	b.join("/").Close()
	c := b.origin.next()
	c.head(200, -1, "Cache-Control", "private")
	<-c.body.gone
	if n := c.body.closed.Load(); n != 1 {
		t.Errorf("body closed %d times", n)
	}
	<-c.ctx.Done()
}

// A response that is the leader's alone ends when its client leaves, though the origin has
// nothing to send by which that could be noticed.
func TestAloneEndsWithItsLeader(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	ctx, leave := context.WithCancel(t.Context())
	r := b.Join(ctx, b.want("/"))
	defer r.Close()
	c := b.origin.next()
	go c.head(200, -1, "Cache-Control", "no-store")
	h, err := r.Head(ctx, nil)
	if err != nil || h.Response == nil {
		t.Fatalf("head %+v, %v", h, err)
	}
	done := make(chan error)
	go func() {
		_, err := h.Response.Body.Read(make([]byte, 1))
		done <- err
	}()
	leave()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Read: %v", err)
	}
}

func TestStoreThatKeepsNothing(t *testing.T) {
	b := newBed(t, store.None{})
	a, z := b.join("/"), b.join("/")
	defer a.Close()
	defer z.Close()
	// Nobody waits for anybody: there would never be anything to wait for.
	one, two := b.origin.next(), b.origin.next()
	one.head(200, 0, "Cache-Control", "max-age=60")
	two.head(200, 0, "Cache-Control", "max-age=60")
	state(t, a, cache.Alone)
	state(t, z, cache.Alone)
	b.idle()
}
