package control_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
)

func wantHistory(t *testing.T, s *stage, want ...string) {
	t.Helper()
	if got := s.history(); !slices.Equal(got, want) {
		t.Errorf("history: %q, wanted %q", got, want)
	}
}

// onlyCanary says that no other node than those ever ran a revision.
func onlyCanary(t *testing.T, s *stage, number int, nodes ...string) {
	t.Helper()
	for _, a := range s.actors {
		if n := a.conn.Peer().String(); slices.Contains(a.ran, number) != slices.Contains(nodes, n) {
			t.Errorf("%s ran %v; of %d there should be %v only", n, a.ran, number, nodes)
		}
	}
}

// TestRollout leads good revisions, a bad one, and what operators do between, over one hub.
func TestRollout(t *testing.T) {
	s := newStage(t)
	s.all()
	wantHistory(t, s, "stable")
	for _, a := range s.actors {
		if a.r.Revision != 1 || a.r.Refused != 0 {
			t.Errorf("%s runs %d at first", a.conn.Peer(), a.r.Revision)
		}
	}
	bad := func(file string) bool { return strings.HasPrefix(file, "# bad") }
	for _, a := range s.actors {
		a.share = func(file string) int64 {
			if bad(file) {
				return 500
			}
			return 1
		}
		a.refuse = func(file string) error {
			if strings.HasPrefix(file, "# refused") {
				return errors.New("port 443 is taken")
			}
			return nil
		}
		a.dies = func(file string) bool { return strings.HasPrefix(file, "# deadly") }
	}

	t.Run("the same", func(t *testing.T) {
		if doc := s.apply(stageFile("one"), control.How{}); !doc.Nothing || doc.Number != 1 {
			t.Errorf("%+v", doc)
		}
		wantHistory(t, s, "stable")
	})
	t.Run("good", func(t *testing.T) {
		doc := s.apply(stageFile("two"), control.How{Canary: "iad"})
		if doc.Number != 2 || doc.Phase != "taking" || doc.Canary != "edge-iad" {
			t.Errorf("%+v", doc)
		}
		s.phase("watching")
		onlyCanary(t, s, 2, "edge-iad")
		wantHistory(t, s, "stable", "canary")
		doc, fault, status := s.ask("apply", control.ApplyCall{File: stageFile("three")})
		if status != http.StatusConflict || !strings.Contains(fault, "revision 2 of main is being tried at edge-iad") {
			t.Errorf("a second one: %d, %q, %+v", status, fault, doc)
		}
		if doc := s.phase("done"); doc.Outcome != "stable" || doc.Nodes.Running != 5 || doc.Stable != 2 {
			t.Errorf("%+v", doc)
		}
		onlyCanary(t, s, 2, "edge-fra", "edge-iad", "edge-sin", "origin-us", "dns-ns1")
		wantHistory(t, s, "replaced", "stable")
	})
	t.Run("bad", func(t *testing.T) {
		s.apply(stageFile("bad"), control.How{Canary: "fra"})
		doc := s.phase("done")
		if doc.Outcome != "rolled back" || !strings.Contains(doc.Why, "edge-fra answered") || doc.Stable != 2 || doc.Nodes.Running != 5 {
			t.Errorf("%+v", doc)
		}
		onlyCanary(t, s, 3, "edge-fra")
		wantHistory(t, s, "replaced", "stable", "rolled back")
		if a := s.actor("edge-fra"); a.r.Revision != 2 {
			t.Errorf("the canary runs %d", a.r.Revision)
		}
	})
	t.Run("refused", func(t *testing.T) {
		s.apply(stageFile("refused"), control.How{Canary: "fra"})
		if doc := s.phase("done"); doc.Outcome != "refused" || !strings.Contains(doc.Why, "port 443 is taken") || doc.Stable != 2 {
			t.Errorf("%+v", doc)
		}
		onlyCanary(t, s, 4)
	})
	t.Run("deadly", func(t *testing.T) {
		s.apply(stageFile("deadly"), control.How{Canary: "sin"})
		if doc := s.phase("done"); doc.Outcome != "rolled back" || !strings.Contains(doc.Why, "started anew") {
			t.Errorf("%+v", doc)
		}
		onlyCanary(t, s, 5, "edge-sin")
	})
	t.Run("gone", func(t *testing.T) {
		s.apply(stageFile("gone"), control.How{Canary: "sin"})
		s.phase("watching")
		s.actor("edge-sin").dead = true
		if doc := s.phase("done"); doc.Outcome != "rolled back" || !strings.Contains(doc.Why, "not been heard of") || !slices.Equal(doc.Nodes.Away, []string{"edge-sin"}) {
			t.Errorf("%+v", doc)
		}
		if _, fault, status := s.ask("apply", control.ApplyCall{How: control.How{Canary: "sin"}, File: stageFile("seven")}); status != http.StatusConflict || !strings.Contains(fault, "edge-sin does not report") {
			t.Errorf("a canary that is away: %d %q", status, fault)
		}
		s.actor("edge-sin").dead = false
		s.pass(2 * time.Second)
	})
	t.Run("no traffic", func(t *testing.T) {
		for _, a := range s.actors {
			a.rate = 0
		}
		for range 31 { // ten minutes, after which nobody remembers the traffic
			s.pass(20 * time.Second)
		}
		doc := s.apply(stageFile("quiet"), control.How{Patience: deploy.Duration(3 * time.Minute)})
		if doc.Canary != "edge-fra" {
			t.Errorf("of PoPs without traffic %s tries it", doc.Canary)
		}
		s.phase("watching")
		for range 60 {
			s.pass(2 * time.Second)
		}
		s.actor("edge-fra").r.Requests += 12
		s.pass(2 * time.Second)
		if doc, _, _ = s.ask("rollout", nil); doc.Phase != "watching" || !strings.Contains(doc.Progress, "12 of 100 requests") {
			t.Errorf("%+v", doc)
		}
		if doc = s.phase("done"); doc.Outcome != "rolled back" || !strings.Contains(doc.Why, "12 of 100 requests") {
			t.Errorf("%+v", doc)
		}
	})
	t.Run("promote and abort", func(t *testing.T) {
		number := s.apply(stageFile("promoted"), control.How{}).Number
		s.phase("watching")
		if doc, fault, status := s.ask("promote", nil); status != http.StatusOK || doc.Outcome != "stable" || doc.Stable != number {
			t.Errorf("%d %s %+v", status, fault, doc)
		}
		s.phase("done")
		s.apply(stageFile("aborted"), control.How{})
		if doc, fault, status := s.ask("abort", nil); status != http.StatusOK || doc.Outcome != "rolled back" || doc.Why != "aborted by main" || doc.Stable != number {
			t.Errorf("%d %s %+v", status, fault, doc)
		}
		s.phase("done")
		if _, fault, status := s.ask("promote", nil); status != http.StatusConflict {
			t.Errorf("nothing to promote: %d %s", status, fault)
		}
	})
	t.Run("rollback", func(t *testing.T) {
		doc, fault, status := s.ask("rollback", control.RollbackCall{How: control.How{Now: true}, Number: 1})
		if status != http.StatusOK || doc.Phase != "everywhere" {
			t.Fatalf("%d %s %+v", status, fault, doc)
		}
		s.phase("done")
		var rev control.RevisionDoc
		if fault, status := s.request("revision", control.RevisionCall{}, &rev); status != http.StatusOK || rev.Number != doc.Number || !bytes.Equal(rev.File, stageFile("one")) || rev.Note != "back to 1" {
			t.Errorf("%d %s %+v", status, fault, rev)
		}
		for _, a := range s.actors {
			if a.r.Revision != doc.Number || a.file != string(stageFile("one")) {
				t.Errorf("%s runs %d", a.conn.Peer(), a.r.Revision)
			}
		}
		if _, fault, status := s.ask("rollback", control.RollbackCall{Number: 99}); status != http.StatusNotFound {
			t.Errorf("%d %s", status, fault)
		}
	})
	t.Run("a node that refuses what is stable", func(t *testing.T) {
		s.apply(stageFile("refused here and there"), control.How{Now: true})
		doc := s.phase("done")
		if len(doc.Nodes.Refused) != 5 || doc.Nodes.Refused[0].Why != "port 443 is taken" {
			t.Errorf("%+v", doc.Nodes)
		}
	})
}

// TestApplyMistakes: what is wrong makes no revision.
func TestApplyMistakes(t *testing.T) {
	s := newStage(t)
	s.all()
	other := func(old, new string) []byte { return []byte(strings.Replace(string(stageFile("x")), old, new, 1)) }
	for name, c := range map[string]struct {
		call   any
		status int
		fault  string
	}{
		"two mistakes":          {control.ApplyCall{Name: "my.yaml", File: other("lat: 50.11, lon: 8.68", "lat: 500, lon: 999")}, 400, "my.yaml:6:"},
		"no file":               {control.ApplyCall{}, 400, "network.yaml:1:1"},
		"another network":       {control.ApplyCall{File: other("name: demo", "name: other")}, 400, "another network"},
		"another hub":           {control.ApplyCall{File: other("4222", "4223")}, 400, "move-hub"},
		"a version to come":     {control.ApplyCall{File: other("version: 1", "version: 2")}, 400, "version: `2` is not known"},
		"a canary that is none": {control.ApplyCall{How: control.How{Canary: "lhr"}, File: stageFile("x")}, 400, `no PoP "lhr"`},
		"a window of no time":   {control.ApplyCall{How: control.How{Window: deploy.Duration(500 * time.Millisecond)}, File: stageFile("x")}, 400, "a window of"},
		"both":                  {control.ApplyCall{How: control.How{Canary: "fra", Now: true}, File: stageFile("x")}, 400, "one of the two"},
		"another base":          {control.ApplyCall{File: stageFile("x"), Base: 7}, 409, "the stable one by now"},
		"a long note":           {control.ApplyCall{File: stageFile("x"), Note: strings.Repeat("x", 501)}, 400, "a note of"},
		"an option to come":     {map[string]any{"file": stageFile("x"), "half": true}, 400, `unknown field "half"`},
		"no object":             {[]int{1}, 400, "read the call"},
		"too large a file":      {control.ApplyCall{File: []byte(string(stageFile("x")) + strings.Repeat("# xx\n", 170_000))}, 413, "too large"},
	} {
		if doc, fault, status := s.ask("apply", c.call); status != c.status || !strings.Contains(fault, c.fault) {
			t.Errorf("%s: %d %.200q %+v", name, status, fault, doc)
		}
	}
	if fault := func() string {
		_, fault, _ := s.ask("apply", control.ApplyCall{File: other("lat: 50.11, lon: 8.68", "lat: 500, lon: 999")})
		return fault
	}(); strings.Count(fault, "\n") != 1 {
		t.Errorf("not all mistakes are told: %q", fault)
	}
	wantHistory(t, s, "stable")
}

// TestControlEnds: a control that ends in any state is followed by one that goes on.
// A control that has begun just now does not take PoPs for away that had no time to report.
func TestApplyAtOnce(t *testing.T) {
	s := newStage(t)
	s.join("edge-fra", "edge-iad", "edge-sin")
	s.lead()
	answers := make(chan string, 1)
	go func() {
		_, fault, status := s.ask("apply", control.ApplyCall{File: stageFile("two")})
		answers <- fmt.Sprint(status, " ", fault)
	}()
	select {
	case got := <-answers:
		t.Fatalf("nobody has reported yet: %s", got)
	case <-time.After(500 * time.Millisecond):
	}
	s.pass(2 * time.Second)
	if got := <-answers; got != "200 " {
		t.Errorf("all have reported: %s", got)
	}
	s.phase("done")
	s.lead()
	for _, a := range s.actors[1:] {
		a.dead = true
	}
	go func() {
		_, fault, status := s.ask("apply", control.ApplyCall{How: control.How{Canary: "iad"}, File: stageFile("three")})
		answers <- fmt.Sprint(status, " ", fault)
	}()
	for range 16 {
		s.pass(2 * time.Second)
	}
	if got := <-answers; got != "409 control: no PoP can try it: edge-iad does not report; --now takes it to all at once" {
		t.Errorf("one that is away: %s", got)
	}
}

func TestControlEnds(t *testing.T) {
	s := newStage(t)
	s.all()
	s.lead()
	if doc := s.phase("done"); doc.Number != 1 {
		t.Errorf("%+v", doc)
	}
	s.pass(2 * time.Second)
	number := s.apply(stageFile("two"), control.How{Canary: "fra"}).Number
	s.lead()
	doc := s.phase("watching")
	before := doc.Before
	for range 10 {
		s.pass(2 * time.Second)
	}
	s.lead()
	doc, _, _ = s.ask("rollout", nil)
	if doc.Phase != "watching" || doc.Number != number || doc.Before != before || doc.After.Requests != 0 {
		t.Errorf("the watch does not begin anew: %+v", doc)
	}
	began := s.now()
	if doc = s.phase("everywhere"); s.now().Sub(began) < 30*time.Second {
		t.Errorf("watched for %v", s.now().Sub(began))
	}
	s.lead()
	if doc = s.phase("done"); doc.Outcome != "stable" || doc.Nodes.Running != 5 {
		t.Errorf("%+v", doc)
	}
	s.apply(stageFile("three"), control.How{Canary: "fra"})
	s.phase("watching")
	s.actor("edge-fra").r.State = "starting"
	s.phase("back")
	s.actor("edge-fra").r.State = "ready"
	s.lead()
	if doc = s.phase("done"); doc.Outcome != "rolled back" || doc.Nodes.Running != 5 {
		t.Errorf("%+v", doc)
	}

	// One that ended after it had written what it intends, and before the target that follows.
	s.pass(2 * time.Second)
	s.apply(stageFile("four"), control.How{Canary: "fra"})
	s.phase("watching")
	s.stop()
	lead, err := bus.Dial(s.hub.Control())
	if err != nil {
		t.Fatal(err)
	}
	defer lead.Close()
	plan := bus.TableSubject("rollout", "main")
	var all []*bus.Message
	until(t, "the hub has its plan read", func() bool { // where it has streams for a moment only, it looks a moment later
		all, err = lead.Last(t.Context(), bus.StreamTables, plan)
		return err == nil && len(all) == 1
	})
	text := strings.Replace(string(all[0].Data), `"phase":"watching"`, `"phase":"everywhere","outcome":"stable"`, 1)
	if _, err := lead.Append(t.Context(), plan, []byte(text), bus.ExpectKey(all[0].Sequence)); err != nil {
		t.Fatal(err)
	}
	s.lead()
	if doc = s.phase("done"); doc.Outcome != "stable" || doc.Stable != 4 || doc.Nodes.Running != 5 {
		t.Errorf("%+v", doc)
	}
	wantHistory(t, s, "replaced", "replaced", "rolled back", "stable")
}

// TestHubEnds: a roll-out outlives the hub's process.
func TestHubEnds(t *testing.T) {
	s := newStage(t)
	s.all()
	number := s.apply(stageFile("two"), control.How{Canary: "fra"}).Number
	s.phase("watching")
	at := s.hub.Addr()
	s.stop()
	s.hub.Close()
	s.startHub(at)
	for _, a := range s.actors {
		until(t, "nodes are back", a.conn.Connected)
	}
	until(t, "the operator is back", s.operator.Connected)
	s.lead()
	if doc := s.phase("done"); doc.Outcome != "stable" || doc.Number != number || doc.Nodes.Running != 5 {
		t.Errorf("%+v", doc)
	}
}
