// Package control is the hand that leads a fleet: it alone writes the journal of purges, the revisions and their target, and the tables,
// on the word of an operator, and watches what the nodes report. It runs in one process, that of the origin's gateway which the
// network file names; the fleet serves without it.
//
// Operators ask it over the bus, at control.OPERATOR.VERB; programs may purge over HTTP with a token (http.go).
//
// A purge passes through purge.go, which holds it to the network file, journal.go, which gives it its number and puts it on the hub's
// disk, and receipts.go, which collects what the PoPs say of it.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
	"hither/deploy/ops"
)

// Options are what a control is given.
type Options struct {
	Conn     *bus.Conn              // with the control's permissions. Required
	Identity *fleet.Identity        // of the node in which it runs. Required
	State    string                 // that node's state folder
	Network  func() *deploy.Network // the file in use. Required
	Checks   []deploy.Check         // of all roles, for files that are to be revisions
	Log      *slog.Logger           // required
	Now      func() time.Time
	Replicas int // of the streams; 0 = 1
}

// A Control leads a fleet. Run is called once.
type Control struct {
	o     Options
	verbs map[string]verb
	faint ops.Limiter // for what others may do wrong again and again
	stats counters
	beat  chan struct{} // holds one when a head is to be sent before its time
	asked *asked

	tables uint64 // the last sequence of StreamTables that the hub told of; heads' own

	journal  *journal
	receipts *receipts
	tokens   *tokens
	guesses  *guesses

	reports   *reports
	revisions *revisions
	rollout   *rollout

	drains *drains
	gate   gate
}

// A verb answers a request of an operator. The error may be a [*Refusal]; doc is any JSON object.
type verb func(ctx context.Context, by string, body json.RawMessage) (doc any, err error)

// A Refusal is an error with the status of HTTP that says whose it is.
type Refusal struct {
	Status int
	Cause  error
}

func (r *Refusal) Error() string { return r.Cause.Error() }
func (r *Refusal) Unwrap() error { return r.Cause }

func refuse(status int, format string, args ...any) error {
	return &Refusal{status, fmt.Errorf(format, args...)}
}

// New makes a control.
func New(o Options) (*Control, error) {
	if o.Conn == nil || o.Identity == nil || o.Network == nil || o.Log == nil {
		return nil, errors.New("control: a connection, an identity, a network and a log are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	c := &Control{
		o: o, verbs: make(map[string]verb), faint: ops.Limiter{Log: o.Log, Now: o.Now}, beat: make(chan struct{}, 1), asked: newAsked(),
		guesses: newGuesses(o.Now),
	}
	c.receipts = newReceipts(c)
	c.journal = newJournal(heldJournal{hubJournal{c.o.Conn}, c}, c.o.Log, c.o.Now, c.receipts, &c.stats)
	c.tokens = newTokens(c)
	c.verbs["purge"] = c.purge
	c.verbs["purge-status"] = c.purgeStatus
	c.verbs["purges"] = c.purges
	c.verbs["warm"] = c.warm
	c.verbs["token-add"] = c.tokenAdd
	c.verbs["token-list"] = c.tokenList
	c.verbs["token-remove"] = c.tokenRemove
	c.reports, c.revisions = newReports(c), newRevisions(c)
	c.rollout = newRollout(c)
	c.verbs["apply"], c.verbs["rollout"], c.verbs["promote"], c.verbs["abort"] = c.apply, c.progress, c.promote, c.abort
	c.verbs["history"], c.verbs["revision"], c.verbs["rollback"] = c.history, c.revision, c.rollback
	c.verbs["status"], c.verbs["nodes"] = c.status, c.nodes
	newIdentities(c)
	c.drains = newDrains(c)
	c.verbs["move-hub"], c.verbs["end-hub"] = c.moveHub, c.endHub
	return c, nil
}

// Bounds of an answer, so that it is a message however much there is to tell: the mistakes of a file are a thousand lines at most, but each may be long.
const (
	mostDocument = bus.MostMessage - 16<<10
	mostError    = 128 << 10
)

// answer calls a verb and makes its answer.
func (c *Control) answer(ctx context.Context, subject string, data []byte) bus.Answer {
	by, name, ok := bus.AskedOf(subject)
	v := c.verbs[name]
	if !ok || v == nil {
		return bus.Answer{Status: http.StatusNotFound, Error: fmt.Sprintf("control: it knows no %.40q", name)}
	}
	doc, err := v(ctx, by, data)
	if err == nil {
		var body []byte
		if body, err = json.Marshal(doc); err == nil && len(body) > mostDocument {
			err = fmt.Errorf("control: the answer to %s has %d bytes, and as a message it may have %d; ask for less, or the nodes themselves", name, len(body), mostDocument)
		}
		if err == nil {
			return bus.Answer{Status: http.StatusOK, Doc: body}
		}
	}
	text := err.Error()
	a := bus.Answer{Status: http.StatusInternalServerError, Error: strings.ToValidUTF8(text[:min(len(text), mostError)], "")}
	if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
		a.Status = refusal.Status
	}
	return a
}

// Run leads the fleet until ctx ends. A hub that is away is no error: all that the control knows it reads again from the streams
// when the hub answers. It returns when all that it began has ended.
func (c *Control) Run(ctx context.Context) error {
	c.restoreAll(ctx) // before anything is written
	c.settleMove(ctx)
	c.o.Conn.OnConnect(c.reports.again) // not before: both may have waited for the hub
	var parts sync.WaitGroup
	defer parts.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.asked.close()
	defer cancel()
	unsubscribe, err := c.listen(ctx)
	defer unsubscribe()
	if err != nil {
		return err
	}
	here := make(chan struct{}, 1)
	c.o.Conn.OnConnect(func() { wake(here) })
	for _, loop := range []func(context.Context){c.journal.run, c.receipts.run, c.rollout.run, c.drains.run, c.api, c.dismiss} {
		parts.Go(func() { loop(ctx) })
	}
	c.heads(ctx, here)
	return nil
}

// wake leaves one token in a channel that holds one.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// heads makes the streams that the hub does not have, tells the parts that the hub answers, and sends a head every HeadEvery.
func (c *Control) heads(ctx context.Context, here <-chan struct{}) {
	tick := time.NewTicker(bus.HeadEvery)
	defer tick.Stop()
	ready := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-here:
			ready = false
		case <-tick.C:
		case <-c.beat:
		}
		if !c.o.Conn.Connected() {
			ready = false
			continue
		}
		asking, cancel := context.WithTimeout(ctx, askTime)
		err := error(nil)
		if !ready {
			if err = hub.Ensure(asking, c.o.Conn, c.o.Replicas); err == nil {
				ready = true
				c.journal.again()
				c.receipts.again()
			}
		}
		if err == nil {
			err = errors.Join(c.head(asking), c.tokens.read(asking))
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			ready = false // its streams may be gone
			c.faint.Warn("the hub answers, but not as it should; it is asked again", "error", err)
		}
	}
}

// lost has all be read anew that was read of the tables, the revisions and the secrets: the hub has lost its streams, and the connection
// has not ended over that.
func (c *Control) lost() {
	c.o.Log.Warn("the hub has lost its tables; what is in force is written anew", "was", c.tables)
	c.revisions.stale.Store(true)
	c.tokens.forget()
	c.drains.forget()
	c.rollout.forget()
	c.rollout.rouse()
}

// askTime bounds what the hub is asked. JetStream may wait for its disk.
const askTime = 10 * time.Second

// head tells how long the streams are. All of it is read from the hub each time, so that what a second control wrote counts too.
func (c *Control) head(ctx context.Context) error {
	at, err := hubJournal{c.o.Conn}.end(ctx)
	if err != nil {
		return err
	}
	c.receipts.reached(at)
	c.journal.reached(at)
	tables, err := streamInfo(ctx, c.o.Conn, bus.StreamTables)
	if err != nil {
		return err
	}
	if tables.State.Last < c.tables {
		c.lost()
	}
	c.tables = tables.State.Last
	h := bus.Head{Journal: at, Tables: tables.State.Last, At: c.o.Now()}
	target, err := c.o.Conn.Last(ctx, bus.StreamTables, bus.TableSubject(bus.TableTarget, bus.TargetKey))
	if err != nil {
		return err
	}
	if len(target) == 1 {
		h.Target = target[0].Sequence
		c.rollout.reached(h.Target)
	}
	return c.o.Conn.Publish(bus.LiveHead, bus.Encode(h))
}
