// Package member is a node's part in the fleet: it follows the journal of purges, the target revision and the tables, and says by
// receipts and reports how far it has come. Nothing waits for it: a node without a hub serves what it has.
//
// Reading order: journal.go (purges as they come), catchup.go (what was missed), apply.go (their effect and the receipts), position.go (how
// far the node came), revision.go (the network file), tables.go (drains, revocations, renewals), report.go, calls.go.
package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// Options are what a role gives its member. Functions are called from the member's own goroutines, each by one at a time.
type Options struct {
	Conn     *bus.Conn       // required; the member does not close it
	Identity *fleet.Identity // required
	State    string          // the node's state folder, in which the member remembers how far it came
	Log      *slog.Logger    // required
	Now      func() time.Time

	// Purge carries out an order of the journal. When it returns, look-ups find nothing any more of what it names. An order that
	// means nothing here is Done with its Error. Unlike the other functions it is called for several orders at a time, which came
	// together: their effect is the same in any order. Nil for roles that store nothing: they follow no journal.
	Purge func(bus.Order) bus.Done
	// Flush holds all that is stored for stale: it is not known what was purged since this node last knew. Required with Purge.
	Flush func(why string)
	// Kept says whether what is stored outlived the last process. Where it did not, a start has nothing to catch up with.
	Kept bool

	// Take puts a revision into use, or says why it cannot. What was in use stays then.
	Take func(number int, file []byte) error
	// Refuse keeps a revision that did not get as far as Take, and why: it is not what its hash says, or of a newer version. file may be
	// nil. Optional.
	Refuse func(number int, file []byte, why error)
	// Left says how long ago an operator's own file came in the place of one with that hash. Such a file is not put into use again for
	// ownTime: whoever gave the newer one to the nodes themselves is about to give it to the fleet. Optional.
	Left func(hash string) (ago time.Duration, ok bool)
	// Running is the number of the revision in use, 0 where it came from a file and has none, and the hash of its file.
	Running func() (number int, hash string)
	// Own says whether what runs is an operator's own file, which holds until the target is another. What else runs in the target's place is
	// not meant, such as an older file that was found instead of a damaged one. Optional.
	Own func() bool

	// Table is told of every value of every table, at first and at each change; nil = gone. An error is that the value, which may be of a
	// newer version, has no effect: it is counted and logged. Optional.
	Table func(table, key string, value []byte) error
	// Known are subjects of tables ([bus.TableSubject]) of which the role has a value already, from an earlier process or member. Table is told of
	// them as of those that this member has told: also where the hub has them no more. Optional.
	Known []string
	// Report fills in what the role knows of itself. Optional.
	Report func(*bus.Report)
	// RTT returns what is to be told of the ways to clients since the last call. Nil for roles that have none.
	RTT func() []bus.PrefixRTT
	// Call answers what an operator asks the node's admin socket over the bus.
	Call func(context.Context, bus.Call) bus.Answer
}

// A Member is a node's part in the fleet. Run is called once; the other methods may be called concurrently with it.
type Member struct {
	o         Options
	journal   *journal   // nil for roles that store nothing
	revisions *revisions // nil without Take
	tables    *tables
	report    *reporter
	calls     *calls

	mu      sync.Mutex // guards what follows
	at      bus.Position
	begun   bus.Position  // what comes next, once it has begun to have its effect
	checked bool          // at was found in the journal since the hub began to answer
	moved   chan struct{} // closed at the next change of at; nil where nobody waits
	count   Stats
	said    map[string]time.Time // when what is logged once was logged last
}

// New makes a member. What the state folder remembers is read here.
func New(o Options) (*Member, error) {
	if o.Conn == nil || o.Identity == nil || o.Log == nil {
		return nil, errors.New("member: a connection, an identity and a log are required")
	}
	if o.Purge != nil && o.Flush == nil {
		return nil, errors.New("member: who purges can flush")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	m := &Member{o: o, said: make(map[string]time.Time), count: Stats{
		Purges: make(map[PurgeCount]uint64), Flushes: make(map[string]uint64), Refused: make(map[string]uint64),
	}}
	m.tables, m.report, m.calls = newTables(m), newReporter(m), newCalls(m)
	if o.Purge != nil {
		m.journal = newJournal(m)
	}
	if o.Take != nil {
		m.revisions = newRevisions(m)
	}
	return m, nil
}

// Run follows the fleet until ctx ends. The error is one of the connection's, which was closed.
func (m *Member) Run(ctx context.Context) error {
	var subscribed []func()
	defer func() {
		for _, unsubscribe := range subscribed {
			unsubscribe()
		}
	}()
	subscribe := func(subject string, f func(*bus.Message)) (err error) {
		unsubscribe, err := m.o.Conn.Subscribe(subject, f)
		if err == nil {
			subscribed = append(subscribed, unsubscribe)
		}
		return err
	}
	err := errors.Join(subscribe(bus.LiveHead, m.heard), subscribe(bus.LiveTables+">", m.tables.live))
	if m.journal != nil {
		err = errors.Join(err, subscribe(bus.LiveJournal, m.journal.live))
	}
	if m.revisions != nil {
		err = errors.Join(err, subscribe(bus.LiveTables+bus.TableTarget+"."+bus.TargetKey, m.revisions.live))
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	if m.o.Call != nil {
		peer := m.o.Identity.Peer
		err = errors.Join(err, subscribe(bus.CallSubject(peer.Role, peer.Name), func(call *bus.Message) { m.calls.take(ctx, call) }))
		defer m.calls.end()
	}
	if err != nil {
		return fmt.Errorf("member: %w", err)
	}
	m.o.Conn.OnConnect(m.connected)
	parts.Go(func() { m.tables.run(ctx) })
	parts.Go(func() { m.report.run(ctx) })
	if m.revisions != nil {
		parts.Go(func() { m.revisions.run(ctx) })
	}
	if m.journal != nil {
		parts.Go(func() { m.journal.run(ctx) })
		parts.Go(m.journal.remember)
	}
	<-ctx.Done()
	return nil
}

// connected hears that the hub answers again: whatever came meanwhile was missed.
func (m *Member) connected() {
	m.tables.connected()
	m.report.poke()
	if m.revisions != nil {
		m.revisions.behind()
	}
	if m.journal != nil {
		m.journal.connected()
	}
}

// heard takes the control's heartbeat.
func (m *Member) heard(message *bus.Message) {
	var h bus.Head
	err := bus.Decode(message.Data, &h)
	if err == nil && (h.Journal.Journal == "" || len(h.Journal.Journal) > 64) {
		err = fmt.Errorf("it names the journal %.64q", h.Journal.Journal)
	}
	if err != nil {
		m.refuse("head", err)
		return
	}
	if m.revisions != nil {
		m.revisions.head(h)
	}
	m.tables.head(h.Tables)
	if m.journal != nil {
		m.journal.heard(h.Journal)
	}
}

// told hears of a value of a table: the first time, and whenever it is another. nil = it is gone.
func (m *Member) told(table, key string, value []byte) {
	if m.o.Table == nil {
		return
	}
	if err := m.o.Table(table, key, value); err != nil {
		m.refuse("table", err)
	}
}

// Position is how far the node has come in the journal.
func (m *Member) Position() bus.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at
}

// claimed is the position as reports have it: none while it is not known that it is one in the journal that there is.
func (m *Member) claimed() bus.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.checked {
		return bus.Position{}
	}
	return m.at
}

// Begun is the last entry of the journal of which anything may have had its effect. It is ahead of Position while one has.
func (m *Member) Begun() bus.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.begun.Journal != "" {
		return m.begun
	}
	return m.at
}

// begin says that what leads to a position is about to have its effect.
func (m *Member) begin(to bus.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begun = to
}

// Wait returns when the node has come as far as pos, in pos's own journal, or with the error of ctx.
func (m *Member) Wait(ctx context.Context, pos bus.Position) error {
	for {
		m.mu.Lock()
		if m.at.Journal == pos.Journal && m.at.Sequence >= pos.Sequence {
			m.mu.Unlock()
			return nil
		}
		if m.moved == nil {
			m.moved = make(chan struct{})
		}
		moved := m.moved
		m.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("member: wait for entry %d of the journal: %w", pos.Sequence, ctx.Err())
		}
	}
}

// move changes the position and wakes who waits.
func (m *Member) move(to bus.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at, m.begun = to, bus.Position{}
	if m.moved != nil {
		close(m.moved)
		m.moved = nil
	}
}
