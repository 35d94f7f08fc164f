package member_test

import (
	"os"
	"path/filepath"
	"testing"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// TestStartDamaged has a node start with the file before the one in use, for that was damaged. It is not what the node is to run, though the
// target is the one that it had put into use last.
func TestStartDamaged(t *testing.T) {
	w := newWorld(t)
	one, two := fileNumbered(1), fileNumbered(2)
	f := w.follow(t, fleet.RoleEdge, "fra", one)
	w.aim(bus.Target{Stable: 1, Hash: w.put(1, one)})
	f.runs(1, one)
	if err := f.files.File("own.yaml", one); err != nil { // the one before is the operator's last word as well
		t.Fatal(err)
	}
	w.aim(bus.Target{Stable: 2, Hash: w.put(2, two)})
	f.runs(2, two)
	f.end()
	if err := os.WriteFile(filepath.Join(f.state, "revision", "current.yaml"), []byte("version: 1\nna"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.start(w)
	f.runs(2, two)
}

// TestRunsAnother has a node find that it runs something else than what it has put into use last, and that is nobody's will.
func TestRunsAnother(t *testing.T) {
	w := newWorld(t)
	one, two := fileNumbered(1), fileNumbered(2)
	f := w.follow(t, fleet.RoleEdge, "fra", one)
	w.aim(bus.Target{Stable: 2, Hash: w.put(2, two)})
	f.runs(2, two)
	if err := f.files.Take(1, one); err != nil { // behind the member's back
		t.Fatal(err)
	}
	f.later(0)
	f.runs(2, two)
}
