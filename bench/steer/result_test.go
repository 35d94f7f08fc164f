package steer

import (
	"testing"
	"time"

	"hither/bench/lab"
)

// filled is a result in which everything holds, by a little.
func filled() *Result {
	return &Result{
		Options: Options{Clients: 100},
		Far:     &Far{Counts{First: 100, Elsewhere: 100, Moves: 104, Explored: 2, Visits: 1000}, 25 * time.Second},
		Load:    &Load{Counts: Counts{First: 100, Stayed: 60, Elsewhere: 40, Moves: 40, Visits: 1000}, Most: 1.4, Kept: 0.9},
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Result)
		wrong int // verdict that does not hold; -1 = all do
	}{
		{"nothing", func(*Result) {}, -1},
		{"a shed that is just enough", func(r *Result) { r.Load.Kept = 0.7 }, -1},
		{"came to another", func(r *Result) { r.Far.First = 99 }, 0},
		{"late", func(r *Result) { r.Far.Lost += time.Millisecond }, 1},
		{"never left", func(r *Result) { r.Far.Stayed = 1 }, 2},
		{"flaps", func(r *Result) { r.Far.Moves = 105 }, 3},
		{"failed", func(r *Result) { r.Far.Failed = 1 }, 4},
		{"no overload", func(r *Result) { r.Load.Most = 0.95 }, 5},
		{"sheds too little", func(r *Result) { r.Load.Kept = 0.91 }, 6},
		{"sheds too much", func(r *Result) { r.Load.Kept = 0.69 }, 7},
		{"moves to and fro", func(r *Result) { r.Load.Moves = 41 }, 8},
		{"failed under load", func(r *Result) { r.Load.Failed = 1 }, 9},
	} {
		r := filled()
		c.spoil(r)
		for i, v := range r.Verdicts() {
			if v.Holds == (i == c.wrong) {
				t.Errorf("%s: %+v", c.name, v)
			}
		}
	}
	if all := (&Result{Far: filled().Far}).Verdicts(); len(all) != 5 {
		t.Errorf("%d verdicts on one part", len(all))
	}
}

func TestSum(t *testing.T) {
	const text = `# HELP a_total What is counted.
# TYPE a_total counter
a_total{pop="near",reason="explore"} 2
a_total{pop="second",reason="explore"} 1e+01
a_total{pop="near",reason="report"} 7
a_total_more{pop="near",reason="explore"} 5
`
	n, err := sum(text, "a_total", `reason="explore"`)
	if err != nil || n.series != 2 || n.sum != 12 || n.least != 2 {
		t.Errorf("%+v, %v", n, err)
	}
	if n, err := sum(text, "b_total"); err != nil || n != (summed{}) {
		t.Errorf("of no series: %+v, %v", n, err)
	}
	if _, err := sum("a_total{} x\n", "a_total"); err == nil {
		t.Error("x is a number")
	}
}

func TestClientsMove(t *testing.T) {
	c := newCrowd(nil, nil, 3, time.Second)
	to := func(i int, pops ...int) {
		for _, p := range pops {
			if err := c.sent(i, lab.Edges()[p].Addr()); err != nil {
				t.Fatal(err)
			}
		}
	}
	to(0, 0, 0, 1, 1, 1) // goes
	to(1, 0, 1, 0, 2)    // comes back, and goes
	to(2, 1, 1)          // was never there
	got, want := c.counts(), Counts{First: 2, Elsewhere: 2, Moves: 4, Backs: 1}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got.Flaps() != 2 {
		t.Errorf("%d flaps", got.Flaps())
	}
	if n := c.at(); n[nowhere] != 0 {
		t.Errorf("%v", n)
	}
}
