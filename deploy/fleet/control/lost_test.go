package control_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
	"hither/deploy/ops"
)

// TestStreamsLost has the hub lose all its streams while everybody stays connected, as a cluster elsewhere may when its operator
// deletes them, or a hub whose disk went and which has started JetStream again. The control makes them, and writes into them what is in force.
func TestStreamsLost(t *testing.T) {
	s := newStage(t)
	s.lead()
	s.apply(stageFile("two"), control.How{Now: true})
	var drain control.DrainDoc
	if fault, status := s.request("drain", control.DrainCall{PoP: "fra"}, &drain); status != http.StatusOK {
		t.Fatal(fault)
	}
	hand, err := bus.Dial(s.hub.Control())
	if err != nil {
		t.Fatal(err)
	}
	defer hand.Close()
	for _, stream := range []string{bus.StreamJournal, bus.StreamRevisions, bus.StreamTables, bus.StreamSecrets} {
		if _, err := hand.Request(s.ctx(), "$JS.API.STREAM.DELETE."+stream, nil); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "a purge is taken again", func() bool {
		var p control.Purge
		_, status := s.request("purge", bus.Order{Kind: "all"}, &p)
		return status == http.StatusOK
	})
	until(t, "there is a target again", func() bool {
		all, err := s.operator.Last(s.ctx(), bus.StreamTables, bus.TableSubject(bus.TableTarget, bus.TargetKey))
		return err == nil && len(all) == 1 && len(all[0].Data) > 0
	})
	until(t, "what no table has is no drain any more", func() bool {
		_, status := s.request("drain-status", control.DrainCall{PoP: "fra"}, &drain)
		return status == http.StatusOK && drain.State == "none"
	})
	if states := s.history(); len(states) != 1 || states[0] != "stable" {
		t.Errorf("revisions: %q", states)
	}
}

// TestRevocationsLost has the hub lose its tables, and then be given older ones, in which an earlier revocation of the PoP stands and that it was back: it
// is left out of DNS answers again, and shown as revoked, until it reports with an identity that is newer than the last revocation.
func TestRevocationsLost(t *testing.T) {
	s := newStage(t)
	s.join("edge-fra", "edge-iad", "dns-ns1")
	s.lead()
	fra := s.actor("edge-fra")
	s.pass(2 * time.Second)
	earlier := s.now().Add(-time.Hour).UTC()
	var done control.Revoked
	for _, node := range []string{"edge-fra", "dns-ns9"} {
		if fault, status := s.request("revoke", control.Revoke{Node: node}, &done); status != http.StatusOK {
			t.Fatal(fault)
		}
		if err := s.origin.Table(bus.TableRevoked, node, bus.Encode(bus.Revocation{Until: done.Until})); err != nil { // as its node's member does
			t.Fatal(err)
		}
	}
	last := s.origin.Revoked(fleet.Peer{Role: fleet.RoleEdge, Name: "fra"})
	fra.r.Issued = earlier
	hand, err := bus.Dial(s.hub.Control())
	if err != nil {
		t.Fatal(err)
	}
	defer hand.Close()
	revoked := func(node string) (until time.Time) {
		t.Helper()
		all, err := hand.Last(s.ctx(), bus.StreamTables, bus.TableSubject(bus.TableRevoked, node))
		if err != nil || len(all) != 1 {
			return time.Time{}
		}
		var r bus.Revocation
		if err := bus.Decode(all[0].Data, &r); err != nil {
			t.Fatal(err)
		}
		return r.Until
	}
	out := func(what string) {
		t.Helper()
		until(t, what, func() bool {
			d, _, there := s.drainsNow("fra")
			var doc control.NodesDoc
			_, status := s.request("nodes", nil, &doc)
			return there && d.Revoked.Equal(last) && status == http.StatusOK && doc.Nodes[0].Revoked && revoked("edge-fra").Equal(last) && revoked("dns-ns9").Equal(done.Until)
		})
	}
	out("at first")
	if _, err := hand.Request(s.ctx(), "$JS.API.STREAM.PURGE."+bus.StreamTables, nil); err != nil {
		t.Fatal(err)
	}
	s.lead()
	out("the tables are lost")

	for subject, value := range map[string][]byte{
		bus.TableSubject(bus.TableRevoked, "edge-fra"): bus.Encode(bus.Revocation{Until: earlier, By: "main"}), bus.TableSubject(bus.TableDrain, "fra"): nil,
	} {
		if _, err := hand.Append(s.ctx(), subject, value, bus.Expectation{}); err != nil {
			t.Fatal(err)
		}
	}
	s.lead()
	out("the tables are older")

	fra.r.Issued = last.Add(time.Second)
	until(t, "it is back with another identity", func() bool {
		s.pass(2 * time.Second)
		_, _, there := s.drainsNow("fra")
		return !there
	})
	s.lead()
	s.pass(2 * time.Second)
	if _, _, there := s.drainsNow("fra"); there {
		t.Error("a control that starts has put back what was over")
	}
}

// TestRevisionsLost has the hub lose the revision that is in force, then all of them and what the tables say of it: what is applied gets a number
// that none had, and a control that starts anew begins with the file that its node has.
func TestRevisionsLost(t *testing.T) {
	s := newStage(t)
	s.lead()
	s.apply(stageFile("two"), control.How{Now: true})
	s.apply(stageFile("three"), control.How{Now: true})
	hand, err := bus.Dial(s.hub.Control())
	if err != nil {
		t.Fatal(err)
	}
	defer hand.Close()
	if _, err := hand.Request(s.ctx(), "$JS.API.STREAM.MSG.DELETE."+bus.StreamRevisions, []byte(`{"seq":3}`)); err != nil {
		t.Fatal(err)
	}
	s.lead()
	if doc, fault, status := s.ask("revision", nil); status != http.StatusNotFound {
		t.Errorf("the revision that is lost: %d %s %+v", status, fault, doc)
	}
	if doc := s.apply(stageFile("four"), control.How{Now: true}); doc.Number != 4 {
		t.Errorf("%+v", doc)
	}

	for _, subject := range []string{bus.TableSubject("rollout", "main"), bus.TableSubject(bus.TableTarget, bus.TargetKey)} {
		if _, err := hand.Append(s.ctx(), subject, []byte("\x00garbage"), bus.Expectation{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := hand.Request(s.ctx(), "$JS.API.STREAM.PURGE."+bus.StreamRevisions, nil); err != nil {
		t.Fatal(err)
	}
	s.lead()
	doc, _, _ := s.ask("rollout", nil)
	if doc.Number != 5 || doc.Stable != 5 || doc.Hash != bus.HashOf(stageFile("one")) {
		t.Errorf("a fresh start: %+v", doc)
	}
	if doc := s.apply(stageFile("six"), control.How{Now: true}); doc.Number != 6 {
		t.Errorf("%+v", doc)
	}
}

// What keeps revisions from the nodes stands in the status of the control's node.
func TestStandsStill(t *testing.T) {
	s := newStage(t)
	s.all()
	hand, err := bus.Dial(s.hub.Control())
	if err != nil {
		t.Fatal(err)
	}
	defer hand.Close()
	problems := func() string {
		var doc ops.Status
		if fault, status := s.request("status", nil, &doc); status != http.StatusOK {
			t.Fatal(fault)
		}
		all := ""
		for _, n := range doc.Nodes {
			for _, p := range n.Problems {
				all += n.Node + ": " + p + "\n"
			}
		}
		return all
	}
	if p := problems(); p != "" {
		t.Error(p)
	}
	if _, err := hand.Append(s.ctx(), bus.TableSubject("rollout", "main"), []byte(`{"v":99}`), bus.Expectation{}); err != nil {
		t.Fatal(err)
	}
	if _, err := hand.Append(s.ctx(), bus.TableSubject(bus.TableTarget, bus.TargetKey), []byte(`{"v":99}`), bus.Expectation{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the status says that revisions do not reach the nodes", func() bool {
		return strings.Contains(problems(), "origin-us: revisions do not reach the nodes, which keep what they have: control: what lies at ")
	})
}
