package gateway

import (
	"cmp"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"hither/origin/balance"
	"hither/origin/health"
	"hither/origin/pool"
)

// mostInstances is how many instances have a label of their own; the others share one. Names behind which thousands stand
// must not make as many series.
const mostInstances = 64

const otherInstances = "other"

// appCollector tells what an application counts. It begins anew when the network file changes how instances are chosen,
// which a counter may.
type appCollector struct{ g *Gateway }

// desc describes a metric whose first label is the origin.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("hither_"+name, help, append([]string{"origin"}, labels...), nil)
}

var (
	balancePicks     = desc("balance_picks_total", "Attempts of requests that went to an instance.", "instance")
	balanceOutcomes  = desc("balance_outcomes_total", "Answers of an instance, by what they say of it: good, neutral, bad.", "instance", "result")
	balanceInFlight  = desc("balance_in_flight", "Requests that an instance has.", "instance")
	balanceEjections = desc("balance_ejections_total", "Times that an instance was taken out because of its answers or checks.", "reason")
	balanceAnomalies = desc("balance_anomalies_total", "Answers with a good status that were not good.", "reason")
	balanceInstances = desc("balance_instances", "Instances by state.", "state")
	balancePanic     = desc("balance_panic", "1 while so few instances are well that all are used.")

	upstreamRequests = desc("upstream_requests_total", "Requests for the instances, each counted once.")
	upstreamBudget   = desc("upstream_retries_refused_total", "Retries and hedges for which there was no budget.")

	limitConcurrent = desc("limit_concurrent", "How many requests may be at the instances at once.")
	limitIn         = desc("limit_in_flight", "How many are.")
	limitWaiting    = desc("limit_waiting", "How many wait for a place.")
	limitRefused    = desc("limit_refused_total", "Requests that got no place.", "reason")

	healthChecks    = desc("health_checks_total", "Active checks of an instance. A timeout does not count while its requests are answered: excused.", "instance", "result")
	discoverLookups = desc("discover_lookups_total", "Look-ups of instances.", "result")
	discoverFound   = desc("discover_found", "Addresses that the last look-up found and that are used.")

	poolConnections = desc("pool_connections", "Connections to instances.", "state")
	poolHandshakes  = desc("pool_handshakes_total", "TLS handshakes completed with instances.")
	poolRequests    = desc("pool_requests_total", "Attempts of requests that got a connection.")
	poolRetries     = desc("pool_retries_total", "Requests sent again.", "reason")
	poolErrors      = desc("pool_errors_total", "Attempts that failed, and answers that broke off.", "reason")
)

// Describe sends nothing: which metrics there are depends on the application.
func (appCollector) Describe(chan<- *prometheus.Desc) {}

// Collect may be called concurrently.
func (c appCollector) Collect(ch chan<- prometheus.Metric) {
	a := c.g.application()
	if a == nil {
		return
	}
	s := a.up.Status()
	m := into{ch, s.Origin}
	m.count(upstreamRequests, s.RequestsTotal)
	m.count(upstreamBudget, s.RetriesRefusedTotal)
	m.balance(&s.Balance)
	if l := s.Limit; l != nil {
		m.gauge(limitConcurrent, l.Limit)
		m.gauge(limitIn, l.In)
		m.gauge(limitWaiting, l.Waiting)
		m.counts(limitRefused, l.RefusedTotal)
	}
	m.checks(s.Checks)
	if s, ok := a.looked(); ok {
		m.counts(discoverLookups, s.LookupsTotal)
		m.gauge(discoverFound, len(s.Found))
	}
	t := a.senders.total()
	for state, n := range map[string]int{"open": t.Connections, "dialing": t.Dialing, "draining": t.Draining} {
		m.gauge(poolConnections, n, state)
	}
	m.count(poolHandshakes, t.HandshakesTotal)
	m.count(poolRequests, t.RequestsTotal)
	for _, reason := range pool.ErrorReasons() {
		m.count(poolErrors, t.ErrorsTotal[reason], reason)
	}
	// A connection's pool sends some again by itself, for reasons that the upstream has too.
	retries := maps.Clone(s.RetriesTotal)
	for reason, n := range t.RetriesTotal {
		retries[reason] += n
	}
	m.counts(poolRetries, retries)
}

// into sends metrics of an origin.
type into struct {
	ch     chan<- prometheus.Metric
	origin string
}

func (m into) count(d *prometheus.Desc, n uint64, labels ...string) {
	m.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), append([]string{m.origin}, labels...)...)
}

func (m into) counts(d *prometheus.Desc, by map[string]uint64) {
	for label, n := range by {
		m.count(d, n, label)
	}
}

func (m into) gauge(d *prometheus.Desc, n int, labels ...string) {
	m.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), append([]string{m.origin}, labels...)...)
}

// states that an instance may have (balance.InstanceStatus).
var states = [...]string{"well", "warming", "trial", "ejected", "down", "drained", "gone"}

func (m into) balance(s *balance.Status) {
	m.counts(balanceEjections, s.EjectionsTotal)
	m.counts(balanceAnomalies, s.AnomaliesTotal)
	panicking := 0
	if s.Panic {
		panicking = 1
	}
	m.gauge(balancePanic, panicking)
	in := map[string]int{}
	name := labelled(s.Instances, func(i balance.InstanceStatus) string { return i.ID })
	picks, flight, outcomes := map[string]uint64{}, map[string]int{}, map[string]map[string]uint64{}
	for _, i := range s.Instances {
		in[i.State]++
		label := name(i.ID)
		picks[label] += i.PicksTotal
		flight[label] += i.Score.InFlight
		outcomes[label] = plus(outcomes[label], i.OutcomesTotal)
	}
	for _, state := range states {
		m.gauge(balanceInstances, in[state], state)
	}
	for label, n := range picks {
		m.count(balancePicks, n, label)
		m.gauge(balanceInFlight, flight[label], label)
		for result, n := range outcomes[label] {
			m.count(balanceOutcomes, n, label, result)
		}
	}
}

func (m into) checks(list []health.Status) {
	name := labelled(list, func(s health.Status) string { return s.ID })
	by := map[string]map[string]uint64{}
	for _, s := range list {
		by[name(s.ID)] = plus(by[name(s.ID)], map[string]uint64{"pass": s.PassTotal, "fail": s.FailTotal, "timeout": s.TimeoutTotal, "excused": s.ExcusedTotal})
	}
	for label, results := range by {
		for result, n := range results {
			m.count(healthChecks, n, label, result)
		}
	}
}

// labelled returns what to call an instance: itself, or, of a long list, for those behind the first in the order of names,
// what all of these are called.
func labelled[T any](list []T, id func(T) string) func(string) string {
	ids := make([]string, len(list))
	for i, l := range list {
		ids[i] = id(l)
	}
	slices.SortFunc(ids, cmp.Compare)
	ids = slices.Compact(ids)
	if len(ids) <= mostInstances {
		return func(id string) string { return id }
	}
	last := ids[mostInstances-1]
	return func(id string) string {
		if id <= last {
			return id
		}
		return otherInstances
	}
}

// plus adds counts to a sum, which is made where there is none.
func plus(sum, add map[string]uint64) map[string]uint64 {
	if sum == nil {
		sum = make(map[string]uint64, len(add))
	}
	for k, n := range add {
		sum[k] += n
	}
	return sum
}
