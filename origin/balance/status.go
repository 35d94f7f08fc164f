package balance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Status is a snapshot of a balancer, for metrics and for explanations.
type Status struct {
	Algorithm      string            `json:"algorithm"`
	Panic          bool              `json:"panic"` // too few are well, so all are used
	Groups         []GroupStatus     `json:"groups"`
	Instances      []InstanceStatus  `json:"instances"`       // by group, then ID; at the end those that are gone with requests in flight
	EjectionsTotal map[string]uint64 `json:"ejections_total"` // by reason: consecutive, ratio, checks, trial
	AnomaliesTotal map[string]uint64 `json:"anomalies_total"` // by reason: short, shorter, odd-status
}

// GroupStatus is one group with weight.
type GroupStatus struct {
	Group int     `json:"group"`
	Well  int     `json:"well"`
	Of    int     `json:"of"`
	Share float64 `json:"share"` // of the requests, 0 to 1
}

// InstanceStatus is one instance.
type InstanceStatus struct {
	ID             string            `json:"id"`
	Group          int               `json:"group"`
	Weight         int               `json:"weight"`
	State          string            `json:"state"`           // well, warming, ejected, trial, down, drained, gone
	Why            string            `json:"why,omitempty"`   // it is not well
	Until          *time.Time        `json:"until,omitempty"` // its ejection lasts
	Score          Score             `json:"score"`
	PicksTotal     uint64            `json:"picks_total"`
	OutcomesTotal  map[string]uint64 `json:"outcomes_total"` // good, neutral, bad
	EjectionsTotal uint64            `json:"ejections_total"`
}

// Score is what an instance is chosen by.
type Score struct {
	LatencyMS float64 `json:"latency_ms"` // to the first byte; the group's median where it was never measured
	InFlight  int     `json:"in_flight"`
	Good      float64 `json:"good"`             // share of good answers in the last ten seconds, 0 to 1
	Warm      float64 `json:"warm"`             // share of its weight while it starts slowly, 0 to 1
	Effective float64 `json:"effective_weight"` // what algorithms go by; 0 = gets no share
	Cost      float64 `json:"cost"`             // milliseconds until it will have answered one more request, as p2c-ewma reckons
}

// Status returns a snapshot.
func (b *Balancer) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.cfg.Now()
	b.refresh(now)
	return b.status(now)
}

func (b *Balancer) status(now time.Time) Status {
	v := &b.view
	s := Status{
		Algorithm: b.cfg.Algorithm, Panic: v.panic, Groups: []GroupStatus{}, Instances: []InstanceStatus{},
		EjectionsTotal: map[string]uint64{}, AnomaliesTotal: map[string]uint64{},
	}
	for n, word := range ejectionWords {
		s.EjectionsTotal[word] = b.ejections[n]
	}
	for n, word := range anomalyWords[1:] {
		s.AnomaliesTotal[word] = b.anomalies[n+1]
	}
	for n := range v.groups {
		g := &v.groups[n]
		s.Groups = append(s.Groups, GroupStatus{g.number, g.well, g.of, g.share})
	}
	for _, i := range slices.Concat(b.instances, b.gone) {
		s.Instances = append(s.Instances, b.instanceStatus(i, now))
	}
	return s
}

func (b *Balancer) instanceStatus(i *instance, now time.Time) InstanceStatus {
	s := InstanceStatus{
		ID: i.ID, Group: i.Group, Weight: i.Weight, State: "well", PicksTotal: i.picks, EjectionsTotal: i.ejections,
		OutcomesTotal: map[string]uint64{"good": i.outcomes[0], "neutral": i.outcomes[1], "bad": i.outcomes[2]},
		Score:         Score{InFlight: i.inFlight, Good: i.answers.goodness(b.second(now)), Warm: i.warm(now, b.cfg.SlowStart)},
	}
	if i.state != well || i.down {
		s.Why = i.why
	}
	switch {
	case i.gone:
		s.State = "gone"
	case i.Weight == 0:
		s.State = "drained"
	case i.down:
		s.State = "down"
	case i.state == ejected:
		s.State, s.Until = "ejected", new(i.until)
	case i.state == onTrial:
		s.State = "trial"
	case s.Score.Warm < 1:
		s.State = "warming"
	}
	lists := [][]candidate{b.view.everybody}
	for n := range b.view.groups {
		if g := &b.view.groups[n]; g.number == i.Group {
			s.Score.LatencyMS = ms(i.latency.read(now, g.median))
			if !b.view.panic {
				lists[0] = g.may
			}
		}
	}
	mean := 0.0
	for _, c := range lists[0] {
		mean += c.Weight / float64(len(lists[0]))
	}
	for _, c := range lists[0] {
		if c.at == i {
			c.InFlight = i.inFlight
			s.Score.Effective, s.Score.LatencyMS, s.Score.Cost = c.Weight, ms(c.Latency), cost(&c, mean)
		}
	}
	return s
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Explanation is what Pick would do, and from what it would choose.
type Explanation struct {
	Status
	Next *Next `json:"next"` // nil = ErrNone
}

// Next is the choice that the next Pick would make for the same query.
type Next struct {
	Instance string   `json:"instance"`
	Why      Why      `json:"why"`
	Drawn    []string `json:"drawn,omitempty"` // those compared, the chosen one first
	Sentence string   `json:"sentence"`
}

// Explain says what Pick would do for q now. It changes nothing: the next Pick of the same query does just that, if
// neither anything else nor time comes between.
func (b *Balancer) Explain(q Query) Explanation {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.cfg.Now()
	b.refresh(now)
	e := Explanation{Status: b.status(now)}
	source := b.source
	c := b.choose(q, now, rand.New(&source))
	if c.at == nil {
		return e
	}
	e.Next = &Next{Instance: c.at.ID, Why: c.why}
	for n := range c.drawn.n {
		e.Next.Drawn = append(e.Next.Drawn, c.of[c.drawn.at[n]].ID)
	}
	e.Next.Sentence = b.sentence(c, e.Next.Drawn)
	return e
}

func (b *Balancer) sentence(c choice, drawn []string) string {
	id := c.at.ID
	var s string
	switch {
	case c.why == Trial:
		return fmt.Sprintf("%s is on trial after an ejection, and this request may try it", id)
	case c.why == LastResort:
		return fmt.Sprintf("%s is out, and all that are not were tried", id)
	case c.why == Affinity:
		return fmt.Sprintf("the cookie names %s, which is well", id)
	case len(c.of) == 1:
		s = fmt.Sprintf("%s is the only one that may be chosen", id)
	case c.drawn.n == 2:
		s = fmt.Sprintf("of two drawn by weight, %s has cost %.1f and %s %.1f", id, c.drawn.cost[0], drawn[1], c.drawn.cost[1])
	case c.drawn.n == 1 && b.cfg.Algorithm == p2cEWMA:
		s = fmt.Sprintf("%s was drawn twice by weight, with cost %.1f", id, c.drawn.cost[0])
	case c.drawn.n == 1:
		s = fmt.Sprintf("%s has the fewest requests in flight for its weight: %.1f with this one", id, c.drawn.cost[0])
	case c.turn && strings.HasSuffix(b.cfg.Algorithm, "round-robin"):
		s = fmt.Sprintf("it is the turn of %s among %d", id, len(c.of))
	case c.turn && (!b.hashes || c.said == Draw):
		s = fmt.Sprintf("%s was drawn among %d by %s", id, len(c.of), b.cfg.Algorithm)
	default:
		s = fmt.Sprintf("the hash of the request leads to %s among %d", id, len(c.of))
	}
	switch c.why {
	case Panic:
		s = fmt.Sprintf("only %d of %d are well, so all are used; %s", b.view.well, b.view.of, s)
	case Spill:
		s = fmt.Sprintf("too few of the lower groups may take it; %s", s)
	}
	return s
}
