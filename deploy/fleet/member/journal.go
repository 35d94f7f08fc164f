package member

import (
	"context"
	"slices"
	"sync"
	"time"

	"hither/deploy/fleet/bus"
)

// Bounds of what waits to be carried out. What comes above them is dropped, and read from the stream when there is room.
const (
	mostWaiting      = 1024
	mostWaitingBytes = 8 << 20
)

// Waits of the journal.
const (
	// headTime is how long after a heartbeat the entries it speaks of may come by themselves: they travel beside it.
	headTime = 100 * time.Millisecond
	// idleTime is how long the stream is left alone after it was read in vain twice, so that nobody makes a node ask on and on. Once is no
	// reason: it is read at each connect, and the first purge may come right behind that.
	idleTime = 500 * time.Millisecond
	// mostRetry is the longest wait before a read that failed is tried once more.
	mostRetry = 10 * time.Second
)

// A journal follows the stream of purges: entries that come live are carried out in their order; where one is missing, or cannot be right, the
// stream itself is read. It never takes a live message's word for more than a next entry that fits, as only the answer of
// the hub to a question of its own is sure to be the stream's.
type journal struct {
	m      *Member
	began  time.Time
	signal chan struct{} // something below mu has changed
	ended  chan struct{} // closed when run has returned

	// hear, where not nil, stands between the connection and take: tests lose and double messages by it.
	hear func(*bus.Message, func(*bus.Message))

	mu      sync.Mutex // guards what follows
	waiting []*bus.Message
	bytes   int          // of those
	lost    bool         // something was dropped
	here    bool         // the hub has begun to answer
	spoken  bool         // a heartbeat has come that was not looked at yet
	head    bus.Position // what the last one said
	reached place        // for remember

	// Of the goroutine of run.
	at       place
	known    bool         // at is of this process, or was found to fit
	checked  bool         // and so since the hub began to answer: its journal may be an older copy that has grown again
	damaged  bool         // the file that said where the node stood could not be read
	current  bus.Position // the last heartbeat since the hub began to answer; zero = none
	before   uint64       // at.Sequence when the last heartbeat but one came
	ahead    uint64       // what the last heartbeat says is there, where that is above at; else of no meaning
	aheadAt  time.Time    // when the stream is read for it
	back     bool         // two heartbeats in turn were behind at
	behind   bool         // the stream is to be read
	notUntil time.Time    // before which it is not
	unsaid   []bus.Done   // since the last receipt
	saidAt   time.Time    // when that was sent
	sayAt    time.Time    // when the next one is due; zero = nothing is to be said
	failed   int          // reads in turn that failed
	vain     int          // and that found nothing
	short    int          // reads in turn that ended before what the heartbeat says
}

// newJournal makes a journal that stands where the state folder says.
func newJournal(m *Member) *journal {
	j := &journal{m: m, began: time.Now(), signal: make(chan struct{}, 1), ended: make(chan struct{})}
	var err error
	if j.at, err = loadPlace(m.o.State); err != nil {
		j.damaged = true
		m.o.Log.Warn("it is not known how far this node came in the journal of purges", "file", positionFile, "error", err)
	}
	j.reached = j.at
	m.at = j.at.Position
	return j
}

// kick wakes run.
func (j *journal) kick() {
	select {
	case j.signal <- struct{}{}:
	default:
	}
}

// connected hears that the hub has begun to answer.
func (j *journal) connected() {
	j.mu.Lock()
	j.here, j.spoken = true, false
	j.mu.Unlock()
	j.kick()
}

// heard takes what a heartbeat says.
func (j *journal) heard(head bus.Position) {
	j.mu.Lock()
	j.head, j.spoken = head, true
	j.mu.Unlock()
	j.kick()
}

// live takes what came on the live subject, from the connection's goroutine.
func (j *journal) live(message *bus.Message) {
	if j.hear != nil {
		j.hear(message, j.take)
		return
	}
	j.take(message)
}

func (j *journal) take(message *bus.Message) {
	if message.Sequence == 0 {
		j.m.refuse("entry", errNotOfStream)
		return
	}
	j.mu.Lock()
	if len(j.waiting) >= mostWaiting || j.bytes+len(message.Data) > mostWaitingBytes {
		j.waiting, j.bytes, j.lost = nil, 0, true
	} else {
		j.waiting = append(j.waiting, message)
		j.bytes += len(message.Data)
	}
	j.mu.Unlock()
	j.kick()
}

// run follows the journal until ctx ends.
func (j *journal) run(ctx context.Context) {
	defer close(j.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			if j.sayAt = (time.Time{}); j.checked {
				j.receipt(nil)
			}
			return
		case <-j.signal:
		case <-timer.C:
		}
		for j.turn(ctx) {
		}
		j.say()
		if at := j.next(); !at.IsZero() || j.behind {
			timer.Reset(max(time.Until(at), time.Millisecond))
		}
	}
}

// turn does what there is to do, and reports whether there may be more.
func (j *journal) turn(ctx context.Context) bool {
	j.mu.Lock()
	waiting, here, spoken, head := j.waiting, j.here, j.spoken, j.head
	j.behind = j.behind || j.lost
	j.waiting, j.bytes, j.lost, j.here, j.spoken = nil, 0, false, false, false
	j.mu.Unlock()
	if here {
		j.current, j.behind, j.failed, j.vain, j.notUntil = bus.Position{}, true, 0, 0, time.Time{}
		j.check(false)
	}
	if j.known && j.checked {
		j.follow(ctx, waiting)
	} else if len(waiting) > 0 {
		j.behind = true
	}
	if spoken {
		j.compare(head)
	}
	now := time.Now()
	if j.ahead > j.at.Sequence && !now.Before(j.aheadAt) {
		j.behind, j.ahead = true, 0
	}
	if j.behind && ctx.Err() == nil && !now.Before(j.notUntil) {
		j.read(ctx)
		return true
	}
	return len(waiting) > 0 && ctx.Err() == nil
}

// follow carries out those of the messages that go on where the node stands. For what others leave open, the stream is read.
func (j *journal) follow(ctx context.Context, waiting []*bus.Message) {
	for len(waiting) > 0 && ctx.Err() == nil {
		to, entries, orders := j.at, []entry(nil), 0
		for len(waiting) > 0 && orders < mostAtOnce {
			e := decodeEntry(waiting[0])
			if e.sequence <= to.Sequence && (e.wrong != nil || e.batch.Journal == to.Journal) {
				waiting = waiting[1:] // it came twice, or was read before it came
				continue
			}
			waiting = waiting[1:]
			if e.wrong != nil || to.unlike(&e) != "" {
				j.behind = true // those behind it may be the right ones all the same
				if e.wrong != nil {
					j.m.refuse("entry", e.wrong)
				}
				continue
			}
			to, entries, orders = to.after(&e), append(entries, e), orders+len(e.batch.Orders)
		}
		j.carryOut(entries, to)
	}
}

// compare holds a heartbeat against where the node stands.
func (j *journal) compare(head bus.Position) {
	if j.current.Journal == "" {
		// What was read before was read without knowing where the journal ends, or in vain as there were no streams yet.
		j.notUntil, j.failed = time.Time{}, 0
	}
	j.current = head
	switch {
	case !j.known, !j.checked, head.Journal != j.at.Journal:
		j.behind = true
	case head.Sequence > j.at.Sequence:
		if j.ahead <= j.at.Sequence {
			j.aheadAt = time.Now().Add(headTime)
		}
		j.ahead = head.Sequence
	case head.Sequence < j.before: // and not on its way while an entry overtook it
		j.back, j.behind = true, true
	}
	j.before = j.at.Sequence
}

// next is when there is something to do without a message; zero = never.
func (j *journal) next() (at time.Time) {
	if j.ahead > j.at.Sequence {
		at = j.aheadAt
	}
	if j.behind && (at.IsZero() || j.notUntil.Before(at)) {
		at = j.notUntil
	}
	if !j.sayAt.IsZero() && (at.IsZero() || j.sayAt.Before(at)) {
		at = j.sayAt
	}
	return at
}

// arrive notes a position.
func (j *journal) arrive(at place) {
	if at.Journal != j.at.Journal || at.Sequence < j.at.Sequence {
		j.before, j.ahead = 0, 0
	}
	j.at = at
	j.mu.Lock()
	j.reached = at
	j.mu.Unlock()
	j.m.move(at.Position)
}

// kinds are those of orders that a node knows. One of another is an entry that cannot be read: what it means is to go all the same.
var kinds = []string{"url", "tag", "prefix", "host", "all"}

// An entry of the journal, as it was read.
type entry struct {
	sequence uint64
	sum      string
	batch    bus.Batch
	wrong    error // why it cannot be carried out; nil = it can
}

// decodeEntry reads an entry.
func decodeEntry(message *bus.Message) entry {
	e := entry{sequence: message.Sequence, sum: bus.HashOf(message.Data)}
	if e.wrong = bus.Decode(message.Data, &e.batch); e.wrong == nil {
		e.wrong = e.batch.Check()
	}
	for i := range e.batch.Orders {
		if e.wrong == nil && !slices.Contains(kinds, e.batch.Orders[i].Kind) {
			e.wrong = unknownKind(e.batch.Orders[i].Kind)
		}
	}
	return e
}

// unlike says why an entry is not the next one; "" where it is.
func (p place) unlike(e *entry) (reason string) {
	switch {
	case e.sequence != p.Sequence+1:
		return flushHistory
	case e.wrong != nil:
		return ""
	case p.Journal != "" && e.batch.Journal != p.Journal:
		return flushJournal
	case p.Next != 0 && e.batch.First != p.Next && e.batch.First != bus.Leap(p.Sequence):
		return flushJournal // a control that found the entries before aged away gave the other number
	}
	return ""
}

// isAt says whether an entry is the one behind which the node stands, as far as that is known.
func (p place) isAt(e *entry) bool {
	if p.Sum != "" {
		return e.sum == p.Sum
	}
	return e.wrong != nil || e.batch.Journal == p.Journal && (p.Next == 0 || e.batch.First+uint64(len(e.batch.Orders)) == p.Next)
}

// after is the place behind an entry.
func (p place) after(e *entry) place {
	p.Sequence, p.Next, p.Sum = e.sequence, 0, e.sum
	if e.wrong == nil {
		p.Journal, p.Next = e.batch.Journal, e.batch.First+uint64(len(e.batch.Orders))
	}
	return p
}
