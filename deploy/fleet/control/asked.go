package control

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"hither/deploy/fleet/bus"
)

// Bounds of what operators ask at the same time. What is above them is refused at once, so that no operator keeps the others
// from asking.
const (
	mostAsked    = 512
	mostAskedOne = 256 // of one operator
	verbTime     = 15 * time.Minute
)

// asked are the requests under way.
type asked struct {
	mu    sync.Mutex // guards what follows
	all   int
	of    map[string]int // by operator; those that have none are not there
	ended bool
	at    sync.WaitGroup
}

func newAsked() *asked { return &asked{of: make(map[string]int)} }

// begin does one more request of an operator in a goroutine of its own, and says whether it may be done now.
func (a *asked) begin(by string, f func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended || a.all >= mostAsked || a.of[by] >= mostAskedOne {
		return false
	}
	a.all++
	a.of[by]++
	a.at.Go(func() {
		defer a.end(by)
		f()
	})
	return true
}

func (a *asked) end(by string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all--
	if a.of[by]--; a.of[by] == 0 {
		delete(a.of, by)
	}
}

// close lets no request begin any more, and returns when those under way have ended.
func (a *asked) close() {
	a.mu.Lock()
	a.ended = true
	a.mu.Unlock()
	a.at.Wait()
}

// listen hears operators and edges until unsubscribe.
func (c *Control) listen(ctx context.Context) (unsubscribe func(), err error) {
	var ends []func()
	unsubscribe = func() {
		for _, end := range ends {
			end()
		}
	}
	subscribe := func(subject string, f func(*bus.Message)) {
		if err != nil {
			return
		}
		var end func()
		if end, err = c.o.Conn.Subscribe(subject, f); err == nil {
			ends = append(ends, end)
		}
	}
	subscribe(bus.ControlSubject("*", "*"), func(m *bus.Message) { c.take(ctx, m) })
	subscribe(bus.UpSubject("edge", "*", bus.UpReceipt), c.receipts.receipt)
	subscribe(bus.UpSubject("edge", "*", bus.UpReport), c.receipts.report)
	subscribe(bus.LiveJournal, c.receipts.live)
	return unsubscribe, err
}

// take answers one request.
func (c *Control) take(ctx context.Context, m *bus.Message) {
	by, verb, _ := bus.AskedOf(m.Subject)
	c.stats.asked.Add(1)
	if len(m.Data) > bus.MostMessage {
		c.stats.refused.Add(1)
		c.faint.Warn("an operator's request is too large", "operator", by, "bytes", len(m.Data))
		m.Respond(bus.Encode(bus.Answer{Status: http.StatusRequestEntityTooLarge, Error: "control: the request is too large"}))
		return
	}
	began := c.asked.begin(by, func() {
		ctx, cancel := context.WithTimeout(ctx, verbTime)
		defer cancel()
		a := c.answer(ctx, m.Subject, m.Data)
		if a.Status/100 != 2 {
			c.stats.refused.Add(1)
			c.faint.Warn("what an operator asked was not done", "operator", by, "verb", words(verb), "status", a.Status, "error", words(a.Error))
		}
		if err := m.Respond(bus.Encode(a)); err != nil && ctx.Err() == nil {
			c.faint.Warn("an operator's answer could not be sent", "error", err)
		}
	})
	if !began && ctx.Err() == nil {
		c.stats.refused.Add(1)
		c.faint.Warn("more is asked at once than the control does", "operator", by)
		m.Respond(bus.Encode(bus.Answer{Status: http.StatusServiceUnavailable, Error: "control: too much is asked at once; ask again when something has ended"}))
	}
}

// Stats are what a control has counted since it began.
type Stats struct {
	Asked, Refused   int64 // requests of operators, and those that were not done
	Orders, Entries  int64 // written to the journal
	Doubts           int64 // entries of which it was not known at first whether the hub has them
	Changed          int64 // somebody else wrote to the journal
	Receipts         int64 // taken
	Foreign          int64 // of another journal: receipts that were passed over
	Beyond           int64 // claims of more than the journal has
	Unknown          int64 // receipts and reports of nodes that the network file does not name
	Garbage          int64 // messages that could not be read
	Impossible       int64 // reports that say what no node can mean
	Requests         int64 // over HTTP
	Denied           int64 // of those, without a token that holds
	Throttled        int64 // of those, from addresses that guessed too often
	Tracked, Waiting int64 // now: orders whose receipts are known, and who waits for them

	Phase string // now: of the last roll-out, one of [Phases]; "" = it is not known yet
}

// Phases are those of a roll-out, in their order; one that a canary ended has "back" in the place of "everywhere".
func Phases() []string {
	return []string{string(taking), string(watching), string(everywhere), string(back), string(done)}
}

// counters are Stats as they grow.
type counters struct {
	asked, refused, orders, entries, doubts, changed, receipts, foreign, beyond, unknown, garbage, impossible, requests, denied, throttled, waiting atomic.Int64
}

// Stats returns what has been counted.
func (c *Control) Stats() Stats {
	s := &c.stats
	plan, _ := c.rollout.now()
	return Stats{
		Phase: string(plan.Phase),
		Asked: s.asked.Load(), Refused: s.refused.Load(), Orders: s.orders.Load(), Entries: s.entries.Load(), Doubts: s.doubts.Load(),
		Changed: s.changed.Load(), Receipts: s.receipts.Load(), Foreign: s.foreign.Load(), Beyond: s.beyond.Load(), Unknown: s.unknown.Load(),
		Garbage: s.garbage.Load(), Impossible: s.impossible.Load(), Requests: s.requests.Load(), Denied: s.denied.Load(), Throttled: s.throttled.Load(),
		Tracked: int64(c.receipts.tracked()), Waiting: s.waiting.Load(),
	}
}
