package disk

// A Reason says why an object left the store.
type Reason uint8

const (
	Size     Reason = iota // its segment was evicted: room was needed
	Replaced               // something was stored under its key
	Deleted                // by Change or a purge
	Killed                 // it could not be read, was damaged, or the upper tier found it killed
	numReasons
)

// String is the label `reason` of the metrics.
func (r Reason) String() string {
	return [...]string{"size", "replaced", "deleted", "killed"}[r]
}

// counts is what a Store counts under mu.
type counts struct {
	evicted               [numReasons]uint64
	written, writtenBytes uint64
	kept, hits            uint64
	dropped, unproven     uint64
	large, corrupt        uint64
}

// Stats is what a Store holds, and what happened to it since it was opened, at one instant.
type Stats struct {
	On      bool
	Objects int
	Bytes   int64              // of all files; at most the size
	Evicted [numReasons]uint64 // by Reason

	Written      uint64 // objects written,
	WrittenBytes uint64 // and their bytes
	Kept         uint64 // of them because they had been asked for, when their segment was evicted
	Hits         uint64 // objects read for a Get
	Dropped      uint64 // objects that found no room in the queue
	Unproven     uint64 // that nobody had asked for again before the upper tier gave them up, for the first time in a while
	Large        uint64 // larger than a segment
	Corrupt      uint64 // records that could not be read, or were not what had been written
	Waiting      int64  // bytes in the queue
}

// Stats returns a snapshot.
func (s *Store) Stats() Stats {
	used := s.used()
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.counts
	st := Stats{
		On: s.Off() == nil, Objects: len(s.index), Bytes: used, Evicted: c.evicted, Written: c.written, WrittenBytes: c.writtenBytes,
		Kept: c.kept, Hits: c.hits, Dropped: c.dropped, Unproven: c.unproven, Large: c.large, Corrupt: c.corrupt, Waiting: s.queued,
	}
	if !st.On {
		st.Bytes = 0
	}
	return st
}
