package store

// A Tier is where an object stands. Its String is the label `tier` of the metrics.
type Tier uint8

const (
	Front Tier = iota // small objects asked for often
	Queue             // all others
	numTiers
)

func (t Tier) String() string { return [...]string{"front", "queue"}[t] }

// A Reason says why an object left the store. Its String is the label `reason`.
type Reason uint8

const (
	Size     Reason = iota // evicted: room was needed
	Replaced               // a Put under the same key
	Deleted                // by Delete
	Killed                 // its owner had killed it; found so on the way
	numReasons
)

func (r Reason) String() string {
	return [...]string{"size", "replaced", "deleted", "killed"}[r]
}

// counts is what Memory counts under its lock.
type counts struct {
	evicted           [numTiers][numReasons]uint64
	promoted, demoted uint64
	refused, unproven uint64
}

func (c *counts) count(t Tier, r Reason) { c.evicted[t][r]++ }

// Stats is what a store holds and what happened to it since it was made, at one
// instant.
type Stats struct {
	Objects [numTiers]int                // by Tier
	Bytes   [numTiers]int64              // by Tier; the sum never exceeds the store's size
	Evicted [numTiers][numReasons]uint64 // by Tier and Reason

	Refused  uint64 // objects put that were larger than MaxObject
	Unproven uint64 // times that Admits said no

	Offered  uint64 // objects offered to the front,
	Dropped  uint64 // of which it dropped at once because its buffer was full,
	Rejected uint64 // and rejected later as not hot enough
	Promoted uint64 // moves from queue to front
	Demoted  uint64 // and back

	Ghosts int // hashes remembered of objects evicted early
}

// Stats returns a snapshot.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Stats{
		Objects:  [numTiers]int{Front: m.inFront.objects, Queue: m.queue.objects()},
		Bytes:    [numTiers]int64{Front: m.frontBytes.Load(), Queue: m.queue.bytes()},
		Evicted:  m.counts.evicted,
		Refused:  m.counts.refused,
		Unproven: m.counts.unproven,
		Offered:  m.front.offered.Load(),
		Dropped:  m.front.dropped.Load(),
		Rejected: m.front.rejected.Load(),
		Promoted: m.counts.promoted,
		Demoted:  m.counts.demoted,
		Ghosts:   len(m.queue.ghost.at),
	}
}
