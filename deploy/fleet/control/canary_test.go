package control

import (
	"strings"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet/bus"
)

// TestStep is all that becomes of a roll-out, by what is seen of it.
func TestStep(t *testing.T) {
	began := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	started := began.Add(-time.Hour)
	in := func(phase phase) plan {
		return plan{
			Number: 8, Hash: "new", From: 7, FromHash: "old", By: "main", Canary: "edge-fra", Phase: phase, Began: began, Since: began,
			Window: defaultWindow, Patience: defaultPatience, Min: 100, Started: started,
			Before: count{Requests: 60_000, Errors: 60}, BeforeTime: deploy.Duration(10 * time.Minute), BeforeLoad: 0.4,
		}
	}
	// at is a view some time after the phase began, of a canary that is well.
	at := func(after time.Duration, change ...func(*view)) view {
		v := view{now: began.Add(after), seen: began.Add(after), report: bus.Report{Hash: "new", State: "ready", Started: started, Load: 0.5}}
		for _, f := range change {
			f(&v)
		}
		return v
	}
	counted := func(requests, errors int64) func(*view) {
		return func(v *view) { v.after = count{Requests: requests, Errors: errors} }
	}
	elsewhere := func(requests, errors int64) func(*view) {
		return func(v *view) { v.others = count{Requests: requests, Errors: errors} }
	}
	report := func(f func(*bus.Report)) func(*view) { return func(v *view) { f(&v.report) } }
	silent := func(v *view) { v.seen = began.Add(-time.Second) }
	idle := in(watching)
	idle.Before, idle.BeforeTime = count{}, 0
	due := func(v *view) { silent(v); v.due = true }
	patient, worn := in(watching), in(watching)
	patient.Min = 10_000
	worn.Before = count{Requests: 1000, Errors: 100}
	ends := in(everywhere)
	ends.Outcome = verdictStable
	for _, c := range []struct {
		name    string
		plan    plan
		view    view
		phase   phase
		outcome string
		why     string // a part of it
	}{
		{"it was not heard of yet", in(taking), at(2*time.Second, silent), taking, "", ""},
		{"it runs the old one yet", in(taking), at(2*time.Second, report(func(r *bus.Report) { r.Hash = "old" })), taking, "", ""},
		{"it takes it", in(taking), at(2 * time.Second), watching, "", ""},
		{"it takes it and is not ready yet", in(taking), at(2*time.Second, report(func(r *bus.Report) { r.State = "starting" })), taking, "", ""},
		{"it refuses it", in(taking), at(2*time.Second, report(func(r *bus.Report) { r.Hash, r.Refused, r.Why = "old", 8, "port 443 is taken" })), back, verdictRefuse, "port 443 is taken"},
		{"it refused another one long ago", in(taking), at(2*time.Second, report(func(r *bus.Report) { r.Hash, r.Refused = "old", 5 })), taking, "", ""},
		{"a refusal from before it was told", in(taking), at(2*time.Second, silent, report(func(r *bus.Report) { r.Refused = 8 })), taking, "", ""},
		{"it dies of it", in(taking), at(4*time.Second, report(func(r *bus.Report) { r.Started = began })), back, verdictBack, "started anew"},
		{"it does not take it", in(taking), at(31*time.Second, report(func(r *bus.Report) { r.Hash = "old" })), back, verdictBack, "within 30s"},
		{"it is gone", in(taking), at(31*time.Second, silent), back, verdictBack, "within 30s"},

		{"all is well, but not for long", in(watching), at(29*time.Second, counted(3000, 3)), watching, "", ""},
		{"all is well", in(watching), at(30*time.Second, counted(3000, 3)), everywhere, verdictStable, "3000 requests"},
		{"errors as before", in(watching), at(30*time.Second, counted(100, 1)), everywhere, verdictStable, ""},
		{"two errors of a hundred are chance", in(watching), at(30*time.Second, counted(100, 2)), everywhere, verdictStable, ""},
		{"seven of a hundred are not", in(watching), at(30*time.Second, counted(100, 7)), back, verdictBack, "7 of 100"},
		{"a tenth per cent more is too little to matter", in(watching), at(30*time.Second, counted(300_000, 900)), everywhere, verdictStable, ""},
		{"two per cent of many", in(watching), at(30*time.Second, counted(3000, 60)), back, verdictBack, "60 of 3000"},
		{"plain errors need no window", in(watching), at(4*time.Second, counted(40, 20)), back, verdictBack, "20 of 40"},
		{"nine errors do", in(watching), at(4*time.Second, counted(9, 9)), watching, "", ""},
		{"nor do they wait for requests after it", patient, at(40*time.Second, counted(800, 200)), back, verdictBack, "200 of 800"},
		{"ten errors of ten, where few come", in(watching), at(50*time.Second, counted(10, 10)), back, verdictBack, "10 of 10"},
		{"nine errors of nine, where few come", in(watching), at(45*time.Second, counted(9, 9)), watching, "", ""},
		{"what is not plain waits for requests", worn, at(40*time.Second, counted(90, 20)), watching, "", ""},
		{"and ends it when they are there", worn, at(45*time.Second, counted(100, 22)), back, verdictBack, "22 of 100"},
		{"errors everywhere, where few come", in(watching), at(40*time.Second, counted(50, 15), elsewhere(9000, 2700)), watching, "", ""},
		{"errors everywhere tell nothing", in(watching), at(30*time.Second, counted(3000, 900), elsewhere(9000, 2700)), watching, "", ""},
		{"errors everywhere for too long", in(watching), at(601*time.Second, counted(3000, 900), elsewhere(9000, 2700)), back, verdictBack, "all other PoPs"},
		{"errors everywhere, but more here", in(watching), at(30*time.Second, counted(3000, 1800), elsewhere(9000, 2700)), back, verdictBack, "1800 of 3000"},
		{"it starts anew", in(watching), at(9*time.Second, report(func(r *bus.Report) { r.Started = began })), back, verdictBack, "started anew"},
		{"it is not ready", in(watching), at(9*time.Second, report(func(r *bus.Report) { r.State = "draining" })), back, verdictBack, "is draining"},
		{"it went back by itself", in(watching), at(9*time.Second, report(func(r *bus.Report) { r.Hash = "old" })), back, verdictBack, "another one"},
		{"it is not heard of", in(watching), at(11*time.Second, func(v *view) { v.seen = began }), back, verdictBack, "not been heard of for 11s"},
		{"it was not heard of since the control came back", in(watching), at(9*time.Second, silent), watching, "", ""},
		{"it may be on its way back to the hub", in(watching), at(29*time.Second, due), watching, "", ""},
		{"it may be on its way and is to take it", in(taking), at(31*time.Second, due), taking, "", ""},
		{"its load explodes", in(watching), at(9*time.Second, report(func(r *bus.Report) { r.Load = 1.3 })), back, verdictBack, "load of 1.30"},
		{"it answers nothing", in(watching), at(30 * time.Second), back, verdictBack, "answers nothing"},
		{"nothing comes, as before", idle, at(30 * time.Second), watching, "", ""},
		{"too few come", idle, at(599*time.Second, counted(12, 0)), watching, "", ""},
		{"too few came", idle, at(601*time.Second, counted(12, 0)), back, verdictBack, "12 of 100 requests"},
		{"enough came in the end", idle, at(599*time.Second, counted(100, 0)), everywhere, verdictStable, ""},
		{"without a before the others are the measure", idle, at(30*time.Second, counted(200, 20), elsewhere(4000, 4)), back, verdictBack, "20 of 200"},
		{"the clock went back", in(watching), at(-5*time.Minute, counted(3000, 3)), watching, "", ""},

		{"all are told", ends, at(5*time.Second, func(v *view) { v.waiting = 3 }), everywhere, verdictStable, ""},
		{"all have it", ends, at(5 * time.Second), done, verdictStable, ""},
		{"some never take it", ends, at(61*time.Second, func(v *view) { v.waiting = 3 }), done, verdictStable, ""},
		{"an end", in(done), at(time.Hour), done, "", ""},
	} {
		next := step(c.plan, c.view)
		if next.Phase != c.phase || next.Outcome != c.outcome || !strings.Contains(next.Why, c.why) {
			t.Errorf("%s: %s, %q, %q; wanted %s, %q, %q", c.name, next.Phase, next.Outcome, next.Why, c.phase, c.outcome, c.why)
		}
		if next.Phase != c.plan.Phase && !next.Since.Equal(c.view.now) {
			t.Errorf("%s: the phase began at %v", c.name, next.Since)
		}
		if next.Phase == c.plan.Phase && !next.Since.Equal(began) != c.view.due {
			t.Errorf("%s: the same phase began at %v", c.name, next.Since)
		}
	}
}

// TestTargetOfPlan: who runs what follows from the plan, so that a control which ended between the two can write it.
func TestTargetOfPlan(t *testing.T) {
	for _, c := range []struct {
		phase          phase
		outcome        string
		canary, others int
	}{
		{taking, "", 8, 7}, {watching, "", 8, 7}, {everywhere, verdictStable, 8, 8}, {done, verdictStable, 8, 8},
		{back, verdictBack, 7, 7}, {done, verdictBack, 7, 7}, {done, verdictRefuse, 7, 7},
	} {
		p := plan{Number: 8, Hash: "new", From: 7, FromHash: "old", Canary: "edge-fra", Phase: c.phase, Outcome: c.outcome}
		target := p.target()
		for node, number := range map[string]int{"edge-fra": c.canary, "edge-iad": c.others, "dns-fra": c.others} {
			if got, hash := target.Of(node); got != number || hash != map[int]string{7: "old", 8: "new"}[number] {
				t.Errorf("%s %s: %s runs %d (%s), wanted %d", c.phase, c.outcome, node, got, hash, number)
			}
		}
	}
}

// TestChoose: the PoP that can tell with the least harm.
func TestChoose(t *testing.T) {
	ten := 10 * time.Minute
	for _, c := range []struct {
		name string
		all  []candidate
		want string
	}{
		{"none", nil, ""},
		{"one", []candidate{{"fra", count{}, 0}}, "fra"},
		{"no traffic", []candidate{{"fra", count{}, ten}, {"iad", count{}, ten}}, "fra"},
		{"the least that is enough", []candidate{{"fra", count{Requests: 90_000}, ten}, {"iad", count{Requests: 6_000}, ten}, {"sin", count{Requests: 600}, ten}}, "iad"},
		{"the most, where none is", []candidate{{"fra", count{Requests: 60}, ten}, {"iad", count{Requests: 600}, ten}}, "iad"},
		{"enough comes last", []candidate{{"fra", count{Requests: 600}, ten}, {"iad", count{Requests: 60}, ten}, {"sin", count{Requests: 6_000}, ten}}, "sin"},
		{"a PoP that is new", []candidate{{"fra", count{Requests: 9}, 0}, {"iad", count{Requests: 60}, ten}}, "iad"},
	} {
		if got := choose(c.all, 30*time.Second, 100); got != c.want {
			t.Errorf("%s: %q, wanted %q", c.name, got, c.want)
		}
	}
}

// TestSeries: what was counted, over restarts, within ten minutes, whatever is sent.
func TestSeries(t *testing.T) {
	var s series
	zero, first := time.Unix(1e9, 0), time.Unix(5, 0)
	at := func(second int) time.Time { return zero.Add(time.Duration(second) * time.Second) }
	between := func(from, to int, want count) {
		t.Helper()
		if got, _ := s.between(at(from), at(to)); got != want {
			t.Errorf("between %d and %d: %+v, wanted %+v", from, to, got, want)
		}
	}
	between(0, 100, count{})
	s.add(at(0), first, count{1000, 10, 500}) // what it did before it was known counts for nothing
	between(0, 100, count{})
	s.add(at(2), first, count{1010, 11, 505})
	s.add(at(2).Add(time.Millisecond), first, count{1e9, 1e9, 1e9}) // too soon
	s.add(at(4), first, count{1020, 11, 510})
	between(0, 4, count{20, 1, 10})
	between(2, 4, count{10, 0, 5})
	between(3, 9, count{10, 0, 5})
	s.add(at(6), first.Add(time.Minute), count{1030, 12, 600}) // another process with more than the last had
	between(4, 6, count{1030, 12, 600})
	s.add(at(8), first.Add(time.Minute), count{5, 0, 0}) // one that claims the same start
	between(6, 8, count{5, 0, 0})
	for i := range 2000 {
		s.add(at(10+i), first.Add(time.Minute), count{int64(5 + i), 0, 0})
	}
	if len(s.samples) > seriesMost || len(s.samples) < seriesMost-1 {
		t.Errorf("%d samples", len(s.samples))
	}
	between(0, 5000, count{Requests: int64(seriesMost - 1)})
}

// TestCheckReport: what no node can mean has no effect.
func TestCheckReport(t *testing.T) {
	good := bus.Report{State: "ready", Requests: 1, Load: 0.1}
	if err := checkReport(&good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*bus.Report){
		"a negative counter": func(r *bus.Report) { r.Errors = -1 },
		"a counter too far":  func(r *bus.Report) { r.Requests = 1 << 60 },
		"a negative load":    func(r *bus.Report) { r.Load = -1 },
		"an endless load":    func(r *bus.Report) { r.Load = 1e300 },
		"no state":           func(r *bus.Report) { r.State = "" },
		"a long hash":        func(r *bus.Report) { r.Hash = strings.Repeat("f", 100) },
		"a number below 0":   func(r *bus.Report) { r.Refused = -3 },
	} {
		r := good
		change(&r)
		if checkReport(&r) == nil {
			t.Errorf("%s was taken", name)
		}
	}
	long := good
	long.Why, long.Status = strings.Repeat("\x1b[2J\n", 1000), make([]byte, mostStatus+1)
	if err := checkReport(&long); err != nil || len(long.Why) > mostWords+4 || strings.ContainsAny(long.Why, "\x1b\n") || long.Status != nil {
		t.Errorf("%v, %d bytes of %.10q", err, len(long.Why), long.Why)
	}
}

// TestSinceCannotBeSet has a phase be timed by the clock that cannot be set, so that a step of the control's clock neither ends a watch nor
// keeps one from being looked at; what lies in the table says the time as everybody knows it.
func TestSinceCannotBeSet(t *testing.T) {
	now := time.Now()
	p := plan{Phase: taking}.to(watching, now, "", "")
	if p.Since == p.Since.Round(0) { // which takes that clock away
		t.Error("the phase began by a clock that can be set")
	}
	var there plan
	if err := bus.Decode(p.encode(), &there); err != nil || !there.Since.Equal(now) || there.Since.Location() != time.UTC {
		t.Errorf("in the table it began at %v, %v", there.Since, err)
	}
}
