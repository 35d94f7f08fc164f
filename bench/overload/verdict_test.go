package overload

import (
	"slices"
	"strings"
	"testing"
	"time"

	"hither/bench/load"
)

// good is a result of two rounds in which everything holds, barely.
func good() Result {
	second := func(round int, phase, client string, asked, sent, answered int64) Row {
		return Row{Round: round, Phase: phase, Run: load.Run{
			Client: client, Asked: float64(asked), Sent: sent, Answered: answered, InTime: answered, Lost: sent - answered,
			Elapsed: time.Second, Rcodes: map[string]int64{"NOERROR": answered},
		}, Server: Account{RSSBefore: 40 << 20, RSSMost: 48 << 20}}
	}
	r := Result{Rounds: []Round{{100_000, true}, {100_000, true}}}
	for round := 1; round <= 2; round++ {
		r.Rows = append(r.Rows,
			second(round, PhaseClosed, "dnsperf", 0, 90_000, 90_000),
			second(round, PhaseSearch, "bench", 120_000, 120_000, 100_000),
			second(round, PhaseBelow, "dnsperf", 90_000, 80_000, 80_000), // too slow a client, but the other is not
			second(round, PhaseBelow, "bench", 90_000, 90_000, 90_000),
			second(round, PhaseAbove, "bench", 150_000, 150_000, 90_000),
		)
	}
	return r
}

// row finds one to plant a fault in.
func (r Result) row(t *testing.T, round int, phase, client string) *Row {
	t.Helper()
	i := slices.IndexFunc(r.Rows, func(row Row) bool { return row.Round == round && row.Phase == phase && row.Client == client })
	if i < 0 {
		t.Fatalf("no row %d %s %s", round, phase, client)
	}
	return &r.Rows[i]
}

func TestVerdicts(t *testing.T) {
	answer := func(row *Row, n int64) {
		row.Answered, row.InTime, row.Lost, row.Rcodes = n, n, row.Sent-n, map[string]int64{"NOERROR": n}
	}
	for _, c := range []struct {
		name   string
		plant  func(t *testing.T, r *Result)
		broken string // words of the claims that do not hold, separated by |
		why    string
	}{
		{"all holds", func(*testing.T, *Result) {}, "", ""},
		{"one question lost, one client, one round", func(t *testing.T, r *Result) {
			answer(r.row(t, 2, PhaseBelow, "dnsperf"), 79_999)
		}, "no question lost", ""},
		{"one question lost by the other client", func(t *testing.T, r *Result) {
			answer(r.row(t, 1, PhaseBelow, "bench"), 89_999)
		}, "no question lost", ""},
		{"lost elsewhere is no matter", func(t *testing.T, r *Result) {
			answer(r.row(t, 1, PhaseClosed, "dnsperf"), 89_000)
		}, "", ""},
		{"no client sent 0.9", func(t *testing.T, r *Result) {
			row := r.row(t, 2, PhaseBelow, "bench")
			row.Sent = 87_000
			answer(row, 87_000)
		}, "no question lost", "no client sent as much in round 2"},
		{"a little too few answers at 1.5 in one round", func(t *testing.T, r *Result) {
			answer(r.row(t, 2, PhaseAbove, "bench"), 89_999)
		}, "at 1.5 x", ""},
		{"answers that came after the time do not count", func(t *testing.T, r *Result) {
			r.row(t, 2, PhaseAbove, "bench").InTime = 80_000
		}, "at 1.5 x", ""},
		{"1.5 was not sent", func(t *testing.T, r *Result) {
			r.row(t, 1, PhaseAbove, "bench").Sent = 140_000
		}, "at 1.5 x", "the client sent 140000 a second of 150000 in round 1"},
		{"a best rate that was not the best", func(_ *testing.T, r *Result) {
			r.Rounds[1] = Round{90_000, false}
		}, "no question lost|at 1.5 x", "in round 2 no client could ask for more"},
		{"a best rate that was surpassed", func(t *testing.T, r *Result) {
			r.Rounds[0].Best = 90_000 // and the search had 100,000
		}, "no question lost|at 1.5 x", "in round 1 it answered 100000 a second after its best was taken for 90000"},
		{"memory grew in the last row", func(_ *testing.T, r *Result) {
			r.Rows[len(r.Rows)-1].Server.RSSMost++
		}, "memory", ""},
		{"memory grew slowly, from row to row", func(_ *testing.T, r *Result) {
			for i := range r.Rows {
				r.Rows[i].Server.RSSBefore += int64(i) << 20
				r.Rows[i].Server.RSSMost = r.Rows[i].Server.RSSBefore + 1<<20
			}
		}, "memory", ""},
		{"a SERVFAIL among answers", func(t *testing.T, r *Result) {
			r.row(t, 1, PhaseClosed, "dnsperf").Rcodes["SERVFAIL"] = 1
		}, "every answer", ""},
		{"an empty answer", func(t *testing.T, r *Result) {
			r.row(t, 1, PhaseAbove, "bench").Empty = 1
		}, "every answer", ""},
		{"a phase left out of a round", func(_ *testing.T, r *Result) {
			r.Rows = slices.DeleteFunc(r.Rows, func(row Row) bool { return row.Round == 2 && row.Phase == PhaseAbove })
		}, "at 1.5 x", "not measured in round 2"},
		{"nothing sent", func(t *testing.T, r *Result) {
			row := r.row(t, 1, PhaseAbove, "bench")
			row.Run = load.Run{Client: "bench"}
		}, "at 1.5 x", "not measured in round 1"},
		{"nothing measured", func(_ *testing.T, r *Result) { *r = Result{} }, "no question lost|at 1.5 x|memory|every answer", "not measured"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := good()
			c.plant(t, &r)
			var broken []Verdict
			for _, v := range r.Verdicts() {
				if !v.Holds {
					broken = append(broken, v)
				}
			}
			var want []string
			if c.broken != "" {
				want = strings.Split(c.broken, "|")
			}
			if len(broken) != len(want) {
				t.Fatalf("these do not hold: %+v; want %q", broken, want)
			}
			for i, v := range broken {
				if !strings.Contains(v.Claim, want[i]) || !strings.Contains(v.Why, c.why) {
					t.Errorf("does not hold: %+v; want %q because %q", v, want[i], c.why)
				}
			}
		})
	}
}
