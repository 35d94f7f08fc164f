package store

// A ghost remembers the hashes of what was evicted from the small list, oldest first
// out. Whoever comes back while remembered was evicted too early and starts in the
// main list. A hash that two keys share costs nothing but that.
type ghost struct {
	at    map[uint64]uint64 // hash -> number of its latest slot
	slots []uint64          // hashes in order; a slot that at does not name is void
	first uint64            // number of slots[0]
}

func newGhost() *ghost { return &ghost{at: make(map[uint64]uint64)} }

// minGhosts is how many hashes are remembered however few objects are stored.
const minGhosts = 64

// add remembers h, and as many others at most as there are objects stored: the length
// that the S3-FIFO paper gives its ghost queue (section 4.1).
func (g *ghost) add(h uint64, objects int) {
	g.at[h] = g.first + uint64(len(g.slots))
	g.slots = append(g.slots, h)
	for len(g.slots) > max(objects, minGhosts) {
		if oldest := g.slots[0]; g.at[oldest] == g.first {
			delete(g.at, oldest)
		}
		g.slots = g.slots[1:]
		g.first++
	}
}

// take reports whether h is remembered, and forgets it.
func (g *ghost) take(h uint64) bool {
	_, ok := g.at[h]
	delete(g.at, h)
	return ok
}
