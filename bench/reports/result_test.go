package reports

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"
)

func TestCost(t *testing.T) {
	us := func(n float64) Spent { return Spent{CPU: time.Duration(n * float64(time.Microsecond))} }
	r := &Result{Idle: Idle{0.012, 0.003}, Pairs: map[string][]Pair{
		"hits":       {{us(100.5), us(100)}, {us(99), us(100)}, {us(104), us(100)}},
		"handshakes": {{us(504), us(500)}, {us(510), us(500)}, {us(515), us(500)}},
	}, Shares: map[string]Share{"hits": {Samples: 1000, Reports: 8, Collector: 100, Allocated: 0.01}, "handshakes": {Samples: 1000, Reports: 8, Collector: 100, Allocated: 0.03}}}
	if c := r.Cost("hits"); math.Abs(c.Median-0.5) > 1e-9 || math.Abs(c.Min+1) > 1e-9 || math.Abs(c.Max-4) > 1e-9 {
		t.Errorf("hits cost %+v", c)
	}
	var holds []bool
	for _, v := range r.Verdicts() {
		holds = append(holds, v.Holds)
	}
	if want := []bool{true, true, true, false, true}; !slices.Equal(holds, want) { // 0.9 % by the profile, then 1.1; both pairs may be below 1
		t.Errorf("%+v, want %v", r.Verdicts(), want)
	}
	for range 6 { // six pairs say it with 97 in 100, and all are above
		r.Pairs["hits"] = append(r.Pairs["hits"], Pair{us(103), us(100)})
	}
	if v := r.Verdicts()[2]; !v.Holds {
		t.Errorf("nine pairs, one of them below: %+v", v)
	}
	r.Pairs["hits"] = r.Pairs["hits"][3:]
	if v := r.Verdicts()[2]; v.Holds || math.Abs(v.Value-3) > 1e-9 {
		t.Errorf("six pairs, all above: %+v", v)
	}
	r.Idle.Reports = 0.014
	if v := r.Verdicts()[0]; v.Holds {
		t.Errorf("%+v", v)
	}
	for _, v := range (&Result{}).Verdicts() {
		if v.Holds {
			t.Errorf("nothing was measured: %+v", v)
		}
	}
}

// Of n pairs those at each end may be chance: the table of the sign test.
func TestBelow(t *testing.T) {
	for n, want := range map[int]int{0: 0, 1: 0, 5: 0, 6: 0, 8: 0, 9: 1, 12: 2, 15: 3, 25: 7, 50: 17} {
		if got := below(n); got != want {
			t.Errorf("of %d pairs %d are left out, want %d", n, got, want)
		}
	}
}

// A profile of this process tells which functions are reports, and how their names are written.
func TestShare(t *testing.T) {
	of := func(kind string, stacks map[string]int64) *profile.Profile {
		p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "other"}, {Type: kind}}}
		for stack, n := range stacks {
			x := &profile.Sample{Value: []int64{7, n}}
			for f := range strings.FieldsSeq(stack) {
				x.Location = append(x.Location, &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: f}}}})
			}
			p.Sample = append(p.Sample, x)
		}
		return p
	}
	cpu := of("samples", map[string]int64{
		"syscall.write github.com/nats-io/nats%2ego.(*Conn).flusher":                       3,
		"unix.GetsockoptTCPInfo hither/edge/listen.(*conn).measure net/http.(*conn).serve": 2,
		"runtime.scanobject runtime.gcBgMarkWorker":                                        100,
		"runtime.gcAssistAlloc hither/deploy/fleet/member.(*Member).report":                1,
		"hither/edge/proxy.(*Proxy).ServeHTTP":                                             894,
	})
	got, err := newShare(cpu, of("alloc_space", map[string]int64{"hither/edge/node.(*ways).drain": 25, "net/http.readRequest": 975}))
	if want := (Share{Samples: 1000, Reports: 6, Collector: 100, Allocated: 0.025}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if p := got.Percent(); math.Abs(p-0.85) > 1e-9 {
		t.Errorf("%v %%", p)
	}
	if _, err := newShare(cpu, cpu); err == nil {
		t.Error("a profile without bytes is taken")
	}
}
