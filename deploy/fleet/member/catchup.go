package member

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hither/deploy/fleet/bus"
)

const (
	// firstTime is for how long after its start a node that has kept nothing counts as new: little can have been stored.
	firstTime = time.Minute
	// mostReplay is how many entries such a node reads at most: above that it costs less to take the little it has for stale.
	mostReplay = 10_000
	// mostShort is how many reads in turn may end before the entry of which the heartbeat speaks, as those of a replica that is late do.
	mostShort = 6
)

// errUnlike ends a read at an entry that does not go on where the node stands.
var errUnlike = errors.New("it does not go on here")

// errNoEnd is that nobody says yet where the journal stands.
var errNoEnd = errors.New("the stream is empty, and the control has not said how far it is")

// read reads the stream and decides when it is read next.
func (j *journal) read(ctx context.Context) {
	from := j.at
	err := j.catchUp(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		// It is tried again at the first heartbeat as well, and at once when the hub is back.
		wait := min(idleTime<<min(j.failed, 10), mostRetry)
		j.failed++
		j.notUntil = time.Now().Add(wait)
		if !errors.Is(err, bus.ErrAway) && !errors.Is(err, errNoEnd) && j.m.once("read") {
			j.m.o.Log.Warn("the journal of purges cannot be read", "error", err)
		}
	default:
		j.failed, j.behind = 0, false
		if j.vain++; j.at != from {
			j.vain = 0
		}
		if j.vain > 1 {
			j.notUntil = time.Now().Add(idleTime)
		}
		j.behind = j.short > 0
	}
}

// catchUp carries out what the stream has behind the place where the node stands, and finds out where that place is no more.
func (j *journal) catchUp(ctx context.Context) error {
	if !j.known {
		if reason, why, err := j.begin(ctx); err != nil || reason != "" {
			if err == nil {
				err = j.forget(ctx, reason, why)
			}
			return err
		}
	} else {
		j.m.mu.Lock()
		j.m.count.Missed++
		j.m.mu.Unlock()
	}
	head, to, first := j.current, j.at, uint64(0)
	from := j.at.Sequence + 1
	if !j.checked && j.at.Sequence > 0 {
		from-- // the entry behind which the node stands shows that it is still there
	}
	var entries []entry
	orders, reason := 0, ""
	err := j.m.o.Conn.Read(ctx, bus.StreamJournal, from, func(message *bus.Message) error {
		e := decodeEntry(message)
		if e.sequence == j.at.Sequence && first == 0 && e.sequence > 0 && !j.checked {
			if !to.isAt(&e) {
				reason = flushJournal
				return errUnlike
			}
			j.check(true)
			return nil
		}
		if first == 0 {
			first = e.sequence
		}
		if reason = to.unlike(&e); reason != "" {
			return errUnlike
		}
		j.check(true) // where its history begins later, the number of the next order shows it
		to, entries, orders = to.after(&e), append(entries, e), orders+max(len(e.batch.Orders), 1)
		if orders >= mostAtOnce {
			j.carryOut(entries, to)
			entries, orders = nil, 0
		}
		return ctx.Err()
	})
	j.carryOut(entries, to)
	switch {
	case reason == flushHistory:
		return j.forget(ctx, j.startOr(reason), fmt.Sprintf("the journal of purges goes back to entry %d, and this node stood at %d: all that is stored is taken for stale", first, j.at.Sequence))
	case reason != "":
		return j.forget(ctx, j.startOr(reason), fmt.Sprintf("the journal of purges is not the one that had entry %d where this node stood: all that is stored is taken for stale", j.at.Sequence))
	case err != nil:
		return err
	}
	return j.settle(ctx, head)
}

// settle holds what was read, up to the end, against the heartbeat that came before.
func (j *journal) settle(ctx context.Context, head bus.Position) error {
	switch {
	case head.Journal == "": // none has come
		if j.at.Journal != "" && j.checked {
			j.know()
		}
		return nil
	case j.at.Journal == "" && j.at.Sequence == head.Sequence:
		j.arrive(place{Position: head})
	case head.Journal != j.at.Journal && j.at.Journal != "":
		return j.forget(ctx, j.startOr(flushJournal), "another journal of purges has begun: all that is stored is taken for stale")
	case head.Sequence > j.at.Sequence:
		if j.short++; j.short < mostShort {
			return nil
		}
		return j.forget(ctx, j.startOr(flushHistory), fmt.Sprintf("the journal of purges no longer has what came after entry %d, where this node stood: all that is stored is taken for stale", j.at.Sequence))
	case j.back, !j.checked && head.Sequence < j.at.Sequence:
		end, _, err := j.end(ctx)
		if err != nil && !errors.Is(err, errNoEnd) {
			return err
		}
		if j.back = false; end.Sequence < j.at.Sequence {
			return j.forget(ctx, j.startOr(flushJournal), fmt.Sprintf("the journal of purges has gone back behind entry %d, where this node stood: all that is stored is taken for stale", j.at.Sequence))
		}
	}
	j.short = 0
	if head.Sequence == j.at.Sequence {
		j.check(true)
	}
	if j.checked { // else that heartbeat was late, and the next one tells
		j.know()
	}
	return nil
}

// check notes whether the place where the node stands was found in the journal since the hub began to answer. Until then live entries
// are left alone, and reports claim nothing: both could be of an older copy of the journal that has grown again.
func (j *journal) check(found bool) {
	if j.checked == found {
		return
	}
	j.checked = found
	j.m.mu.Lock()
	j.m.checked = found
	j.m.mu.Unlock()
	if found {
		j.m.Report()
	}
}

// know notes that the place where the node stands is in the journal that there is.
func (j *journal) know() {
	if j.known {
		return
	}
	j.known = true
	j.m.mu.Lock()
	j.m.count.Known = true
	j.m.mu.Unlock()
}

// begin looks at the place that an earlier process has left, at the first contact of this one. A reason says that it is of no use.
func (j *journal) begin(ctx context.Context) (reason, why string, err error) {
	switch {
	case j.at.Journal != "" && j.m.o.Kept:
		return "", "", nil
	case j.at.Journal == "" && (j.damaged || j.m.o.Kept || !j.isNew()):
		return j.startOr(flushPosition), "it is not known what was purged since this node began to store: all of it is taken for stale", nil
	}
	end, _, err := j.end(ctx)
	if errors.Is(err, errNoEnd) {
		return "", "", nil
	}
	if err == nil && end.Sequence > j.at.Sequence+mostReplay {
		return j.startOr(flushHistory), "this node has stored little and missed much of the journal of purges: what it has is taken for stale", nil
	}
	return "", "", err
}

// isNew reports whether the node has just begun, with nothing stored.
func (j *journal) isNew() bool { return !j.m.o.Kept && time.Since(j.began) < firstTime }

// startOr is a reason, or that the node has just begun, which is none to worry.
func (j *journal) startOr(reason string) string {
	if !j.known && j.isNew() {
		return flushStart
	}
	return reason
}

// end is the place behind all that is in the journal now. ok is false where it is not known of which journal that is.
func (j *journal) end(ctx context.Context) (end place, ok bool, err error) {
	last, err := j.m.o.Conn.Last(ctx, bus.StreamJournal, bus.SubjectJournal)
	if err != nil {
		return place{}, false, err
	}
	if len(last) > 0 {
		e := decodeEntry(last[len(last)-1])
		end = place{}.after(&e)
		ok = e.wrong == nil
	}
	if head := j.current; head.Journal != "" && (head.Sequence > end.Sequence || head.Sequence == end.Sequence && head.Journal != end.Journal) {
		end, ok = place{Position: head}, true
	}
	if !ok && end.Sequence == 0 {
		return end, false, errNoEnd
	}
	return end, ok, nil
}

// forget gives up the place where the node stood. All that was purged up to the end of the journal now was purged before what follows: so
// the end is asked for first.
func (j *journal) forget(ctx context.Context, reason, why string) error {
	end, ok, err := j.end(ctx)
	if err != nil {
		return err
	}
	if !ok { // its last entry cannot be read: the next one will tell
		end.Journal = j.at.Journal
	}
	if len(j.unsaid) > 0 { // it was done in the journal that was, and has numbers of that one
		j.sayAt = time.Now()
		j.say()
	}
	j.m.begin(end.Position)
	j.flush(reason, why)
	j.back, j.short, j.current = false, 0, bus.Position{}
	j.know()
	j.arrive(end)
	j.check(true)
	j.receipt(nil)
	return nil
}
