package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"hither/deploy/fleet/bus"
	"hither/deploy/ops"
)

// This file is the journal's one writer. While one entry is on its way to the hub's disk, further orders gather, and all of them are
// the next entry: so many purges a second need few writes.
//
// An entry whose answer is lost is in doubt: the hub may have it or not. The same bytes are offered again, to stand behind the same
// entry as before, and so they stand there once at most; where something stands there already it is read, and is either the entry itself
// or another control's. Only then does anything else go on. So an order has exactly one number, whatever is lost.

// mostQueued bounds the orders that wait for their entry. Above it they are refused.
const mostQueued = 16 * bus.MostOrders

// mostEntry bounds the bytes of an entry's orders, with room for what stands around them.
const mostEntry = bus.MostMessage - 16<<10

// retryTime is the pause after something that the hub could not do.
const retryTime = time.Second

// A journalStore is the stream as the writer needs it. Methods are called by one goroutine at a time, but for end.
type journalStore interface {
	// end is which journal it is and its last entry.
	end(ctx context.Context) (bus.Position, error)
	// entry reads one entry; nil where there is none.
	entry(ctx context.Context, sequence uint64) ([]byte, error)
	// append returns nil when the hub has the entry on disk, as the one after last. Where another stands there, the error wraps
	// bus.ErrChanged; after any other error it may have been written, or be written still.
	append(ctx context.Context, data []byte, last uint64) error
}

// A written is told of entries, in their order, from the writer's goroutine.
type written interface {
	// offered comes before the hub is given an entry: receipts may be faster than its answer.
	offered(at bus.Position, b *bus.Batch, taken []time.Time)
	// withdrawn comes where that entry is not the hub's after all.
	withdrawn(at bus.Position)
}

// A journal writes orders.
type journal struct {
	store journalStore
	log   *slog.Logger
	faint ops.Limiter
	now   func() time.Time
	told  written
	stats *counters
	more  chan struct{} // holds one when an order waits
	here  chan struct{} // holds one when the hub began to answer

	mu     sync.Mutex // guards what follows
	queue  []*queued
	fit    bool // what follows is known
	at     bus.Position
	next   uint64 // number of the next order
	ended  bool
	doubts bool // an entry is in doubt: what is given now waits for it
}

// A queued is an order that waits for its number.
type queued struct {
	order bus.Order
	size  int // in JSON
	taken time.Time
	call  *call
}

// A call is a list of orders that somebody gave.
type call struct {
	ids   []uint64 // those written, in their order
	at    bus.Position
	left  int
	gone  bool          // its caller waits no more: what has no number yet gets none
	done  chan struct{} // closed when all are written, or err is set
	err   error
	begun bool // an entry with orders of it was offered to the hub
}

func newJournal(store journalStore, log *slog.Logger, now func() time.Time, told written, stats *counters) *journal {
	return &journal{
		store: store, log: log, faint: ops.Limiter{Log: log, Now: now}, now: now, told: told, stats: stats,
		more: make(chan struct{}, 1), here: make(chan struct{}, 1),
	}
}

// write puts orders into the journal and returns their numbers, and where the last of them stands, when the hub has them on disk. Where ctx ends
// first the error says whether they may be done all the same. At most bus.MostOrders are taken.
func (j *journal) write(ctx context.Context, orders []bus.Order) (ids []uint64, at bus.Position, err error) {
	c := &call{left: len(orders), done: make(chan struct{})}
	batch := make([]*queued, len(orders))
	taken := time.Now() // and not the control's clock: this is how long somebody waits
	for i, o := range orders {
		body, err := json.Marshal(o)
		if err != nil {
			return nil, at, err
		}
		batch[i] = &queued{o, len(body) + 1, taken, c}
	}
	j.mu.Lock()
	switch {
	case j.ended:
		j.mu.Unlock()
		return nil, at, errEnds(false)
	case len(j.queue)+len(batch) > mostQueued:
		j.mu.Unlock()
		return nil, at, refuse(http.StatusServiceUnavailable, "control: %d purges wait to be written already; nothing was done: tell it again in some seconds, fewer at a time, by tag or prefix", mostQueued)
	}
	j.queue = append(j.queue, batch...)
	j.mu.Unlock()
	wake(j.more)
	select {
	case <-c.done:
		return c.ids, c.at, c.err
	case <-ctx.Done():
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	select {
	case <-c.done:
		return c.ids, c.at, c.err
	default:
	}
	c.gone = true
	if c.begun {
		return nil, at, refuse(http.StatusServiceUnavailable, "control: the hub did not say in time that it has the purge; it may be done or not: tell it again, which does no harm")
	}
	return nil, at, refuse(http.StatusServiceUnavailable, "control: the hub did not take the purge in time; nothing was done: tell it again")
}

// again has the end of the journal read anew: the hub may be another than before.
func (j *journal) again() {
	j.mu.Lock()
	j.fit = false
	j.mu.Unlock()
	wake(j.here)
	wake(j.more)
}

// reached hears from the hub where the journal ends. Where the writer knows of less, another has written.
func (j *journal) reached(at bus.Position) {
	j.mu.Lock()
	stale := j.fit && (at.Journal != j.at.Journal || at.Sequence > j.at.Sequence) && !j.doubts
	j.mu.Unlock()
	if stale {
		j.again()
	}
}

// run writes until ctx ends.
func (j *journal) run(ctx context.Context) {
	defer j.end()
	for ctx.Err() == nil {
		if !j.known() {
			if err := j.read(ctx); err != nil {
				j.faint.Warn("the end of the journal cannot be read; no purge can be given until it can", "error", err)
				j.pause(ctx)
				continue
			}
		}
		if b := j.gather(); len(b) > 0 {
			j.commit(ctx, b)
			continue
		}
		select {
		case <-ctx.Done():
		case <-j.more:
		}
	}
}

// pause waits for the hub, or for a while.
func (j *journal) pause(ctx context.Context) {
	t := time.NewTimer(retryTime)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-j.here:
	}
}

func (j *journal) known() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fit
}

// end refuses what waits.
func (j *journal) end() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = true
	for _, q := range j.queue {
		q.call.fail(errEnds(q.call.begun))
	}
	j.queue = nil
}

// errEnds is what those are told whose orders are not written any more.
func errEnds(begun bool) error {
	if begun {
		return refuse(http.StatusServiceUnavailable, "control: it ended before the hub said that it has the purge; it may be done or not: tell it again, which does no harm")
	}
	return refuse(http.StatusServiceUnavailable, "control: it ends; nothing was done: tell the purge again when it is back")
}

// fail ends a call with an error, unless it has ended. The journal's mu is held.
func (c *call) fail(err error) {
	if c.err == nil && c.left > 0 {
		c.err = err
		close(c.done)
	}
}

// read learns where the journal ends and which number is next.
func (j *journal) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	at, err := j.store.end(ctx)
	if err != nil {
		return err
	}
	next := uint64(1)
	if at.Sequence > 0 {
		data, err := j.store.entry(ctx, at.Sequence)
		if err != nil {
			return err
		}
		var b bus.Batch
		if data != nil {
			if err = bus.Decode(data, &b); err == nil {
				err = b.Check()
			}
		}
		if data == nil || err != nil {
			// Its last entry is older than its history, or is damaged: numbers go on where none can have been given.
			next = bus.Leap(at.Sequence)
			j.log.Warn("the journal's last entry cannot be read; numbers of purges leap", "journal", at.Journal, "sequence", at.Sequence, "next", next, "error", err)
		} else {
			next = b.First + uint64(len(b.Orders))
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.at.Journal != "" && j.at.Journal != at.Journal {
		j.log.Warn("the hub has another journal than before", "was", j.at, "is", at)
	}
	j.at, j.next, j.fit = at, next, true
	return nil
}

// gather takes the next entry's orders from the queue, without those whose callers have gone.
func (j *journal) gather() []*queued {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []*queued
	n, size := 0, 0
	for _, q := range j.queue {
		if len(out) == bus.MostOrders || size+q.size > mostEntry {
			break
		}
		n++
		if q.call.gone || q.call.err != nil {
			continue
		}
		q.call.begun = true
		out = append(out, q)
		size += q.size
	}
	rest := copy(j.queue, j.queue[n:])
	clear(j.queue[rest:])
	j.queue = j.queue[:rest]
	return out
}

// commit writes orders as one entry, and goes on until it is known what became of them.
func (j *journal) commit(ctx context.Context, orders []*queued) {
	for {
		j.mu.Lock()
		at := bus.Position{Journal: j.at.Journal, Sequence: j.at.Sequence + 1}
		b := &bus.Batch{Journal: at.Journal, First: j.next, At: j.now()}
		j.doubts = true
		j.mu.Unlock()
		taken := make([]time.Time, len(orders))
		for i, q := range orders {
			b.Orders, taken[i] = append(b.Orders, q.order), q.taken
		}
		j.told.offered(at, b, taken)
		err := j.put(ctx, at, bus.Encode(b))
		if err == nil {
			j.settle(orders, at, b)
			return
		}
		j.told.withdrawn(at)
		j.mu.Lock()
		j.doubts, j.fit = false, false
		kept := orders[:0:0]
		for _, q := range orders {
			if ctx.Err() != nil {
				q.call.fail(errEnds(true))
			}
			if !q.call.gone && q.call.err == nil {
				kept = append(kept, q)
			}
		}
		j.mu.Unlock()
		if orders = kept; len(orders) == 0 {
			return
		}
		for !j.known() { // what stands there is another's: numbers begin behind it
			if err := j.read(ctx); err != nil {
				j.pause(ctx)
			}
			if ctx.Err() != nil {
				j.mu.Lock()
				for _, q := range orders {
					q.call.fail(errEnds(q.call.begun))
				}
				j.mu.Unlock()
				return
			}
		}
	}
}

// errNotOurs is what put ends with where the entry is not in the journal and never will be.
var errNotOurs = errors.New("another entry stands there")

// put offers an entry until the hub has it, or cannot have it any more.
func (j *journal) put(ctx context.Context, at bus.Position, data []byte) error {
	for try := 0; ; try++ {
		asking, cancel := context.WithTimeout(ctx, askTime)
		err := j.store.append(asking, data, at.Sequence-1)
		cancel()
		if err == nil {
			return nil
		}
		if try == 0 && !errors.Is(err, bus.ErrChanged) {
			j.stats.doubts.Add(1)
			j.faint.Warn("it is not known whether the hub has an entry of the journal; it is looked for", "sequence", at.Sequence, "error", err)
		}
		for again := false; !again; {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			again, err = j.look(ctx, at, data)
			switch {
			case errors.Is(err, errNotOurs):
				j.stats.changed.Add(1)
				j.log.Warn("somebody else wrote to the journal, or it is another; numbers are read again. Is there a second control?", "sequence", at.Sequence, "error", err)
				return err
			case err == nil && !again:
				return nil
			}
			j.pause(ctx)
		}
	}
}

// look finds out whether an entry stands where it was to stand. again: nothing stands there, and it may be offered once more.
func (j *journal) look(ctx context.Context, at bus.Position, data []byte) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	end, err := j.store.end(ctx)
	if err != nil {
		return false, err
	}
	if end.Journal != at.Journal || end.Sequence < at.Sequence-1 {
		return false, fmt.Errorf("control: the hub's journal is %v: %w", end, errNotOurs)
	}
	if end.Sequence == at.Sequence-1 {
		return true, nil
	}
	there, err := j.store.entry(ctx, at.Sequence)
	if err != nil {
		return false, err
	}
	if !bytes.Equal(there, data) {
		return false, errNotOurs
	}
	return false, nil
}

// settle gives the orders of an entry that the hub has their numbers.
func (j *journal) settle(orders []*queued, at bus.Position, b *bus.Batch) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.doubts = false
	if j.fit {
		j.at, j.next = at, b.First+uint64(len(b.Orders))
	}
	for i, q := range orders {
		q.call.ids = append(q.call.ids, b.First+uint64(i))
		q.call.at = at
		if q.call.left--; q.call.left == 0 && q.call.err == nil {
			close(q.call.done)
		}
	}
	j.stats.entries.Add(1)
	j.stats.orders.Add(int64(len(orders)))
	j.log.Info("purges", "first", b.First, "orders", len(b.Orders), "sequence", at.Sequence, "kind", b.Orders[0].Kind, "value", b.Orders[0].Value)
}
