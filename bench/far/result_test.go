package far

import (
	"testing"
	"time"
)

const ms = time.Millisecond

// filled is a result in which everything holds, by a little.
func filled() *Result {
	r := &Result{
		Options:   Options{ClientEdge: 10 * ms, EdgeOrigin: 200 * ms, Rate: 200e6, Loss: 0.001},
		Strangers: Strangers{Requests: 1000, First: []time.Duration{900 * ms, 241 * ms, 231 * ms}},
		Flow:      []Transfer{{100e6, 8 * time.Second}, {100e6, 4 * time.Second}, {100e6, 5 * time.Second}},
		One:       []Transfer{{100e6, 5800 * ms}, {100e6, 4 * time.Second}, {100e6, 9 * time.Second}},
	}
	for _, n := range []int64{100e6, 81e6, 90e6, 99e6} {
		r.Parallel = append(r.Parallel, Transfer{n, 18 * time.Second})
		r.Lossy = append(r.Lossy, Transfer{n, 26 * time.Second})
	}
	return r
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Result)
		wrong int // verdict that does not hold; -1 = all do
	}{
		{"nothing", func(*Result) {}, -1},
		{"a handshake", func(r *Result) { r.Strangers.Handshakes = 1 }, 0},
		{"a connection", func(r *Result) { r.Strangers.Opened = 1 }, 1},
		{"late", func(r *Result) { r.Strangers.First[2] = 242 * ms }, 2},
		{"no first byte", func(r *Result) { r.Strangers.First = nil }, 2},
		{"slow", func(r *Result) { r.One[0].Took = 5900 * ms }, 3},
		{"nothing came", func(r *Result) { r.One = nil }, 3},
		{"uneven", func(r *Result) { r.Parallel[1].Bytes = 79e6 }, 4},
		{"one starves", func(r *Result) { r.Parallel[2].Bytes = 0 }, 4},
		{"loss", func(r *Result) { r.Lossy[0].Bytes = 80e6; r.Lossy[3].Bytes = 80e6 }, 5},
	} {
		r := filled()
		c.spoil(r)
		for i, v := range r.Verdicts() {
			if v.Holds == (i == c.wrong) {
				t.Errorf("%s: %+v", c.name, v)
			}
		}
	}
}

func TestRates(t *testing.T) {
	if got := (Transfer{1e6, time.Second}).Rate(); got != 8e6 {
		t.Errorf("a megabyte in a second is %v bit/s", got)
	}
	for _, none := range []float64{Transfer{}.Rate(), Median(nil), Sum(nil), Evenness(nil), Evenness(make([]Transfer, 2))} {
		if none != 0 {
			t.Errorf("nothing has a rate of %v", none)
		}
	}
	if got := (&Result{Options: Options{ClientEdge: 10 * ms, EdgeOrigin: 200 * ms}}).Limit(); got != 230*ms {
		t.Errorf("limit %v", got)
	}
}
