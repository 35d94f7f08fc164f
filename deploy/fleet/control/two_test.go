package control

import (
	"encoding/json"
	"testing"

	"hither/deploy"
	"hither/deploy/fleet"
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
