package balance

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestModel does anything in any order, and wants after each step what must always hold.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		cfg := asInFile()
		cfg.Now = c.now
		cfg.Algorithm = rapid.SampledFrom(Algorithms()).Draw(t, "algorithm")
		cfg.Eject.MaxPercent = rapid.SampledFrom([]int{0, 30, 50, 100}).Draw(t, "max percent")
		cfg.Eject.PanicPercent = rapid.SampledFrom([]int{0, 30, 100}).Draw(t, "panic percent")
		cfg.Eject.Consecutive = rapid.IntRange(0, 3).Draw(t, "consecutive")
		cfg.Expect = rapid.SampledFrom([]Expect{{}, {MinBytes: 1}, {MinBytes: 1, MinRatio: .25}}).Draw(t, "expect")
		instances := func(t *rapid.T) (l []Instance) {
			for n := range rapid.IntRange(0, 6).Draw(t, "instances") {
				l = append(l, Instance{fmt.Sprint(n), rapid.IntRange(0, 3).Draw(t, "weight"), rapid.IntRange(0, 2).Draw(t, "group")})
			}
			return l
		}
		now := instances(t)
		b, err := New(cfg, now)
		if err != nil {
			t.Fatal(err)
		}
		flying := map[string][]*Pick{}
		id := rapid.StringOf(rapid.RuneFrom([]rune("01234567")))
		t.Repeat(map[string]func(*rapid.T){
			"pick": func(t *rapid.T) {
				q := Query{
					Hash: rapid.Uint64().Draw(t, "hash"), Hashed: rapid.Bool().Draw(t, "hashed"), Path: rapid.Uint64Range(0, 2).Draw(t, "path"),
					Want: id.Draw(t, "want"), Trial: rapid.Bool().Draw(t, "trial"), Tried: rapid.SliceOfN(id, 0, 4).Draw(t, "tried"),
				}
				e := b.Explain(q)
				p, err := b.Pick(q)
				if err != nil {
					if e.Next != nil {
						t.Fatalf("%v, and Explain said %s", err, e.Next.Instance)
					}
					for _, i := range e.Instances {
						if (i.State == "well" || i.State == "warming") && !slices.Contains(q.Tried, i.ID) {
							t.Fatalf("%v, and %s is %s", err, i.ID, i.State)
						}
					}
					return
				}
				if e.Next == nil || e.Next.Instance != p.Instance() || e.Next.Why != p.Why() || e.Next.Sentence == "" ||
					len(e.Next.Drawn) > 0 && e.Next.Drawn[0] != p.Instance() || len(e.Next.Drawn) == 2 && e.Next.Drawn[0] == e.Next.Drawn[1] {
					t.Fatalf("picked %s for %s; Explain said %+v", p.Instance(), p.Why(), e.Next)
				}
				n := slices.IndexFunc(e.Instances, func(i InstanceStatus) bool { return i.ID == p.Instance() && i.State != "gone" })
				if n < 0 {
					t.Fatalf("picked %s, which is not there", p.Instance())
				}
				i := e.Instances[n]
				ok := i.State == "well" || i.State == "warming" || e.Panic && p.Why() == Panic || i.State == "trial" && p.Why() == Trial
				if !ok || i.Weight == 0 || slices.Contains(q.Tried, i.ID) {
					t.Fatalf("picked %+v for %s, tried %q", i, p.Why(), q.Tried)
				}
				if p.Why() == Affinity && q.Want != i.ID {
					t.Fatalf("affinity to %s, wanted %s", i.ID, q.Want)
				}
				flying[i.ID] = append(flying[i.ID], p)
			},
			"done": func(t *rapid.T) {
				if len(flying) == 0 {
					t.Skip("nothing is in flight")
				}
				from := rapid.SampledFrom(slices.Sorted(maps.Keys(flying))).Draw(t, "from")
				n := rapid.IntRange(0, len(flying[from])-1).Draw(t, "which")
				p := flying[from][n]
				if flying[from] = slices.Delete(flying[from], n, n+1); len(flying[from]) == 0 {
					delete(flying, from)
				}
				length := rapid.Int64Range(-1, 3).Draw(t, "length")
				if rapid.Bool().Draw(t, "has a header") {
					p.Header(Header{
						Status: rapid.SampledFrom([]int{200, 500, 503, 404, 304}).Draw(t, "status"), Length: length,
						Comparable: rapid.Bool().Draw(t, "comparable"), RetryAfter: rapid.Bool().Draw(t, "retry after"),
					})
				}
				p.Done(Outcome{Kind(rapid.IntRange(0, len(kindWords)-1).Draw(t, "kind")), time.Duration(rapid.IntRange(0, 1000).Draw(t, "ms")) * time.Millisecond, length})
			},
			"time": func(t *rapid.T) {
				c.passMS(rapid.SampledFrom([]int{1, 60, 1000, 20_000, 400_000}).Draw(t, "ms"))
			},
			"check": func(t *rapid.T) { b.Checked(id.Draw(t, "id"), rapid.Bool().Draw(t, "up"), "as drawn") },
			"set": func(t *rapid.T) {
				now = instances(t)
				if err := b.Set(now); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				s := b.Status()
				share := 0.
				for _, g := range s.Groups {
					share += g.Share
				}
				if share != 0 && (share < .999 || share > 1.001) {
					t.Fatalf("the groups get %v of the requests", share)
				}
				flew := 0
				for _, i := range s.Instances {
					if flew += len(flying[i.ID]); i.Score.InFlight != len(flying[i.ID]) {
						t.Fatalf("%s has %d in flight, counted %d", i.ID, len(flying[i.ID]), i.Score.InFlight)
					}
					if sum := i.OutcomesTotal["good"] + i.OutcomesTotal["neutral"] + i.OutcomesTotal["bad"]; sum+uint64(i.Score.InFlight) != i.PicksTotal {
						t.Fatalf("%+v: outcomes and picks differ", i)
					}
					if i.Score.Good < 0 || i.Score.Good > 1 || i.Score.Warm < leastWarm || i.Score.Warm > 1 || i.Score.Effective < 0 || i.Score.Effective > float64(i.Weight) {
						t.Fatalf("%+v", i)
					}
				}
				for _, each := range flying {
					flew -= len(each)
				}
				if flew != 0 {
					t.Fatal("an instance with requests in flight is forgotten")
				}
			},
		})
	})
}

// TestModelMaxPercent: with one list and no checks, never more of a group are out than MaxPercent.
func TestModelMaxPercent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		cfg := asInFile()
		cfg.Now = c.now
		cfg.Eject.MaxPercent = rapid.IntRange(0, 100).Draw(t, "max percent")
		of := rapid.IntRange(1, 8).Draw(t, "instances")
		b, err := New(cfg, ten()[:of])
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 300).Draw(t, "answers") {
			c.passMS(rapid.IntRange(0, 2000).Draw(t, "ms"))
			p, err := b.Pick(Query{Trial: true})
			if err != nil {
				t.Fatal(err)
			}
			answer(p, rapid.SampledFrom([]int{200, 500, 500, 500}).Draw(t, "status"))
			out := 0
			for _, i := range b.Status().Instances {
				if i.State == "ejected" || i.State == "trial" {
					out++
				}
			}
			if out > of*cfg.Eject.MaxPercent/100 || of == 1 && out > 0 {
				t.Fatalf("%d of %d are out", out, of)
			}
		}
	})
}
