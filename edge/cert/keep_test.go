package cert

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestKeep brings a chain over restarts of all lengths: its keys are those that a process which had gone on would have, and no others.
func TestKeep(t *testing.T) {
	for away := range 5 { // epochs without a process
		c := newClock()
		old := NewTickets(time.Hour, c.now)
		if err := old.Reseed(Seed{1}, c.now()); err != nil {
			t.Fatal(err)
		}
		c.advance(2 * time.Hour)
		chain, turn := old.Keep()
		if again, same := old.Keep(); same != turn || !bytes.Equal(chain, again) {
			t.Fatal("what was kept changes by itself")
		}
		c.advance(time.Duration(away) * time.Hour)
		next := NewTickets(time.Hour, c.now)
		if err := next.Restore(slices.Clone(chain)); err != nil {
			t.Fatal(err)
		}
		old.present()
		if got := next.keys("x"); len(got) != accepted || !slices.Equal(got, old.keys("x")) {
			t.Errorf("after %d epochs: %d keys, and not those of who had gone on", away, len(got))
		}
		after, _ := next.Keep()
		for i, s := range []int{2, 1, 0} { // the kept chain's secrets, oldest first, and for how many epochs they last
			secret := chain[len(chain)-(i+1)*len(Seed{}):][:len(Seed{})]
			if got, want := bytes.Contains(after, secret), away+s < accepted; got != want {
				t.Errorf("after %d epochs: the secret of %d epochs before is still there: %v, want %v", away, s, got, want)
			}
		}
	}
}

// TestRestoreRefuses offers what is no chain of this node's: the one that it has stays.
func TestRestoreRefuses(t *testing.T) {
	c := newClock()
	chain, _ := NewTickets(time.Hour, c.now).Keep()
	ahead := newClock()
	ahead.advance(5 * time.Hour)
	future, _ := NewTickets(time.Hour, ahead.now).Keep()
	longer, _ := NewTickets(2*time.Hour, c.now).Keep()
	past := append([]byte(keptMagic), chain[len(keptMagic):len(keptMagic)+8]...)
	past = append(past, make([]byte, 8+1+len(Seed{}))...)
	negative := slices.Clone(chain)
	negative[len(keptMagic)+8] = 0xff
	neither := slices.Clone(chain)
	neither[len(keptMagic)+keptHead-1] = 2
	for name, data := range map[string][]byte{
		"nothing": nil, "text": []byte("-----BEGIN"), "no secret": chain[:len(chain)-len(Seed{})], "half a secret": chain[:len(chain)-1],
		"four secrets": append(slices.Clone(chain), make([]byte, 3*len(Seed{}))...), "another form": []byte(strings.Replace(string(chain), "1", "2", 1)),
		"the future": future, "longer epochs": longer, "1970": past, "before 1970": negative, "shared by two": neither,
	} {
		k := NewTickets(time.Hour, c.now)
		before, turn := k.Keep()
		if err := k.Restore(data); err == nil {
			t.Errorf("%s was taken", name)
		} else {
			t.Log(err)
		}
		if after, now := k.Keep(); !bytes.Equal(before, after) || now != turn {
			t.Errorf("%s: the chain has changed", name)
		}
	}
}

// FuzzRestore shows that whatever is taken is a chain, and is kept as it was taken.
func FuzzRestore(f *testing.F) {
	c := newClock()
	chain, _ := NewTickets(time.Hour, c.now).Keep()
	f.Add(chain)
	f.Add(append(chain, chain[len(chain)-32:]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		k := NewTickets(time.Hour, c.now)
		if k.Restore(slices.Clone(data)) != nil {
			return
		}
		again := NewTickets(time.Hour, c.now)
		kept, _ := k.Keep()
		if err := again.Restore(kept); err != nil || !slices.Equal(again.keys("x"), k.keys("x")) {
			t.Errorf("taken once, and not again: %v", err)
		}
	})
}
