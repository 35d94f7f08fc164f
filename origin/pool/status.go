package pool

import (
	"cmp"
	"slices"
	"time"
)

// Status is a snapshot of a pool, for `hither status` and for metrics.
type Status struct {
	Origin          string            `json:"origin"`
	Protocol        string            `json:"protocol"`    // h1, h2, h2c or h3
	Up              bool              `json:"up"`          // a connection is open, or none is kept and the last dial worked
	Connections     int               `json:"connections"` // open
	Dialing         int               `json:"dialing"`
	Draining        int               `json:"draining"`
	HandshakesTotal uint64            `json:"handshakes_total"` // TLS handshakes that worked
	RequestsTotal   uint64            `json:"requests_total"`   // that got a connection; attempts of one are counted once
	RetriesTotal    map[string]uint64 `json:"retries_total"`    // by reason, each of RetryReasons
	ErrorsTotal     map[string]uint64 `json:"errors_total"`     // that callers got, and connections that ended for origin-unasked; by Kind's word, only those above 0
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

// Down returns why no connection could be made, while none is open and the last dial failed; else nil. A request sent now would
// wait for the next dial, which may take as long as Config.Connect: whoever has another way need not. It is cheap.
func (p *Pool) Down() *Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil || p.countLocked(open) > 0 {
		return nil
	}
	return p.unsent("take connection", p.failed.Addr, p.failed.Kind, p.failed)
}

// Status returns a snapshot.
func (p *Pool) Status() Status {
	s := Status{
		Origin:          p.cfg.Origin,
		Protocol:        p.cfg.Protocol,
		HandshakesTotal: p.handshakes.Load(),
		RequestsTotal:   p.requests.Load(),
		RetriesTotal:    make(map[string]uint64, len(retryReasons)),
		ErrorsTotal:     make(map[string]uint64),
	}
	for k := range Kind(kinds) {
		if n := p.errors[k].Load(); n > 0 {
			s.ErrorsTotal[k.String()] = n
		}
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
		leaving := c.state == draining || c.leaving()
		if leaving {
			s.Draining++
		} else {
			s.Connections++
		}
		s.Each = append(s.Each, ConnStatus{c.id, c.addr, leaving, c.born, c.requests.Load(), c.InFlight()})
	}
	slices.SortFunc(s.Each, func(a, b ConnStatus) int { return cmp.Compare(a.ID, b.ID) })
	s.Up = p.upLocked(s.Connections)
	return s
}

// Up is Status's Up alone: false where a request would have to wait for a connection that could not be made of late.
func (p *Pool) Up() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, c := range p.conns {
		if c.Err() == nil && c.state != draining && !c.leaving() {
			n++
		}
	}
	return p.upLocked(n)
}

// upLocked says whether the origin can be reached as far as is known, with so many connections that are open.
func (p *Pool) upLocked(connections int) bool {
	return connections > 0 || p.cfg.Connections == 0 && p.failed == nil
}
