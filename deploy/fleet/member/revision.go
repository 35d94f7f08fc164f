package member

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

const (
	// reconcileEvery is how often a node looks up its target though nothing says that it changed, and tries again what it
	// could not take.
	reconcileEvery = 3 * time.Minute

	// aloneTime is for how long a node goes on with a canary while nobody says that it is watched.
	aloneTime = time.Minute

	// againTime is how long after a failure of the hub the next attempt comes; each further failure doubles it, up to 32 times.
	againTime = time.Second

	// ownTime is for how long an operator's own file holds against the revision in whose place it came: as long as the fleet may take to
	// hear of it, or to tell this node for the first time what it was to run before.
	ownTime = 10 * time.Second

	// fetchTime bounds what is asked of the hub.
	fetchTime = 20 * time.Second

	// mostWhy bounds what reports say of why a revision could not be taken: a bad file may have a thousand mistakes. All of them are in the
	// state folder.
	mostWhy = 4 << 10
)

// which is a revision.
type which struct {
	number int
	hash   string
}

// revisions follows the target: it has the node run the revision that is meant for it. One goroutine, run, does so; others tell it that
// there is something new.
//
// The target decides, not the number: it may go back. What an operator gave to the node itself stays until the target changes; whatever else
// runs in its place does not. A revision that cannot be taken is tried again at each reconcile.
type revisions struct {
	m    *Member
	wake chan struct{} // one place: there is something new

	mu      sync.Mutex // guards what follows
	heard   time.Time  // the last heartbeat, or the start
	target  bus.Target
	seq     uint64 // of target in StreamTables; 0 = none is known
	unread  bool   // the table is to be read before the target counts
	refused int    // the revision that could not be taken, and why; 0 = none
	why     string

	// Of run alone.
	kept     *fleet.Revisions
	done     which         // what was put into use, or tried, last
	retry    bool          // done is to be tried again if it was refused
	failures int           // of the hub in a row
	hold     time.Duration // how much longer an operator's own file holds; 0 = none does
}

// newRevisions starts from what the state folder remembers.
func newRevisions(m *Member) *revisions {
	r := &revisions{m: m, wake: make(chan struct{}, 1), heard: m.o.Now(), unread: true, kept: fleet.RevisionsIn(m.o.State)}
	mark := r.kept.Mark()
	if w := (which{mark.Number, mark.Hash}); r.settled(w) {
		r.done = w
	}
	return r
}

// behind has run read the table.
func (r *revisions) behind() {
	r.mu.Lock()
	r.unread = true
	r.mu.Unlock()
	r.poke()
}

func (r *revisions) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// live takes a change of the target.
func (r *revisions) live(message *bus.Message) {
	if table, key, ok := bus.TableOf(message.Subject); !ok || table != bus.TableTarget || key != bus.TargetKey {
		return
	}
	var t bus.Target
	if err := bus.Decode(message.Data, &t); err != nil || message.Sequence == 0 {
		r.behind() // the table has the last word, and what is wrong there is said
		return
	}
	r.mu.Lock()
	newer := message.Sequence > r.seq
	if newer {
		r.target, r.seq = t, message.Sequence
	}
	r.mu.Unlock()
	if newer {
		r.poke()
	}
}

// head takes the control's heartbeat, which says where the target stands.
func (r *revisions) head(h bus.Head) {
	now := r.m.o.Now()
	r.mu.Lock()
	returned := now.Sub(r.heard) >= aloneTime
	r.heard = now
	missed := h.Target != 0 && h.Target != r.seq
	r.mu.Unlock()
	if missed || returned { // a canary that was left may be meant still; a table that could not be read has somebody now who knows it
		r.behind()
	}
}

// problem is the revision that could not be taken, and why; 0 = none.
func (r *revisions) problem() (refused int, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused, r.why
}

// run follows the target until ctx ends.
func (r *revisions) run(ctx context.Context) {
	reconcile := time.NewTicker(reconcileEvery)
	defer reconcile.Stop()
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-again.C:
		case <-reconcile.C:
			r.retry = true
			r.behind()
		}
		again.Reset(r.step(ctx))
	}
}

// step does what there is to do now, and returns when to look again though nothing is heard.
func (r *revisions) step(ctx context.Context) time.Duration {
	wait := reconcileEvery
	switch err := r.follow(ctx); {
	case err == nil:
		r.failures = 0
	case errors.Is(err, bus.ErrAway) && !r.m.o.Conn.Connected(): // it wakes run when it is back
	case ctx.Err() == nil:
		// A hub that has just begun has no streams for a moment, or nobody who reads them to others.
		if wait = againTime << min(r.failures, 5); r.failures > 0 && r.m.once("revision") {
			r.m.o.Log.Warn("the revision to run could not be had; the one in use stays", "error", err)
		}
		r.failures++
	}
	if r.hold > 0 {
		wait = min(wait, r.hold)
	}
	if r.kept.Canary().Number != 0 {
		r.mu.Lock()
		wait = min(wait, max(aloneTime-r.m.o.Now().Sub(r.heard), againTime))
		r.mu.Unlock()
	}
	return wait
}

// follow puts into use what is meant for this node. An error is the hub's, never a revision's.
func (r *revisions) follow(ctx context.Context) error {
	t, known, err := r.read(ctx)
	if err != nil || !known {
		r.alone()
		return err
	}
	var want which
	want.number, want.hash = t.Of(r.m.o.Identity.Peer.String())
	canary := want.number != 0 && want.number == t.Canary
	if canary && r.runs(want) && r.silent() {
		r.m.o.Log.Warn("nobody says any more that the canary is watched; going back", "revision", t.Canary, "to", t.Stable)
		r.alone()
		return nil
	}
	again := r.retry && want == r.done && r.wasRefused(want)
	r.retry, r.hold = false, 0
	switch {
	case want.number == 0: // none was ever given out
		return nil
	case canary && want != r.done && r.silent(): // it was left a moment ago
		return nil
	case want == r.done && !again && (r.wasRefused(want) || r.settled(want)):
		r.forget(canary)
		return nil
	}
	if ago, ok := r.left(want.hash); ok && ago < ownTime {
		r.hold = ownTime - ago
		return nil
	}
	file, err := r.fetch(ctx, want)
	if err == nil && canary {
		err = r.prepare(ctx, t, want)
	}
	if away := (*hubError)(nil); errors.As(err, &away) {
		r.retry = again
		return err
	}
	if err == nil {
		err = r.m.o.Take(want.number, file)
		file = nil // who could not take it has kept it
	} else if r.m.o.Refuse != nil {
		r.m.o.Refuse(want.number, file, err)
	}
	r.tried(want, err)
	if err == nil {
		r.forget(canary)
	}
	return nil
}

// left says how long ago an operator's own file came in the place of one.
func (r *revisions) left(hash string) (ago time.Duration, ok bool) {
	if r.m.o.Left == nil {
		return 0, false
	}
	return r.m.o.Left(hash)
}

// tried notes what became of a revision.
func (r *revisions) tried(w which, err error) {
	repeated := err != nil && r.wasRefused(w) && r.done == w
	r.done = w
	r.mu.Lock()
	if r.refused, r.why = 0, ""; err != nil {
		r.refused, r.why = w.number, err.Error()
		r.why = strings.ToValidUTF8(r.why[:min(len(r.why), mostWhy)], "")
	}
	r.mu.Unlock()
	if err != nil {
		r.m.counted("revision")
	}
	r.m.Report()
	switch {
	case err == nil:
		r.m.o.Log.Info("revision in use", "revision", w.number, "hash", w.hash)
	case !repeated:
		r.m.o.Log.Error("revision refused; what is in use stays", "revision", w.number, "error", err)
	}
}

// alone goes back from a canary that nobody watches any more, with what the node keeps itself.
func (r *revisions) alone() {
	c := r.kept.Canary()
	if c.Number == 0 || !r.runs(which{c.Number, c.Hash}) || !r.silent() {
		return
	}
	back := which{c.Stable, c.StableHash}
	file := r.kept.Find(func(data []byte) bool { return bus.HashOf(data) == back.hash })
	err := error(nil)
	if file == nil {
		err = fmt.Errorf("member: revision %d, to which the canary would go back, is not in the state folder", back.number)
	} else {
		err = r.m.o.Take(back.number, file)
	}
	r.tried(back, err)
	if err == nil {
		r.forget(false)
	}
}

// forget drops the way back when what runs is no canary.
func (r *revisions) forget(canary bool) {
	if canary || r.kept.Canary().Number == 0 {
		return
	}
	if err := r.kept.SetCanary(fleet.Canary{}, nil); err != nil {
		r.m.o.Log.Warn("revision", "error", err)
	}
}

// silent says whether nothing was heard of the control for too long.
func (r *revisions) silent() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.m.o.Now().Sub(r.heard) >= aloneTime
}

func (r *revisions) runs(w which) bool {
	if r.m.o.Running == nil {
		return false
	}
	_, hash := r.m.o.Running()
	return hash == w.hash
}

// settled says whether a revision that was put into use still is, or an operator's own file holds against it.
func (r *revisions) settled(w which) bool {
	return r.m.o.Running == nil || r.runs(w) || r.m.o.Own != nil && r.m.o.Own()
}

func (r *revisions) wasRefused(w which) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused == w.number
}
