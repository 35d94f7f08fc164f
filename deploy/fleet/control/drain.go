package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// This file is the drain of a PoP. It stands in the table drain/POP, by which DNS servers leave the PoP out. From then on, each step by what
// the nodes report: every DNS server has read the table as far (telling), the longest TTL of the names that lead there is over
// (waiting), and no connection of a client came of late (stragglers; those of probes do not count). Then, where it was asked for, the node
// is told to end (stopping), and is silent or another process when it has (done). Each wait has a bound. A DNS server that did not say that it knows hears
// it from the node, which then waits for DNS and the TTL by itself.

// Times of a drain that nobody sets.
const (
	// hearTime is how long DNS servers are waited for that do not say that they know. They probe the node as well, and it tells
	// them itself when it goes.
	hearTime = 2 * time.Minute
	// quietTime is for how long no client may have come for all to have gone: five reports.
	quietTime = 10 * time.Second
	// strayTime is how long those are waited for who go by an address that they keep for longer than they may.
	strayTime = 2 * time.Minute
	// stopEvery is how often a node is told again to end that goes on.
	stopEvery = 10 * time.Second
)

// A DrainCall is what the verb drain is asked.
type DrainCall struct {
	PoP  string `json:"pop"`
	Stop bool   `json:"stop,omitempty"` // its node is to end when its clients have gone
	Undo bool   `json:"undo,omitempty"`

	Force bool `json:"force,omitempty"` // also the last PoP that serves
}

// A DrainDoc is the document "drain": how far a PoP's drain has come.
type DrainDoc struct {
	PoP   string    `json:"pop"`
	State string    `json:"state"` // none, revoked, telling, waiting, stragglers, stopping, done
	Why   string    `json:"why"`   // what it waits for, for people
	Since time.Time `json:"since,omitzero"`
	By    string    `json:"by,omitempty"`
	Stop  bool      `json:"stop,omitempty"`

	Knows     []string  `json:"knows"`              // DNS servers that leave the PoP out of their answers
	Silent    []string  `json:"silent"`             // those that do not say so
	TTL       int       `json:"ttl"`                // the longest of the names that lead here, in seconds
	Forgotten time.Time `json:"forgotten,omitzero"` // when resolvers have forgotten the PoP; absent while not all servers know

	Node     string    `json:"node"`                 // state of the node, as it says; "" = it does not report
	Coming   float64   `json:"coming"`               // connections of clients a second, between its last two reports
	Requests int64     `json:"requests"`             // under way
	Last     time.Time `json:"last_client,omitzero"` // when the last connection was seen
	Done     bool      `json:"done"`                 // clients have gone; with stop, so has the node
}

// drains are the PoPs that drain: the table, and what the reports say of each. A control that starts goes on with what is in the table.
type drains struct {
	c *Control

	op sync.Mutex // one change of the table at a time, over waits for the hub; taken before mu

	mu    sync.Mutex // guards what follows
	known bool       // the table was read since the hub began to answer
	pops  map[string]*draining
}

// A draining is one PoP's.
type draining struct {
	bus.Drain
	sequence uint64    // in the stream of tables
	noted    time.Time // when it was found there, or written

	knows, silent []string
	told          time.Time // since when every DNS server has known; zero = not yet
	toldAll       bool      // and not that waiting for some was given up

	node     bus.Report
	seen     time.Time // of its last report; zero = none
	coming   float64
	last     time.Time // when the last client came
	stopped  time.Time // when the node was told to end, the last time
	ending   time.Time // start of the process that was told; what begins later was not
	reported bool      // it has been seen since the drain began to be watched
	done     bool
}

func newDrains(c *Control) *drains {
	d := &drains{c: c, pops: make(map[string]*draining)}
	c.o.Conn.OnConnect(d.forget)
	c.verbs["drain"], c.verbs["drain-status"] = d.drain, d.status
	return d
}

// forget has the table read again.
func (d *drains) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = false
}

// run follows drains until ctx ends.
func (d *drains) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if d.c.o.Conn.Connected() {
			if err := d.learn(ctx); err != nil && ctx.Err() == nil {
				d.c.faint.Warn("which PoPs drain cannot be read", "error", err)
			}
			d.turn(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// learn reads the table, where it may have changed, and reminds it of who was revoked.
func (d *drains) learn(ctx context.Context) error {
	d.op.Lock()
	defer d.op.Unlock()
	d.mu.Lock()
	known := d.known
	d.known = true
	d.mu.Unlock()
	if known {
		return nil
	}
	err := d.read(ctx)
	if err == nil {
		err = d.remind(ctx)
	}
	if err != nil {
		d.forget()
	}
	return err
}

// read takes what is in the table. d.op is held.
func (d *drains) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	all, err := d.c.o.Conn.Last(ctx, bus.StreamTables, bus.TableSubject(bus.TableDrain, "*"))
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	there := make(map[string]*draining)
	for _, m := range all {
		_, pop, ok := bus.TableOf(m.Subject)
		if !ok || len(m.Data) == 0 {
			continue
		}
		x := &draining{sequence: m.Sequence, noted: d.c.o.Now()}
		if err := bus.Decode(m.Data, &x.Drain); err != nil {
			d.c.faint.Warn("a drain that cannot be read", "pop", pop, "error", err)
			continue
		}
		if old := d.pops[pop]; old != nil && old.sequence == x.sequence {
			x = old
		}
		there[pop] = x
	}
	d.pops = there
	return nil
}

// drain is the verb: it takes a PoP out of all answers of DNS, or lets it in again.
func (d *drains) drain(ctx context.Context, by string, body json.RawMessage) (any, error) {
	call, network, err := d.call(body)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	if err := d.learn(ctx); err != nil {
		return nil, err
	}
	d.op.Lock()
	defer d.op.Unlock()
	d.mu.Lock()
	now := d.pops[call.PoP]
	d.mu.Unlock()
	if ordered := now != nil && now.Asked(); !call.Undo && !call.Force && (!ordered || call.Stop && !now.Stop) {
		if err := d.last(network, call.PoP); err != nil {
			return nil, err
		}
	}
	switch {
	case call.Undo && now == nil:
		return nil, refuse(http.StatusConflict, "control: PoP %s does not drain", call.PoP)
	case call.Undo:
		_, err = d.write(ctx, call.PoP, nil) // that of a lost identity too: it is the operator's word
	case now == nil:
		_, err = d.write(ctx, call.PoP, &bus.Drain{Since: d.c.o.Now(), By: by, Stop: call.Stop})
	case !now.Asked():
		_, err = d.write(ctx, call.PoP, &bus.Drain{Since: d.c.o.Now(), By: by, Stop: call.Stop, Revoked: now.Revoked})
	case now.Stop != call.Stop:
		_, err = d.write(ctx, call.PoP, &bus.Drain{Since: now.Since, By: by, Stop: call.Stop, Revoked: now.Revoked})
	default:
		d.mu.Lock()
		if now.again() { // and is meant now
			now.done, now.stopped = false, time.Time{}
		}
		d.mu.Unlock()
	}
	if err != nil {
		return nil, err
	}
	d.c.o.Log.Info("drain", "pop", call.PoP, "undo", call.Undo, "stop", call.Stop, "by", by)
	return d.document(network, call.PoP), nil
}

// status is the verb drain-status.
func (d *drains) status(ctx context.Context, _ string, body json.RawMessage) (any, error) {
	call, network, err := d.call(body)
	if err == nil {
		err = d.learn(ctx)
	}
	if err != nil {
		return nil, err
	}
	return d.document(network, call.PoP), nil
}

func (d *drains) call(body json.RawMessage) (call DrainCall, network *deploy.Network, err error) {
	if err := readCall(body, &call); err != nil {
		return call, nil, err
	}
	network = d.c.o.Network()
	if network.PoP(call.PoP) == nil && !(call.Undo && d.has(call.PoP)) {
		return call, nil, refuse(http.StatusBadRequest, "control: the network has no PoP %.64q", call.PoP)
	}
	return call, network, nil
}

func (d *drains) has(pop string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pops[pop] != nil
}

// write puts a drain into the table, nil takes it out. Who wrote first wins: then the error says so. d.op is held.
func (d *drains) write(ctx context.Context, pop string, drain *bus.Drain) (sequence uint64, err error) {
	subject := bus.TableSubject(bus.TableDrain, pop)
	last, err := d.c.o.Conn.Last(ctx, bus.StreamTables, subject)
	if err != nil {
		return 0, err
	}
	var before uint64
	for _, m := range last {
		before = m.Sequence
	}
	var value []byte
	if drain != nil {
		value = bus.Encode(drain)
	}
	sequence, err = d.c.append(ctx, subject, value, bus.ExpectKey(before))
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.known = false
		return 0, err
	}
	old := d.pops[pop]
	switch {
	case drain == nil:
		delete(d.pops, pop)
	case old != nil: // what DNS servers knew before stays true
		old.Drain, old.done, old.stopped, old.noted = *drain, false, time.Time{}, d.c.o.Now()
	default:
		d.pops[pop] = &draining{Drain: *drain, sequence: sequence, noted: d.c.o.Now()}
	}
	wake(d.c.beat) // who missed it hears that there is something
	return sequence, nil
}

// turn holds every drain against the last reports, and tells nodes to end whose time has come.
func (d *drains) turn(ctx context.Context) {
	network, now := d.c.o.Network(), d.c.o.Now()
	var told []string // PoPs whose node is to end
	var wait []bool   // and is to tell DNS by itself
	var back []string // PoPs that have an identity again
	d.mu.Lock()
	for pop, x := range d.pops {
		d.look(x, network, pop, now)
		if d.restored(x, pop) {
			back = append(back, pop)
		}
		if x.Stop && !x.done && now.Sub(x.stopped) >= stopEvery && d.over(x, network, pop, now) && !x.seen.IsZero() && x.node.State != "down" {
			x.stopped, x.ending = now, x.node.Started
			told, wait = append(told, pop), append(wait, !x.toldAll)
		}
	}
	d.mu.Unlock()
	for _, pop := range back {
		if err := d.restore(ctx, pop); err != nil && ctx.Err() == nil {
			d.c.faint.Warn("a PoP that has an identity again is not in answers yet", "pop", pop, "error", err)
		}
	}
	for i, pop := range told {
		if err := d.end(ctx, pop, !wait[i]); err != nil && ctx.Err() == nil {
			d.c.faint.Warn("a PoP that drained is not told to end", "pop", pop, "error", err)
		}
	}
}

// look takes in what was reported. d.mu is held.
func (d *drains) look(x *draining, network *deploy.Network, pop string, now time.Time) {
	x.knows, x.silent = []string{}, []string{}
	for i := range network.DNS.Servers {
		name := network.DNS.Servers[i].Name
		if r, ok := d.c.reports.of(fleet.RoleDNS + "-" + name); ok && r.report.Tables >= x.sequence {
			x.knows = append(x.knows, name)
		} else {
			x.silent = append(x.silent, name)
		}
	}
	switch {
	case !x.told.IsZero():
	case len(x.silent) == 0:
		x.told, x.toldAll = now, true
	case now.Sub(x.Since) > hearTime:
		x.told = now
	}
	r, ok := d.c.reports.of(fleet.RoleEdge + "-" + pop)
	switch {
	case !ok:
		x.seen, x.coming = time.Time{}, 0
		// Nothing is heard of a node that was told to end: it has, unless nothing was heard of anybody.
		x.done = x.done || !x.stopped.IsZero() && !d.c.reports.due(fleet.RoleEdge+"-"+pop)
	case !r.seen.Equal(x.seen):
		came := r.report.Accepted - x.node.Accepted
		switch {
		case !x.reported || !r.report.Started.Equal(x.node.Started):
			x.last, x.coming = r.seen, 0 // from here on it is counted
		case came > 0:
			x.last = r.seen
			fallthrough
		default:
			x.coming = float64(max(came, 0)) / max(r.seen.Sub(x.seen).Seconds(), 1)
		}
		x.node, x.seen, x.reported = r.report, r.seen, true
		x.done = x.done || x.Stop && x.begunAnew()
	}
	switch {
	case x.Stop:
		x.done = x.done || !x.stopped.IsZero() && x.node.State == "down"
	default:
		x.done = d.over(x, network, pop, now)
	}
}

// begunAnew says whether what reports now is not the process that was told to end, which has ended then: whoever keeps nodes running (Docker, systemd)
// starts it again at once. It is not told to end as well, or it would be started and ended for ever. d.mu is held.
func (x *draining) begunAnew() bool { return !x.stopped.IsZero() && !x.node.Started.Equal(x.ending) }

// again says whether a node runs although its end was asked for and came. d.mu is held.
func (x *draining) again() bool { return x.Stop && x.done && !x.seen.IsZero() && x.begunAnew() }

// forgotten is when resolvers have forgotten a PoP of which no DNS server tells any more.
func forgotten(x *draining, network *deploy.Network, pop string) time.Time {
	ttl, _ := network.TTLOf(network.PoP(pop))
	return x.told.Add(ttl)
}

// over says whether clients have gone: DNS says nothing of the PoP any more, resolvers have forgotten it, and nobody came of late, or
// those who still come have had their time. d.mu is held.
func (d *drains) over(x *draining, network *deploy.Network, pop string, now time.Time) bool {
	if x.told.IsZero() {
		return false
	}
	at := forgotten(x, network, pop)
	return now.After(at) && (now.Sub(x.last) >= quietTime || now.Sub(at) >= strayTime)
}

// end tells a node to end. told says that DNS need not hear it from the node.
func (d *drains) end(ctx context.Context, pop string, told bool) error {
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	body := json.RawMessage(fmt.Sprintf(`{"told":%t}`, told))
	m, err := d.c.o.Conn.Request(ctx, bus.CallSubject(fleet.RoleEdge, pop), bus.Encode(bus.Call{Method: http.MethodPost, Path: "/v1/drain", Body: body}))
	if err != nil {
		return err
	}
	var a bus.Answer
	if err := bus.Decode(m.Data, &a); err != nil {
		return err
	}
	if a.Status/100 != 2 {
		return fmt.Errorf("control: it answers %d: %s", a.Status, words(a.Error))
	}
	return nil
}

// document says how far a drain has come.
func (d *drains) document(network *deploy.Network, pop string) DrainDoc {
	now := d.c.o.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	doc := DrainDoc{PoP: pop, State: "none", Why: "it is in DNS answers as others are", Knows: []string{}, Silent: []string{}}
	x := d.pops[pop]
	if x == nil {
		if r, ok := d.c.reports.of(fleet.RoleEdge + "-" + pop); ok {
			doc.Node, doc.Requests = r.report.State, r.report.Active
		}
		return doc
	}
	p := network.PoP(pop)
	if p == nil {
		doc.State, doc.Why = "done", "the network file in use has no such PoP"
		doc.Done = true
		return doc
	}
	d.look(x, network, pop, now)
	ttl, _ := network.TTLOf(p)
	doc.Since, doc.By, doc.Stop, doc.Knows, doc.Silent, doc.TTL = x.Since, x.By, x.Stop, slices.Clone(x.knows), slices.Clone(x.silent), int(ttl/time.Second)
	doc.Node, doc.Coming, doc.Requests, doc.Last, doc.Done = x.node.State, x.coming, x.node.Active, x.last, x.done
	if x.seen.IsZero() {
		doc.Node, doc.Requests = "", 0
	}
	at := forgotten(x, network, pop)
	if !x.told.IsZero() {
		doc.Forgotten = at
	}
	switch {
	case !x.Asked():
		doc.State, doc.Why, doc.Done = "revoked", "its identity was revoked; "+backWhen(network, pop), true
	case x.again():
		doc.State, doc.Why = "done", "its node has ended, and was started again; it gets no clients until the drain is taken back"
	case x.done && x.Stop:
		doc.State, doc.Why = "done", "its node has ended"
	case x.done:
		doc.State, doc.Why = "done", "its clients have gone; the node goes on, and gets none"
	case !x.stopped.IsZero():
		doc.State, doc.Why = "stopping", "the node ends when its requests have"
	case x.Stop && x.seen.IsZero() && d.over(x, network, pop, now):
		doc.State, doc.Why = "stopping", "the node does not report, so it cannot be told to end: see whether it runs"
	case x.told.IsZero():
		doc.State, doc.Why = "telling", fmt.Sprintf("DNS servers that have not said yet that they know: %s", strings.Join(x.silent, ", "))
	case !now.After(at):
		doc.State, doc.Why = "waiting", "resolvers go on naming it until their answers are too old"
	default:
		doc.State, doc.Why = "stragglers", fmt.Sprintf("until no client has come for %v", quietTime)
	}
	return doc
}
