package ops

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is a node's own registry: several nodes in one process do not mix. It is a
// [prometheus.Registerer] that adds the label node to whatever is registered. Names are
// written out with their prefix hither_ where they are made, so that they can be
// searched for.
type Metrics struct {
	prometheus.Registerer
	registry *prometheus.Registry
}

// NewMetrics makes a registry with the metrics of the Go runtime and the process in it.
func NewMetrics(node string) *Metrics {
	r := prometheus.NewRegistry()
	m := &Metrics{
		Registerer: prometheus.WrapRegistererWith(prometheus.Labels{"node": node}, r),
		registry:   r,
	}
	m.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler serves the metrics page.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError, // one broken collector hides no other
		MaxRequestsInFlight: 4,                        // a page costs a few ms of one core
	})
}
