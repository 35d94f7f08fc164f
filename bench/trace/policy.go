package trace

// A policy is a cache that counts bytes and holds none. ask says whether the object is there, and takes it in where it is
// not; the object is not above the cache's limit. used is never above capacity when ask returns. It belongs to one goroutine.
type policy interface {
	ask(object uint32) (hit bool)
	used() int64
}

// policies are those that can be asked for, by name. Each is made for capacity bytes, and for objects of these sizes.
var policies = map[string]func(capacity int64, sizes []int64) policy{
	"fifo":     newFIFO,
	"lru":      newLRU,
	"s3fifo":   newS3FIFO,
	"wtinylfu": newTinyLFU,
	Infinite:   newInfinite,
}

// none is no object, and no list.
const none = ^uint32(0)

// links join objects to lists. An object is in one list at most, so that all lists of a cache share them.
type links struct {
	sizes      []int64
	next, prev []uint32
	in         []*list // the list that an object is in
}

func newLinks(sizes []int64) *links {
	n := len(sizes)
	return &links{sizes: sizes, next: make([]uint32, n), prev: make([]uint32, n), in: make([]*list, n)}
}

// A list is objects in order, with their bytes.
type list struct {
	*links
	head, tail uint32
	bytes      int64
	objects    int
}

func (l *links) list() *list { return &list{links: l, head: none, tail: none} }

// push puts an object, which is in no list, at the head.
func (l *list) push(o uint32) {
	l.next[o], l.prev[o] = l.head, none
	if l.head != none {
		l.prev[l.head] = o
	} else {
		l.tail = o
	}
	l.head = o
	l.in[o] = l
	l.bytes += l.sizes[o]
	l.objects++
}

// remove takes out an object, which is in l.
func (l *list) remove(o uint32) {
	next, prev := l.next[o], l.prev[o]
	if prev != none {
		l.next[prev] = next
	} else {
		l.head = next
	}
	if next != none {
		l.prev[next] = prev
	} else {
		l.tail = prev
	}
	l.in[o] = nil
	l.bytes -= l.sizes[o]
	l.objects--
}

// pop takes out the object at the tail. l is not empty.
func (l *list) pop() uint32 {
	o := l.tail
	l.remove(o)
	return o
}

// fifo evicts what came first.
type fifo struct {
	capacity int64
	list     *list
}

func newFIFO(capacity int64, sizes []int64) policy {
	return &fifo{capacity, newLinks(sizes).list()}
}

func (p *fifo) used() int64 { return p.list.bytes }

func (p *fifo) ask(o uint32) bool {
	if p.list.in[o] != nil {
		return true
	}
	for p.list.bytes+p.list.sizes[o] > p.capacity {
		p.list.pop()
	}
	p.list.push(o)
	return false
}

// lru evicts what was asked for least recently.
type lru struct{ fifo }

func newLRU(capacity int64, sizes []int64) policy {
	return &lru{fifo{capacity, newLinks(sizes).list()}}
}

func (p *lru) ask(o uint32) bool {
	if !p.fifo.ask(o) {
		return false
	}
	p.list.remove(o)
	p.list.push(o)
	return true
}

// infinite evicts nothing, so that no cache of whole objects has more hits.
type infinite struct {
	sizes []int64
	has   []bool
}

func newInfinite(_ int64, sizes []int64) policy {
	return &infinite{sizes, make([]bool, len(sizes))}
}

func (p *infinite) used() int64 { return 0 }

func (p *infinite) ask(o uint32) bool {
	hit := p.has[o]
	p.has[o] = true
	return hit
}
