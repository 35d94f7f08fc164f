package main

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"hither/deploy/fleet/member"
)

// counts are what the members of a process have counted, one after the other, as metrics. The zero counts are ready.
type counts struct {
	mu     sync.Mutex // guards what follows
	now    *member.Member
	before member.Stats // of those that have ended
}

var (
	purgesDesc  = prometheus.NewDesc("hither_fleet_purges_total", "Orders of the journal of purges that had their effect here.", []string{"kind", "result"}, nil)
	flushesDesc = prometheus.NewDesc("hither_fleet_flushes_total", "Times that all that is stored was taken for stale, as it was not known what was purged.", []string{"reason"}, nil)
	refusedDesc = prometheus.NewDesc("hither_fleet_refused_total", "Messages of the bus without effect, by what they were to be.", []string{"kind"}, nil)
	missedDesc  = prometheus.NewDesc("hither_fleet_missed_total", "Times that the journal was read since something did not come by itself.", nil, nil)
	journalDesc = prometheus.NewDesc("hither_fleet_journal_sequence", "The last entry of the journal of purges that had its effect here.", nil, nil)
)

// begin counts what m counts from now on.
func (c *counts) begin(m *member.Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = m
}

// end keeps what m has counted.
func (c *counts) end(m *member.Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before, c.now = sum(c.before, m.Stats()), nil
}

// refused counts something that an earlier process was told and this one cannot read, by one of [member.RefusedKinds].
func (c *counts) refused(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.before.Refused == nil {
		c.before.Refused = make(map[string]uint64)
	}
	c.before.Refused[kind]++
}

// sum adds the counts of b to those of a; its sequence is b's.
func sum(a, b member.Stats) member.Stats {
	b.Missed += a.Missed
	for k, n := range a.Purges {
		b.Purges[k] += n
	}
	for k, n := range a.Flushes {
		b.Flushes[k] += n
	}
	for k, n := range a.Refused {
		b.Refused[k] += n
	}
	return b
}

// Describe makes counts a prometheus.Collector.
func (c *counts) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{purgesDesc, flushesDesc, refusedDesc, missedDesc, journalDesc} {
		out <- d
	}
}

// Collect makes counts a prometheus.Collector.
func (c *counts) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	s := c.before
	if c.now != nil {
		s = sum(s, c.now.Stats())
	}
	c.mu.Unlock()
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for k, n := range s.Purges {
		counter(purgesDesc, n, k.Kind, k.Result)
	}
	for _, reason := range member.FlushReasons() {
		counter(flushesDesc, s.Flushes[reason], reason)
	}
	for _, kind := range member.RefusedKinds() {
		counter(refusedDesc, s.Refused[kind], kind)
	}
	counter(missedDesc, s.Missed)
	out <- prometheus.MustNewConstMetric(journalDesc, prometheus.GaugeValue, float64(s.Sequence))
}
