package limit

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"testing"
	"time"
)

// world is an origin behind a limiter, on a clock of its own: it serves `places` requests at once, each for `takes` give
// or take a tenth, and the others queue inside it, which is what the limiter is to keep short. Clients ask at once
// whenever there is room, up to `demand`.
type world struct {
	now    time.Time
	l      *Limiter
	r      *rand.Rand
	places int
	takes  time.Duration
	fails  float64 // share of answers that are 503, at once
	demand int

	asked   int
	seq     int
	busy    int
	inside  []*visit // waits for a place in the origin, oldest first
	events  visits
	served  int
	windows int
	end     Window
}

type visit struct {
	pass     *Pass
	from, at time.Time
	bad      bool
	seq      int
}

type visits []*visit

func (v visits) Len() int { return len(v) }
func (v visits) Less(i, j int) bool {
	return v[i].at.Before(v[j].at) || v[i].at.Equal(v[j].at) && v[i].seq < v[j].seq
}
func (v visits) Swap(i, j int) { v[i], v[j] = v[j], v[i] }
func (v *visits) Push(x any)   { *v = append(*v, x.(*visit)) }
func (v *visits) Pop() any {
	last := (*v)[len(*v)-1]
	*v = (*v)[:len(*v)-1]
	return last
}

func newWorld(cfg Config, places int, takes time.Duration) *world {
	w := &world{now: time.Unix(1e9, 0), r: rand.New(rand.NewPCG(1, 2)), places: places, takes: takes, demand: 1e6}
	cfg.Now = func() time.Time { return w.now }
	w.l = New(cfg)
	return w
}

func (w *world) begin(v *visit) {
	w.busy++
	takes := time.Duration(float64(w.takes) * (.9 + .2*w.r.Float64()))
	if v.bad = w.r.Float64() < w.fails; v.bad {
		takes = time.Millisecond
	}
	v.at = w.now.Add(takes)
	heap.Push(&w.events, v)
}

// fill lets clients in as long as there is room.
func (w *world) fill() {
	for w.asked < w.demand {
		p, err := w.l.Enter(context.Background(), Background)
		if err != nil {
			return
		}
		w.asked++
		w.seq++
		v := &visit{pass: p, from: w.now, seq: w.seq}
		if w.busy < w.places {
			w.begin(v)
		} else {
			w.inside = append(w.inside, v)
		}
	}
}

// step goes on until the next request has ended.
func (w *world) step() {
	w.fill()
	v := heap.Pop(&w.events).(*visit)
	w.now = v.at
	w.busy--
	w.asked--
	if !v.bad {
		w.served++
	}
	v.pass.Leave(Sample{FirstByte: w.now.Sub(v.from), Good: !v.bad, Overloaded: v.bad})
	if last := w.l.gradient.last; last != w.end {
		w.end = last
		w.windows++
	}
	for w.busy < w.places && len(w.inside) > 0 {
		w.begin(w.inside[0])
		w.inside = w.inside[1:]
	}
}

// run goes on for n windows, and returns the least and the largest limit that it saw after each.
func (w *world) run(n int) (least, most int) {
	least = 1 << 30
	for until := w.windows + n; w.windows < until; {
		before := w.windows
		if w.step(); w.windows != before {
			least, most = min(least, w.l.limit()), max(most, w.l.limit())
		}
	}
	return least, most
}

func (w *world) runFor(d time.Duration) {
	for until := w.now.Add(d); w.now.Before(until); {
		w.step()
	}
}

func TestGradientFindsThePlaces(t *testing.T) {
	w := newWorld(Config{}, 50, 100*time.Millisecond)
	w.run(10)
	from, served := w.now, w.served
	low, high := 1<<30, 0
	for w.now.Sub(from) < 15*time.Minute {
		a, b := w.run(1)
		low, high = min(low, a), max(high, b)
	}
	if low < 50 || high > 110 {
		t.Errorf("an origin of 50 places: the limit went from %d to %d in a quarter of an hour of endless demand, want 50 to 110", low, high)
	}
	rate := float64(w.served-served) / w.now.Sub(from).Seconds()
	if rate < .95*500 {
		t.Errorf("%.0f answers a second of 500", rate)
	}
	t.Logf("limit %d to %d, %.0f answers a second", low, high, rate)
}

func TestGradientStartsFast(t *testing.T) {
	w := newWorld(Config{}, 500, 100*time.Millisecond)
	if _, most := w.run(10); most < 500 {
		t.Errorf("an origin of 500 places: the limit is %d after ten windows", most)
	}
}

func TestGradientFollowsFewerPlaces(t *testing.T) {
	w := newWorld(Config{}, 50, 100*time.Millisecond)
	w.run(100)
	w.places = 25
	w.run(30)
	if least, most := w.run(50); most > 60 || least < 20 {
		t.Errorf("25 of 50 places left: the limit is %d to %d after thirty windows, want 20 to 60", least, most)
	}
}

func TestGradientTenTimesSlower(t *testing.T) {
	t.Run("for good", func(t *testing.T) {
		w := newWorld(Config{}, 50, 100*time.Millisecond)
		w.run(100)
		w.takes = time.Second
		if least, _ := w.run(60); least != 8 {
			t.Errorf("ten times slower: the limit went to %d within sixty windows, want the floor", least)
		}
		w.run(90)
		if least, most := w.run(50); least < 50 || most > 160 {
			t.Errorf("ten times slower for good: the limit is %d to %d after 150 windows, want the places again", least, most)
		}
		if base := w.l.Status().Baseline; base < 900*time.Millisecond {
			t.Errorf("baseline %v", base)
		}
	})
	t.Run("and back", func(t *testing.T) {
		w := newWorld(Config{}, 50, 100*time.Millisecond)
		w.run(100)
		w.takes = time.Second
		w.runFor(20 * time.Second)
		if l := w.l.limit(); l > 40 {
			t.Errorf("twenty seconds of tenfold latency: the limit is %d", l)
		}
		w.takes = 100 * time.Millisecond
		w.runFor(20 * time.Second)
		from := w.served
		w.runFor(10 * time.Second)
		if n := w.served - from; n < 4750 {
			t.Errorf("twenty seconds after it: %d answers in ten seconds, of 5,000", n)
		}
		if l := w.l.limit(); l > 110 {
			t.Errorf("limit %d after it", l)
		}
	})
}

func TestGradientRefusalsByTheOrigin(t *testing.T) {
	w := newWorld(Config{}, 50, 100*time.Millisecond)
	w.run(50)
	w.fails = .3
	w.run(60)
	if l := w.l.limit(); l != 8 {
		t.Errorf("an origin that answers 503 to three of ten: limit %d, want the floor", l)
	}
}

// A baseline that is learned under load would take the queue for the origin's latency, and then grow it.
func TestGradientBaselineUnderLoad(t *testing.T) {
	w := newWorld(Config{Floor: 2}, 10, time.Second)
	w.runFor(2 * time.Hour)
	if base := w.l.Status().Baseline; base > 1100*time.Millisecond {
		t.Errorf("after two hours of overload the baseline is %v of 1s", base)
	}
}

func TestGradientIdle(t *testing.T) {
	w := newWorld(Config{}, 50, 100*time.Millisecond)
	w.run(50)
	was := w.l.limit()
	w.demand = 3 // whoever is in leaves first
	w.runFor(time.Hour)
	if l := w.l.limit(); l != was {
		t.Errorf("an hour with three requests at a time: limit %d, was %d", l, was)
	}
	// What is slower without load for ten minutes is farther away.
	w.takes = 300 * time.Millisecond
	w.runFor(25 * time.Minute)
	if base := w.l.Status().Baseline; base < 270*time.Millisecond {
		t.Errorf("three times slower without load: baseline still %v after 25 minutes", base)
	}
}

// One window of cheap answers is no baseline.
func TestGradientCheapWindow(t *testing.T) {
	w := newWorld(Config{}, 50, 100*time.Millisecond)
	w.run(50)
	was := w.l.Status().Baseline
	now := w.now
	for range 2 {
		for range minSamples {
			w.l.gradient.sample(now, Sample{FirstByte: time.Millisecond, Good: true})
			now = now.Add(minWindow)
		}
	}
	if base := w.l.Status().Baseline; base != was && base < was/2 {
		t.Errorf("baseline %v after cheap answers, was %v", base, was)
	}
}

// One that begins high comes down to the places of its origin.
func TestGradientInitial(t *testing.T) {
	w := newWorld(Config{Initial: 2000, Ceiling: 2000}, 50, 100*time.Millisecond)
	if l := w.l.limit(); l != 2000 {
		t.Errorf("the limit begins with %d", l)
	}
	w.demand = 1500
	w.run(120)
	if _, most := w.run(50); most > 300 {
		t.Errorf("50 places and 1,500 that ask: the limit is still %d after 120 windows", most)
	}
	if l := New(Config{Initial: 50, Ceiling: 30}).limit(); l != 30 {
		t.Errorf("the limit begins with %d above its ceiling", l)
	}
	if l := New(Config{}).limit(); l != 20 {
		t.Errorf("the limit begins with %d", l)
	}
}

func TestGradientBounds(t *testing.T) {
	w := newWorld(Config{Floor: 3, Ceiling: 30}, 500, 100*time.Millisecond)
	if _, most := w.run(50); most != 30 {
		t.Errorf("limit up to %d with a ceiling of 30", most)
	}
	w.l.Change(Config{Floor: 40, Ceiling: 60, Now: w.l.cfg.Now})
	if l := w.l.limit(); l != 40 {
		t.Errorf("limit %d after the floor became 40", l)
	}
}
