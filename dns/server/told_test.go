package server

import (
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hither/deploy/fleet/bus"
)

// clocked is a server whose clock the test sets.
func clocked(t testing.TB, file string) (*Server, *time.Time) {
	t.Helper()
	s := bare(t, file)
	now := s.o.Now()
	s.o.Now = func() time.Time { return now }
	return s, &now
}

// told has a PoP say what it says of itself, as it comes from the hub.
func (s *Server) toldReport(pop string, r bus.Report) {
	s.hear(bus.UpReport, pop, bus.Encode(r), s.hearReport)
}

func (s *Server) toldRTT(pop string, list []bus.PrefixRTT) {
	s.hear(bus.UpRTT, pop, bus.Encode(bus.RTTReport{Prefixes: list}), s.hearRTT)
}

// candidates are the PoPs of a client: those of the answer, then how each stands.
func candidates(t testing.TB, s *Server, client string) (answer []string, all map[string]Candidate) {
	t.Helper()
	x, err := s.Explain("www.hither.test.", dns.TypeA, netip.MustParsePrefix(client), addr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	all = make(map[string]Candidate)
	for _, c := range x.Candidates {
		all[c.PoP] = c
	}
	return x.Answer.PoPs, all
}

const newYork = "198.51.8.0/24" // nearest to iad

// What the operator says, what a PoP says and what probes find take a PoP out; it is back when none of them holds it.
func TestDrains(t *testing.T) {
	s, now := clocked(t, localFile(t))
	var target target
	for _, at := range s.world.Load().targets {
		if at.pop == "iad" {
			target = at
		}
	}
	is := func(what string, out bool) {
		t.Helper()
		answer, all := candidates(t, s, newYork)
		struck := all["iad"].Struck != nil && *all["iad"].Struck == "draining"
		if struck != out || (answer[0] == "iad") == out {
			t.Errorf("%s: answered %v, iad is struck out: %v", what, answer, struck)
		}
	}
	is("at first", false)
	since := time.Unix(1_700_000_001, 0).UTC()
	s.Drained("iad", &bus.Drain{Since: since, By: "main"})
	is("drained", true)
	if _, all := candidates(t, s, newYork); all["iad"].Drain == nil || all["iad"].Drain.By != "main" || !all["iad"].Drain.Since.Equal(since) {
		t.Errorf("explained: %+v", all["iad"].Drain)
	}
	s.toldReport("iad", bus.Report{State: "ready"})
	s.probed(target, nil)
	is("it is ready, and the operator drains it", true)
	if err := s.Reload(s.world.Load().network); err != nil {
		t.Fatal(err)
	}
	is("with another network file", true)
	s.Drained("iad", nil)
	is("not any more", false)

	s.probed(target, errDraining)
	is("by a probe", true)
	s.toldReport("iad", bus.Report{State: "ready"})
	is("by a probe, against its report", true)
	s.probed(target, nil)
	is("a probe passes", false)

	s.toldReport("iad", bus.Report{State: "draining"})
	is("by its report", true)
	s.probed(target, nil)
	is("by its report, and answers probes", true)
	*now = now.Add(fresh + time.Second)
	s.tick()
	is("a report that is old", false)
	s.toldReport("iad", bus.Report{State: "down"})
	is("it goes", true)
	s.toldReport("iad", bus.Report{State: "ready"})
	is("and is back", false)

	s.Drained("mars", &bus.Drain{By: "main"}) // a network file may still come
	s.Drained("fra", &bus.Drain{By: "main"})
	s.Drained("sin", &bus.Drain{By: "main"})
	is("the others drain", false)
}

// A load is known for ten seconds; then the share that it moved falls step by step.
func TestLoadsAge(t *testing.T) {
	s, now := clocked(t, localFile(t))
	load := func() *float64 { _, all := candidates(t, s, newYork); return all["iad"].Load }
	share := func() float64 { _, all := candidates(t, s, newYork); return all["iad"].Shed }
	if load() != nil || share() != 0 {
		t.Error("a load that nobody told")
	}
	say := func(l float64, d time.Duration) {
		for end := now.Add(d); now.Before(end); *now = now.Add(bus.ReportEvery) {
			s.toldReport("iad", bus.Report{State: "ready", Load: l})
			s.tick()
		}
	}
	say(1.5, 5*s.told.every)
	if l := load(); l == nil || *l != 1.5 || share() < 0.3 {
		t.Fatalf("load %v, share %v", l, share())
	}
	most := share()
	*now = now.Add(fresh + time.Second)
	s.tick()
	if load() != nil {
		t.Error("an old load is told")
	}
	for range 20 {
		*now = now.Add(s.told.every)
		s.tick()
		if share() > most {
			t.Errorf("the share grew to %v", share())
		}
		most = share()
	}
	if most != 0 {
		t.Errorf("the share is %v", most)
	}
	for _, bad := range []float64{-1, -1e300} {
		s.toldReport("iad", bus.Report{Load: bad})
		if load() != nil {
			t.Errorf("load %v", *load())
		}
	}
}

// What cannot be meant has no effect, and is counted.
func TestBadReports(t *testing.T) {
	s, now := clocked(t, localFile(t))
	var log strings.Builder
	s.o.Log = slog.New(slog.NewTextHandler(&log, nil))
	s.said.Log = s.o.Log
	before, _ := candidates(t, s, newYork)
	long := make([]bus.PrefixRTT, bus.MostPrefixes+1)
	for i := range long {
		long[i] = bus.PrefixRTT{Prefix: netip.MustParsePrefix(newYork), MS: 500, Samples: 9}
	}
	for _, data := range []string{
		"", "x", "[]", `{"v":1`, `{"v":2,"state":"draining"}`, `{"state":"draining"}`, `{"v":1,"state":7}`, `{"v":1,"load":"full"}`, `{"v":1,"load":1e999}`,
		`{"v":1,"prefixes":[{"p":"198.51.8.0/33","ms":500,"n":9}]}`, `{"v":1,"prefixes":{}}`, string(bus.Encode(bus.RTTReport{Prefixes: long})),
		strings.Repeat(" ", bus.MostMessage+1),
	} {
		*now = now.Add(time.Second)
		s.hear(bus.UpReport, "iad", []byte(data), s.hearReport)
		s.hear(bus.UpRTT, "iad", []byte(data), s.hearRTT)
	}
	s.toldReport("mars", bus.Report{State: "draining", Load: 9})
	s.toldRTT("mars", long[:9])
	*now = now.Add(time.Minute)
	for range 50 {
		s.toldRTT("iad", []bus.PrefixRTT{{Prefix: netip.MustParsePrefix(newYork), MS: math.Pi, Samples: 1}})
	}
	*now = now.Add(time.Minute)
	s.toldRTT("fra", []bus.PrefixRTT{{Prefix: netip.MustParsePrefix(newYork), MS: 1, Samples: 50}, {Prefix: netip.MustParsePrefix("198.51.9.0/24"), MS: 1, Samples: 50}})
	s.toldRTT("fra", []bus.PrefixRTT{{Prefix: netip.MustParsePrefix(newYork), MS: 1, Samples: 50}, {Prefix: netip.MustParsePrefix("198.51.8.0/25"), MS: 1, Samples: 50}})
	metrics := dnsMetrics(s)
	for _, want := range []string{
		`hither_dns_rtt_total{node="dns-ns1",pop="fra",result="light"} 3`, `hither_dns_rtt_total{node="dns-ns1",pop="fra",result="invalid"} 1`,
		`hither_dns_reports_total{kind="report",node="dns-ns1",pop="iad",result="garbage"} 10`,
		`hither_dns_reports_total{kind="rtt",node="dns-ns1",pop="iad",result="garbage"} 10`,
		`hither_dns_reports_total{kind="rtt",node="dns-ns1",pop="iad",result="flood"} 20`,
		`hither_dns_reports_total{kind="rtt",node="dns-ns1",pop="other",result="stranger"} 1`,
		`hither_dns_reports_total{kind="report",node="dns-ns1",pop="other",result="stranger"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
	if after, _ := candidates(t, s, newYork); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("answered %v, was %v", after, before)
	}
	for _, line := range []string{"report cannot be read", "round-trip times cannot be read", "says too much", "none of the network's", "faster than light"} {
		if n := strings.Count(log.String(), line); n != 1 {
			t.Errorf("%q is logged %d times", line, n)
		}
	}
}

// What is explained of round trips.
func TestExplainTimes(t *testing.T) {
	s, now := clocked(t, localFile(t))
	say := func(pop string, ms float64, n int) {
		*now = now.Add(time.Second)
		s.toldRTT(pop, []bus.PrefixRTT{{Prefix: netip.MustParsePrefix(newYork), MS: ms, Samples: n}})
		s.tick()
	}
	is := func(pop, want string) {
		t.Helper()
		_, all := candidates(t, s, newYork)
		c := all[pop]
		got := "none"
		if c.RTT != nil {
			got = strings.TrimSpace(fmt.Sprintf("%.0f %s %s", *c.RTT, c.RTTFrom, c.RTTUnused))
		}
		if got != want {
			t.Errorf("%s: %s, want %s", pop, got, want)
		}
	}
	is("iad", "none")
	say("iad", 200, 2)
	is("iad", "200 report too few samples")
	is("fra", "103 guess")
	say("iad", 200, 2)
	is("iad", "200 report")
	if answer, all := candidates(t, s, newYork); answer[0] != "fra" || all["fra"].Reason != "rtt" || all["iad"].RTTSamples != 4 || all["iad"].RTTAge == nil || all["fra"].RTTAge != nil {
		t.Errorf("answered %v: %+v", answer, all["iad"])
	}
	say("fra", 1, 100)
	is("fra", "1 report less than light needs")
	say("fra", 90, 100)
	is("fra", "90 report")
	say("sin", 106, 100) // light needs 102 ms
	is("sin", "106 report")
	m := new(dns.Msg).SetQuestion("www.hither.test.", dns.TypeA)
	for client, scope := range map[string]uint8{newYork: 24, "198.51.9.0/24": 24, "198.51.0.0/24": 21, "203.0.113.0/25": 25} {
		if e := subnetOf(wireAnswer(t, s, m.Question[0].Name, dns.TypeA, netip.MustParsePrefix(client), addr("127.0.0.1"))); e == nil || e.SourceScope != scope {
			t.Errorf("%s: scope %+v, want %d", client, e, scope)
		}
	}
}

// A PoP whose identity was revoked is out of answers, and explained so, until the fleet says that it has another; never where that leaves nobody.
func TestRevokedPoP(t *testing.T) {
	s, _ := clocked(t, localFile(t))
	is := func(what, struck string, first bool) {
		t.Helper()
		answer, all := candidates(t, s, newYork)
		got := ""
		if c := all["iad"]; c.Struck != nil {
			got = *c.Struck
		}
		if got != struck || (answer[0] == "iad") != first {
			t.Errorf("%s: answered %v, iad is struck out for %q", what, answer, got)
		}
	}
	since := time.Unix(1_700_000_001, 0).UTC()
	lost := &bus.Drain{By: "main", Revoked: since}
	s.Drained("iad", lost)
	is("revoked", "revoked", false)
	if _, all := candidates(t, s, newYork); all["iad"].Drain != nil {
		t.Errorf("explained as a drain: %+v", all["iad"].Drain)
	}
	if problems := fmt.Sprint(s.Status().Nodes[0].Problems); !strings.Contains(problems, "PoP iad is left out of answers, for its identity was revoked") || strings.Contains(problems, "is drained") {
		t.Errorf("the status says %s", problems)
	}
	s.toldReport("iad", bus.Report{State: "ready"})
	is("what it says itself is no matter", "revoked", false)
	s.Drained("fra", &bus.Drain{Since: since, By: "main"})
	s.Drained("sin", &bus.Drain{Since: since, By: "main"})
	is("the others drain, and have all that clients want", "revoked", false)
	s.Drained("fra", lost)
	s.Drained("sin", lost)
	is("nobody has an identity", "", true)
	s.Drained("iad", nil)
	is("it has another", "", true)
}
