package main

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"hither/deploy/fleet/control"
	"hither/deploy/fleet/hub"
)

// leading is what the control and the hub in this process count, as metrics: none while there are none. Each begins with zero. The
// zero leading is ready.
type leading struct {
	mu      sync.Mutex // guards what follows
	control *control.Control
	hub     *hub.Hub
}

var (
	ordersDesc   = prometheus.NewDesc("hither_control_orders_total", "Purges that were written to the journal.", nil, nil)
	askedDesc    = prometheus.NewDesc("hither_control_requests_total", "Requests of operators (bus) and of programs (http), by what became of them.", []string{"transport", "result"}, nil)
	receiptsDesc = prometheus.NewDesc("hither_control_receipts_total", "Receipts and reports of nodes, by what became of them.", []string{"result"}, nil)
	waitingDesc  = prometheus.NewDesc("hither_control_waiting", "Who waits for receipts of a purge now.", nil, nil)
	rolloutDesc  = prometheus.NewDesc("hither_control_rollout", "1 for the phase in which the last roll-out is, else 0.", []string{"state"}, nil)
	rejectedDesc = prometheus.NewDesc("hither_hub_rejected_total", "Connections that the hub refused or cut off, and messages that it refused.", []string{"reason"}, nil)
	brokenDesc   = prometheus.NewDesc("hither_hub_broken", "1 while the hub can write nothing, as with a full disk, and takes no purges and revisions; else 0.", nil, nil)
)

// controls names the control that runs here; nil = none.
func (l *leading) controls(c *control.Control) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.control = c
}

// hubs names the hub that runs here; nil = none.
func (l *leading) hubs(h *hub.Hub) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hub = h
}

// Describe makes leading a prometheus.Collector.
func (l *leading) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{ordersDesc, askedDesc, receiptsDesc, waitingDesc, rolloutDesc, rejectedDesc, brokenDesc} {
		out <- d
	}
}

// Collect makes leading a prometheus.Collector.
func (l *leading) Collect(out chan<- prometheus.Metric) {
	l.mu.Lock()
	c, h := l.control, l.hub
	l.mu.Unlock()
	counter := func(d *prometheus.Desc, n int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	if h != nil {
		rejected := h.Rejected()
		for _, reason := range hub.RejectedReasons() {
			counter(rejectedDesc, rejected[reason], reason)
		}
		broken := 0.0
		if h.Broken() {
			broken = 1
		}
		out <- prometheus.MustNewConstMetric(brokenDesc, prometheus.GaugeValue, broken)
	}
	if c == nil {
		return
	}
	s := c.Stats()
	counter(ordersDesc, s.Orders)
	counter(askedDesc, s.Asked-s.Refused, "bus", "done")
	counter(askedDesc, s.Refused, "bus", "refused")
	counter(askedDesc, s.Requests-s.Denied-s.Throttled, "http", "taken")
	counter(askedDesc, s.Denied, "http", "denied")
	counter(askedDesc, s.Throttled, "http", "throttled")
	counter(receiptsDesc, s.Receipts, "taken")
	counter(receiptsDesc, s.Foreign, "foreign")
	counter(receiptsDesc, s.Beyond, "beyond")
	counter(receiptsDesc, s.Unknown, "unknown")
	counter(receiptsDesc, s.Garbage, "garbage")
	counter(receiptsDesc, s.Impossible, "impossible")
	out <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(s.Waiting))
	for _, phase := range control.Phases() {
		is := 0.0
		if phase == s.Phase {
			is = 1
		}
		out <- prometheus.MustNewConstMetric(rolloutDesc, prometheus.GaugeValue, is, phase)
	}
}
