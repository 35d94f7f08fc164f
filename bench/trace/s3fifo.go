package trace

// s3fifo is S3-FIFO, plainly and counted in bytes (Yang, Zhang, Qiu, Yue, Rashmi, "FIFO queues are all you need for cache
// eviction", SOSP 2023, algorithm 1): a small queue of a tenth of the capacity, through which all objects pass, a main one
// for those asked for again, and a ghost queue that remembers as many bytes of objects evicted from the small one as the main
// one has room for.
type s3fifo struct {
	capacity    int64
	small, main *list
	ghost       *list
	freq        []uint8 // hits, at most 3
}

// smallShare is the small queue's part of the capacity, 1/smallShare (section 4.1).
const smallShare = 10

func newS3FIFO(capacity int64, sizes []int64) policy {
	stored := newLinks(sizes)
	return &s3fifo{
		capacity: capacity, small: stored.list(), main: stored.list(), ghost: newLinks(sizes).list(), freq: make([]uint8, len(sizes)),
	}
}

func (p *s3fifo) used() int64 { return p.small.bytes + p.main.bytes }

func (p *s3fifo) ask(o uint32) bool {
	if p.small.in[o] != nil {
		p.freq[o] = min(p.freq[o]+1, 3)
		return true
	}
	for p.used()+p.small.sizes[o] > p.capacity {
		if p.small.objects > 0 && p.small.bytes >= p.capacity/smallShare || p.main.objects == 0 {
			p.evictSmall()
		} else {
			p.evictMain()
		}
	}
	p.freq[o] = 0
	if p.ghost.in[o] != nil {
		p.ghost.remove(o)
		p.main.push(o)
	} else {
		p.small.push(o)
	}
	return false
}

// evictSmall moves what was asked for more than once to the main queue, until it has evicted an object or none is left.
func (p *s3fifo) evictSmall() {
	for p.small.objects > 0 {
		o := p.small.pop()
		if p.freq[o] <= 1 {
			p.remember(o)
			return
		}
		p.freq[o] = 0
		p.main.push(o)
	}
}

// evictMain evicts the oldest object that was not asked for since it was last looked at.
func (p *s3fifo) evictMain() {
	for {
		o := p.main.pop()
		if p.freq[o] == 0 {
			return
		}
		p.freq[o]--
		p.main.push(o)
	}
}

func (p *s3fifo) remember(o uint32) {
	p.ghost.push(o)
	for p.ghost.bytes > p.capacity-p.capacity/smallShare {
		p.ghost.pop()
	}
}
