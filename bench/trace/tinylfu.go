package trace

// tinyLFU is W-TinyLFU, plainly (Einziger, Friedman, Manes, "TinyLFU: A highly efficient cache admission policy", ACM Transactions
// on Storage 13(4), 2017): a window of 1 % by LRU, through which all objects pass, and a main part by segmented LRU, four
// fifths of it protected, into which an object gets only if it was asked for more often than the one it throws out. That
// paper knows no sizes. Here an object that needs the room of several is held to one after another: those that lost have left
// even if it loses at last. How sizes are counted makes much of a difference: asking for more than all of them together had
// loses bytes, and wins few hits.
type tinyLFU struct {
	capacity              int64
	windowMax, protectMax int64
	window                *list
	probation, protected  *list
	freq                  *sketch
}

func newTinyLFU(capacity int64, sizes []int64) policy {
	l := newLinks(sizes)
	window := max(capacity/100, 1)
	return &tinyLFU{
		capacity: capacity, windowMax: window, protectMax: (capacity - window) / 5 * 4,
		window: l.list(), probation: l.list(), protected: l.list(), freq: newSketch(expected(capacity, sizes)),
	}
}

// expected is how many objects a cache will hold, if they are of the trace's mean size.
func expected(capacity int64, sizes []int64) int {
	var sum float64
	for _, s := range sizes {
		sum += float64(s)
	}
	return int(min(float64(capacity)/max(sum, 1), 1) * float64(len(sizes)))
}

func (p *tinyLFU) used() int64 { return p.window.bytes + p.probation.bytes + p.protected.bytes }

func (p *tinyLFU) ask(o uint32) bool {
	p.freq.add(o)
	switch l := p.window.in[o]; l {
	case nil:
		p.window.push(o)
		for p.window.bytes > p.windowMax {
			p.admit(p.window.pop())
		}
		return false
	case p.probation:
		l.remove(o)
		p.protected.push(o)
		for p.protected.bytes > p.protectMax {
			p.probation.push(p.protected.pop())
		}
	default:
		l.remove(o)
		l.push(o)
	}
	return true
}

// admit takes a candidate into the main part, if there is room or it is worth more than what it throws out.
func (p *tinyLFU) admit(candidate uint32) {
	room := p.capacity - p.windowMax
	size := p.window.sizes[candidate]
	if size > room {
		return
	}
	for p.probation.bytes+p.protected.bytes+size > room {
		from := p.probation
		if from.objects == 0 {
			from = p.protected
		}
		if p.freq.of(candidate) <= p.freq.of(from.tail) {
			return
		}
		from.pop()
	}
	p.probation.push(candidate)
}

// A sketch estimates how often objects were asked for lately: a count-min sketch of four rows with counters of at most 15,
// all of which are halved after ten times as many requests as the cache has objects (section 3).
type sketch struct {
	rows    [4][]uint8
	mask    uint64
	added   int
	halving int
}

func newSketch(objects int) *sketch {
	width := 16
	for width < objects {
		width *= 2
	}
	s := &sketch{mask: uint64(width - 1), halving: max(10*objects, 16)}
	for i := range s.rows {
		s.rows[i] = make([]uint8, width)
	}
	return s
}

// cell is where a row counts an object: the high half of a product with an odd constant, another for each row.
func (s *sketch) cell(row int, o uint32) uint64 {
	return ((uint64(o) + 1) * rowSeeds[row] >> 32) & s.mask
}

var rowSeeds = [4]uint64{0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9, 0xd6e8feb86659fd93}

func (s *sketch) of(o uint32) uint8 {
	n := uint8(15)
	for i := range s.rows {
		n = min(n, s.rows[i][s.cell(i, o)])
	}
	return n
}

func (s *sketch) add(o uint32) {
	for i := range s.rows {
		if c := &s.rows[i][s.cell(i, o)]; *c < 15 {
			*c++
		}
	}
	if s.added++; s.added >= s.halving {
		s.added /= 2
		for i := range s.rows {
			for j := range s.rows[i] {
				s.rows[i][j] /= 2
			}
		}
	}
}
