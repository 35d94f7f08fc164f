package trace

import (
	"slices"
	"testing"
)

// A queue of an oracle: the next to go is the first.
type plain []uint32

func (q plain) bytes(sizes []int64) (n int64) {
	for _, o := range q {
		n += sizes[o]
	}
	return n
}

func (q *plain) take(o uint32) bool {
	i := slices.Index(*q, o)
	if i >= 0 {
		*q = slices.Delete(*q, i, i+1)
	}
	return i >= 0
}

func (q *plain) first() uint32 {
	o := (*q)[0]
	*q = (*q)[1:]
	return o
}

// naiveS3FIFO is the paper's algorithm 1 over slices.
func naiveS3FIFO(capacity int64, sizes []int64, asked []uint32) (hits []int) {
	var small, main, ghost plain
	freq := map[uint32]int{}
	for n, o := range asked {
		if slices.Contains(small, o) || slices.Contains(main, o) {
			hits = append(hits, n)
			freq[o] = min(freq[o]+1, 3)
			continue
		}
		for small.bytes(sizes)+main.bytes(sizes)+sizes[o] > capacity {
			if small.bytes(sizes) >= capacity/10 && len(small) > 0 || len(main) == 0 {
				for len(small) > 0 {
					last := small.first()
					if freq[last] > 1 {
						freq[last] = 0
						main = append(main, last)
						continue
					}
					ghost = append(ghost, last)
					for ghost.bytes(sizes) > capacity-capacity/10 {
						ghost.first()
					}
					break
				}
				continue
			}
			for {
				last := main.first()
				if freq[last] == 0 {
					break
				}
				freq[last]--
				main = append(main, last)
			}
		}
		freq[o] = 0
		if ghost.take(o) {
			main = append(main, o)
		} else {
			small = append(small, o)
		}
	}
	return hits
}

// naiveTinyLFU is a window and a segmented main part over slices. It has the sketch, which TestSketch holds, in common with what it tests.
func naiveTinyLFU(capacity int64, sizes []int64, asked []uint32) (hits []int) {
	var window, probation, protected plain
	freq := newSketch(expected(capacity, sizes))
	room := capacity - capacity/100
	for n, o := range asked {
		freq.add(o)
		switch {
		case window.take(o):
			window = append(window, o)
		case protected.take(o):
			protected = append(protected, o)
		case probation.take(o):
			protected = append(protected, o)
			for protected.bytes(sizes) > room/5*4 {
				probation = append(probation, protected.first())
			}
		default:
			window = append(window, o)
			for window.bytes(sizes) > capacity/100 {
				candidate := window.first()
				admitted := sizes[candidate] <= room
				for admitted && probation.bytes(sizes)+protected.bytes(sizes)+sizes[candidate] > room {
					victims := &probation
					if len(probation) == 0 {
						victims = &protected
					}
					if admitted = freq.of(candidate) > freq.of((*victims)[0]); admitted {
						victims.first()
					}
				}
				if admitted {
					probation = append(probation, candidate)
				}
			}
			continue
		}
		hits = append(hits, n)
	}
	return hits
}

// Every policy hits exactly where its algorithm does over slices, which are slow and hard to get wrong.
func TestOracles(t *testing.T) {
	tr := synthetic(6000, 300)
	for name, oracle := range map[string]func(int64, []int64, []uint32) []int{
		"fifo":     func(c int64, s []int64, a []uint32) []int { return naive(c, s, a, false) },
		"lru":      func(c int64, s []int64, a []uint32) []int { return naive(c, s, a, true) },
		"s3fifo":   naiveS3FIFO,
		"wtinylfu": naiveTinyLFU,
	} {
		for _, capacity := range []int64{60_000, 200_000, 1_000_000} {
			var got []int
			p := policies[name](capacity, tr.sizes)
			for n, o := range tr.objects {
				if p.ask(o) {
					got = append(got, n)
				}
			}
			want := oracle(capacity, tr.sizes, tr.objects)
			if !slices.Equal(got, want) {
				t.Errorf("%s of %d: %d hits, want %d, or others", name, capacity, len(got), len(want))
			}
			if len(want) == 0 || len(want) == tr.Requests() {
				t.Errorf("%s of %d: the trace tells nothing: %d hits", name, capacity, len(want))
			}
		}
	}
}
