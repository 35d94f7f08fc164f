package limit

import "time"

// Status is a snapshot for metrics and explanations.
type Status struct {
	Adaptive     bool              // the limit is found, not given
	Limit        int               // how many may be under way
	In           int               // how many are
	Waiting      int               // how many wait
	WaitingMost  int               // how many may
	Standing     bool              // the queue stands: the newest goes first
	Floor        int               // the least that an adaptive limit can be
	Starting     bool              // the adaptive limit still doubles
	Baseline     time.Duration     // the least first byte that is known; 0 = none yet
	Long         time.Duration     // the long mean of first bytes; 0 = none yet
	Hold         time.Duration     // how long a place is held; 0 = not known yet
	Last         Window            // the last window
	RefusedTotal map[string]uint64 // by Whys
}

// Window is a time of at least 250 ms and ten requests, after which the adaptive limit changes.
type Window struct {
	FirstByte  time.Duration // median of good answers; 0 = too few
	Requests   int
	Good       int
	Overloaded int
	Busy       bool // half of the limit or more was in use, or somebody found no place
}

// Status is what the limiter does now.
func (l *Limiter) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Status{
		Adaptive: l.cfg.Concurrent <= 0, Limit: l.limit(), In: l.in,
		Waiting: l.queue.len(), WaitingMost: max(0, l.cfg.Waiting), Standing: l.queue.standing,
		Floor: l.cfg.Floor, Starting: l.gradient.starting, Baseline: l.gradient.least, Long: l.gradient.long,
		Hold: l.hold, Last: l.gradient.last, RefusedTotal: map[string]uint64{},
	}
	for i, n := range l.refused {
		s.RefusedTotal[whys[i]] = n
	}
	return s
}
