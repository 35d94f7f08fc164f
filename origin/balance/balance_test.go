package balance

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a time that only tests move.
type clock struct{ t time.Time }

func newClock() *clock                { return &clock{time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)} }
func (c *clock) now() time.Time       { return c.t }
func (c *clock) pass(d time.Duration) { c.t = c.t.Add(d) }
func (c *clock) passMS(n int)         { c.pass(time.Duration(n) * time.Millisecond) }
func these(ids ...string) (l []Instance) { // id or id=weight or id=weight@group, weight and group one digit each
	for _, id := range ids {
		i := Instance{ID: id, Weight: 1}
		if name, more, ok := strings.Cut(id, "="); ok {
			i.ID, i.Weight = name, int(more[0]-'0')
			if len(more) > 2 {
				i.Group = int(more[2] - '0')
			}
		}
		l = append(l, i)
	}
	return l
}

// asInFile are the defaults of the network file.
func asInFile() Config {
	return Config{
		SlowStart: 10 * time.Second,
		Eject:     Eject{Consecutive: 5, Time: 10 * time.Second, MaxTime: 5 * time.Minute, MaxPercent: 50, PanicPercent: 30},
		Seed:      1,
	}
}

func balancer(t testing.TB, cfg Config, l []Instance) (*Balancer, *clock) {
	t.Helper()
	c := newClock()
	cfg.Now = c.now
	if cfg.Seed == 0 {
		cfg.Seed = 1
	}
	b, err := New(cfg, l)
	if err != nil {
		t.Fatal(err)
	}
	return b, c
}

func pick(t testing.TB, b *Balancer, q Query) *Pick {
	t.Helper()
	p, err := b.Pick(q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// answer ends p with a status and a content of 1,000 bytes.
func answer(p *Pick, status int) Verdict {
	v := p.Header(Header{Status: status, Length: 1000, Comparable: true})
	p.Done(Outcome{Kind: Answered, FirstByte: 20 * time.Millisecond, Bytes: 1000})
	return v
}

// give makes id answer with each of the statuses, whoever else is asked meanwhile.
func give(t testing.TB, b *Balancer, id string, statuses ...int) {
	t.Helper()
	for _, status := range statuses {
		var others []string
		for _, i := range b.Status().Instances {
			if i.ID != id {
				others = append(others, i.ID)
			}
		}
		p := pick(t, b, Query{Tried: others, Trial: true})
		if p.Instance() != id {
			t.Fatalf("picked %s, want %s", p.Instance(), id)
		}
		answer(p, status)
	}
}

func of(t testing.TB, b *Balancer, id string) InstanceStatus {
	t.Helper()
	for _, i := range b.Status().Instances {
		if i.ID == id {
			return i
		}
	}
	t.Fatalf("no instance %s", id)
	return InstanceStatus{}
}

func repeat(n, status int) []int { return slices.Repeat([]int{status}, n) }

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		list []Instance
		want string
	}{
		"algorithm":   {Config{Algorithm: "fastest"}, nil, `algorithm "fastest" is none of p2c-ewma, round-robin`},
		"below zero":  {Config{Eject: Eject{Consecutive: -1}}, nil, "below zero"},
		"not a ratio": {Config{Expect: Expect{MinRatio: -.1}}, nil, "below zero"},
		"no ID":       {Config{}, these(""), "has no ID"},
		"twice":       {Config{}, these("a", "a"), "a is there twice"},
		"weight":      {Config{}, []Instance{{ID: "a", Weight: -1}}, "weight -1"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(c.cfg, c.list); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
	b, _ := balancer(t, Config{}, these("a"))
	if b.Set(these("b", "b")) == nil || pick(t, b, Query{}).Instance() != "a" {
		t.Error("a wrong list changed something")
	}
}

// TestAlgorithms asks every algorithm for what holds for all of them.
func TestAlgorithms(t *testing.T) {
	if names := Algorithms(); len(names) != 8 || names[0] != p2cEWMA {
		t.Fatalf("%q", names)
	}
	for _, name := range Algorithms() {
		t.Run(name, func(t *testing.T) {
			b, _ := balancer(t, Config{Algorithm: name}, nil)
			if _, err := b.Pick(Query{}); !errors.Is(err, ErrNone) {
				t.Fatalf("without instances: %v", err)
			}
			if err := b.Set(these("a", "b", "c=0", "d=2")); err != nil {
				t.Fatal(err)
			}
			for hash := range uint64(1000) {
				q := Query{Hash: hash, Hashed: hash%2 == 0}
				seen := []string{}
				for range 3 {
					p := pick(t, b, q)
					if p.Instance() == "c" || slices.Contains(seen, p.Instance()) {
						t.Fatalf("%s after %q", p.Instance(), seen)
					}
					if only := len(seen) == 2; only != (p.Why() == Only) {
						t.Fatalf("%s with %q tried", p.Why(), seen)
					}
					seen = append(seen, p.Instance())
					q.Tried = seen
					answer(p, 200)
				}
				if _, err := b.Pick(q); !errors.Is(err, ErrNone) {
					t.Fatalf("all tried: %v", err)
				}
			}
			for _, i := range b.Status().Instances {
				if i.Score.InFlight != 0 {
					t.Errorf("%s has %d in flight", i.ID, i.Score.InFlight)
				}
			}
		})
	}
}

func TestSetKeeps(t *testing.T) {
	b, c := balancer(t, asInFile(), these("a", "b", "c", "d"))
	give(t, b, "a", 200)
	give(t, b, "b", repeat(5, 500)...)
	flying := pick(t, b, Query{Tried: []string{"a", "c"}}) // at d
	c.passMS(100)
	if err := b.Set(these("a=2", "b", "c", "e")); err != nil {
		t.Fatal(err)
	}
	if a := of(t, b, "a"); a.Score.LatencyMS != 20 || a.PicksTotal != 1 || a.State != "well" || a.Weight != 2 {
		t.Errorf("a: %+v", a)
	}
	if s := of(t, b, "b"); s.State != "ejected" || s.EjectionsTotal != 1 {
		t.Errorf("b: %+v", s)
	}
	if d := of(t, b, "d"); d.State != "gone" || d.Score.InFlight != 1 {
		t.Errorf("d: %+v", d)
	}
	if e := of(t, b, "e"); e.State != "warming" || e.Score.Effective != leastWarm {
		t.Errorf("e: %+v", e)
	}
	for range 1000 {
		if p := pick(t, b, Query{}); p.Instance() == "d" || p.Instance() == "b" {
			t.Fatalf("picked %s", p.Instance())
		}
	}
	if err := b.Set(these("a", "b", "c", "d")); err != nil { // d comes back before its request ends
		t.Fatal(err)
	}
	if d := of(t, b, "d"); d.State != "warming" || d.Score.InFlight != 1 {
		t.Errorf("d back: %+v", d)
	}
	if err := b.Set(these("a", "b", "c")); err != nil {
		t.Fatal(err)
	}
	flying.Done(Outcome{Kind: Canceled})
	flying.Done(Outcome{Kind: Canceled}) // does nothing
	for _, i := range b.Status().Instances {
		if i.ID == "d" {
			t.Errorf("still there: %+v", i)
		}
	}
	b, _ = balancer(t, Config{}, these("a"))
	p := pick(t, b, Query{})
	answer(p, 200)
	answer(p, 200)
	if s := of(t, b, p.Instance()); s.Score.InFlight != 0 {
		t.Errorf("done twice: %+v", s)
	}
}

func TestTurnSurvivesSet(t *testing.T) {
	b, _ := balancer(t, Config{Algorithm: "round-robin"}, these("a", "c", "e"))
	for _, want := range []string{"a", "c"} {
		if p := pick(t, b, Query{}); p.Instance() != want {
			t.Fatalf("%s, want %s", p.Instance(), want)
		}
	}
	if err := b.Set(these("a", "b", "d", "e")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"d", "e", "a", "b"} {
		if p := pick(t, b, Query{}); p.Instance() != want {
			t.Fatalf("%s, want %s", p.Instance(), want)
		}
	}
}

func TestAffinity(t *testing.T) {
	b, _ := balancer(t, asInFile(), these("a", "b", "c", "d=0"))
	for range 20 {
		if p := pick(t, b, Query{Want: "b"}); p.Instance() != "b" || p.Why() != Affinity {
			t.Fatalf("%s for %s", p.Instance(), p.Why())
		}
	}
	if p := pick(t, b, Query{Want: "b", Tried: []string{"b"}}); p.Instance() == "b" {
		t.Error("sent again to the instance that failed")
	}
	if p := pick(t, b, Query{Want: "d"}); p.Instance() == "d" {
		t.Error("a drained instance got a new request")
	}
	if p := pick(t, b, Query{Want: "z"}); p.Why() == Affinity {
		t.Error("affinity to an instance that is not there")
	}
	give(t, b, "b", repeat(5, 500)...)
	if p := pick(t, b, Query{Want: "b"}); p.Instance() == "b" {
		t.Error("affinity holds to an ejected instance")
	}
	// By header with an algorithm that does not hash: the same instance always.
	at := map[string]bool{}
	for range 20 {
		p := pick(t, b, Query{Hash: 7, Hashed: true})
		if at[p.Instance()] = true; p.Why() != Hash {
			t.Errorf("chosen for %s", p.Why())
		}
		answer(p, 200)
	}
	if len(at) != 1 {
		t.Errorf("one hash went to %v", at)
	}
}

func TestAlive(t *testing.T) {
	b, c := balancer(t, asInFile(), these("a", "b"))
	if b.Alive("a") || b.Alive("z") {
		t.Error("alive without an answer")
	}
	give(t, b, "a", 200)
	if !b.Alive("a") {
		t.Error("not alive after a good answer")
	}
	c.pass(4 * time.Second)
	if !b.Alive("a") {
		t.Error("not alive four seconds later")
	}
	give(t, b, "a", 404)
	c.pass(time.Second)
	if b.Alive("a") {
		t.Error("alive by a neutral answer")
	}
	give(t, b, "a", 200, 500)
	if b.Alive("a") {
		t.Error("alive with a bad answer")
	}
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	cfg := asInFile()
	cfg.Expect = Expect{MinBytes: 1, MinRatio: .25}
	b, err := New(cfg, ten())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for k := range 200 {
				p, err := b.Pick(Query{Path: uint64(k % 3), Trial: true})
				if err != nil {
					t.Error(err)
					return
				}
				answer(p, []int{200, 200, 500, 404}[(n+k)%4])
				switch k % 50 {
				case 0:
					b.Checked(p.Instance(), n%2 == 0, "as drawn")
				case 1:
					if err := b.Set(ten()[:5+n%5]); err != nil {
						t.Error(err)
					}
				case 2:
					b.Explain(Query{})
				case 3:
					b.Alive(p.Instance())
				}
			}
		})
	}
	wg.Wait()
	for _, i := range b.Status().Instances {
		if i.Score.InFlight != 0 {
			t.Errorf("%s has %d in flight", i.ID, i.Score.InFlight)
		}
	}
}
