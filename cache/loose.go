package cache

import (
	"sort"
	"sync"
	"time"
)

// A loose is the account of bodies which no store keeps any more, or never did, and which
// somebody still reads: the memory that clients hold by reading slowly. Bodies of one
// chunk are not accounted: each costs less than the connection that reads it.
type loose struct {
	limit int64

	mu    sync.Mutex // guards what follows and the contents' own
	held  int64      // above limit only by a single body, while mu is free
	table map[*content]struct{}
}

// A content is the bytes of a body of more than one chunk. What is below is guarded by
// the account's mu.
type content struct {
	account *loose
	cost    int64 // what the chunks take, in bytes
	source  Deep  // where the bytes lie deep: then it is in no account, and has nothing below

	chunks  []chunk // nil once it was cut off
	stores  int     // stored objects that have it: after a 304 two, for a moment
	readers int
	read    time.Time // when a reader last came or took a piece
}

// content returns the account's record of chunks, or nil where they are too small to
// need one.
func (l *loose) content(chunks []chunk) *content {
	c := &content{account: l, chunks: chunks}
	for _, k := range chunks {
		c.cost += int64(cap(k.data))
	}
	if c.cost <= mostChunk {
		return nil
	}
	return c
}

// keep notes that a store has it. It returns false where it was cut off: then there is
// nothing to store.
func (c *content) keep() bool {
	if c.source != nil {
		return !c.source.Gone()
	}
	c.account.mu.Lock()
	defer c.account.mu.Unlock()
	if c.chunks == nil {
		return false
	}
	c.stores++
	c.account.settle(c)
	return true
}

// there reports whether it was not cut off.
func (c *content) there() bool {
	if c.source != nil {
		return !c.source.Gone()
	}
	c.account.mu.Lock()
	defer c.account.mu.Unlock()
	return c.chunks != nil
}

// drop notes that a store no longer has it.
func (c *content) drop() {
	if c.source != nil {
		return
	}
	c.account.mu.Lock()
	defer c.account.mu.Unlock()
	c.stores--
	c.account.settle(c)
}

// open notes n more readers.
func (c *content) open(n int) {
	c.account.mu.Lock()
	defer c.account.mu.Unlock()
	c.readers += n
	c.read = time.Now()
	c.account.settle(c)
}

// close notes that a reader is done.
func (c *content) close() {
	c.account.mu.Lock()
	defer c.account.mu.Unlock()
	c.readers--
	c.account.settle(c)
}

// piece returns what there is from off to the end of its chunk, or false once it was cut off.
func (c *content) piece(off int64) ([]byte, bool) {
	c.account.mu.Lock()
	defer c.account.mu.Unlock()
	if c.chunks == nil {
		return nil, false
	}
	c.read = time.Now()
	return pieceAt(c.chunks, off), true
}

// pieceAt finds the chunk with the byte at off, which is there.
func pieceAt(chunks []chunk, off int64) []byte {
	k := chunks[sort.Search(len(chunks), func(i int) bool { return chunks[i].start > off })-1]
	return k.data[off-k.start:]
}

// settle enters c or takes it out, and cuts off what nobody has read from for longest
// until the rest fits or is a single one: its readers get ErrBehind, and hold no more than the
// piece that each is writing. l.mu is held.
func (l *loose) settle(c *content) {
	_, in := l.table[c]
	is := c.stores == 0 && c.readers > 0 && c.chunks != nil
	switch {
	case is && !in:
		l.table[c] = struct{}{}
		l.held += c.cost
	case in && !is:
		delete(l.table, c)
		l.held -= c.cost
	}
	for l.held > l.limit && len(l.table) > 1 {
		var last *content
		for other := range l.table {
			if last == nil || other.read.Before(last.read) {
				last = other
			}
		}
		last.chunks = nil
		delete(l.table, last)
		l.held -= last.cost
	}
}
