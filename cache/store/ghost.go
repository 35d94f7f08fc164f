package store

// A ghost remembers the hashes of what was evicted from the small list, oldest first
// out. Whoever comes back while remembered was evicted too early and starts in the
// main list. A hash that two keys share costs nothing but that, so half of its bits are enough: of a
// million that are remembered, one in four thousand new keys is taken for one of them.
type ghost struct {
	at    map[uint32]uint32 // hash -> number of its latest slot
	slots []uint32          // hashes in order; a slot that at does not name is void
	first uint32            // number of slots[0]; it may wrap around
}

func newGhost() *ghost { return &ghost{at: make(map[uint32]uint32)} }

// minGhosts is how many hashes are remembered however few objects are stored.
const minGhosts = 64

// add remembers hash, and as many others at most as there are objects stored: the length
// that the S3-FIFO paper gives its ghost queue (section 4.1).
func (g *ghost) add(hash uint64, objects int) {
	h := uint32(hash)
	g.at[h] = g.first + uint32(len(g.slots))
	g.slots = append(g.slots, h)
	for len(g.slots) > max(objects, minGhosts) {
		if oldest := g.slots[0]; g.at[oldest] == g.first {
			delete(g.at, oldest)
		}
		g.slots = g.slots[1:]
		g.first++
	}
}

// has reports whether hash is remembered.
func (g *ghost) has(hash uint64) bool {
	_, ok := g.at[uint32(hash)]
	return ok
}

// take reports whether hash is remembered, and forgets it.
func (g *ghost) take(hash uint64) bool {
	ok := g.has(hash)
	delete(g.at, uint32(hash))
	return ok
}
