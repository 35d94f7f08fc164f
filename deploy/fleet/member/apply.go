package member

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hither/deploy/fleet/bus"
)

const (
	// mostAtOnce bounds the orders that are carried out together, and so a receipt: while they are, further ones wait.
	mostAtOnce = bus.MostOrders
	// hands is how many at a time: a cache looks through its store once for all that are given meanwhile.
	hands = 64
)

var errNotOfStream = errors.New("it is of no stream, though what is live is a stream's")

// unknownKind is what is wrong with an order of a kind that a newer program has.
type unknownKind string

func (k unknownKind) Error() string {
	return fmt.Sprintf("an order by %.40q, which is not known here", string(k))
}

// carryOut has entries take their effect and then says so: the node has come to a place.
func (j *journal) carryOut(entries []entry, to place) {
	if len(entries) == 0 {
		return
	}
	var orders []bus.Order
	var done []bus.Done
	var unreadable error
	for i := range entries {
		e := &entries[i]
		if e.wrong != nil {
			unreadable = fmt.Errorf("entry %d: %w", e.sequence, e.wrong)
			j.m.refuse("entry", unreadable)
			continue
		}
		for k := range e.batch.Orders {
			done = append(done, bus.Done{ID: e.batch.First + uint64(k)})
		}
		if orders == nil {
			orders = e.batch.Orders
		} else {
			orders = append(orders, e.batch.Orders...)
		}
	}
	j.m.begin(to.Position)
	j.m.purge(orders, done)
	if unreadable != nil {
		j.flush(flushUnreadable, "an entry of the journal of purges cannot be read here, so all that is stored is taken for stale: "+unreadable.Error())
	}
	j.arrive(to)
	j.receipt(done)
}

// purge carries out orders and completes what is said of each.
func (m *Member) purge(orders []bus.Order, done []bus.Done) {
	one := func(i int) {
		id := done[i].ID
		done[i] = m.o.Purge(orders[i])
		done[i].ID = id
	}
	if len(orders) == 1 {
		one(0)
	} else if len(orders) > 1 {
		var next atomic.Int64
		var working sync.WaitGroup
		for range min(hands, len(orders)) {
			working.Go(func() {
				for i := next.Add(1) - 1; i < int64(len(orders)); i = next.Add(1) - 1 {
					one(int(i))
				}
			})
		}
		working.Wait()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range orders {
		result := "done"
		if done[i].Error != "" {
			result = "error"
		}
		m.count.Purges[PurgeCount{orders[i].Kind, result}]++
	}
}

// receiptEvery is how often a receipt is sent at most, where orders come one after the other: a hub with hundreds of nodes has as many
// receipts to pass on for each entry. Who waits for one waits that much longer at most.
const receiptEvery = 10 * time.Millisecond

// receipt says how far the node has come, now or a little later together with what follows.
func (j *journal) receipt(done []bus.Done) {
	j.unsaid = append(j.unsaid, done...)
	if now := time.Now(); j.sayAt.IsZero() {
		j.sayAt = now
		if due := j.saidAt.Add(receiptEvery); due.After(now) {
			j.sayAt = due
		}
	}
	j.say()
}

// say sends the receipt that is due. Where it is lost, the next one or a report says the same.
func (j *journal) say() {
	now := time.Now()
	if j.sayAt.IsZero() || now.Before(j.sayAt) && len(j.unsaid) < mostAtOnce {
		return
	}
	peer := j.m.o.Identity.Peer
	// That the hub is away is no news here.
	_ = j.m.o.Conn.Publish(bus.UpSubject(peer.Role, peer.Name, bus.UpReceipt), j.word(j.unsaid))
	j.unsaid, j.saidAt, j.sayAt = j.unsaid[:0], now, time.Time{}
}

// word is a receipt. Where what orders did is too much to tell, it says how far the node has come.
func (j *journal) word(done []bus.Done) []byte {
	data := bus.Encode(bus.Receipt{At: j.at.Position, Done: done})
	if len(data) > bus.MostMessage {
		data = bus.Encode(bus.Receipt{At: j.at.Position})
	}
	return data
}

// flush takes all that is stored for stale, and says why: in the log, in the counts and, unless the node has only begun, in its reports.
func (j *journal) flush(reason, why string) {
	j.m.o.Flush(why)
	j.m.mu.Lock()
	j.m.count.Flushes[reason]++
	j.m.mu.Unlock()
	if reason == flushStart {
		j.m.o.Log.Info(why)
		return
	}
	if j.m.once("flush " + reason) {
		j.m.o.Log.Warn(why, "journal", j.at.Journal, "entry", j.at.Sequence)
	}
	j.m.report.problem(why)
}
