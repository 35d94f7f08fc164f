package member

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"hither/deploy/fleet/bus"
)

const (
	// mostKeys bounds the keys of all tables that a node keeps in mind.
	mostKeys = 20_000
	// mostName bounds the name of a table, and that of a key: ROLE-NAME is the longest.
	mostName = 128
)

// tables follow StreamTables. What comes live is a hint only, and the value is asked of the stream: it keeps the last value of each key
// alone, so all that is above a sequence is all that has changed since. Each time that the hub answers anew all of it is read: it may
// have lost its disk and have others under the same sequences.
type tables struct {
	m      *Member
	signal chan struct{}

	mu      sync.Mutex // guards what follows
	stale   bool       // the stream is to be read
	low     int        // heartbeats in turn that spoke of less than was known here
	anew    bool       // it has gone back: all is to be read
	at      uint64     // how far it was read since the hub began to answer
	most    uint64     // how far it was ever read, unless it has gone back since
	contact int        // how often the hub has begun to answer

	// Of the goroutine of run.
	values   map[string][sha256.Size]byte // what each was told, by subject: its sum, for values may be many and large; keys that are gone are not in it
	failed   int
	notUntil time.Time
}

func newTables(m *Member) *tables {
	t := &tables{m: m, signal: make(chan struct{}, 1), values: make(map[string][sha256.Size]byte)}
	for _, subject := range m.o.Known {
		t.values[subject] = [sha256.Size]byte{} // the sum of no value: whatever is there is told
	}
	return t
}

// change changes something below mu and wakes run where there is something to do.
func (t *tables) change(f func()) {
	t.mu.Lock()
	f()
	work := t.stale
	t.mu.Unlock()
	if !work {
		return
	}
	select {
	case t.signal <- struct{}{}:
	default:
	}
}

// connected has all of the stream read.
func (t *tables) connected() {
	t.change(func() {
		t.contact++
		t.stale, t.at, t.low = true, 0, 0
	})
}

// live takes the hint that a value has changed.
func (t *tables) live(message *bus.Message) {
	if message.Sequence == 0 {
		t.m.refuse("table", errNotOfStream)
		return
	}
	t.change(func() { t.stale = t.stale || message.Sequence > t.at })
}

// head takes what a heartbeat says.
func (t *tables) head(last uint64) {
	t.change(func() {
		t.stale = t.stale || last > t.at
		if last >= t.most {
			t.low = 0
			return
		}
		// Once it may have been on its way while a change overtook it.
		if t.low++; t.low > 1 {
			t.stale, t.anew, t.low = true, true, 0
		}
	})
}

// reached is how far the node has come.
func (t *tables) reached() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.at
}

// run tells of changes until ctx ends.
func (t *tables) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.signal:
		case <-timer.C:
		}
		t.mu.Lock()
		stale, anew := t.stale, t.anew
		t.mu.Unlock()
		if !stale {
			continue
		}
		if wait := time.Until(t.notUntil); wait > 0 {
			timer.Reset(wait)
			continue
		}
		t.mu.Lock()
		t.stale, t.anew = false, false
		from, contact := t.at, t.contact
		t.mu.Unlock()
		if anew {
			from = 0
		}
		before := time.Now()
		if err := t.read(ctx, from, contact, anew); err != nil && ctx.Err() == nil {
			t.change(func() { t.stale, t.anew = true, t.anew || anew })
			t.notUntil = before.Add(min(idleTime<<min(t.failed, 10), mostRetry))
			t.failed++
			if !errors.Is(err, bus.ErrAway) && t.m.once("tables") {
				t.m.o.Log.Warn("the tables of the fleet cannot be read", "error", err)
			}
			continue
		}
		t.failed = 0
		if t.reached() == from {
			t.notUntil = before.Add(idleTime)
		}
	}
}

// read reads all that is above from and tells of what has changed. With from 0 it also tells of what is gone, but for revocations: those
// are taken back by a word, and not because a disk was lost. An answer that ends before what was known here may be that of a replica which
// is late: then nothing is gone, unless heartbeats have said that the stream went back, anew.
func (t *tables) read(ctx context.Context, from uint64, contact int, anew bool) error {
	last := from
	seen := make(map[string]bool)
	err := t.m.o.Conn.Read(ctx, bus.StreamTables, from+1, func(message *bus.Message) error {
		last = message.Sequence
		seen[message.Subject] = true
		t.tell(message.Subject, message.Data)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	whole := from == 0 && (anew || last >= t.most)
	t.mu.Unlock()
	if whole {
		for subject := range t.values {
			if table, _, _ := bus.TableOf(subject); !seen[subject] && table != bus.TableRevoked {
				t.tell(subject, nil)
			}
		}
	}
	t.mu.Lock()
	if t.contact == contact { // else what was read may be of another hub's
		t.at, t.most = last, max(t.most, last)
		if anew {
			t.most = last
		}
	}
	t.mu.Unlock()
	return nil
}

// tell hands on a value, where it is another than before.
func (t *tables) tell(subject string, value []byte) {
	table, key, ok := bus.TableOf(subject)
	old, known := t.values[subject]
	sum := sha256.Sum256(value)
	switch {
	case !ok || len(table) > mostName || len(key) > mostName:
		t.m.refuse("table", fmt.Errorf("no table has %.80q", subject))
		return
	case len(value) == 0:
		if value = nil; !known {
			return
		}
		delete(t.values, subject)
	case known && old == sum:
		return
	case !known && len(t.values) >= mostKeys:
		t.m.refuse("table", fmt.Errorf("more than %d keys", mostKeys))
		return
	default:
		t.values[subject] = sum
	}
	t.m.told(table, key, value)
}
