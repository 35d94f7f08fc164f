package upstream

import (
	"hither/origin/balance"
	"hither/origin/health"
	"hither/origin/limit"
	"hither/origin/pool"
)

// Status is a snapshot, for metrics.
type Status struct {
	Origin              string
	Node                string
	RequestsTotal       uint64            // RoundTrips
	RetriesTotal        map[string]uint64 // requests sent once more, by RetryReasons
	RetriesRefusedTotal uint64            // retries and hedges for which there was no budget
	Limit               *limit.Status     // nil = none
	Balance             balance.Status
	Checks              []health.Status        // by ID; nil = none
	Senders             map[string]pool.Status // by ID, of those that tell
}

// Status returns a snapshot.
func (u *Upstream) Status() Status {
	s := Status{
		Origin: u.cfg.Origin, Node: u.cfg.Node, RequestsTotal: u.requests.Load(), RetriesTotal: map[string]uint64{},
		RetriesRefusedTotal: u.refused.Load(), Balance: u.balancer.Status(), Senders: u.senders(),
	}
	for r := no + 1; int(r) < len(reasons); r++ {
		s.RetriesTotal[reasons[r].word] = u.retries[r].Load()
	}
	if l := u.limiter.Load(); l != nil {
		s.Limit = new(l.Status())
	}
	if u.checker != nil {
		s.Checks = u.checker.Status()
	}
	return s
}

func (u *Upstream) senders() map[string]pool.Status {
	told := map[string]interface{ Status() pool.Status }{}
	u.mu.RLock()
	for id, m := range u.members {
		if t, ok := m.sender.(interface{ Status() pool.Status }); ok {
			told[id] = t
		}
	}
	u.mu.RUnlock()
	all := make(map[string]pool.Status, len(told))
	for id, t := range told {
		all[id] = t.Status()
	}
	return all
}
