package discover

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// together is how many targets are looked up at once.
const together = 8

// targets looks up the targets of SRV records, all of them and not the first alone (caddyserver/caddy#4174). One that
// cannot be looked up keeps the addresses that it had; the look-up failed only where that leaves nothing.
func (w *Watcher) targets(ctx context.Context, a Answer) ([]Found, time.Duration, error) {
	first := map[string]uint16{} // target -> its lowest priority
	for _, s := range a.Services {
		if name := strings.ToLower(s.Target); name != "." && name != "" {
			if p, ok := first[name]; !ok || s.Priority < p {
				first[name] = s.Priority
			}
		}
	}
	names := slices.SortedFunc(maps.Keys(first), func(a, b string) int {
		return cmp.Or(cmp.Compare(first[a], first[b]), cmp.Compare(w.rank(a), w.rank(b)), cmp.Compare(a, b))
	})
	names = names[:min(len(names), w.cfg.Most)] // each has an address at least, or nothing to say
	var (
		mu    sync.Mutex
		fresh = map[string][]netip.Addr{}
		ttl   = a.TTL
		bad   error
		work  sync.WaitGroup
		gate  = make(chan struct{}, together)
	)
	for _, name := range names {
		work.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			addrs, least, err := w.both(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				bad, addrs = err, w.last[name]
			} else {
				ttl = min(ttl, least)
			}
			fresh[name] = addrs
		})
	}
	work.Wait()
	var all []Found
	for _, s := range a.Services {
		for _, addr := range fresh[strings.ToLower(s.Target)] {
			all = append(all, Found{
				Addr: netip.AddrPortFrom(addr.Unmap(), s.Port), Target: s.Target,
				Weight: max(1, int(s.Weight)), Priority: int(s.Priority),
			})
		}
	}
	if bad != nil {
		if len(all) == 0 {
			return nil, 0, bad
		}
		ttl = leastInterval // ask soon for the one that failed
	}
	w.last = fresh
	return all, ttl, nil
}

// both asks for a name's addresses of both families. One family is enough: a name server that fails on AAAA is common
// (RFC 4074).
func (w *Watcher) both(ctx context.Context, name string) (addrs []netip.Addr, ttl time.Duration, err error) {
	ttl = mostInterval
	failed := 0
	for _, qtype := range []string{"A", "AAAA"} {
		a, e := w.cfg.Resolver.Lookup(ctx, name, qtype)
		if e != nil {
			failed, err = failed+1, e
			continue
		}
		addrs = append(addrs, a.Addrs...)
		if len(a.Addrs) > 0 {
			ttl = min(ttl, a.TTL)
		}
	}
	if len(addrs) > 0 {
		err = nil
	}
	return addrs, ttl, err
}
