package trace

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"slices"

	"hither/cache/store"
)

// Names among the policies: the real store, and the cache that evicts nothing, so that no other of whole objects has more hits.
const (
	Store    = "hither"
	Infinite = "infinite"
)

// Names are those of the store and all policies, in the order of tables.
var Names = []string{Store, "fifo", "lru", "s3fifo", "wtinylfu", Infinite}

// StoreLimit is the largest object that the store takes, as a share of its size (cache/store). What it accounts an object with
// beside the body counts as well.
const StoreLimit = 1.0

// storeShare is what a store takes beside its objects at the most, 1/storeShare of its size (cache/store).
const storeShare = 150

// collectAt is how much the heap grows, in percent of what is live, until garbage is collected while the store is replayed.
const collectAt = 20

// Options say what is replayed.
type Options struct {
	Policies []string // of Names
	Sizes    []Size
	// Limits are the largest objects that policies take, as shares of the size: each is replayed once with each. The store has
	// one of its own, and an infinite cache none.
	Limits []float64
	// Step is called before each replay with what it will be, and Progress now and then during it with the share that is done.
	Step     func(Result)
	Progress func(done float64)
}

// A Result is what came of one replay.
type Result struct {
	Policy   string
	Size     int64   // in bytes; 0 = infinite
	Share    float64 // of the unique bytes, where that was asked for
	Limit    float64 // largest object, as a share of the size
	Hits     int64   // requests that hit,
	HitBytes int64   // and the bytes of their objects
	TooLarge int64   // requests for objects above the limit: misses
	Absent   string  // why it was not replayed; hits are 0 then
	Store    *StoreResult
}

// A StoreResult is what the real store says of itself at the end.
type StoreResult struct {
	store.Stats
	Most   int64 // bytes that it accounted at a time
	Marked int   // requests that a marker of the cache sent past it, for objects that were too large a moment ago
}

// Steps is how many replays Run makes of a trace.
func (o *Options) Steps() int {
	n := 0
	for _, p := range o.Policies {
		switch p {
		case Infinite:
			n++
		case Store:
			n += len(o.Sizes)
		default:
			n += len(o.Sizes) * len(o.Limits)
		}
	}
	return n
}

// Run replays t through each policy at each size, all of them beginning empty: by size, then by limit, an infinite cache last.
// It ends with ctx.
func (o *Options) Run(ctx context.Context, t *Trace) ([]Result, error) {
	var out []Result
	take := func(r Result) (err error) {
		o.Step(r)
		if r.Policy == Store {
			err = o.replayStore(ctx, t, &r)
		} else {
			err = o.replay(ctx, t, &r)
		}
		out = append(out, r)
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("trace: replay %s through %s of %d bytes: %w", t.File, r.Policy, r.Size, err)
		}
		return err
	}
	for _, size := range o.Sizes {
		r := Result{Size: size.Of(t), Share: size.Share}
		if slices.Contains(o.Policies, Store) {
			r.Policy, r.Limit = Store, StoreLimit
			if err := take(r); err != nil {
				return nil, err
			}
		}
		for _, r.Limit = range o.Limits {
			for _, r.Policy = range o.Policies {
				if r.Policy == Store || r.Policy == Infinite {
					continue
				}
				if err := take(r); err != nil {
					return nil, err
				}
			}
		}
	}
	if slices.Contains(o.Policies, Infinite) {
		if err := take(Result{Policy: Infinite, Limit: 1}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// replay is one pass over the trace.
func (o *Options) replay(ctx context.Context, t *Trace, r *Result) error {
	p := policies[r.Policy](r.Size, t.sizes)
	limit := int64(r.Limit * float64(r.Size))
	if r.Policy == Infinite {
		limit = math.MaxInt64
	}
	for n, object := range t.objects {
		if err := o.pause(ctx, n, t); err != nil {
			return err
		}
		if t.sizes[object] > limit {
			r.TooLarge++
			continue
		}
		if p.ask(object) {
			r.Hits++
			r.HitBytes += t.sizes[object]
		}
		if p.used() > r.Size {
			return fmt.Errorf("after %d requests it has %d bytes", n+1, p.used())
		}
	}
	return nil
}

// replayStore is one pass through the real store.
func (o *Options) replayStore(ctx context.Context, t *Trace, r *Result) error {
	if r.Absent = tooMuch(min(r.Size, t.unique) + r.Size/storeShare); r.Absent != "" {
		return nil
	}
	e, err := newEdge(t, r.Size)
	if err != nil {
		r.Absent = err.Error()
		return nil
	}
	defer e.close()
	// Bodies are most of the memory and cost the collector nothing to look at: it looks often, rather than let them pile up.
	defer debug.SetGCPercent(debug.SetGCPercent(collectAt))
	for n, object := range t.objects {
		if err := o.pause(ctx, n, t); err != nil {
			return err
		}
		hit, err := e.ask(ctx, n)
		switch {
		case err != nil:
			return fmt.Errorf("request %d: %w", n+1, err)
		case hit:
			r.Hits++
			r.HitBytes += t.sizes[object]
		}
	}
	r.TooLarge = int64(e.large)
	r.Store = &StoreResult{Stats: e.memory.Stats(), Most: e.most, Marked: e.marked}
	return nil
}

// pause looks up now and then.
func (o *Options) pause(ctx context.Context, n int, t *Trace) error {
	if n%4096 == 0 {
		o.Progress(float64(n) / float64(t.Requests()))
		return ctx.Err()
	}
	return nil
}
