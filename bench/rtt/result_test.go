package rtt

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hither/bench/visit"
	"hither/deploy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

var distances = Distances{ClientEdge: 10 * ms, EdgeOrigin: 200 * ms, ClientOrigin: 180 * ms}

// firsts is a row of samples whose first byte came after so many milliseconds.
func firsts(times ...int) Row {
	var r Row
	for _, t := range times {
		r.Samples = append(r.Samples, Sample{First: time.Duration(t) * ms})
	}
	return r
}

func TestPercentiles(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	for _, c := range []struct {
		name     string
		row      Row
		p50, p95 int
	}{
		{"none", Row{}, 0, 0},
		{"one", firsts(7), 7, 7},
		{"two: no average is taken", firsts(9, 1), 1, 9},
		{"three", firsts(3, 1, 2), 2, 3},
		{"one of ten is late: the median does not move", firsts(30, 30, 30, 30, 30, 30, 30, 30, 30, 5000), 30, 5000},
		{"one of twenty is late: nor does the 95th", firsts(30, 30, 30, 30, 30, 30, 30, 30, 30, 5000, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30), 30, 30},
		{"a hundred", firsts(hundred...), 50, 95},
		{"what was not measured does not count", firsts(0, 0, 0, 8), 8, 8},
	} {
		if p50, p95 := c.row.First(), c.row.FirstP95(); p50 != time.Duration(c.p50)*ms || p95 != time.Duration(c.p95)*ms {
			t.Errorf("%s: %v and %v, want %d and %d ms", c.name, p50, p95, c.p50, c.p95)
		}
	}
	// Each figure is of its own time.
	r := Row{Samples: []Sample{{DNS: 1, Connect: 2, Handshake: 3, First: 4, Last: 5}}}
	if got := fmt.Sprint(r.DNS().Nanoseconds(), r.Connect().Nanoseconds(), r.Handshake().Nanoseconds(), r.First().Nanoseconds(), r.Last().Nanoseconds()); got != "1 2 3 4 5" {
		t.Error(got)
	}
}

func TestNewSample(t *testing.T) {
	start := time.Now()
	at := func(n int) time.Time { return start.Add(time.Duration(n) * ms) }
	got := newSample(visit.Visit{Start: start, Connected: at(10), Shaken: at(20), First: at(30), Last: at(31)})
	if want := (Sample{Connect: 10 * ms, Handshake: 20 * ms, First: 30 * ms, Last: 31 * ms}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	got = newSample(visit.Visit{Start: start, First: at(10), Last: at(11)})
	if want := (Sample{First: 10 * ms, Last: 11 * ms}); got != want {
		t.Errorf("0-RTT: %+v, want %+v", got, want)
	}
}

func TestRounds(t *testing.T) {
	near3, near4, far := &Rounds{ClientEdge: 3}, &Rounds{ClientEdge: 4}, &Rounds{ClientEdge: 3, EdgeOrigin: 1}
	for _, c := range []struct {
		name  string
		of    []*Rounds
		want  Rounds
		agree int
		limit time.Duration
	}{
		{"none was counted", []*Rounds{nil, nil}, Rounds{}, 0, 0},
		{"one is off", []*Rounds{near3, near4, near3}, *near3, 2, 30 * ms},
		{"most are more than expected", []*Rounds{near3, near4, near4}, *near4, 2, 40 * ms},
		{"equally many: the fewest", []*Rounds{far, near4, near3, nil}, *near3, 1, 30 * ms},
		{"equally many, as many in all: those that stay near", []*Rounds{far, near4}, *near4, 1, 40 * ms},
		{"near and far", []*Rounds{far}, *far, 1, 230 * ms},
		{"direct", []*Rounds{{ClientOrigin: 4}}, Rounds{ClientOrigin: 4}, 1, 720 * ms},
	} {
		for range 20 { // the order of a map must not show
			var r Row
			for _, x := range c.of {
				r.Samples = append(r.Samples, Sample{First: 46 * ms, Rounds: x})
			}
			got, agree, ok := r.Rounds()
			if got != c.want || agree != c.agree || ok != (agree > 0) || r.Limit(distances) != c.limit {
				t.Fatalf("%s: %+v, %d, %v, limit %v", c.name, got, agree, ok, r.Limit(distances))
			}
			want := 0.0
			if c.limit > 0 {
				want = float64(46*ms) / float64(c.limit)
			}
			if r.Ratio(distances) != want {
				t.Errorf("%s: ratio %v, want %v", c.name, r.Ratio(distances), want)
			}
		}
	}
	if r := (Row{Samples: []Sample{{First: ms, Rounds: near3}}}).Ratio(Distances{}); r != 0 {
		t.Errorf("without distance there is a ratio of %v", r)
	}
}

// perfect is a result in which every case takes what it must, and a little more.
func perfect() *Result {
	r := &Result{Distances: distances}
	for _, c := range Cases([]deploy.Size{1 << 10}) {
		x := c.Expected()
		r.Rows = append(r.Rows, Row{Case: c, Samples: []Sample{{First: distances.Limit(x) + ms/2, Rounds: &x}}})
	}
	return r
}

func TestVerdicts(t *testing.T) {
	row := func(r *Result, cache Cache, p visit.Protocol) *Sample {
		for i := range r.Rows {
			if r.Rows[i].Cache == cache && r.Rows[i].Protocol == p {
				return &r.Rows[i].Samples[0]
			}
		}
		t.Fatalf("no row of %v and %v", cache, p)
		return nil
	}
	for _, c := range []struct {
		name  string
		plant func(r *Result)
		which int // verdict breaks; -1 = none
		why   string
	}{
		{"nothing", func(*Result) {}, -1, ""},
		{"a hit of TLS 1.3 is slow", func(r *Result) { row(r, Hit, visit.TLS13).First = 34 * ms }, 1, "tls1.3 hit, 1KiB: 34.0 ms of 30.0 ms"},
		{"a hit of HTTP/3 is slow", func(r *Result) { row(r, Hit, visit.H3).First = 23 * ms }, 1, "h3 hit, 1KiB"},
		{"as slow as may be", func(r *Result) { row(r, Hit, visit.H3).First = 22 * ms }, -1, ""},
		{"a miss is slow", func(r *Result) { row(r, MissWarm, visit.H3).First = 232 * ms }, 2, "h3 miss-warm, 1KiB"},
		{"a cold miss is slow, of which nothing is claimed", func(r *Result) { row(r, MissCold, visit.H3).First *= 2 }, -1, ""},
		{"a round trip more", func(r *Result) { row(r, None, visit.TLS12).Rounds.ClientOrigin++ }, 0, "tls1.2 direct, 1KiB: counted"},
		{"a hit goes far", func(r *Result) { s := row(r, Hit, visit.TLS12); s.Rounds.EdgeOrigin++ }, 0, "tls1.2 hit, 1KiB: counted"},
		{"a round trip less", func(r *Result) { row(r, MissCold, visit.TLS13).Rounds.EdgeOrigin-- }, 0, "tls1.3 miss-cold"},
		{"nothing counted", func(r *Result) { row(r, None, visit.H3Early).Rounds = nil }, 0, "h3-0rtt direct"},
	} {
		r := perfect()
		c.plant(r)
		verdicts := r.Verdicts()
		if len(verdicts) != 3 {
			t.Fatalf("%s: %d verdicts", c.name, len(verdicts))
		}
		for i, v := range verdicts {
			if v.Holds != (i != c.which) || !v.Holds && !strings.Contains(v.Why, c.why) || v.Holds && v.Why != "" {
				t.Errorf("%s: %+v", c.name, v)
			}
		}
	}
	lossy := perfect()
	lossy.Loss = 0.01
	if v := lossy.Verdicts(); v != nil {
		t.Errorf("with loss: %+v", v)
	}
}

func TestCases(t *testing.T) {
	all := Cases([]deploy.Size{1 << 10, 1 << 20})
	seen := map[string]bool{}
	for _, c := range all {
		if seen[c.String()] {
			t.Errorf("%v twice", c)
		}
		seen[c.String()] = true
		if (c.Way == Direct) != (c.Cache == None) {
			t.Errorf("%+v means nothing", c)
		}
	}
	if len(all) != 2*4*5 || !seen["h3-0rtt miss-cold, 1MiB"] || !seen["tls1.2 direct, 1KiB"] {
		t.Errorf("%d cases: %v", len(all), all)
	}
}

func TestCheck(t *testing.T) {
	good := visit.Visit{Status: 200, Bytes: 1 << 10}
	edge := func(verdict string) visit.Visit { v := good; v.Verdict = verdict; return v }
	hit := Case{Edge, visit.TLS13, Hit, 1 << 10}
	miss := Case{Edge, visit.H3, MissWarm, 1 << 10}
	early := Case{Direct, visit.H3Early, None, 1 << 10}
	for _, c := range []struct {
		of   Case
		v    visit.Visit
		want string
	}{
		{Case{Direct, visit.TLS12, None, 1 << 10}, good, ""},
		{hit, edge("near; hit; ttl=60"), ""},
		{hit, edge("near; fwd=uri-miss; stored"), "the edge says"},
		{hit, visit.Visit{Status: 404, Bytes: 1 << 10, Verdict: "near; hit"}, "status 404"},
		{hit, visit.Visit{Status: 200, Bytes: 1000, Verdict: "near; hit"}, "1000 bytes came"},
		{miss, edge("near; fwd=uri-miss; stored"), ""},
		{miss, edge("near; hit; ttl=60"), "the edge says"},
		{miss, edge("near; fwd=stale"), "the edge says"},
		{early, good, "did not take the ticket"},
		{early, visit.Visit{Status: 200, Bytes: 1 << 10, Resumed: true}, "did not take 0-RTT data"},
		{early, visit.Visit{Status: 200, Bytes: 1 << 10, Resumed: true, Early: true}, ""},
	} {
		err := c.of.check(c.v)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, %+v: %v, want %q", c.of, c.v, err, c.want)
		}
	}
}

func ExampleDistances_Limit() {
	d := Distances{ClientEdge: 10 * time.Millisecond, EdgeOrigin: 200 * time.Millisecond, ClientOrigin: 200 * time.Millisecond}
	fmt.Println(d.Limit(Rounds{ClientOrigin: 4}), d.Limit(Rounds{ClientEdge: 2, EdgeOrigin: 1}))
	// Output: 800ms 220ms
}
