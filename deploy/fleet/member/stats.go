package member

import (
	"maps"
	"time"
)

// Stats are what a member has counted since it began.
type Stats struct {
	Known    bool                  // the journal was heard of since the process began, and Sequence was found to be of it
	Sequence uint64                // of the last entry of the journal that had its effect
	Purges   map[PurgeCount]uint64 // orders carried out
	Flushes  map[string]uint64     // by one of [FlushReasons]
	Refused  map[string]uint64     // messages without effect, by one of [RefusedKinds]
	Missed   uint64                // times that the journal was read because something did not come by itself
}

// A PurgeCount is the labels of a count of orders.
type PurgeCount struct {
	Kind   string // url, tag, prefix, host or all
	Result string // done, or error where the order meant nothing here
}

// Reasons of a flush.
const (
	flushStart      = "start"      // the node had just begun, and what it may have missed is more than what it may have stored
	flushHistory    = "history"    // it was away for longer than the journal goes back
	flushJournal    = "journal"    // another journal has begun, or this one has gone back
	flushPosition   = "position"   // how far it had come is not known
	flushUnreadable = "unreadable" // an entry cannot be read here
)

// FlushReasons lists every reason of a flush, for the label set of a metric.
func FlushReasons() []string {
	return []string{flushStart, flushHistory, flushJournal, flushPosition, flushUnreadable}
}

// RefusedKinds lists what messages are refused as, for the label set of a metric.
func RefusedKinds() []string {
	return []string{"head", "entry", "table", "target", "revision", "call", "report"}
}

// Stats returns a copy of the counts.
func (m *Member) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.count
	s.Sequence = m.at.Sequence
	s.Purges, s.Flushes, s.Refused = maps.Clone(s.Purges), maps.Clone(s.Flushes), maps.Clone(s.Refused)
	return s
}

// counted counts a message without effect.
func (m *Member) counted(kind string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count.Refused[kind]++
}

// refuse counts a message without effect, and logs it unless one of its kind was a minute ago.
func (m *Member) refuse(kind string, why error) {
	m.counted(kind)
	if m.once("refused " + kind) {
		m.o.Log.Warn("a message of the bus is not taken", "kind", kind, "error", why)
	}
}

// sayEvery is how often one thing is logged at most.
const sayEvery = time.Minute

// once says whether to log something of a kind, which is a word of the program's.
func (m *Member) once(kind string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if last, ok := m.said[kind]; ok && now.Sub(last) < sayEvery {
		return false
	}
	m.said[kind] = now
	return true
}
