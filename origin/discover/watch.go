package discover

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

const (
	leastInterval = 5 * time.Second // a TTL of 0 is common with service registries, and means "now", not "all the time"
	mostInterval  = 5 * time.Minute // a TTL of a day must not keep a removed server for a day
	emptyInterval = 15 * time.Second
	leastBackOff  = time.Second
	mostBackOff   = time.Minute
	roundTime     = 15 * time.Second // one look-up with all its targets

	// An answer without anything to use is believed when it was given three times and for half a minute: deployments and
	// name servers that restart take a name away for moments (caddyserver/caddy#5816, apple/servicetalk#2776).
	emptyAnswers = 3
	emptyTime    = 30 * time.Second
)

// Run looks up until ctx ends, and calls set with what may be used: after the first answer, and whenever it has changed,
// in the order of the addresses. set is called from one goroutine and must not change the slice. While no answer can be
// had, what was found last stays. Call Run once.
func (w *Watcher) Run(ctx context.Context, set func([]Found)) {
	for {
		round, cancel := context.WithTimeout(ctx, roundTime)
		all, ttl, err := w.look(round)
		cancel()
		if ctx.Err() != nil {
			return
		}
		timer := time.NewTimer(about(w.judge(all, ttl, err, set)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// about is d give or take a tenth, so that nodes which started together do not ask together.
func about(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (.9 + .2*rand.Float64()))
}

// judge decides what of an answer is used, and after how long to ask again.
func (w *Watcher) judge(all []Found, ttl time.Duration, err error, set func([]Found)) time.Duration {
	now := w.cfg.Now()
	if err != nil {
		if w.failures++; w.failures == 1 {
			w.cfg.Log.Warn("name cannot be looked up; what was found before stays", "name", w.cfg.Name, "type", w.cfg.Type, "addresses", len(w.used), "error", err)
		}
		w.note("error", func(s *Status) { s.Error = err.Error() })
		return min(mostBackOff, leastBackOff<<min(w.failures-1, 10))
	}
	if w.failures > 0 {
		w.cfg.Log.Info("name is looked up again", "name", w.cfg.Name, "type", w.cfg.Type)
		w.failures = 0
	}
	use, result, problems := w.choose(all)
	interval := min(mostInterval, max(leastInterval, ttl))
	if len(use) > 0 {
		w.empties = 0
	} else {
		if w.empties++; w.empties == 1 {
			w.emptied = now
		}
		if len(w.used) > 0 && (w.empties < emptyAnswers || now.Sub(w.emptied) < emptyTime) {
			use = w.used
			problems = append(problems, fmt.Sprintf("nothing is found any more, what was found before is used until %d answers and %v agree", emptyAnswers, emptyTime))
		}
		interval = min(interval, emptyInterval)
	}
	w.note(result, func(s *Status) { s.Error, s.Looked, s.Problems, s.Found = "", now, problems, use })
	if !w.known || !slices.Equal(use, w.used) {
		w.cfg.Log.Info("addresses of a name changed", "name", w.cfg.Name, "type", w.cfg.Type, "addresses", len(use), "before", len(w.used))
		w.used, w.known = use, true
		set(use)
	}
	return interval
}

func (w *Watcher) note(result string, change func(*Status)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.LookupsTotal[result]++
	change(&w.status)
}

// Status is what the watcher knows.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.status
	s.Found, s.Problems = slices.Clone(s.Found), slices.Clone(s.Problems)
	s.LookupsTotal = maps.Clone(s.LookupsTotal)
	return s
}

// look asks for the name and, of SRV, for the targets.
func (w *Watcher) look(ctx context.Context) ([]Found, time.Duration, error) {
	a, err := w.cfg.Resolver.Lookup(ctx, w.cfg.Name, w.cfg.Type)
	if err != nil {
		return nil, 0, err
	}
	if w.cfg.Type == "SRV" {
		return w.targets(ctx, a)
	}
	var all []Found
	for _, addr := range a.Addrs {
		all = append(all, Found{Addr: netip.AddrPortFrom(addr.Unmap(), w.cfg.Port), Target: w.cfg.Name, Weight: 1})
	}
	return all, a.TTL, nil
}
