package control_test

import (
	"net/http"
	"testing"
	"time"

	"hither/deploy/ops"
)

// states is what the fleet's status says of each node.
func (s *stage) states() map[string]ops.State {
	s.t.Helper()
	var doc ops.Status
	if fault, status := s.request("status", nil, &doc); status != http.StatusOK {
		s.t.Fatal(fault)
	}
	states := make(map[string]ops.State)
	for _, n := range doc.Nodes {
		states[n.Node] = n.State
	}
	return states
}

// A control that has just started does not call down whom it has not heard yet. Whoever is silent for longer is down.
func TestNotHeardYet(t *testing.T) {
	s := newStage(t)
	s.lead()
	s.join("edge-fra")
	s.pass(2 * time.Second)
	if got := s.states(); got["edge-fra"] != ops.Ready || got["edge-iad"] != ops.Unknown || got["dns-ns1"] != ops.Unknown {
		t.Errorf("at first: %v", got)
	}
	for range 20 {
		s.pass(2 * time.Second)
	}
	if got := s.states(); got["edge-fra"] != ops.Ready || got["edge-iad"] != ops.Down || got["dns-ns1"] != ops.Down {
		t.Errorf("later: %v", got)
	}
	s.lead()
	if got := s.states(); got["edge-fra"] != ops.Unknown || got["edge-iad"] != ops.Unknown {
		t.Errorf("after a restart: %v", got)
	}
}

// That it is unknown is no word of a node's own.
func TestUnknownIsNoOnesWord(t *testing.T) {
	s := newStage(t)
	s.lead()
	s.join("edge-fra", "edge-iad")
	a := s.actor("edge-fra")
	a.r.State = "unknown"
	a.report(2 * time.Second)
	a.dead = true
	s.pass(2 * time.Second)
	if got := s.states(); got["edge-fra"] != ops.Unknown || got["edge-iad"] != ops.Ready {
		t.Errorf("%v", got)
	}
	s.mu.Lock()
	s.clock = s.clock.Add(time.Minute)
	s.mu.Unlock()
	if got := s.states(); got["edge-fra"] != ops.Down {
		t.Errorf("its word was taken: %v", got)
	}
}
