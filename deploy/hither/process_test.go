package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// A starter starts a node with --network, as far as choosing its network file.
type starter struct {
	t           *testing.T
	file, state string
}

func newStarter(t *testing.T) *starter {
	dir := t.TempDir()
	return &starter{t, filepath.Join(dir, "network.yaml"), filepath.Join(dir, "nodes", "edge-fra")}
}

// write is the operator's file, and what `hither up` noted of it.
func (s *starter) write(comment string, note agreed) {
	s.t.Helper()
	if err := errors.Join(os.WriteFile(s.file, fleetFile(comment), 0o600), writeJSON(filepath.Join(filepath.Dir(s.file), syncFile), note)); err != nil {
		s.t.Fatal(err)
	}
}

// start starts a process, which runs a file of a number.
func (s *starter) start(number int, comment string) *process {
	s.t.Helper()
	id := &fleet.Identity{Peer: fleet.Peer{Network: "demo", Role: fleet.RoleEdge, Name: "fra"}}
	p := newProcess(nodeOptions{name: "fra", state: s.state, network: s.file}, id, slog.New(slog.DiscardHandler))
	if err := p.load(); err != nil {
		s.t.Fatal(err)
	}
	s.runs(p, number, comment)
	return p
}

func (s *starter) runs(p *process, number int, comment string) {
	s.t.Helper()
	if n, hash := p.files.Running(); n != number || hash != bus.HashOf(fleetFile(comment)) {
		s.t.Errorf("it runs revision %d (%s), and not %d, which is %q", n, hash, number, comment)
	}
}

// TestStartUnchanged has a node start twice with a file that was read before the fleet sent another.
func TestStartUnchanged(t *testing.T) {
	s := newStarter(t)
	s.write("one", agreed{})
	if err := s.start(0, "one").files.Take(2, fleetFile("two")); err != nil {
		t.Fatal(err)
	}
	s.start(2, "two")
	s.start(2, "two")
	s.write("three", agreed{}) // which is new
	s.start(0, "three")
}

// TestStartAgreed has a node start with a file that its operator did not write: `hither up` made it of a revision.
func TestStartAgreed(t *testing.T) {
	s := newStarter(t)
	one, two := agreed{1, bus.HashOf(fleetFile("one"))}, agreed{2, bus.HashOf(fleetFile("two"))}
	s.write("zero", agreed{})
	if err := s.start(0, "zero").files.Take(3, fleetFile("three")); err != nil {
		t.Fatal(err)
	}
	s.write("two", two) // up had died before it heard of 3
	s.start(3, "three")
	p := s.start(3, "three")
	if err := p.reload(); err != nil {
		t.Fatal(err)
	}
	s.runs(p, 3, "three")
	s.write("one", two) // edited: the operator wants an old one back
	if p = s.start(0, "one"); !p.files.Own() {
		t.Error("what an operator has written is not the operator's own")
	}
	if err := p.files.Take(4, fleetFile("four")); err != nil {
		t.Fatal(err)
	}
	s.write("five", agreed{5, bus.HashOf(fleetFile("five"))}) // which this node has not heard of yet
	if p = s.start(5, "five"); p.files.Own() {
		t.Error("a revision of the fleet is an operator's own")
	}
	if err := p.files.Take(1, fleetFile("one")); err != nil { // the target may go back
		t.Fatal(err)
	}
	s.write("one", one)
	if err := p.reload(); err != nil {
		t.Fatal(err)
	}
	s.runs(p, 1, "one")
}
