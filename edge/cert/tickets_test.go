package cert

import (
	"crypto/tls"
	"sync"
	"testing"
	"time"
)

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)} }

// TestFleet shows that two nodes which were given the same seed have the same keys, whenever they got it, and
// that one which loses the hub keeps up.
func TestFleet(t *testing.T) {
	c := newClock()
	a, b := NewTickets(time.Hour, c.now), NewTickets(time.Hour, c.now)
	if a.keys("x")[0] == b.keys("x")[0] {
		t.Fatal("two random chains are equal")
	}
	seed, since := Seed{1, 2, 3}, c.now()
	if err := a.Reseed(seed, since); err != nil {
		t.Fatal(err)
	}
	c.advance(5 * time.Hour)
	if err := b.Reseed(seed, since); err != nil {
		t.Fatal(err)
	}
	a.present()
	if a.keys("x")[0] != b.keys("x")[0] {
		t.Error("nodes with one seed have different keys")
	}
	if a.keys("x")[0] == a.keys("y")[0] {
		t.Error("two trust domains have the same key")
	}
	if err := a.Reseed(seed, c.now().Add(2*time.Hour)); err == nil {
		t.Error("a seed of the future was taken")
	}
	if err := a.Reseed(seed, time.Time{}.Add(time.Hour)); err == nil {
		t.Error("a seed of the far past was taken")
	}
	turn := a.present()
	if err := a.Reseed(seed, since); err != nil || a.present() != turn {
		t.Errorf("the same seed again: %v, turn %d instead of %d", err, a.present(), turn)
	}
}

// TestRatchet counts for how many epochs a key is accepted, and that nothing of it is kept after.
func TestRatchet(t *testing.T) {
	c := newClock()
	k := NewTickets(time.Hour, c.now)
	old, oldSeed := k.keys("x")[0], k.chain[0]
	for epoch, want := range []int{0, 1, 2, -1, -1} {
		found := -1
		for i, key := range k.keys("x") {
			if key == old {
				found = i
			}
		}
		if found != want {
			t.Errorf("epoch %d: the old key is at %d, want %d", epoch, found, want)
		}
		c.advance(time.Hour)
		k.present()
	}
	for _, s := range k.chain[:cap(k.chain)] {
		if s == oldSeed {
			t.Error("an old secret is still there")
		}
	}
	turn := k.present()
	c.advance(-10 * time.Hour)
	if k.present() != turn {
		t.Error("the clock went back and the keys changed")
	}
	c.advance(100 * 365 * 24 * time.Hour) // must not take for ever
	if k.present() == turn {
		t.Error("the clock leapt and the keys did not change")
	}
}

// TestRollOnDemand shows that a handshake finds the keys of its time although nobody called Roll.
func TestRollOnDemand(t *testing.T) {
	c := newClock()
	n := NewNames(nil, NewTickets(time.Hour, c.now))
	if n.Roll() {
		t.Error("keys rolled within an epoch")
	}
	c.advance(time.Hour)
	n.Config(&tls.ClientHelloInfo{}, false)
	if n.Roll() {
		t.Error("Config did not roll")
	}
	c.advance(time.Hour)
	if !n.Roll() {
		t.Error("Roll did not roll")
	}
}
