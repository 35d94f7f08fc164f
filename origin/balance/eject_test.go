package balance

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// trialsOf returns how many of n picks, one each step, go to id as a trial.
func trialsOf(t testing.TB, b *Balancer, c *clock, id string, n int, step time.Duration, status int) (trials int) {
	t.Helper()
	for range n {
		c.pass(step)
		p := pick(t, b, Query{Trial: true})
		switch {
		case p.Instance() != id:
			answer(p, 200)
		case p.Why() != Trial:
			p.Done(Outcome{Kind: Canceled})
		default:
			trials++
			answer(p, status)
		}
	}
	return trials
}

func TestEjectInARow(t *testing.T) {
	b, c := balancer(t, asInFile(), these("a", "b", "c", "d"))
	give(t, b, "a", append(repeat(4, 500), 200)...)
	give(t, b, "a", repeat(4, 502)...)
	give(t, b, "a", 404) // says nothing
	if s := of(t, b, "a"); s.State != "well" {
		t.Fatalf("ejected by %d in a row: %+v", 4, s)
	}
	give(t, b, "a", 504)
	s := of(t, b, "a")
	if s.State != "ejected" || s.Why != "5 in a row: the last answered 504" {
		t.Fatalf("%+v", s)
	}
	if lasts := s.Until.Sub(c.t); lasts < 9*time.Second || lasts > 11*time.Second {
		t.Errorf("ejected for %v", lasts)
	}
	if n := b.Status().EjectionsTotal["consecutive"]; n != 1 {
		t.Errorf("%d ejections", n)
	}
	for range 1000 {
		if p := pick(t, b, Query{Trial: true}); p.Instance() == "a" {
			t.Fatal("an ejected instance was picked")
		}
	}
}

func TestEjectByRatio(t *testing.T) {
	cfg := asInFile()
	cfg.Eject.Consecutive = 0
	b, _ := balancer(t, cfg, these("a", "b", "c"))
	give(t, b, "a", repeat(19, 500)...)
	if s := of(t, b, "a"); s.State != "well" {
		t.Fatalf("19 answers are too few: %+v", s)
	}
	give(t, b, "a", 500)
	if s := of(t, b, "a"); s.State != "ejected" || s.Why != "95 % of its answers are bad: the last answered 500" {
		t.Errorf("%+v", s)
	}
	if n := b.Status().EjectionsTotal["ratio"]; n != 1 {
		t.Errorf("%d ejections", n)
	}
	// Half of the answers are good: weight, no ejection.
	for range 50 {
		give(t, b, "b", 500, 200)
	}
	if s := of(t, b, "b"); s.State != "well" || s.Score.Good < .5 || s.Score.Good > .52 || math.Abs(s.Score.Effective-math.Pow(s.Score.Good, 3)) > .01 {
		t.Errorf("%+v", s)
	}
	// The others are no better.
	b, _ = balancer(t, cfg, these("a", "b", "c"))
	for range 30 {
		give(t, b, "b", 500, 200)
		give(t, b, "c", 500, 200)
	}
	give(t, b, "a", repeat(100, 500)...)
	if s := of(t, b, "a"); s.State != "well" {
		t.Errorf("ejected while all are bad: %+v", s)
	}
}

// TestEjectMaxPercent: never more than the share, and never the only one.
func TestEjectMaxPercent(t *testing.T) {
	for _, c := range []struct{ n, percent, want int }{
		{1, 100, 0}, {2, 100, 2}, {2, 50, 1}, {2, 49, 0}, {3, 50, 1}, {4, 50, 2}, {5, 50, 2}, {10, 10, 1}, {10, 9, 0}, {4, 0, 0},
	} {
		cfg := asInFile()
		cfg.Eject.MaxPercent, cfg.Eject.PanicPercent = c.percent, 0
		l := ten()[:c.n]
		l = append(l, Instance{ID: "drained"}, Instance{ID: "far", Weight: 1, Group: 1}) // count in no share
		b, _ := balancer(t, cfg, l)
		out := 0
		for _, i := range l[:c.n] {
			give(t, b, i.ID, repeat(5, 500)...)
		}
		for _, i := range b.Status().Instances {
			if i.State == "ejected" {
				out++
			}
		}
		if out != c.want {
			t.Errorf("%d %% of %d: %d are out, want %d", c.percent, c.n, out, c.want)
		}
	}
	// Who is down counts as out.
	b, _ := balancer(t, asInFile(), these("a", "b", "c", "d"))
	b.Checked("a", false, "timeout")
	b.Checked("b", false, "timeout")
	give(t, b, "c", repeat(20, 500)...)
	if s := of(t, b, "c"); s.State != "well" {
		t.Errorf("the third of four is out: %+v", s)
	}
}

func TestEjectBusy(t *testing.T) {
	b, _ := balancer(t, asInFile(), these("a", "b"))
	for range 100 {
		p := pick(t, b, Query{Tried: []string{"b"}})
		if v := p.Header(Header{Status: 503, RetryAfter: true}); v != Bad {
			t.Fatal(v)
		}
		p.Done(Outcome{Kind: Answered})
	}
	if s := of(t, b, "a"); s.State != "well" || s.Score.Effective != leastShare {
		t.Errorf("%+v", s)
	}
}

func TestEjectKinds(t *testing.T) {
	for kind, want := range map[Kind]string{Unconnected: "ejected", Timeout: "ejected", Reset: "ejected", Protocol: "ejected", Short: "ejected", Canceled: "well"} {
		b, _ := balancer(t, asInFile(), these("a", "b"))
		for range 5 {
			p := pick(t, b, Query{Tried: []string{"b"}})
			p.Header(Header{Status: 200, Length: 10}) // what came before does not help
			p.Done(Outcome{Kind: kind})
		}
		s := of(t, b, "a")
		if s.State != want || want == "ejected" && !strings.HasSuffix(s.Why, kindWords[kind]) {
			t.Errorf("%d: %+v", kind, s)
		}
	}
	// A bad header counts although we hung up.
	b, _ := balancer(t, asInFile(), these("a", "b"))
	for range 5 {
		p := pick(t, b, Query{Tried: []string{"b"}})
		p.Header(Header{Status: 500, Length: 1 << 30})
		p.Done(Outcome{Kind: Canceled})
	}
	if s := of(t, b, "a"); s.State != "ejected" {
		t.Errorf("%+v", s)
	}
}

func TestEjectTrial(t *testing.T) {
	b, c := balancer(t, asInFile(), these("a", "b", "c"))
	give(t, b, "a", repeat(5, 500)...)
	for k, want := range []time.Duration{20, 40, 80, 160, 300, 300} { // seconds: doubled, at most MaxTime
		c.pass(of(t, b, "a").Until.Sub(c.t))
		if s := of(t, b, "a"); s.State != "trial" {
			t.Fatalf("%+v", s)
		}
		for range 100 {
			if p := pick(t, b, Query{}); p.Instance() == "a" {
				t.Fatal("a request that cannot be sent twice went to an instance on trial")
			}
		}
		if n := trialsOf(t, b, c, "a", 100, 0, 500); n != 1 {
			t.Fatalf("%d trials, want one bad one", n)
		}
		s := of(t, b, "a")
		want *= time.Second
		if lasts := s.Until.Sub(c.t); s.State != "ejected" || lasts < want*9/10 || lasts > min(want*11/10, 5*time.Minute) {
			t.Fatalf("ejection %d lasts %v, want about %v: %+v", k+2, lasts, want, s)
		}
	}
	if n := b.Status().EjectionsTotal["trial"]; n != 6 {
		t.Errorf("%d ejections on trial", n)
	}
	// Back: one request at a time, one a second, two good in a row.
	c.pass(of(t, b, "a").Until.Sub(c.t))
	first := pick(t, b, Query{Trial: true})
	if first.Instance() != "a" || first.Why() != Trial {
		t.Fatalf("%s for %s", first.Instance(), first.Why())
	}
	if n := trialsOf(t, b, c, "a", 50, 100*time.Millisecond, 200); n != 0 {
		t.Errorf("%d trials beside the first", n)
	}
	answer(first, 200)
	if n := trialsOf(t, b, c, "a", 9, 100*time.Millisecond, 404); n != 1 || of(t, b, "a").State != "trial" {
		t.Errorf("%d trials in a second, then %+v", n, of(t, b, "a"))
	}
	if n := trialsOf(t, b, c, "a", 11, 100*time.Millisecond, 200); n != 1 {
		t.Errorf("%d trials in the next second", n)
	}
	if s := of(t, b, "a"); s.State != "warming" || s.Score.Warm != leastWarm || s.Why != "" {
		t.Errorf("%+v", s)
	}
}

// TestEjectTrialWithoutSafeRequests: where nobody may be tried with, any request is used in the end.
func TestEjectTrialWithoutSafeRequests(t *testing.T) {
	b, c := balancer(t, asInFile(), these("a", "b", "c"))
	give(t, b, "a", repeat(5, 500)...)
	c.pass(20 * time.Second)
	b.Status()
	c.pass(5*time.Minute - time.Second)
	if p := pick(t, b, Query{}); p.Instance() == "a" {
		t.Error("tried too early")
	}
	c.pass(time.Second)
	if p := pick(t, b, Query{}); p.Instance() != "a" || p.Why() != Trial {
		t.Errorf("%s for %s", p.Instance(), p.Why())
	}
}

// TestEjectForgets: each while that it was well makes one ejection forgotten.
func TestEjectForgets(t *testing.T) {
	for wait, want := range map[time.Duration]time.Duration{0: 40, 15 * time.Second: 20, 25 * time.Second: 10, time.Hour: 10} {
		b, c := balancer(t, asInFile(), these("a", "b", "c"))
		give(t, b, "a", repeat(5, 500)...)
		c.pass(11 * time.Second)
		trialsOf(t, b, c, "a", 1, 0, 500) // the second ejection
		c.pass(22 * time.Second)
		trialsOf(t, b, c, "a", 2, time.Second, 200)
		if s := of(t, b, "a"); s.State != "warming" {
			t.Fatalf("%+v", s)
		}
		c.pass(wait)
		give(t, b, "a", repeat(5, 500)...)
		want *= time.Second
		if s := of(t, b, "a"); s.Until == nil || s.Until.Sub(c.t) < want*9/10 || s.Until.Sub(c.t) > want*11/10 {
			t.Errorf("well for %v, then ejected: %+v, want about %v", wait, s, want)
		}
	}
}

func TestChecked(t *testing.T) {
	b, c := balancer(t, asInFile(), these("a", "b"))
	b.Checked("z", false, "unknown IDs are ignored")
	b.Checked("a", true, "no news")
	if s := of(t, b, "a"); s.State != "well" {
		t.Fatalf("%+v", s)
	}
	b.Checked("a", false, "answered 503")
	if s := of(t, b, "a"); s.State != "down" || s.Why != "answered 503" || s.Score.Effective != 0 {
		t.Fatalf("%+v", s)
	}
	for range 100 {
		if p := pick(t, b, Query{Trial: true, Want: "a"}); p.Instance() != "b" {
			t.Fatal("picked who is down")
		}
	}
	if n := b.Status().EjectionsTotal["checks"]; n != 1 {
		t.Errorf("%d", n)
	}
	c.pass(time.Minute)
	b.Checked("a", true, "")
	if s := of(t, b, "a"); s.State != "warming" || s.Why != "" {
		t.Fatalf("%+v", s)
	}
	// A check that passes does not end an ejection.
	give(t, b, "a", repeat(5, 500)...)
	b.Checked("a", false, "answered 503")
	b.Checked("a", true, "")
	if s := of(t, b, "a"); s.State != "ejected" {
		t.Errorf("%+v", s)
	}
	b.Checked("a", false, "answered 503")
	c.pass(time.Minute)
	if p := pick(t, b, Query{Trial: true}); p.Instance() != "b" {
		t.Error("who is down was tried")
	}
}

func TestPanic(t *testing.T) {
	cfg := asInFile()
	b, c := balancer(t, cfg, these("a", "b=3", "c", "d"))
	for _, id := range []string{"a", "b", "c"} { // c may not be ejected any more, and counts as bad all the same
		give(t, b, id, repeat(5, 500)...)
	}
	s := b.Status()
	if !s.Panic || s.Groups[0].Well != 1 {
		t.Fatalf("%+v", s)
	}
	b.Checked("d", false, "answered 503")
	got := map[string]int{}
	for range 6000 {
		p := pick(t, b, Query{Trial: true})
		if got[p.Instance()]++; p.Why() != Panic {
			t.Fatalf("chosen for %s", p.Why())
		}
		p.Done(Outcome{Kind: Canceled})
	}
	if got["a"] < 900 || got["b"] < 2800 || got["c"] < 900 || got["d"] < 900 { // 1:3:1:1
		t.Errorf("%v", got)
	}
	// Two good answers in a row: well at once, whatever ejection and checks say.
	give(t, b, "a", 200)
	give(t, b, "a", 500, 200)
	if s := of(t, b, "a"); s.State != "ejected" {
		t.Errorf("two good ones, not in a row: %+v", s)
	}
	give(t, b, "a", 200)
	give(t, b, "d", 200, 200)
	for _, id := range []string{"a", "d"} {
		if s := of(t, b, id); s.State != "well" || s.Score.Good != 1 || s.Score.Effective != 1 {
			t.Errorf("%s: %+v", id, s)
		}
	}
	if b.Status().Panic {
		t.Error("still a panic with two of four well")
	}
	for range 1000 {
		if p := pick(t, b, Query{}); p.Instance() == "b" {
			t.Fatal("the panic is over, and an ejected instance is used")
		}
	}
	give(t, b, "a", repeat(5, 500)...)
	if s := of(t, b, "a"); s.Until == nil || s.Until.Sub(c.t) > 11*time.Second {
		t.Errorf("after the panic the first ejection lasts as the first: %+v", s)
	}
	// Never, where the file says so.
	cfg.Eject.PanicPercent = 0
	b, _ = balancer(t, cfg, these("a", "b"))
	b.Checked("a", false, "")
	b.Checked("b", false, "")
	if _, err := b.Pick(Query{}); err != ErrNone {
		t.Error(err)
	}
}

func TestSlowStart(t *testing.T) {
	b, c := balancer(t, asInFile(), these("a", "b"))
	if err := b.Set(these("a", "b", "c=4")); err != nil {
		t.Fatal(err)
	}
	for n, want := range []float64{.1, .1, .2, .3, .4, .5, .6, .7, .8, .9, 1, 1} {
		if s := of(t, b, "c"); math.Abs(s.Score.Warm-want) > .001 || math.Abs(s.Score.Effective-4*want) > .001 || (s.State == "warming") != (want < 1) {
			t.Errorf("after %d s: %+v", n, s)
		}
		c.pass(time.Second)
	}
	// Nobody warms when all do.
	if err := b.Set(these("x", "y")); err != nil {
		t.Fatal(err)
	}
	if s := of(t, b, "x"); s.Score.Effective != 1 {
		t.Errorf("%+v", s)
	}
	// Back from being drained.
	c.pass(time.Minute)
	for _, l := range [][]Instance{these("x=0", "y"), these("x", "y")} {
		if err := b.Set(l); err != nil {
			t.Fatal(err)
		}
	}
	if s := of(t, b, "x"); s.State != "warming" {
		t.Errorf("%+v", s)
	}
}

func TestGroups(t *testing.T) {
	shares := func(b *Balancer) (s []float64) {
		for _, g := range b.Status().Groups {
			s = append(s, math.Round(g.Share*1000)/1000)
		}
		return s
	}
	cfg := asInFile()
	cfg.Eject.MaxPercent, cfg.Eject.PanicPercent = 100, 0
	b, _ := balancer(t, cfg, these("a=1@0", "b=1@0", "c=1@0", "d=1@0", "e=1@5", "f=1@5", "g=1@7", "h=0@9"))
	for n, want := range [][]float64{{1, 0, 0}, {1, 0, 0}, {.7, .3, 0}, {.35, .65, 0}} {
		if got := shares(b); !slices.Equal(got, want) {
			t.Errorf("%d of four out: shares %v, want %v", n, got, want)
		}
		b.Checked(string(rune('a'+n)), false, "")
	}
	if got, want := shares(b), []float64{0, 1, 0}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	b.Checked("e", false, "")
	if got, want := shares(b), []float64{0, .7, .3}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	n, at := 0, map[uint64]string{}
	for hash := range uint64(10000) {
		p := pick(t, b, Query{Hash: hash, Hashed: true})
		if p.Instance() == "f" {
			n++
		}
		if p.Why() != Spill {
			t.Fatal(p.Why())
		}
		at[hash] = p.Instance()
	}
	if n < 6800 || n > 7200 {
		t.Errorf("%d of 10,000 to a group with share .7", n)
	}
	for hash, id := range at {
		if p := pick(t, b, Query{Hash: hash, Hashed: true}); p.Instance() != id {
			t.Fatalf("hash %d went to %s, now to %s", hash, id, p.Instance())
		}
	}
	// All of the group were tried: the next one.
	b, _ = balancer(t, cfg, these("a=1@0", "b=1@0", "c=1@1"))
	if p := pick(t, b, Query{Tried: []string{"a", "b"}}); p.Instance() != "c" || p.Why() != Spill {
		t.Errorf("%s for %s", p.Instance(), p.Why())
	}
	// All together cannot carry all: each in proportion.
	b, _ = balancer(t, cfg, these("a=1@0", "b=1@0", "c=1@0", "d=1@0", "e=1@1", "f=1@1", "g=1@1", "h=1@1"))
	for _, id := range []string{"a", "b", "c", "e", "f", "g"} {
		b.Checked(id, false, "")
	}
	if got, want := shares(b), []float64{.5, .5}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A request that has been to all that may be chosen goes to one that is out, the one that has been for the longest, before it goes to none. Two
// good answers bring that back, a bad one does not make it stay out for longer; nobody else gets there.
func TestLastResort(t *testing.T) {
	b, c := balancer(t, asInFile(), these("a", "b", "c", "d"))
	give(t, b, "b", repeat(5, 500)...)
	c.pass(time.Second)
	give(t, b, "a", repeat(5, 500)...)
	rest := []string{"c", "d"}
	if _, err := b.Pick(Query{Tried: rest}); err != ErrNone {
		t.Error(err)
	}
	if e := b.Explain(Query{Tried: rest, Last: true}); e.Next == nil || e.Next.Sentence != "b is out, and all that are not were tried" {
		t.Errorf("%+v", e.Next)
	}
	until := of(t, b, "b").Until
	for range 10 {
		p := pick(t, b, Query{Tried: rest, Last: true})
		if p.Instance() != "b" || p.Why() != LastResort {
			t.Fatalf("%s, %s", p.Instance(), p.Why())
		}
		answer(p, 500)
	}
	if s := of(t, b, "b"); s.State != "ejected" || !s.Until.Equal(*until) {
		t.Errorf("%+v, and it was out until %v", s, until)
	}
	if p := pick(t, b, Query{Tried: []string{"b", "c", "d"}, Last: true}); p.Instance() != "a" {
		t.Error(p.Instance())
	}
	if p := pick(t, b, Query{Tried: []string{"c"}, Last: true}); p.Instance() != "d" {
		t.Error(p.Instance())
	}
	b.Checked("a", false, "it is off")
	if _, err := b.Pick(Query{Tried: []string{"b", "c", "d"}, Last: true}); err != ErrNone {
		t.Errorf("checks say that a is down: %v", err)
	}
	for range trialGood {
		answer(pick(t, b, Query{Tried: rest, Last: true}), 200)
	}
	if s := of(t, b, "b"); s.State != "warming" {
		t.Errorf("%+v", s)
	}
}

// Who could not be reached is on trial as soon as it is reached again, but not where it has failed on trial since.
func TestConnected(t *testing.T) {
	b, c := balancer(t, asInFile(), these("a", "b"))
	b.Connected("a")
	b.Connected("nobody")
	trial := Query{Trial: true}
	for range 3 { // each ejection would last for twice as long
		give(t, b, "a", repeat(5, 500)...)
		c.pass(time.Second)
		if p := pick(t, b, trial); p.Instance() != "b" {
			t.Fatalf("%s is ejected, and is picked", p.Instance())
		}
		b.Connected("a")
		for range trialGood {
			p := pick(t, b, trial)
			if p.Instance() != "a" || p.Why() != Trial {
				t.Fatalf("%s, %s", p.Instance(), p.Why())
			}
			answer(p, 200)
			c.pass(trialEvery)
		}
		if s := of(t, b, "a"); s.State != "warming" {
			t.Errorf("%+v", s)
		}
		c.pass(10 * time.Second) // nothing is left of its answers
	}
	give(t, b, "a", repeat(5, 500)...)
	b.Connected("a")
	answer(pick(t, b, trial), 500)
	b.Connected("a")
	c.pass(trialEvery)
	if s := of(t, b, "a"); s.State != "ejected" || pick(t, b, trial).Instance() != "b" {
		t.Errorf("it fails on trial, and is there again: %+v", s)
	}
}
