package balance

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const hashesTried = 20_000

// ends are the requests in flight, the first to end in front.
type ends []end

type end struct {
	at   time.Time
	pick *Pick
	took time.Duration
}

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(end)) }
func (e *ends) Pop() any          { old := *e; x := old[len(old)-1]; *e = old[:len(old)-1]; return x }

// flow sends n requests at moments by chance, rate per second, each of which takes as long as took says, and returns the
// share of each instance. With seen, that is called after each pick.
func flow(t testing.TB, b *Balancer, c *clock, n int, rate float64, took func(id string, r *rand.Rand) time.Duration, seen func(*Pick)) map[string]float64 {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 4))
	share, flying := map[string]float64{}, ends{}
	finish := func(until time.Time) {
		for len(flying) > 0 && !flying[0].at.After(until) {
			e := heap.Pop(&flying).(end)
			c.t = e.at
			e.pick.Header(Header{Status: 200, Length: 1000})
			e.pick.Done(Outcome{FirstByte: e.took, Bytes: 1000})
		}
		c.t = until
	}
	for range n {
		finish(c.t.Add(time.Duration(r.ExpFloat64() / rate * float64(time.Second))))
		p := pick(t, b, Query{Hash: r.Uint64()})
		if seen != nil {
			seen(p)
		}
		share[p.Instance()] += 1 / float64(n)
		d := took(p.Instance(), r)
		heap.Push(&flying, end{c.t.Add(d), p, d})
	}
	for len(flying) > 0 {
		finish(flying[0].at)
	}
	return share
}

// always makes every request take as long.
func always(d time.Duration) func(string, *rand.Rand) time.Duration {
	return func(string, *rand.Rand) time.Duration { return d }
}

// exponential makes requests take d on average.
func exponential(d time.Duration) func(string, *rand.Rand) time.Duration {
	return func(_ string, r *rand.Rand) time.Duration { return time.Duration(r.ExpFloat64() * float64(d)) }
}

func near(t testing.TB, share map[string]float64, id string, want, by float64) {
	t.Helper()
	if got := share[id]; !(math.Abs(got-want) <= by) {
		t.Errorf("%s got %.4f of the requests, want %.4f by %.4f", id, got, want, by)
	}
}

func TestDistributionRoundRobin(t *testing.T) {
	b, c := balancer(t, Config{Algorithm: "round-robin"}, these("a", "b=7", "c"))
	last := ""
	share := flow(t, b, c, picks, 1000, exponential(20*time.Millisecond), func(p *Pick) {
		if p.Instance() == last {
			t.Fatalf("%s twice in a row", last)
		}
		last = p.Instance()
	})
	for _, id := range []string{"a", "b", "c"} {
		near(t, share, id, 1./3, 1./picks)
	}
}

func TestDistributionWeightedRoundRobin(t *testing.T) {
	b, _ := balancer(t, Config{Algorithm: "weighted-round-robin"}, these("a=5", "b", "c"))
	for turn := range 3 {
		got := ""
		for range 7 {
			p := pick(t, b, Query{})
			got += p.Instance()
			answer(p, 200)
		}
		if got != "aabacaa" {
			t.Errorf("turn %d: %s", turn, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 20), 2, 8).Draw(t, "weights")
		l, total := []Instance{}, 0
		for n, w := range weights {
			l, total = append(l, Instance{ID: fmt.Sprint(n), Weight: w}), total+w
		}
		b, err := New(Config{Algorithm: "weighted-round-robin", Seed: 1}, l)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]int, len(l))
		for k := range 3 * total {
			p, err := b.Pick(Query{})
			if err != nil {
				t.Fatal(err)
			}
			got[slices.IndexFunc(l, func(i Instance) bool { return i.ID == p.Instance() })]++
			for n, w := range weights {
				if most := math.Ceil(float64(w*(k+1))/float64(total)) + 1; float64(got[n]) > most {
					t.Fatalf("%d of the first %d went to weight %d of %d", got[n], k+1, w, total)
				}
			}
		}
		if !slices.Equal(got, slices.Collect(func(yield func(int) bool) {
			for _, w := range weights {
				if !yield(3 * w) {
					return
				}
			}
		})) {
			t.Fatalf("%v for weights %v after three turns", got, weights)
		}
	})
}

func TestDistributionLeastRequests(t *testing.T) {
	b, c := balancer(t, Config{Algorithm: "least-requests"}, these("a=2", "b"))
	share := flow(t, b, c, picks, 1000, exponential(30*time.Millisecond), func(p *Pick) {
		i, j := b.find("a"), b.find("b") // the chosen one has one more since
		if p.at == i && i.inFlight > 2*(j.inFlight+1) || p.at == j && 2*j.inFlight > i.inFlight+1 {
			t.Fatalf("%s with %d in flight at a of weight 2 and %d at b", p.Instance(), i.inFlight, j.inFlight)
		}
	})
	near(t, share, "a", 2./3, .02)
	// Nothing in flight: by chance, not the first.
	b, c = balancer(t, Config{Algorithm: "least-requests"}, these("a", "b", "c", "d"))
	share = flow(t, b, c, picks, 1, always(0), nil)
	for _, id := range []string{"a", "b", "c", "d"} {
		near(t, share, id, .25, .01)
	}
}

func TestDistributionRandom(t *testing.T) {
	weights := map[string]float64{"a": 1, "b": 2, "c": 3, "d": 4}
	b, c := balancer(t, Config{Algorithm: "random"}, these("a=1", "b=2", "c=3", "d=4"))
	share, chi := flow(t, b, c, picks, 1000, always(0), nil), 0.
	for id, w := range weights {
		want := w / 10 * picks
		chi += (share[id]*picks - want) * (share[id]*picks - want) / want
	}
	if chi > 16.27 { // three degrees of freedom, p = .001
		t.Errorf("chi squared is %.1f: %v", chi, share)
	}
}

func TestDistributionP2C(t *testing.T) {
	for name, d := range map[string]time.Duration{"idle": 0, "loaded": 30 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			b, c := balancer(t, Config{}, these("a", "b", "c", "d"))
			share := flow(t, b, c, picks, 1000, exponential(d), nil)
			for _, id := range []string{"a", "b", "c", "d"} {
				near(t, share, id, .25, .02)
			}
			b, c = balancer(t, Config{}, these("a=2", "b"))
			near(t, flow(t, b, c, picks, 1000, always(d), nil), "a", 2./3, .03)
		})
	}
	for _, l := range [][]Instance{these("a-slow", "b"), these("a-slow", "b", "c", "d")} {
		t.Run(fmt.Sprintf("one of %d slower", len(l)), func(t *testing.T) {
			b, c := balancer(t, Config{}, l)
			longest, last := time.Duration(0), c.t
			share := flow(t, b, c, picks, 200, func(id string, _ *rand.Rand) time.Duration {
				if id == "a-slow" {
					return 200 * time.Millisecond
				}
				return 20 * time.Millisecond
			}, func(p *Pick) {
				if p.Instance() == "a-slow" {
					longest, last = max(longest, c.t.Sub(last)), c.t
				}
			})
			if share["a-slow"] > .15 {
				t.Errorf("ten times slower, and got %.3f", share["a-slow"])
			}
			if longest = max(longest, c.t.Sub(last)); longest > 30*time.Second {
				t.Errorf("not tried again for %v", longest)
			}
		})
	}
	t.Run("two bad ones", func(t *testing.T) {
		b, c := balancer(t, Config{}, these("a", "b", "c", "d"))
		for _, i := range b.instances[:2] { // g is near 0, and nobody ejects
			for range 1 << 20 {
				i.answers.add(b.second(c.t), false)
			}
		}
		b.view.stale = true
		share := map[string]float64{}
		for range picks {
			p := pick(t, b, Query{})
			share[p.Instance()] += 1. / picks
			p.Done(Outcome{Kind: Canceled})
		}
		near(t, share, "a", 0, .002)
		near(t, share, "b", 0, .002)
	})
}

func TestDistributionWeightedResponseTime(t *testing.T) {
	b, c := balancer(t, Config{Algorithm: "weighted-response-time"}, these("a", "b", "c"))
	share := flow(t, b, c, picks, 1000, func(id string, _ *rand.Rand) time.Duration {
		return map[string]time.Duration{"a": 10, "b": 20, "c": 40}[id] * time.Millisecond
	}, nil)
	for id, want := range map[string]float64{"a": 4. / 7, "b": 2. / 7, "c": 1. / 7} {
		near(t, share, id, want, .02)
	}
}

func ten() (l []Instance) {
	for n := range 10 {
		l = append(l, Instance{ID: fmt.Sprintf("192.0.2.%d:3000", n), Weight: 1})
	}
	return l
}

// where returns the instance for each hash from 0, nothing being in flight.
func where(t testing.TB, b *Balancer) []string {
	t.Helper()
	at := make([]string, hashesTried)
	for hash := range at {
		p := pick(t, b, Query{Hash: uint64(hash), Hashed: true})
		at[hash] = p.Instance()
		p.Done(Outcome{Kind: Canceled})
	}
	return at
}

// moved returns the share of what did not go to gone and goes somewhere else now.
func moved(before, after []string, gone string) float64 {
	others, n := 0., 0.
	for k := range before {
		if before[k] != gone {
			if others++; before[k] != after[k] {
				n++
			}
		}
	}
	return n / others
}

func TestDistributionMaglev(t *testing.T) {
	b, c := balancer(t, Config{Algorithm: "maglev", Eject: asInFile().Eject}, ten())
	places := map[int16]float64{}
	for _, i := range b.algorithm.(*maglev).table {
		places[i]++
	}
	for i, n := range places {
		if math.Abs(n/tableSize-.1) > .001 {
			t.Errorf("instance %d has %.0f of %d places", i, n, tableSize)
		}
	}
	for id, share := range flow(t, b, c, picks, 1000, always(0), nil) {
		near(t, map[string]float64{id: share}, id, .1, .005)
	}
	before, gone := where(t, b), ten()[4].ID
	give(t, b, gone, repeat(5, 500)...)
	after := where(t, b)
	if m := moved(before, after, gone); m != 0 || slices.Contains(after, gone) {
		t.Errorf("one ejected, and %.4f of the others' hashes move", m)
	}
	c.pass(time.Hour)
	if err := b.Set(slices.Delete(ten(), 4, 5)); err != nil {
		t.Fatal(err)
	}
	if m := moved(before, where(t, b), gone); m > .02 {
		t.Errorf("one removed, and %.4f of the others' hashes move", m)
	}

	b, _ = balancer(t, Config{Algorithm: "maglev"}, these("a=2", "b"))
	heavy := 0.
	for _, id := range where(t, b) {
		if id == "a" {
			heavy += 1. / hashesTried
		}
	}
	near(t, map[string]float64{"a": heavy}, "a", 2./3, .02)

	// A newcomer takes its hashes little by little, and always the same ones.
	b, c = balancer(t, Config{Algorithm: "maglev", SlowStart: 10 * time.Second}, slices.Delete(ten(), 4, 5))
	if err := b.Set(ten()); err != nil {
		t.Fatal(err)
	}
	had := map[int]bool{}
	for range 11 {
		has := map[int]bool{}
		for hash, id := range where(t, b) {
			if has[hash] = id == gone; had[hash] && !has[hash] {
				t.Fatalf("hash %d was at the newcomer and is at %s", hash, id)
			}
		}
		had = has
		c.pass(time.Second)
	}
}

func TestDistributionBoundedHash(t *testing.T) {
	b, _ := balancer(t, Config{Algorithm: "bounded-hash"}, ten())
	before := where(t, b)
	if !slices.Equal(before, where(t, b)) {
		t.Error("a hash moved without a reason")
	}
	share := map[string]float64{}
	for _, id := range before {
		share[id] += 1. / hashesTried
	}
	for id := range share {
		near(t, share, id, .1, .01)
	}
	gone := ten()[4].ID
	if err := b.Set(slices.Delete(ten(), 4, 5)); err != nil {
		t.Fatal(err)
	}
	if m := moved(before, where(t, b), gone); m != 0 {
		t.Errorf("one removed, and %.4f of the others' hashes move", m)
	}
	// One hash is all there is: nobody has more than the bound in flight.
	l := these("a=3", "b=2", "c=1")
	b, _ = balancer(t, Config{Algorithm: "bounded-hash"}, l)
	r, flying := rand.New(rand.NewPCG(5, 6)), []*Pick{}
	for range picks {
		if len(flying) > 0 && r.IntN(100) < len(flying) {
			k := r.IntN(len(flying))
			flying[k].Done(Outcome{Kind: Canceled})
			flying = slices.Delete(flying, k, k+1)
			continue
		}
		p := pick(t, b, Query{Hash: 42, Hashed: true})
		flying = append(flying, p)
		bound := math.Ceil(1.25 * float64(len(flying)) * float64(p.at.Weight) / 6)
		if float64(p.at.inFlight) > bound {
			t.Fatalf("%s has %d of %d in flight, above %.0f", p.Instance(), p.at.inFlight, len(flying), bound)
		}
	}
}

// TestPeak: a latency is known at once when it is the first or far above what was known, and comes down slowly.
func TestPeak(t *testing.T) {
	b, c := balancer(t, Config{}, these("a", "b"))
	answered := func(ms, want float64, wait time.Duration) {
		t.Helper()
		p := pick(t, b, Query{Tried: []string{"b"}})
		p.Header(Header{Status: 200, Length: 1000})
		p.Done(Outcome{FirstByte: time.Duration(ms * float64(time.Millisecond)), Bytes: 1000})
		c.pass(wait)
		if got := of(t, b, "a").Score.LatencyMS; math.Abs(got-want) > .5 {
			t.Errorf("after %v ms: %v, want %v", ms, got, want)
		}
	}
	answered(20, 20, 0)
	answered(200, 200, 0)
	c.pass(10 * time.Second)
	answered(20, 20+180/math.E, fresh)
	if got := of(t, b, "b").Score.LatencyMS; math.Abs(got-86.2) > .5 { // never measured: the median
		t.Errorf("the other has %v", got)
	}
}
