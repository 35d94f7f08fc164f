package node

import (
	"context"
	"math"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"hither/cache"
	"hither/deploy/ops"
	"hither/edge/listen"
	"hither/edge/proxy"
)

// A tally is what the status says in numbers. The zero tally has counted nothing.
type tally struct {
	requests, hits, bytes atomic.Int64
	errors                atomic.Int64    // of what failed
	connections           [4]atomic.Int64 // by the digit of h1, h2, h3
	accepted              atomic.Int64    // connections since the start, but for those that probed the node
	open                  atomic.Int64    // requests under way

	recent [1024]atomic.Int64 // first-byte times of the last requests, in nanoseconds + 1
	at     atomic.Uint64

	rate, streams atomic.Uint64 // smoothed, as math.Float64bits
}

// around counts the requests that are under way in h.
func (t *tally) around(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.open.Add(1)
		defer t.open.Add(-1)
		h.ServeHTTP(w, r)
	})
}

// hooks counts connections here as well as in m.
func (t *tally) hooks(m *metrics) listen.Hooks {
	h := m.hooks()
	counted := h.Connections
	h.Connections = func(p listen.Proto, delta int) {
		t.connections[p[1]-'0'].Add(int64(delta))
		if delta > 0 {
			t.accepted.Add(int64(delta))
		}
		counted(p, delta)
	}
	return h
}

func (t *tally) count(x *proxy.Exchange) {
	t.requests.Add(1)
	if x.Verdict == cache.Hit {
		t.hits.Add(1)
	}
	if failed(x) {
		t.errors.Add(1)
	}
	t.bytes.Add(x.BytesOut)
	if x.FirstByte == 0 { // the client left before there was one
		return
	}
	i := t.at.Add(1) % uint64(len(t.recent))
	t.recent[i].Store(int64(x.FirstByte) + 1)
}

// quantiles are of the recent first-byte times; nil before the first request.
func (t *tally) quantiles() *ops.Quantiles {
	var times []int64
	for i := range t.recent {
		if v := t.recent[i].Load(); v > 0 {
			times = append(times, v-1)
		}
	}
	if len(times) == 0 {
		return nil
	}
	slices.Sort(times)
	at := func(q float64) float64 {
		return float64(times[int(q*float64(len(times)-1))]) / float64(time.Millisecond)
	}
	return &ops.Quantiles{P50: at(.5), P99: at(.99)}
}

// smoothing is the time constant of the load.
const smoothing = 10 * time.Second

// meter smooths requests per second and open requests until ctx ends.
func (t *tally) meter(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := t.requests.Load()
	weight := 1 - math.Exp(-float64(time.Second)/float64(smoothing))
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := t.requests.Load()
		smooth(&t.rate, float64(now-last), weight)
		smooth(&t.streams, float64(t.open.Load()), weight)
		last = now
	}
}

func smooth(v *atomic.Uint64, sample, weight float64) {
	old := math.Float64frombits(v.Load())
	v.Store(math.Float64bits(old + weight*(sample-old)))
}

// load is the share of a capacity in use, 1.0 = full; a capacity of 0 is never full.
func (t *tally) load(requests, streams int) float64 {
	var load float64
	if requests > 0 {
		load = math.Float64frombits(t.rate.Load()) / float64(requests)
	}
	if streams > 0 {
		load = max(load, math.Float64frombits(t.streams.Load())/float64(streams))
	}
	return load
}

// probed takes back that a connection came: it was no client's. Each probe has one of its own; one that has not is worth no more.
func (t *tally) probed() {
	for n := t.accepted.Load(); n > 0 && !t.accepted.CompareAndSwap(n, n-1); n = t.accepted.Load() {
	}
}
