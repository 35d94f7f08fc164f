package member_test

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/member"
)

// TestReadBeforeAnybodyServes has a node ask for its target when the hub answers already and nobody reads its streams to others yet. It asks
// again a moment later, and at the next heartbeat.
func TestReadBeforeAnybodyServes(t *testing.T) {
	w := &world{t: t, folder: t.TempDir(), addr: loopback}
	var err error
	if w.authority, err = fleet.OpenAuthority(filepath.Join(w.folder, "authority"), "demo"); err != nil {
		t.Fatal(err)
	}
	w.gateway = w.identity(fleet.RoleOrigin, "us")
	w.startBare()
	t.Cleanup(w.stop)
	id := w.identity(fleet.RoleEdge, "fra")
	conn, err := bus.Dial(bus.Options{URLs: []string{w.hub.URL()}, Identity: id, Embedded: "us", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	m, err := member.New(member.Options{
		Conn: conn, Identity: id, State: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Take: func(int, []byte) error { return errors.New("there is none") },
	})
	if err != nil {
		t.Fatal(err)
	}
	poll(t, "the hub answers", conn.Connected)
	if wait := m.Step(w.ctx()); wait > 2*time.Second || !conn.Connected() {
		t.Errorf("it looks again after %v", wait)
	}
	if !m.Head(bus.Head{Target: 1}) {
		t.Error("a heartbeat that speaks of a target does not have it look again")
	}
}
