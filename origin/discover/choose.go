package discover

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// choose takes what may be used of all: inside the networks, each address once, and not more than Most. Its order depends
// on nothing but what is in it.
func (w *Watcher) choose(all []Found) (use []Found, result string, problems []string) {
	refused := 0
	for _, f := range all {
		if !w.allowed(f.Addr.Addr()) {
			if refused++; refused <= 3 {
				problems = append(problems, fmt.Sprintf("%s of %s is outside the allowed networks", f.Addr, f.Target))
			}
			continue
		}
		use = append(use, f)
	}
	if refused > 3 {
		problems = append(problems, fmt.Sprintf("and %d more outside them", refused-3))
	}
	// The same address under two names is one: with the lower priority, then the larger weight.
	slices.SortFunc(use, func(a, b Found) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Priority, b.Priority), cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Target, b.Target))
	})
	use = slices.CompactFunc(use, func(a, b Found) bool { return a.Addr == b.Addr })

	result = "ok"
	switch found := len(use); {
	case refused > 0:
		result = "refused"
	case found == 0:
		result = "empty"
	case found > w.cfg.Most:
		result = "truncated"
	}
	if found := len(use); found > w.cfg.Most {
		problems = append(problems, fmt.Sprintf("%d addresses found, %d are used", found, w.cfg.Most))
		slices.SortFunc(use, func(a, b Found) int {
			return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(w.rank(a.Addr.String()), w.rank(b.Addr.String())), a.Addr.Compare(b.Addr))
		})
		use = slices.Clone(use[:w.cfg.Most])
		slices.SortFunc(use, func(a, b Found) int { return a.Addr.Compare(b.Addr) })
	}
	return use, result, problems
}

// rank orders addresses and targets for this node: rendezvous hashing (Thaler and Ravishankar 1996), so that one more or
// less changes no other choice.
func (w *Watcher) rank(s string) uint64 { return xxhash.Sum64String(w.cfg.Node + "\x00" + s) }

func (w *Watcher) allowed(a netip.Addr) bool {
	if w.cfg.Networks == nil {
		return a.IsGlobalUnicast() // private ones are: loopback, link-local, multicast, unspecified and broadcast are not
	}
	return slices.ContainsFunc(w.cfg.Networks, func(p netip.Prefix) bool { return p.Contains(a) })
}
