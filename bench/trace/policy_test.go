package trace

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// stored is what a policy has, from its lists.
func stored(p policy) (objects []uint32, bytes int64) {
	var lists []*list
	switch p := p.(type) {
	case *fifo:
		lists = []*list{p.list}
	case *lru:
		lists = []*list{p.list}
	case *s3fifo:
		lists = []*list{p.small, p.main}
	case *tinyLFU:
		lists = []*list{p.window, p.probation, p.protected}
	}
	for _, l := range lists {
		n := 0
		for o := l.head; o != none; o = l.next[o] {
			if l.in[o] != l {
				panic("an object stands in another list than its own")
			}
			objects, bytes, n = append(objects, o), bytes+l.sizes[o], n+1
		}
		if n != l.objects {
			panic("a list miscounts its objects")
		}
	}
	return objects, bytes
}

// Whatever is asked for, a policy is never above its capacity, says hit for what it has and for nothing else, and never has an
// object twice.
func TestPolicies(t *testing.T) {
	for _, name := range Names {
		if name == Store || name == Infinite {
			continue
		}
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				capacity := rapid.Int64Range(1, 2000).Draw(r, "capacity")
				sizes := rapid.SliceOfN(rapid.Int64Range(0, capacity), 1, 40).Draw(r, "sizes")
				p := policies[name](capacity, sizes)
				for _, o := range rapid.SliceOfN(rapid.Uint32Range(0, uint32(len(sizes)-1)), 1, 400).Draw(r, "asked") {
					before, _ := stored(p)
					hit := p.ask(o)
					after, bytes := stored(p)
					if hit != slices.Contains(before, o) {
						r.Fatalf("ask(%d) = %v, has %v", o, hit, before)
					}
					if bytes != p.used() || bytes > capacity {
						r.Fatalf("has %d bytes, says %d, may have %d", bytes, p.used(), capacity)
					}
					if hit && len(after) != len(before) || hit && !slices.Contains(after, o) {
						r.Fatalf("a hit of %d made %v of %v", o, after, before)
					}
					slices.Sort(after)
					if len(slices.Compact(after)) != len(after) {
						r.Fatalf("an object twice in %v", after)
					}
				}
			})
		})
	}
}

// The plainest caches, in the plainest way: a slice of what is there, the next to go first.
func naive(capacity int64, sizes []int64, asked []uint32, recent bool) (hits []int) {
	var has []uint32
	for n, o := range asked {
		if i := slices.Index(has, o); i >= 0 {
			hits = append(hits, n)
			if recent {
				has = append(slices.Delete(has, i, i+1), o)
			}
			continue
		}
		sum := sizes[o]
		for _, h := range has {
			sum += sizes[h]
		}
		for sum > capacity {
			sum -= sizes[has[0]]
			has = has[1:]
		}
		has = append(has, o)
	}
	return hits
}

// Small sequences, worked out by hand. A letter is an object; a capital one hits.
func TestSequences(t *testing.T) {
	for _, c := range []struct {
		policy, why, asked string
		capacity           int64 // all objects have ten bytes
	}{
		{"fifo", "a hit does not keep a from being the first to go", "abAcaC", 20},
		{"lru", "a was asked for again, so b goes", "abAcAb", 20},
		{"infinite", "nothing goes", "abcABC", 10},
		{"s3fifo", "what was asked for once leaves the small queue first, and comes back into main", "abcdefghij" + "k" + "a" + "lmnopqrst" + "A", 100},
		{"s3fifo", "one hit is not enough to stay", "aA" + "bcdefghij" + "k" + "a", 100},
		{"s3fifo", "two hits are: a moves to main", "aAA" + "bcdefghij" + "k" + "A", 100},
		{"s3fifo", "main gives an object another turn for each hit", "aAAAA" + "bBBcCCdDDeEEfFFgGGhHHiIIjJJ" + "kKKlKLL" + "J", 100},
		{"wtinylfu", "what was asked for once does not throw out what was asked for twice", "aAbBcdefcdef" + "AB", 30},
		{"wtinylfu", "what was asked for more often does, the one that was not asked for for longest", "aAbBcccC" + "Ba", 30},
	} {
		sizes := slices.Repeat([]int64{10}, 26)
		p := policies[c.policy](c.capacity, sizes)
		got := ""
		for _, letter := range c.asked {
			o := uint32(letter|0x20) - 'a'
			if p.ask(o) {
				got += string(rune('A' + o))
			} else {
				got += string(rune('a' + o))
			}
		}
		if got != c.asked {
			t.Errorf("%s: %s:\n got %s\nwant %s", c.policy, c.why, got, c.asked)
		}
	}
}

// The sketch counts exactly where nothing collides, at most to 15, and halves all when it is full.
func TestSketch(t *testing.T) {
	s := newSketch(1000)
	for i := range 20 {
		if got := s.of(7); int(got) != min(i, 15) {
			t.Fatalf("after %d: %d", i, got)
		}
		s.add(7)
	}
	for o := range uint32(1000) {
		s.add(o + 100)
	}
	over := 0
	for o := range uint32(1000) {
		n := s.of(o + 100)
		if n < 1 {
			t.Fatalf("object %d was asked for once: %d", o+100, n)
		}
		if n > 1 {
			over++
		}
	}
	if over > 200 {
		t.Errorf("%d of 1000 are overestimated", over)
	}
	for s.added < s.halving-1 {
		s.add(9)
	}
	before := s.of(7)
	s.add(9)
	if got := s.of(7); got != before/2 {
		t.Errorf("7 had %d, and half of it is %d", before, got)
	}
}

func ExampleSize_Of() {
	t := &Trace{unique: 23_000_000}
	fmt.Println(Size{Share: 0.01}.Of(t), Size{Bytes: 1 << 20}.Of(t))
	// Output: 230000 1048576
}
