package purge

import (
	"testing"
	"time"
)

const ms = time.Millisecond

// filled is a result in which everything holds, by a little.
func filled() *Result {
	r := &Result{Options: Options{Distance: 200 * ms}}
	for range 100 {
		r.Purges = append(r.Purges, Purge{Gone: []time.Duration{101 * ms, 150 * ms, 102 * ms}, Receipt: 202 * ms})
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
		{"two of three hundred late", func(r *Result) { r.Purges[0].Gone[0], r.Purges[1].Gone[0] = time.Second, time.Second }, -1},
		{"late", func(r *Result) {
			for i := range 4 {
				r.Purges[i].Gone[0] = 151 * ms
			}
		}, 0},
		{"found after the receipt", func(r *Result) { r.Purges[99].Found = 1 }, 1},
	} {
		r := filled()
		c.spoil(r)
		for i, v := range r.Verdicts() {
			if v.Holds == (i == c.wrong) {
				t.Errorf("%s: %+v", c.name, v)
			}
		}
	}
	for _, v := range (&Result{}).Verdicts() {
		if v.Holds {
			t.Errorf("nothing was measured: %+v", v)
		}
	}
}

func TestTimes(t *testing.T) {
	r := filled()
	if n := len(r.Gone(-1)); n != 300 {
		t.Errorf("%d times at all PoPs", n)
	}
	if got := Percentile(r.Gone(1), 0.5); got != 150*ms {
		t.Errorf("the second PoP has a median of %v", got)
	}
	if got := Percentile(r.Receipts(), 0.99); got != 202*ms {
		t.Errorf("receipts: %v", got)
	}
	if got := Percentile(nil, 0.5); got != 0 {
		t.Errorf("of nothing the median is %v", got)
	}
	if got := r.Limit(); got != 150*ms {
		t.Errorf("limit %v", got)
	}
}
