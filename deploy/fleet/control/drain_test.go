package control_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
	"hither/deploy/ops"
)

// drain asks for a drain, or how far it has come, which must be answered.
func (s *stage) drain(verb string, call control.DrainCall) (doc control.DrainDoc) {
	s.t.Helper()
	if fault, status := s.request(verb, call, &doc); status != http.StatusOK {
		s.t.Fatalf("%s %+v: %d %s", verb, call, status, fault)
	}
	return doc
}

// becomes waits for a drain to be in a state, while time passes.
func (s *stage) becomes(pop, state string, step time.Duration) (doc control.DrainDoc) {
	s.t.Helper()
	for range 100 {
		if doc = s.drain("drain-status", control.DrainCall{PoP: pop}); doc.State == state {
			return doc
		}
		s.pass(step)
	}
	s.t.Fatalf("the drain is %s (%s), and was to become %s: %+v", doc.State, doc.Why, state, doc)
	return doc
}

// drainsNow reads the table as DNS servers do.
func (s *stage) drainsNow(pop string) (d bus.Drain, sequence uint64, there bool) {
	s.t.Helper()
	all, err := s.actor("dns-ns1").conn.Last(s.t.Context(), bus.StreamTables, bus.TableSubject(bus.TableDrain, pop))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range all {
		if sequence = m.Sequence; len(m.Data) > 0 {
			if err := bus.Decode(m.Data, &d); err != nil {
				s.t.Fatal(err)
			}
			there = true
		}
	}
	return d, sequence, there
}

// A PoP leaves the answers of DNS, its clients leave it when resolvers have forgotten it, and only then its node is told to end. A control
// that starts anew in between goes on with it.
func TestDrain(t *testing.T) {
	s := newStage(t)
	s.join("edge-fra", "edge-iad", "dns-ns1")
	s.lead()
	fra, ns1 := s.actor("edge-fra"), s.actor("dns-ns1")
	calls := s.tellings("fra")
	s.pass(2 * time.Second)
	if doc := s.drain("drain-status", control.DrainCall{PoP: "fra"}); doc.State != "none" || doc.Node != "ready" || doc.Done {
		t.Errorf("before: %+v", doc)
	}
	doc := s.drain("drain", control.DrainCall{PoP: "fra", Stop: true})
	if doc.State != "telling" || !slices.Equal(doc.Silent, []string{"ns1"}) || doc.By != "main" || doc.TTL != 30 {
		t.Errorf("at first: %+v", doc)
	}
	_, sequence, there := s.drainsNow("fra")
	if !there {
		t.Fatal("nothing is in the table")
	}
	if s.drain("drain", control.DrainCall{PoP: "fra", Stop: true}); true {
		if _, again, _ := s.drainsNow("fra"); again != sequence {
			t.Error("the same drain once more is another one")
		}
	}
	s.pass(2 * time.Second)
	if doc := s.drain("drain-status", control.DrainCall{PoP: "fra"}); doc.State != "telling" {
		t.Errorf("the DNS server has not said that it knows, and the drain is %s", doc.State)
	}
	ns1.r.Tables = sequence
	s.pass(2 * time.Second)
	doc = s.becomes("fra", "waiting", 0)
	if !slices.Equal(doc.Knows, []string{"ns1"}) || len(doc.Silent) != 0 || doc.Forgotten.Sub(s.now()) > 30*time.Second || doc.Done {
		t.Errorf("told: %+v", doc)
	}

	s.lead() // another control
	s.pass(2 * time.Second)
	if doc = s.becomes("fra", "waiting", 0); !doc.Stop || doc.By != "main" {
		t.Errorf("after a restart of the control: %+v", doc)
	}
	fra.r.Active = 3
	for range 20 { // clients come until after resolvers have forgotten
		fra.r.Accepted += 10
		s.pass(2 * time.Second)
	}
	doc = s.becomes("fra", "stragglers", 0)
	if doc.Coming != 5 || doc.Requests != 3 || doc.Last.IsZero() || doc.Done {
		t.Errorf("while clients come: %+v", doc)
	}
	if len(calls) > 0 {
		t.Fatalf("told to end while clients came: %+v", <-calls)
	}
	if doc = s.becomes("fra", "stragglers", 0); doc.Done {
		t.Error("done with clients")
	}
	s.pass(12 * time.Second)
	var told struct{ Told bool }
	select {
	case c := <-calls:
		if json.Unmarshal(c.Body, &told); c.Path != "/v1/drain" || c.Method != http.MethodPost || !told.Told {
			t.Errorf("the node is told %+v", c)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the node is not told to end")
	}
	fra.r.State = "draining"
	s.pass(2 * time.Second)
	if doc = s.becomes("fra", "stopping", 0); doc.Done {
		t.Errorf("stopping: %+v", doc)
	}
	fra.dead = true
	if doc = s.becomes("fra", "done", 4*time.Second); !doc.Done || doc.Node != "" {
		t.Errorf("ended: %+v", doc)
	}

	if doc = s.drain("drain", control.DrainCall{PoP: "fra", Undo: true}); doc.State != "none" {
		t.Errorf("undone: %+v", doc)
	}
	if _, _, there := s.drainsNow("fra"); there {
		t.Error("it is still in the table")
	}
	if _, status := s.request("drain", control.DrainCall{PoP: "fra", Undo: true}, &doc); status != http.StatusConflict {
		t.Errorf("undone twice: %d", status)
	}
	for _, bad := range []any{control.DrainCall{PoP: "moon"}, control.DrainCall{}, "fra", []int{1}, map[string]any{"pop": 7}} {
		if _, status := s.request("drain", bad, &doc); status != http.StatusBadRequest {
			t.Errorf("%v is answered %d", bad, status)
		}
	}
}

// Where something keeps nodes running, what was told to end is another process soon, and perhaps nobody heard that it was away. The drain is done then: the
// new one is not told to end, but stays out of DNS. It is told when the drain is ordered again.
func TestDrainOfWhatIsStartedAgain(t *testing.T) {
	s := newStage(t)
	s.join("edge-fra", "edge-iad", "dns-ns1")
	s.lead()
	s.pass(2 * time.Second)
	fra := s.actor("edge-fra")
	told, other := s.tellings("fra"), s.tellings("iad")
	begin := func(pop string) {
		s.drain("drain", control.DrainCall{PoP: pop, Stop: true, Force: true}) // sin was never there
		_, s.actor("dns-ns1").r.Tables, _ = s.drainsNow(pop)
	}
	tells := func(calls chan bus.Call, times int) {
		t.Helper()
		until(t, "the node is told to end", func() bool {
			s.pass(4 * time.Second) // not so long that a node would be away
			return len(calls) >= times
		})
	}
	begin("fra")
	tells(told, 1)
	<-told
	if doc := s.becomes("fra", "stopping", 0); doc.Done {
		t.Errorf("told, and not ended: %+v", doc)
	}
	fra.r.Started = s.now()
	s.pass(2 * time.Second)
	if doc := s.becomes("fra", "done", 0); !doc.Done || !strings.Contains(doc.Why, "started again") || doc.Node != "ready" {
		t.Errorf("ended and started: %+v", doc)
	}
	begin("iad")
	tells(other, 2) // each of another turn, in which all drains are looked at
	if len(told) > 0 {
		t.Errorf("what was started again is told to end: %+v", <-told)
	}
	begin("fra")
	tells(told, 1)
}

// tellings are the calls that a PoP's node gets.
func (s *stage) tellings(pop string) chan bus.Call {
	s.t.Helper()
	calls := make(chan bus.Call, 100)
	if _, err := s.actor(fleet.RoleEdge+"-"+pop).conn.Subscribe(bus.CallSubject(fleet.RoleEdge, pop), func(m *bus.Message) {
		var c bus.Call
		if bus.Decode(m.Data, &c) == nil {
			calls <- c
		}
		m.Respond(bus.Encode(bus.Answer{Status: http.StatusOK}))
	}); err != nil {
		s.t.Fatal(err)
	}
	return calls
}

// A DNS server that says nothing is not waited for for ever; but then the node is to tell it by itself. And whoever goes by an old address
// has only so long.
func TestDrainIsBounded(t *testing.T) {
	s := newStage(t)
	s.join("edge-sin", "dns-ns1")
	s.lead()
	s.actor("dns-ns1").dead = true
	sin := s.actor("edge-sin")
	calls := s.tellings("sin")
	s.pass(2 * time.Second)
	s.drain("drain", control.DrainCall{PoP: "sin"})
	s.drain("drain", control.DrainCall{PoP: "sin", Stop: true}) // decided later
	for range 16 {
		sin.r.Accepted += 100
		s.pass(20 * time.Second)
		s.drain("drain-status", control.DrainCall{PoP: "sin"})
	}
	select {
	case c := <-calls:
		if string(c.Body) != `{"told":false}` {
			t.Errorf("told %s", c.Body)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the node is not told to end")
	}
}

// A drain without an end of the node is done when clients have gone, and the node goes on.
func TestDrainStays(t *testing.T) {
	s := newStage(t)
	s.join("edge-iad", "dns-ns1")
	s.lead()
	s.pass(2 * time.Second)
	s.drain("drain", control.DrainCall{PoP: "iad"})
	_, sequence, _ := s.drainsNow("iad")
	s.actor("dns-ns1").r.Tables = sequence
	if doc := s.becomes("iad", "done", 5*time.Second); !doc.Done || doc.Stop || doc.Node != "ready" {
		t.Errorf("%+v", doc)
	}
}

// A PoP whose identity was revoked leaves the answers of DNS, and all that tell of it say so. It is back when it reports with another one, and the
// operator's own drain of it stays.
func TestRevokedPoP(t *testing.T) {
	s := newStage(t)
	s.join("edge-fra", "edge-iad", "dns-ns1")
	s.lead()
	fra := s.actor("edge-fra")
	s.pass(2 * time.Second)
	revoke := func() (done control.Revoked) {
		t.Helper()
		if fault, status := s.request("revoke", control.Revoke{Node: "edge-fra"}, &done); status != http.StatusOK {
			t.Fatalf("%d %s", status, fault)
		}
		return done
	}
	done := revoke()
	d, sequence, there := s.drainsNow("fra")
	if !there || d.Asked() || d.Stop || !d.Revoked.Equal(done.Until) || sequence != done.Tables {
		t.Fatalf("in the table: %v %+v at %d, and the answer was %+v", there, d, sequence, done)
	}
	said := func() string {
		t.Helper()
		var doc ops.Status
		if fault, status := s.request("status", nil, &doc); status != http.StatusOK {
			t.Fatal(fault)
		}
		return strings.Join(doc.Nodes[0].Problems, "\n")
	}
	revoked := func() bool {
		t.Helper()
		var doc control.NodesDoc
		if fault, status := s.request("nodes", nil, &doc); status != http.StatusOK {
			t.Fatal(fault)
		}
		return doc.Nodes[0].Revoked && !doc.Nodes[1].Revoked
	}
	if !strings.Contains(said(), "its identity was revoked") || !revoked() {
		t.Errorf("the status says %q", said())
	}
	if doc := s.drain("drain-status", control.DrainCall{PoP: "fra"}); doc.State != "revoked" {
		t.Errorf("%+v", doc)
	}
	fra.r.Issued = done.Until // the old one, over a connection that is not cut off yet
	for range 10 {
		s.pass(2 * time.Second)
	}
	if !revoked() {
		t.Error("the old identity has put it back")
	}
	s.lead()
	if s.pass(2 * time.Second); !revoked() {
		t.Error("another control does not know")
	}
	fra.r.Issued = s.now().Add(time.Second)
	until(t, "it is back with another identity", func() bool {
		s.pass(2 * time.Second)
		_, _, there := s.drainsNow("fra")
		return !there && !revoked()
	})
	if strings.Contains(said(), "revoked") {
		t.Errorf("the status says %q", said())
	}

	s.drain("drain", control.DrainCall{PoP: "fra"})
	revoke()
	if d, _, _ := s.drainsNow("fra"); !d.Asked() || d.Revoked.IsZero() {
		t.Errorf("drained and revoked: %+v", d)
	}
	fra.r.Issued = s.now().Add(time.Second)
	until(t, "the operator's drain alone stays", func() bool {
		s.pass(2 * time.Second)
		d, _, there := s.drainsNow("fra")
		return there && d.Asked() && d.Revoked.IsZero()
	})
}

// With a NATS cluster elsewhere, whose servers take a revoked identity until their configuration is read again, no report puts a PoP back, whatever it says
// of itself: an operator does.
func TestRevokedPoPOfCluster(t *testing.T) {
	s := newStage(t)
	s.join("edge-fra", "edge-iad", "dns-ns1")
	cluster := *s.network
	cluster.Hub.EmbeddedIn = ""
	s.network = &cluster
	s.lead()
	fra := s.actor("edge-fra")
	s.pass(2 * time.Second)
	var done control.Revoked
	if fault, status := s.request("revoke", control.Revoke{Node: "edge-fra"}, &done); status != http.StatusOK {
		t.Fatalf("%d %s", status, fault)
	}
	fra.r.Issued = done.Until.Add(time.Hour)
	for range 20 {
		s.pass(2 * time.Second)
	}
	doc := s.drain("drain-status", control.DrainCall{PoP: "fra"})
	if d, _, there := s.drainsNow("fra"); !there || d.Revoked.IsZero() || doc.State != "revoked" || !strings.Contains(doc.Why, "hither drain pop fra --undo") {
		t.Errorf("the thief has put it back: %v %+v, %s: %s", there, d, doc.State, doc.Why)
	}
	if doc := s.drain("drain", control.DrainCall{PoP: "fra", Undo: true}); doc.State != "none" {
		t.Errorf("%+v", doc)
	}
}

// The last PoP that serves is drained by force alone.
func TestDrainOfTheLast(t *testing.T) {
	s := newStage(t)
	s.lead()
	s.join("edge-fra", "edge-iad", "dns-ns1")
	for range 20 { // until it is known that nobody hears of sin
		s.pass(2 * time.Second)
	}
	s.drain("drain", control.DrainCall{PoP: "fra"})
	var doc control.DrainDoc
	for _, call := range []control.DrainCall{{PoP: "iad", Stop: true}, {PoP: "iad"}, {PoP: "sin"}} {
		fault, status := s.request("drain", call, &doc)
		if refused := status == http.StatusConflict && strings.Contains(fault, "PoP "+call.PoP+" is the last that serves site www") && strings.Contains(fault, "--force"); refused != (call.PoP == "iad") {
			t.Errorf("%+v: %d %s", call, status, fault)
		}
	}
	if _, _, there := s.drainsNow("iad"); there {
		t.Error("what was refused was written")
	}
	s.drain("drain", control.DrainCall{PoP: "iad", Force: true})
	s.drain("drain", control.DrainCall{PoP: "iad"}) // once more, as it stands
	if fault, status := s.request("drain", control.DrainCall{PoP: "iad", Stop: true}, &doc); status != http.StatusConflict {
		t.Errorf("and its node is to end: %d %s", status, fault)
	}
	s.drain("drain", control.DrainCall{PoP: "iad", Undo: true})
	s.actor("edge-fra").r.State = "ready"
	s.drain("drain", control.DrainCall{PoP: "fra", Undo: true})
	s.drain("drain", control.DrainCall{PoP: "iad", Stop: true})
}

// A PoP that drains tries no revision: it loses its clients, and of what it had over ten minutes nobody comes any more. A control that starts anew
// knows so too.
func TestDrainsAreNoCanaries(t *testing.T) {
	s := newStage(t)
	s.all()
	for pop, rate := range map[string]int64{"fra": 20, "iad": 15, "sin": 10} {
		s.actor("edge-" + pop).rate = rate
	}
	for range 30 {
		s.pass(4 * time.Second)
	}
	s.drain("drain", control.DrainCall{PoP: "sin"})
	s.actor("edge-sin").rate = 0
	for range 3 {
		s.pass(4 * time.Second)
	}
	if doc := s.apply(stageFile("two"), control.How{}); doc.Canary != "edge-iad" {
		t.Errorf("%s tries it", doc.Canary)
	}
	s.ask("promote", nil)
	s.phase("done")
	wants := func(how control.How, want string) {
		t.Helper()
		if _, fault, status := s.ask("apply", control.ApplyCall{How: how, File: stageFile("three")}); status != http.StatusConflict || !strings.Contains(fault, want) {
			t.Errorf("%+v: %d %s", how, status, fault)
		}
	}
	wants(control.How{Canary: "sin"}, "no PoP can try it: edge-sin drains")
	s.lead()
	s.pass(2 * time.Second)
	wants(control.How{Canary: "sin"}, "no PoP can try it: edge-sin drains")
	s.drain("drain", control.DrainCall{PoP: "sin", Undo: true})
	if doc := s.apply(stageFile("three"), control.How{Canary: "sin"}); doc.Canary != "edge-sin" {
		t.Errorf("%+v", doc)
	}
}

// A PoP with weight 0 is in no answer of DNS: it takes over from nobody, and nobody misses it. Where all have weight 0, that means nothing.
func TestDrainOfTheLastWithWeight(t *testing.T) {
	s := newStage(t)
	s.lead()
	s.join("edge-fra", "edge-iad", "edge-sin", "dns-ns1")
	for range 3 {
		s.pass(2 * time.Second)
	}
	for _, c := range []struct {
		weights map[string]int // of PoPs, else 1
		pop     string
		refused bool
	}{
		{map[string]int{"iad": 0, "sin": 0}, "fra", true},
		{map[string]int{"iad": 0, "sin": 0}, "iad", false},
		{map[string]int{"iad": 0}, "fra", false},
		{map[string]int{"fra": 0, "iad": 0, "sin": 0}, "fra", false},
	} {
		text := string(stageFile("weights"))
		for pop, weight := range c.weights {
			text = strings.Replace(text, "{name: "+pop+", ", fmt.Sprintf("{name: %s, weight: %d, ", pop, weight), 1)
		}
		network, err := deploy.Parse("network.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.network = network
		s.mu.Unlock()
		var doc control.DrainDoc
		fault, status := s.request("drain", control.DrainCall{PoP: c.pop}, &doc)
		if refused := status == http.StatusConflict && strings.Contains(fault, "is the last that serves site www"); refused != c.refused {
			t.Errorf("%s with weights %v: %d %s", c.pop, c.weights, status, fault)
		}
		if status == http.StatusOK {
			s.drain("drain", control.DrainCall{PoP: c.pop, Undo: true})
		}
	}
}
