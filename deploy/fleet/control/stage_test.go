package control_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
	"hither/deploy/fleet/hub"
)

// A stage is a hub, a control with a clock that the test moves, and nodes that do as the bus says.
type stage struct {
	t         *testing.T
	folder    string
	authority *fleet.Authority
	origin    *fleet.Identity
	hub       *hub.Hub
	operator  *bus.Conn
	actors    []*actor

	mu      sync.Mutex // guards what follows
	clock   time.Time
	network *deploy.Network // that the control's node has in use

	stop func()        // ends the control
	way  *controlWay   // by which it goes to the hub
	late time.Duration // that passes between when it is made and when it runs
}

// stageFile is the network file with a comment, by which one differs from the other.
func stageFile(comment string) []byte {
	return fmt.Appendf(nil, `# %s
version: 1
name: demo
hub: {urls: ["tls://127.0.0.1:4222"], embedded_in: us}
pops:
  - {name: fra, place: {lat: 50.11, lon: 8.68}, addresses: [127.0.1.1]}
  - {name: iad, place: {lat: 38.95, lon: -77.45}, addresses: [127.0.1.2]}
  - {name: sin, place: {lat: 1.35, lon: 103.99}, addresses: [127.0.1.3]}
origins:
  - {name: us, gateway: {addresses: ["127.0.2.1:9443"]}, app: {static: {}}}
sites:
  - {name: www, hosts: [www.example.org], origin: us}
zones:
  - {name: example.org, name_servers: [ns1.example.org], steered: [{name: www, site: www}]}
dns:
  servers: [{name: ns1, addresses: [127.0.3.1]}]
`, comment)
}

// noneLeft waits until no goroutine runs but those of before. What has ended may need a moment for its last word to the disk, or to a peer.
func noneLeft(t *testing.T, before goleak.Option) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		err := goleak.Find(before) // which waits for some time itself
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func newStage(t *testing.T) *stage {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { noneLeft(t, before) }) // after all that is cleaned up below
	s := &stage{t: t, folder: t.TempDir(), clock: time.Now(), stop: func() {}}
	var err error
	if s.authority, err = fleet.OpenAuthority(filepath.Join(s.folder, "authority"), "demo"); err != nil {
		t.Fatal(err)
	}
	s.origin = s.identity(fleet.RoleOrigin, "us")
	s.startHub("127.0.0.1:0")
	t.Cleanup(func() { s.hub.Close() })
	if err := fleet.RevisionsIn(s.state()).Accept(stageFile("one")); err != nil {
		t.Fatal(err)
	}
	if s.network, err = deploy.Parse("network.yaml", stageFile("one")); err != nil {
		t.Fatal(err)
	}
	s.operator = s.dial(fleet.RoleOperator, "main")
	t.Cleanup(func() { s.stop() })
	return s
}

// ctx bounds what the hub is asked.
func (s *stage) ctx() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	s.t.Cleanup(cancel)
	return ctx
}

func (s *stage) state() string { return filepath.Join(s.folder, "origin-us") }

func (s *stage) startHub(listen string) {
	s.t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); ; {
		s.hub, err = hub.Start(hub.Options{
			Listen: netip.MustParseAddrPort(listen), Folder: filepath.Join(s.folder, "hub"), Identity: s.origin, Log: slog.New(slog.DiscardHandler),
		})
		if err == nil {
			return
		}
		if time.Now().After(end) { // somebody may have had the port for a connection of its own
			s.t.Fatal(err)
		}
	}
}

func (s *stage) identity(role, name string) *fleet.Identity {
	s.t.Helper()
	dir := filepath.Join(s.folder, role+"-"+name, "identity")
	if _, err := os.Stat(dir); err != nil {
		if _, err := s.authority.Issue(dir, role, name, nil); err != nil {
			s.t.Fatal(err)
		}
	}
	id, err := fleet.LoadIdentity(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

func (s *stage) dial(role, name string) *bus.Conn {
	s.t.Helper()
	c, err := bus.Dial(bus.Options{URLs: []string{s.hub.URL()}, Identity: s.identity(role, name), Embedded: "us", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	until(s.t, role+"-"+name+" is let in", c.Connected)
	return c
}

// until waits for what is to come true.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("it did not come true that %s", what)
		}
	}
}

func (s *stage) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock
}

// lead starts a control; the one before has ended, at whatever it did.
func (s *stage) lead() {
	s.t.Helper()
	s.stop()
	options := s.hub.Control()
	s.way = &controlWay{to: options.InProcess}
	options.InProcess = s.way
	conn, err := bus.Dial(options)
	if err != nil {
		s.t.Fatal(err)
	}
	s.way.conn = conn
	c, err := control.New(control.Options{
		Conn: conn, Identity: s.origin, State: s.state(), Log: slog.New(slog.DiscardHandler), Now: s.now,
		Network: func() *deploy.Network { s.mu.Lock(); defer s.mu.Unlock(); return s.network },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := hub.Ensure(s.t.Context(), conn, 1); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.clock = s.clock.Add(s.late)
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
		conn.Close()
		s.stop = func() {}
	}
	until(s.t, "the control answers", func() bool { // and has written the target, which comes after the plan
		doc, _, status := s.ask("rollout", nil)
		return status == http.StatusOK && doc.Stable > 0
	})
}

// ask asks the control, and returns the roll-out that the answer is.
func (s *stage) ask(verb string, call any) (doc control.RolloutDoc, fault string, status int) {
	s.t.Helper()
	fault, status = s.request(verb, call, &doc)
	return doc, fault, status
}

func (s *stage) request(verb string, call, doc any) (fault string, status int) {
	s.t.Helper()
	body := []byte("{}")
	if call != nil {
		var err error
		if body, err = json.Marshal(call); err != nil {
			s.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	m, err := s.operator.Request(ctx, bus.ControlSubject("main", verb), body)
	if err != nil {
		return err.Error(), 0
	}
	var a bus.Answer
	if err := bus.Decode(m.Data, &a); err != nil {
		s.t.Fatal(err)
	}
	if len(a.Doc) > 0 {
		if err := json.Unmarshal(a.Doc, doc); err != nil {
			s.t.Fatal(err)
		}
	}
	return a.Error, a.Status
}

// apply asks for a revision, which must be taken.
func (s *stage) apply(file []byte, how control.How) control.RolloutDoc {
	s.t.Helper()
	doc, fault, status := s.ask("apply", control.ApplyCall{How: how, File: file})
	if status != http.StatusOK {
		s.t.Fatalf("apply: %d %s", status, fault)
	}
	return doc
}

// phase waits for the roll-out to reach a phase, while the nodes report and two seconds pass with each report.
func (s *stage) phase(phase string) (doc control.RolloutDoc) {
	s.t.Helper()
	reached := false
	// The control looks at the clock by itself where no node reports, and so there is no number of passes after which it has.
	until(s.t, "the roll-out becomes "+phase, func() bool {
		if doc, _, _ = s.ask("rollout", nil); doc.Phase == phase || doc.Phase == "done" {
			reached = doc.Phase == phase
			return true
		}
		s.pass(2 * time.Second)
		return false
	})
	if reached {
		return doc
	}
	s.t.Fatalf("the roll-out is %s (%s; %s), and was to become %s", doc.Phase, doc.Progress, doc.Why, phase)
	return doc
}

// pass lets time pass, after which every node that lives reports; when it returns the control has heard all of them.
func (s *stage) pass(d time.Duration) {
	s.t.Helper()
	s.mu.Lock()
	s.clock = s.clock.Add(d)
	now := s.clock
	s.mu.Unlock()
	for _, a := range s.actors {
		a.report(d)
	}
	until(s.t, "all are heard", func() bool {
		var doc control.NodesDoc
		if _, status := s.request("nodes", nil, &doc); status != http.StatusOK {
			return false
		}
		seen := make(map[string]time.Time)
		for _, n := range doc.Nodes {
			seen[n.Node] = n.Seen
		}
		for _, a := range s.actors {
			if !a.dead && !seen[a.conn.Peer().String()].Equal(now) {
				return false
			}
		}
		return true
	})
}

// An actor is a node: it follows the target, and reports.
type actor struct {
	s    *stage
	conn *bus.Conn
	r    bus.Report

	rate   int64                   // requests a second
	refuse func(file string) error // why it does not take a file
	share  func(file string) int64 // of a thousand requests that fail
	dies   func(file string) bool  // when it has taken it
	file   string                  // that it runs
	ran    []int                   // all revisions that it ever ran
	dead   bool
}

// join adds nodes, ROLE-NAME.
func (s *stage) join(nodes ...string) {
	s.t.Helper()
	for _, n := range nodes {
		role, name, _ := strings.Cut(n, "-")
		a := &actor{s: s, conn: s.dial(role, name), rate: 10, file: string(stageFile("one"))}
		a.r = bus.Report{Started: s.now(), State: "ready", Hash: bus.HashOf(stageFile("one")), Expires: s.now().Add(time.Hour)}
		if role != fleet.RoleEdge {
			a.rate = 0
		}
		s.actors = append(s.actors, a)
	}
}

func (s *stage) actor(node string) *actor {
	for _, a := range s.actors {
		if a.conn.Peer().String() == node {
			return a
		}
	}
	s.t.Fatalf("no node %s", node)
	return nil
}

// report has the node look at its target, and say what it has done for some time.
func (a *actor) report(d time.Duration) {
	if a.dead {
		return
	}
	a.follow()
	n := a.rate * int64(d/time.Second)
	a.r.Requests += n
	if a.share != nil {
		a.r.Errors += n * a.share(a.file) / 1000
	}
	if a.dies != nil && a.dies(a.file) {
		a.r.Started, a.r.Requests, a.r.Errors = a.s.now(), 0, 0
	}
	if err := a.conn.Publish(bus.UpSubject(a.conn.Peer().Role, a.conn.Peer().Name, bus.UpReport), bus.Encode(a.r)); err != nil {
		a.s.t.Error(err)
	}
}

func (a *actor) follow() {
	t := a.s.t
	t.Helper()
	all, err := a.conn.Last(t.Context(), bus.StreamTables, bus.TableSubject(bus.TableTarget, bus.TargetKey))
	if err != nil || len(all) != 1 {
		t.Errorf("the target: %v, %v", all, err)
		return
	}
	var target bus.Target
	if err := bus.Decode(all[0].Data, &target); err != nil {
		t.Error(err)
		return
	}
	number, hash := target.Of(a.conn.Peer().String())
	if number == a.r.Revision && hash == a.r.Hash || number == a.r.Refused {
		return
	}
	all, err = a.conn.Last(t.Context(), bus.StreamRevisions, bus.RevisionSubject(number))
	if err != nil || len(all) != 1 {
		t.Errorf("revision %d: %v, %v", number, all, err)
		return
	}
	var rev bus.Revision
	if err := bus.Decode(all[0].Data, &rev); err != nil || rev.Hash != hash || bus.HashOf(rev.File) != hash {
		t.Errorf("revision %d is not %s: %v", number, hash, err)
		return
	}
	if a.refuse != nil {
		if err := a.refuse(string(rev.File)); err != nil {
			a.r.Refused, a.r.Why = number, err.Error()
			return
		}
	}
	a.r.Revision, a.r.Hash, a.r.Refused, a.r.Why, a.file = number, hash, 0, "", string(rev.File)
	a.ran = append(a.ran, number)
}

// history is what became of each revision, the oldest first.
func (s *stage) history() (states []string) {
	s.t.Helper()
	var doc control.HistoryDoc
	if fault, status := s.request("history", nil, &doc); status != http.StatusOK {
		s.t.Fatal(fault)
	}
	for i, l := range doc.Revisions {
		if l.Number != len(doc.Revisions)-i {
			s.t.Errorf("number %d at %d of %d", l.Number, i, len(doc.Revisions))
		}
		states = append([]string{l.State}, states...)
	}
	return states
}

// all starts a control and every node of the file, and lets them serve for a while.
func (s *stage) all() {
	s.t.Helper()
	s.lead()
	s.join("edge-fra", "edge-iad", "edge-sin", "origin-us", "dns-ns1")
	for range 10 {
		s.pass(2 * time.Second)
	}
	s.phase("done")
}
