package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// The table of the roll-out, and its one key: a [plan].
const (
	tableRollout = "rollout"
	rolloutKey   = "main"
)

// busTime bounds one change of the target and what belongs to it.
const busTime = 15 * time.Second

// A rollout leads revisions to the nodes. What it intends is written first, as the plan, and then the target that follows from it: a
// control that ends between the two finds the plan when it starts, and writes the target.
type rollout struct {
	c    *Control
	wake chan struct{}

	op sync.Mutex // one change at a time, over waits for the hub; taken before mu

	mu        sync.Mutex // guards what follows; changed under op alone
	known     bool       // what follows is what the hub has
	plan      plan
	planSeq   uint64 // of the plan in the stream of tables; 0 = none
	target    bus.Target
	targetSeq uint64
	busy      bool  // the target is on its way to the hub, or plan and target are read from there
	judged    bool  // the verdict is written
	still     error // why nothing was led the last time; nil = it was
}

func newRollout(c *Control) *rollout {
	r := &rollout{c: c, wake: make(chan struct{}, 1)}
	c.reports.wake = r.rouse
	c.o.Conn.OnConnect(func() {
		r.forget()
		r.rouse()
	})
	return r
}

// rouse has the plan looked at soon.
func (r *rollout) rouse() { wake(r.wake) }

// forget has all be read from the hub again.
func (r *rollout) forget() {
	r.mu.Lock()
	r.known = false
	r.mu.Unlock()
}

// reached hears from the hub where the target stands. Where it is later than what is known here another control wrote it. While it is written or read
// here nothing follows from it: the hub may tell of a target before it has answered to who wrote it. It tells again a second later.
func (r *rollout) reached(seq uint64) {
	r.mu.Lock()
	later := r.known && !r.busy && seq > r.targetSeq
	r.mu.Unlock()
	if later {
		r.forget()
		r.rouse()
	}
}

// run hears reports and leads until ctx ends.
func (r *rollout) run(ctx context.Context) {
	unsubscribe, err := r.c.o.Conn.Subscribe(bus.UpSubject("*", "*", bus.UpReport), r.c.reports.take)
	if err != nil { // the connection was closed, and with it all ends
		r.c.o.Log.Error("no report is heard", "error", err)
		return
	}
	defer unsubscribe()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		if r.c.o.Conn.Connected() {
			err := r.turn(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				r.c.reports.limiter.Warn("the roll-out stands still", "error", err)
			}
			r.mu.Lock()
			r.still = err
			r.mu.Unlock()
		} else {
			r.c.reports.away()
		}
		select {
		case <-r.wake:
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// turn looks at the plan once.
func (r *rollout) turn(ctx context.Context) error {
	r.op.Lock()
	defer r.op.Unlock()
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	if err := r.learn(ctx); err != nil {
		return err
	}
	p, _ := r.now()
	if p.Phase == done {
		return r.align(ctx)
	}
	next := step(p, r.view(p))
	if next.Phase == p.Phase {
		r.mu.Lock()
		r.plan.Since = next.Since // here alone: a control that starts anew begins anew anyway
		r.mu.Unlock()
	}
	if next.Phase == p.Phase || r.c.gate.closed() != nil {
		return r.align(ctx)
	}
	return r.put(ctx, next)
}

// now is the plan and the target as they are known.
func (r *rollout) now() (plan, bus.Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.plan, r.target
}

// problem says why no revision is led; "" where one is, or there was no look at it yet.
func (r *rollout) problem() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.still == nil {
		return ""
	}
	return words("revisions do not reach the nodes, which keep what they have: " + r.still.Error())
}

// learn reads plan and target from the hub, if they may have changed there. Where there is no target yet the control's own network
// file becomes it. A watch that was under way begins anew. r.op is held.
func (r *rollout) learn(ctx context.Context) error {
	r.mu.Lock()
	known := r.known
	r.known = true // before it is read, so that what happens meanwhile makes it unknown again
	r.busy = !known
	r.mu.Unlock()
	if known {
		return nil
	}
	err := r.reread(ctx)
	r.mu.Lock()
	r.busy = false
	r.mu.Unlock()
	if err != nil {
		r.forget()
	}
	return err
}

// reread is learn, where nothing is known.
func (r *rollout) reread(ctx context.Context) error {
	all, err := r.c.o.Conn.Last(ctx, bus.StreamTables, bus.TableSubject(tableRollout, rolloutKey), bus.TableSubject(bus.TableTarget, bus.TargetKey))
	if err != nil {
		return err
	}
	var p plan
	var t bus.Target
	var planSeq, targetSeq uint64
	for _, m := range all {
		table, _, _ := bus.TableOf(m.Subject)
		into, seq := any(&p), &planSeq
		if table == bus.TableTarget {
			into, seq = &t, &targetSeq
		}
		if *seq = m.Sequence; len(m.Data) == 0 {
			continue
		}
		switch err := bus.Decode(m.Data, into); {
		case errors.Is(err, bus.ErrNewer): // a newer control's, which is not written over
			return fmt.Errorf("control: what lies at %s: %w", m.Subject, err)
		case err != nil:
			r.c.o.Log.Error("what is in force cannot be read in the hub's table, and is written anew", "subject", m.Subject, "error", err)
			if table == bus.TableTarget {
				t = bus.Target{}
			} else {
				p = plan{}
			}
		}
	}
	r.mu.Lock()
	r.plan, r.planSeq, r.target, r.targetSeq, r.judged = p, planSeq, t, targetSeq, false
	r.mu.Unlock()
	switch now := r.c.o.Now(); {
	case p.Phase == "" && t.Stable == 0:
		err = r.begin(ctx)
	case p.Phase == "": // the target outlived its plan
		p = plan{Number: t.Stable, Hash: t.Hash, Began: now.UTC(), Phase: done, Since: now, Outcome: verdictStable}
		err = r.put(ctx, p)
	case p.Phase != done:
		p.Since = now
		r.mu.Lock()
		r.plan = p
		r.mu.Unlock()
		r.c.o.Log.Info("a roll-out goes on", "revision", p.Number, "phase", p.Phase)
	}
	return err
}

// begin makes the control's own network file what all run: they have it already, and learn its number. r.op is held.
func (r *rollout) begin(ctx context.Context) error {
	own, err := fleet.RevisionsIn(r.c.o.State).Current()
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("control: this node keeps no network file of its own yet, so there is no first revision")
	}
	if err != nil {
		return err
	}
	lines, err := r.c.revisions.list(ctx)
	if err != nil {
		return err
	}
	hash := bus.HashOf(own.Data)
	var first RevisionLine
	if i := slices.IndexFunc(lines, func(l RevisionLine) bool { return l.Hash == hash }); i >= 0 {
		first = lines[i] // a control ended after it had given the number
	} else if first, err = r.c.revisions.add(ctx, r.c.o.Identity.Peer.String(), "the network file that the control's node had", own.Data, 0); err != nil {
		return err
	}
	now := r.c.o.Now()
	return r.put(ctx, plan{Number: first.Number, Hash: first.Hash, By: first.By, Began: now.UTC(), Phase: everywhere, Since: now, Outcome: verdictStable})
}

// put makes a plan the one in force: written first, then the target that follows from it, then the verdict. r.op is held.
func (r *rollout) put(ctx context.Context, p plan) error {
	r.mu.Lock()
	seq := r.planSeq
	r.mu.Unlock()
	seq, err := r.c.append(ctx, bus.TableSubject(tableRollout, rolloutKey), p.encode(), bus.ExpectKey(seq))
	if err != nil {
		r.forget() // whether it was written is not known, or another control did
		return err
	}
	r.mu.Lock()
	r.plan, r.planSeq, r.judged = p, seq, false
	r.mu.Unlock()
	log := r.c.o.Log.With("revision", p.Number, "phase", p.Phase, "by", p.By)
	if p.Outcome != "" && p.Outcome != verdictStable && p.Phase == back {
		log.Warn("a revision goes back", "outcome", p.Outcome, "why", p.Why)
	} else {
		log.Info("roll-out", "canary", p.Canary)
	}
	return r.align(ctx)
}

// align writes the target, where it is not what follows from the plan, and the plan's verdict: also where nothing else is written any
// more, for the plan is what counts. r.op is held.
func (r *rollout) align(ctx context.Context) error {
	r.mu.Lock()
	p, t, seq, judged := r.plan, r.target, r.targetSeq, r.judged
	want := p.target()
	writes := !sameTarget(&want, &t)
	r.busy = r.busy || writes
	r.mu.Unlock()
	if writes {
		seq, err := r.c.o.Conn.Append(ctx, bus.TableSubject(bus.TableTarget, bus.TargetKey), bus.Encode(want), bus.ExpectKey(seq))
		r.mu.Lock()
		if r.busy = false; err == nil {
			r.target, r.targetSeq = want, seq
		}
		r.mu.Unlock()
		if err != nil {
			r.forget()
			return err
		}
		wake(r.c.beat) // nodes that missed the change hear of it by the head
	}
	if p.Outcome == "" || judged {
		return nil
	}
	v := verdict{Number: p.Number, State: p.Outcome, Why: p.Why, At: p.Since.UTC()}
	if _, err := r.c.o.Conn.Append(ctx, verdictSubject(p.Number), bus.Encode(v), bus.Expectation{}); err != nil {
		return err
	}
	r.mu.Lock()
	r.judged = true
	r.mu.Unlock()
	return nil
}

func sameTarget(a, b *bus.Target) bool {
	return a.Stable == b.Stable && a.Hash == b.Hash && a.Canary == b.Canary && a.CanaryHash == b.CanaryHash &&
		slices.Equal(a.Canaries, b.Canaries) && a.Since.Equal(b.Since) && a.Last == b.Last
}

// view gathers what a plan is judged by.
func (r *rollout) view(p plan) view {
	v := view{now: r.c.o.Now()}
	if p.Canary != "" {
		r.c.reports.mu.Lock()
		if t := r.c.reports.nodes[p.Canary]; t != nil {
			v.seen, v.report = t.seen, t.report
		}
		r.c.reports.mu.Unlock()
		v.due = r.c.reports.due(p.Canary)
		v.after, _ = r.c.reports.between(p.Canary, p.Since, v.now)
		v.others = r.c.reports.others(p.Canary, p.Since, v.now)
	}
	v.waiting = len(r.nodes(p).Waiting)
	return v
}

// nodes says who runs what the plan's target says.
func (r *rollout) nodes(p plan) (out RolloutNodes) {
	target := p.target()
	r.c.reports.mu.Lock()
	named := r.c.reports.named()
	r.c.reports.mu.Unlock()
	for _, t := range r.c.reports.all() {
		name := t.peer.String()
		number, hash := target.Of(name)
		switch {
		case t.seen.IsZero() || r.c.o.Now().Sub(t.seen) > awayTime:
			out.Away = append(out.Away, name)
		case t.report.Hash == hash:
			out.Running++
		case !named.each[t.peer]:
			out.Unnamed = append(out.Unnamed, name) // it has nothing to run by that file
		case t.report.Refused == number && number != 0:
			out.Refused = append(out.Refused, NodeRefusal{name, t.report.Why})
		default:
			out.Waiting = append(out.Waiting, name)
		}
	}
	return out
}

// history is all revisions with what became of them, the oldest first.
func (r *rollout) history(ctx context.Context) ([]RevisionLine, error) {
	lines, err := r.c.revisions.list(ctx)
	if err != nil {
		return nil, err
	}
	verdicts, err := r.c.verdicts(ctx)
	if err != nil {
		return nil, err
	}
	_, t := r.now()
	for i := range lines {
		l := &lines[i]
		v := verdicts[l.Number]
		l.State, l.Why = v.State, v.Why
		switch {
		case l.Number == t.Stable:
			l.State = verdictStable
		case l.Number == t.Canary:
			l.State = "canary"
		case v.State == verdictStable:
			l.State = "replaced"
		case v.State == "":
			l.State = "unused"
		}
	}
	return lines, nil
}
