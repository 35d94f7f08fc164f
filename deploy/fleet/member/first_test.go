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
// busy may be late several times, and a node that waits is so each time.
func TestFirstPurge(t *testing.T) {
	for left := 9; ; left-- {
		w := newWorld(t)
		n := w.node(fleet.RoleEdge, "fra")
		reports := w.hears(bus.UpSubject(fleet.RoleEdge, "fra", bus.UpReport))
		n.start()
		<-reports // it comes a moment after the connection, and the journal was read at once
		w.order("a")
		began := time.Now() // it is on the hub's disk
		if err := n.member.Wait(w.ctx(), w.end()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took <= 250*time.Millisecond {
			return
		} else if left == 0 {
			t.Fatalf("the first purge took %v, and never less than 250ms", took)
		}
		n.stop()
	}
}

// Nodes that come before the hub has streams read again at the first heartbeat, and not when waits that have grown are over. A machine that is busy
// may be late at times.
func TestStreamsLate(t *testing.T) {
	took := streamsLate(t)
	for left := 4; took > time.Second && left > 0; left-- {
		took = streamsLate(t)
	}
	if took > time.Second {
		t.Errorf("it took %v, and never less than a second", took)
	}
}

// streamsLate is how long after the streams are there a node has what is in them.
func streamsLate(t *testing.T) time.Duration {
	t.Helper()
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
	w.order("a")
	began := time.Now()
	w.head()
	if err := n.member.Wait(w.ctx(), w.end()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	n.stop()
	return took
}
