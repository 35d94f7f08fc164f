package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"hither/origin/pool"
)

// originCollector tells what the ways to origins count, which come and go with the network file.
type originCollector struct{ n *Node }

var (
	poolConnections = prometheus.NewDesc("hither_pool_connections", "Connections to an origin.", []string{"origin", "state"}, nil)
	poolHandshakes  = prometheus.NewDesc("hither_pool_handshakes_total", "TLS handshakes completed with an origin.", []string{"origin"}, nil)
	poolRequests    = prometheus.NewDesc("hither_pool_requests_total", "Requests sent to an origin.", []string{"origin"}, nil)
	poolRetries     = prometheus.NewDesc("hither_pool_retries_total", "Requests sent again, which the origin had certainly not seen.", []string{"origin", "reason"}, nil)
	poolErrors      = prometheus.NewDesc("hither_pool_errors_total", "Attempts at an origin that failed, and answers that broke off.", []string{"origin", "reason"}, nil)

	balancePicks     = prometheus.NewDesc("hither_balance_picks_total", "Requests that a gateway was chosen for.", []string{"origin", "instance"}, nil)
	balanceEjections = prometheus.NewDesc("hither_balance_ejections_total", "Gateways taken out for a time.", []string{"origin", "reason"}, nil)
	balanceRetries   = prometheus.NewDesc("hither_balance_retries_total", "Requests sent to another gateway.", []string{"origin", "reason"}, nil)
	balanceRefused   = prometheus.NewDesc("hither_balance_retries_refused_total", "Requests not sent to another gateway for want of budget.", []string{"origin"}, nil)

	limitConcurrent = prometheus.NewDesc("hither_limit_concurrent", "Requests that may be at an origin at once.", []string{"origin"}, nil)
	limitIn         = prometheus.NewDesc("hither_limit_in_flight", "Requests that have a place at an origin.", []string{"origin"}, nil)
	limitWaiting    = prometheus.NewDesc("hither_limit_waiting", "Requests that wait for a place at an origin.", []string{"origin"}, nil)
	limitRefused    = prometheus.NewDesc("hither_limit_refused_total", "Requests that got no place at an origin.", []string{"origin", "reason"}, nil)
)

func (originCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		poolConnections, poolHandshakes, poolRequests, poolRetries, poolErrors, balancePicks, balanceEjections, balanceRetries, balanceRefused,
		limitConcurrent, limitIn, limitWaiting, limitRefused,
	} {
		ch <- d
	}
}

func (c originCollector) Collect(ch chan<- prometheus.Metric) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for _, x := range c.n.origins {
		x.collect(ch)
	}
}

// collect tells one origin's.
func (x *origin) collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{x.name}, labels...)...)
	}
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), append([]string{x.name}, labels...)...)
	}
	each := func(d *prometheus.Desc, counts map[string]uint64) {
		for label, v := range counts {
			count(d, v, label)
		}
	}
	s := x.status()
	gauge(poolConnections, s.Connections, "open")
	gauge(poolConnections, s.Dialing, "dialing")
	gauge(poolConnections, s.Draining, "draining")
	count(poolHandshakes, s.HandshakesTotal)
	count(poolRequests, s.RequestsTotal)
	each(poolRetries, s.RetriesTotal)
	for _, reason := range pool.ErrorReasons() {
		count(poolErrors, s.ErrorsTotal[reason], reason)
	}

	u := x.up.Status()
	for _, i := range u.Balance.Instances {
		count(balancePicks, i.PicksTotal, i.ID)
	}
	each(balanceEjections, u.Balance.EjectionsTotal)
	each(balanceRetries, u.RetriesTotal)
	count(balanceRefused, u.RetriesRefusedTotal)
	if l := u.Limit; l != nil {
		gauge(limitConcurrent, l.Limit)
		gauge(limitIn, l.In)
		gauge(limitWaiting, l.Waiting)
		each(limitRefused, l.RefusedTotal)
	}
}
