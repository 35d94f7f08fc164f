package member_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// hears returns a channel with one value for each message of a subject that comes from now on.
func (w *world) hears(subject string) <-chan *bus.Message {
	w.t.Helper()
	all := make(chan *bus.Message, 100)
	if _, err := w.control.Subscribe(subject, func(m *bus.Message) { all <- m }); err != nil {
		w.t.Fatal(err)
	}
	if err := w.control.Flush(w.ctx()); err != nil {
		w.t.Fatal(err)
	}
	return all
}

// The first purge of all is done at once also where a node has read the journal before it, in vain, and heard no heartbeat yet. A machine that is
// busy may be late once.
func TestFirstPurge(t *testing.T) {
	best := patience
	for range 3 {
		w := newWorld(t)
		n := w.node(fleet.RoleEdge, "fra")
		reports := w.hears(bus.UpSubject(fleet.RoleEdge, "fra", bus.UpReport))
		n.start()
		<-reports // it comes a moment after the connection, and the journal was read at once
		began := time.Now()
		w.order("a")
		if err := n.member.Wait(w.ctx(), w.end()); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(began))
	}
	if best > 250*time.Millisecond {
		t.Errorf("the first purge took %v", best)
	}
}

// Nodes that come before the hub has streams read again at the first heartbeat, and not when waits that have grown are over.
func TestStreamsLate(t *testing.T) {
	w := newWorld(t)
	w.stop()
	if err := os.RemoveAll(filepath.Join(w.folder, "hub")); err != nil {
		t.Fatal(err)
	}
	w.startBare()
	reports := w.hears(bus.UpSubject(fleet.RoleEdge, "fra", bus.UpReport))
	n := w.node(fleet.RoleEdge, "fra")
	n.start()
	for range 2 { // two seconds: it has read three times, and would read again after two more
		<-reports
	}
	if err := hub.Ensure(w.ctx(), w.control, 1); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	w.order("a")
	w.head()
	if err := n.member.Wait(w.ctx(), w.end()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v", took)
	}
}
