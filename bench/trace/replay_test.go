package trace

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

// hitsOf sums up what hit.
func hitsOf(tr *Trace, hits []int) (n, bytes int64) {
	for _, h := range hits {
		bytes += tr.sizes[tr.objects[h]]
	}
	return int64(len(hits)), bytes
}

// Everything is replayed once, in order, with hits, bytes and refusals as the plainest caches have them.
func TestRun(t *testing.T) {
	tr := synthetic(3000, 300)
	o := quiet(Options{Policies: Names, Sizes: []Size{{Share: 0.02}, {Bytes: 200_000}}, Limits: []float64{0.125, 1}})
	var steps []Result
	last := 0.0
	o.Step = func(r Result) { steps = append(steps, r); last = 0 }
	o.Progress = func(done float64) {
		if done < last || done >= 1 {
			t.Errorf("progress from %v to %v", last, done)
		}
		last = done
	}
	results, err := o.Run(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != o.Steps() || len(steps) != o.Steps() || o.Steps() != 2*(1+4*2)+1 {
		t.Fatalf("%d results, %d steps of %d", len(results), len(steps), o.Steps())
	}
	for i, r := range results {
		if s := steps[i]; s.Policy != r.Policy || s.Size != r.Size || s.Limit != r.Limit {
			t.Errorf("step %d: %+v, result %+v", i, s, r)
		}
		switch r.Policy {
		case Store:
			if r.Absent != "" && r.Size >= 128<<10 || r.Absent == "" && r.Store == nil || r.Limit != StoreLimit {
				t.Errorf("%+v", r)
			}
		case "fifo", "lru":
			limit := int64(r.Limit * float64(r.Size))
			small := &Trace{sizes: tr.sizes}
			for n, object := range tr.objects {
				if tr.sizes[object] <= limit {
					small.add(object, tr.at[n])
				}
			}
			hits, bytes := hitsOf(small, naive(r.Size, tr.sizes, small.objects, r.Policy == "lru"))
			if r.Hits != hits || r.HitBytes != bytes || r.TooLarge != int64(tr.Requests()-small.Requests()) {
				t.Errorf("%+v, want %d hits of %d bytes, %d too large", r, hits, bytes, tr.Requests()-small.Requests())
			}
			if r.Limit < 1 && r.TooLarge == 0 {
				t.Errorf("%s of %d: nothing is too large, and the limit is not tested", r.Policy, r.Size)
			}
		}
	}
	if all := results[len(results)-1]; all.Hits != int64(tr.Requests()-tr.Objects()) || all.HitBytes != tr.Requested()-tr.Unique() {
		t.Errorf("an infinite cache: %+v", all)
	}
}

// A store that cannot be made is told with the reason, and the others are replayed all the same.
func TestAbsent(t *testing.T) {
	tr := synthetic(100, 10)
	const huge = 1 << 55 // more memory than any machine has, for the store's own needs as well
	for _, unique := range []int64{tr.unique, huge} {
		tr.unique = unique
		o := quiet(Options{Policies: []string{Store, "lru"}, Sizes: []Size{{Bytes: 1000}, {Bytes: huge}}, Limits: []float64{1}})
		r, err := o.Run(t.Context(), tr)
		if err != nil || len(r) != 4 {
			t.Fatalf("%+v, %v", r, err)
		}
		if !strings.Contains(r[0].Absent, "the least is 131072") || !strings.Contains(r[2].Absent, "ask for a smaller size") || r[3].Hits == 0 {
			t.Errorf("%+v", r)
		}
	}
}

// A policy that goes above its capacity ends the run, and an object of exactly the limit is taken.
func TestPoliciesAreHeldToTheirSize(t *testing.T) {
	tr := synthetic(100, 10)
	kept := policies["lru"]
	defer func() { policies["lru"] = kept }()
	policies["lru"] = func(capacity int64, sizes []int64) policy { return kept(2*capacity, sizes) }
	o := quiet(Options{Policies: []string{"lru"}, Sizes: []Size{{Bytes: 60_000}}, Limits: []float64{1}})
	if _, err := o.Run(t.Context(), tr); err == nil || !strings.Contains(err.Error(), "through lru of 60000 bytes: after ") {
		t.Errorf("an LRU of twice its size: %v", err)
	}
	policies["lru"] = kept
	one := &Trace{keys: []string{"a"}, sizes: []int64{100}, unique: 100}
	one.add(0, 0)
	one.add(0, 0)
	for bytes, want := range map[int64]int64{100: 1, 99: 0} {
		o := quiet(Options{Policies: []string{"lru"}, Sizes: []Size{{Bytes: bytes}}, Limits: []float64{StoreLimit}})
		if r, err := o.Run(t.Context(), one); err != nil || r[0].Hits != want || r[0].TooLarge != 2-2*want {
			t.Errorf("100 bytes in %d: %+v, %v", bytes, r, err)
		}
	}
}

// Every replay ends with the context.
func TestRunStops(t *testing.T) {
	tr := synthetic(20_000, 300)
	for _, name := range Names {
		ctx, cancel := context.WithCancel(t.Context())
		o := quiet(Options{Policies: []string{name}, Sizes: []Size{{Bytes: 1 << 20}}, Limits: []float64{1}})
		o.Progress = func(done float64) {
			if done > 0.1 {
				cancel()
			}
			if done > 0.5 {
				t.Errorf("%s goes on", name)
			}
		}
		if _, err := o.Run(ctx, tr); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

// The names are those of the policies, and of the store.
func TestNames(t *testing.T) {
	for _, name := range Names {
		if policies[name] == nil && name != Store {
			t.Errorf("no policy %s", name)
		}
	}
	for name := range policies {
		if !slices.Contains(Names, name) {
			t.Errorf("%s cannot be asked for", name)
		}
	}
}

// The limit said for the store is its own.
func TestStoreLimit(t *testing.T) {
	e := openEdge(t, synthetic(1, 1), 1<<20)
	if got := float64(e.memory.MaxObject()) / (1 << 20); got != StoreLimit {
		t.Errorf("its largest object is %v of its size, said is %v", got, StoreLimit)
	}
}

func TestMemAvailable(t *testing.T) {
	const text = "MemTotal:       24590328 kB\nMemFree:        20000000 kB\nMemAvailable:   22000000 kB\n"
	if n, ok := memAvailable(text); !ok || n != 22000000<<10 {
		t.Error(n, ok)
	}
	for _, bad := range []string{"", "MemTotal: 5 kB\n", "MemAvailable: many kB\n"} {
		if n, ok := memAvailable(bad); ok {
			t.Errorf("%q: %d", bad, n)
		}
	}
}
