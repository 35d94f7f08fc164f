package pool

import (
	"cmp"
	"slices"
	"time"
)

// Status is a snapshot of a pool, for `hither status` and for metrics.
type Status struct {
	Origin          string            `json:"origin"`
	Up              bool              `json:"up"`          // a connection is open
	Connections     int               `json:"connections"` // open
	Dialing         int               `json:"dialing"`
	Draining        int               `json:"draining"`
	HandshakesTotal uint64            `json:"handshakes_total"` // TLS handshakes that worked
	RequestsTotal   uint64            `json:"requests_total"`   // that got a connection; attempts of one are counted once
	RetriesTotal    map[string]uint64 `json:"retries_total"`    // by reason, each of RetryReasons
	Problem         string            `json:"problem,omitempty"`
	Each            []ConnStatus      `json:"each,omitempty"` // open and draining, the oldest first
}

// ConnStatus is one connection.
type ConnStatus struct {
	ID            uint64    `json:"id"`
	Address       string    `json:"address"`
	Draining      bool      `json:"draining"`
	Opened        time.Time `json:"opened"`
	RequestsTotal uint64    `json:"requests_total"` // attempts
	InFlight      int       `json:"in_flight"`
}

// Status returns a snapshot.
func (p *Pool) Status() Status {
	s := Status{
		Origin:          p.cfg.Origin,
		HandshakesTotal: p.handshakes.Load(),
		RequestsTotal:   p.requests.Load(),
		RetriesTotal:    make(map[string]uint64, len(retryReasons)),
	}
	for i, reason := range retryReasons {
		s.RetriesTotal[reason] = p.retries[i].Load()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Dialing = p.dialing
	if p.failed != nil {
		s.Problem = p.failed.Error()
	}
	for _, c := range p.conns {
		if c.Err() != nil {
			continue
		}
		leaving := c.state == draining || c.wire.leaving()
		if leaving {
			s.Draining++
		} else {
			s.Connections++
		}
		s.Each = append(s.Each, ConnStatus{c.id, c.addr, leaving, c.born, c.requests.Load(), c.InFlight()})
	}
	slices.SortFunc(s.Each, func(a, b ConnStatus) int { return cmp.Compare(a.ID, b.ID) })
	s.Up = s.Connections > 0
	return s
}
