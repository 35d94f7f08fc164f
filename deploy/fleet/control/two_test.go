package control

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// TestTwoControls has two of them lead one fleet for a while, as when the control moves: what one puts into force the other knows too,
// though nothing that it does tells it so.
func TestTwoControls(t *testing.T) {
	w := newWorld(t)
	if err := fleet.RevisionsIn(w.folder).Accept(deploy.Example()); err != nil {
		t.Fatal(err)
	}
	one, _ := w.control()
	other, _ := w.control()
	for _, c := range []*Control{one, other} {
		w.until("a control knows the first revision, and has nothing more to do", func() bool {
			p, target := c.rollout.now()
			return target.Stable == 1 && p.Phase == done
		})
	}
	call, err := json.Marshal(ApplyCall{How: How{Now: true}, File: append(deploy.Example(), "# another\n"...)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one.apply(w.ctx(), "main", call); err != nil {
		t.Fatal(err)
	}
	w.until("the other knows the second", func() bool { _, target := other.rollout.now(); return target.Stable == 2 })
	if _, target := one.rollout.now(); target.Stable != 2 {
		t.Errorf("the first one has %d by now", target.Stable)
	}
}

// TestOwnTarget has a control hear from the hub of a target that it has written itself, before it has heard that it is written: it is no other
// control's, so nothing is read anew, by which the watch of a canary would begin anew.
func TestOwnTarget(t *testing.T) {
	w := newWorld(t)
	if err := fleet.RevisionsIn(w.folder).Accept(deploy.Example()); err != nil {
		t.Fatal(err)
	}
	c, _ := w.control()
	r := c.rollout
	w.until("the first revision is in force", func() bool { p, _ := r.now(); return p.Phase == done })
	r.op.Lock() // nobody else writes
	defer r.op.Unlock()
	ctx, cancel := context.WithCancel(w.ctx())
	var heads sync.WaitGroup
	for range 4 {
		heads.Go(func() {
			for ctx.Err() == nil {
				target, err := c.o.Conn.Last(ctx, bus.StreamTables, bus.TableSubject(bus.TableTarget, bus.TargetKey))
				if err == nil && len(target) == 1 {
					r.reached(target[0].Sequence)
				}
			}
		})
	}
	defer heads.Wait()
	defer cancel()
	for number := range 200 {
		if err := r.put(w.ctx(), plan{Number: 2 + number, Hash: "x", Phase: everywhere, Outcome: verdictStable, Since: time.Now()}); err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		known := r.known
		r.mu.Unlock()
		if !known {
			t.Fatalf("target %d is taken for another control's", number)
		}
	}
}
