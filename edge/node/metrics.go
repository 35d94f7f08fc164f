package node

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"hither/cache"
	"hither/cache/store"
	"hither/cache/store/disk"
	"hither/edge/accesslog"
	"hither/edge/cert"
	"hither/edge/compress"
	"hither/edge/listen"
	"hither/edge/proxy"
)

// metrics are an edge's counters. Label values come from closed sets: site names from
// the network file, protocols, verdicts, and three-digit statuses.
type metrics struct {
	requests    *prometheus.CounterVec   // site, proto, verdict, code
	firstByte   *prometheus.HistogramVec // verdict
	bytes       *prometheus.CounterVec   // direction
	connections *prometheus.GaugeVec     // proto
	handshakes  *prometheus.CounterVec   // proto, kind
	rejected    *prometheus.CounterVec   // reason
	probes      prometheus.Counter
	inner       *prometheus.CounterVec // verdict
	behind      prometheus.Counter
	coded       *prometheus.CounterVec // coding
	expiry      *prometheus.GaugeVec   // name
}

// newMetrics registers an edge's metrics by the names of the README.
func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hither_edge_requests_total", Help: "Requests answered, by what the cache did and the status sent.",
		}, []string{"site", "proto", "verdict", "code"}),
		firstByte: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hither_edge_first_byte_seconds", Help: "Time from a request's header to the response's, at the edge.",
			Buckets: []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3, 10},
		}, []string{"verdict"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hither_edge_bytes_total", Help: "Content received from and sent to clients, in bytes.",
		}, []string{"direction"}),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hither_edge_connections", Help: "Client connections open.",
		}, []string{"proto"}),
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hither_edge_handshakes_total", Help: "TLS handshakes completed with clients.",
		}, []string{"proto", "kind"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hither_edge_rejected_total", Help: "Connections, datagrams and requests refused before the request path.",
		}, []string{"reason"}),
		probes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hither_edge_probes_total", Help: "Requests about the node itself (OPTIONS with Max-Forwards: 0), which are in no other count and no log.",
		}),
		behind: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hither_edge_behind_total", Help: "Requests of other PoPs refused because this one had not come as far in the journal of purges.",
		}),
		inner: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hither_edge_inner_total", Help: "Requests of other PoPs, whose shield this one is; they are in the other counts too.",
		}, []string{"verdict"}),
		coded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hither_edge_coded_total", Help: "Responses sent in a content coding that this edge made.",
		}, []string{"coding"}),
		expiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hither_cert_expiry_seconds", Help: "When the certificate of a name expires, in seconds since 1970.",
		}, []string{"name"}),
	}
	r.MustRegister(m.requests, m.firstByte, m.bytes, m.connections, m.handshakes, m.rejected, m.probes, m.inner, m.behind, m.coded, m.expiry)
	for _, c := range cache.Codings() {
		m.coded.WithLabelValues(c.String())
	}
	for _, reason := range listen.Reasons {
		m.rejected.WithLabelValues(string(reason))
	}
	m.rejected.WithLabelValues(rejectedRevoked)
	return m
}

// rejectedRevoked is the reason of a request over a connection of another PoP that was revoked since it began.
const rejectedRevoked = "revoked"

// hooks lets a front count into m.
func (m *metrics) hooks() listen.Hooks {
	return listen.Hooks{
		Connections: func(p listen.Proto, delta int) { m.connections.WithLabelValues(string(p)).Add(float64(delta)) },
		Handshakes:  func(p listen.Proto, k listen.Kind) { m.handshakes.WithLabelValues(string(p), string(k)).Inc() },
		Rejected:    func(r listen.Reason) { m.rejected.WithLabelValues(string(r)).Inc() },
	}
}

// count adds a finished exchange.
func (m *metrics) count(x *proxy.Exchange) {
	m.requests.WithLabelValues(x.Site, x.Proto, x.Verdict.String(), strconv.Itoa(x.Status)).Inc()
	if x.FirstByte > 0 { // else the client left before there was one
		m.firstByte.WithLabelValues(x.Verdict.String()).Observe(x.FirstByte.Seconds())
	}
	if x.Inner {
		m.inner.WithLabelValues(x.Verdict.String()).Inc()
	}
	if x.Coding != cache.Identity {
		m.coded.WithLabelValues(x.Coding.String()).Inc()
	}
	m.bytes.WithLabelValues("in").Add(float64(x.BytesIn))
	m.bytes.WithLabelValues("out").Add(float64(x.BytesOut))
}

// watchCache registers what the cache and its store count by themselves.
func watchCache(r prometheus.Registerer, c *cache.Cache, s cache.Store) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "hither_cache_collapsed_total", Help: "Requests answered from a fill that another request began.",
	}, func() float64 { return float64(c.Collapsed()) }))
	for k := range cache.PurgeKinds() {
		kind := cache.PurgeKind(k)
		labels := prometheus.Labels{"kind": kind.String()}
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "hither_cache_purges_total", Help: "Purges done.", ConstLabels: labels,
		}, func() float64 { n, _ := c.PurgeCounts(kind); return float64(n) }))
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "hither_cache_purged_objects_total", Help: "Stored responses that purges removed or made stale.", ConstLabels: labels,
		}, func() float64 { _, n := c.PurgeCounts(kind); return float64(n) }))
	}
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "hither_cache_overtagged_total", Help: "Responses not stored because they had more tags than can be purged by.",
	}, func() float64 { return float64(c.Overtagged()) }))
	for result, count := range map[string]func() uint64{
		"filled":   func() uint64 { n, _ := c.Slices(); return n },
		"differed": func() uint64 { _, n := c.Slices(); return n },
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "hither_cache_slices_total", Help: "Slices of large responses asked of origins: those that came whole, and those that were of another version or no slice.",
			ConstLabels: prometheus.Labels{"result": result},
		}, func() float64 { return float64(count()) }))
	}
	if m, d := tiers(s); m != nil {
		r.MustRegister(storeCollector{m, d})
	}
}

// watchEncoding registers what encoding behind answers counts by itself.
func watchEncoding(r prometheus.Registerer, p *proxy.Proxy) {
	for _, c := range cache.Codings() {
		of := func(name, help, label, value string, count func(compress.Counts) float64) {
			labels := prometheus.Labels{"coding": c.String()}
			if label != "" {
				labels[label] = value
			}
			r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
				func() float64 { return count(p.Encoded(c)) }))
		}
		for i := range (compress.Counts{}).Results {
			of("hither_compress_total", "Content that was to be encoded, by what became of it.", "result", compress.Result(i).String(),
				func(n compress.Counts) float64 { return float64(n.Results[i]) })
		}
		const bytes = "Content that was stored coded, in bytes: before (in) and after (out)."
		of("hither_compress_bytes_total", bytes, "direction", "in", func(n compress.Counts) float64 { return float64(n.In) })
		of("hither_compress_bytes_total", bytes, "direction", "out", func(n compress.Counts) float64 { return float64(n.Out) })
		of("hither_compress_seconds_total", "Time that encoding took.", "", "", func(n compress.Counts) float64 { return n.Took.Seconds() })
	}
}

// watchTickets registers what session tickets count by themselves.
func watchTickets(r prometheus.Registerer, t *cert.Tickets) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "hither_edge_early_refused_total", Help: "Session tickets whose 0-RTT data was not taken because they had been used before.",
	}, func() float64 { return float64(t.EarlyRefused()) }))
}

// watchLog registers what the access log counts.
func watchLog(r prometheus.Registerer, l *accesslog.Log) {
	for result, count := range map[string]func(accesslog.Stats) uint64{
		"written": func(s accesslog.Stats) uint64 { return s.Written },
		"dropped": func(s accesslog.Stats) uint64 { return s.Dropped },
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "hither_accesslog_lines_total", Help: "Access log lines, by what became of them.", ConstLabels: prometheus.Labels{"result": result},
		}, func() float64 { return float64(count(l.Stats())) }))
	}
}

// storeCollector tells what the tiers count, in one snapshot of each.
type storeCollector struct {
	m *store.Memory
	d *disk.Store // nil where there is none
}

var (
	cacheObjects   = prometheus.NewDesc("hither_cache_objects", "Objects stored.", []string{"tier"}, nil)
	cacheBytes     = prometheus.NewDesc("hither_cache_bytes", "Bytes that stored objects are accounted with.", []string{"tier"}, nil)
	cacheEvictions = prometheus.NewDesc("hither_cache_evictions_total", "Objects that left a tier for good.", []string{"tier", "reason"}, nil)
)

func (storeCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- cacheObjects
	ch <- cacheBytes
	ch <- cacheEvictions
	describeDisk(ch)
}

func (c storeCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.m.Stats()
	for tier := range store.Tier(len(s.Objects)) {
		ch <- prometheus.MustNewConstMetric(cacheObjects, prometheus.GaugeValue, float64(s.Objects[tier]), tier.String())
		ch <- prometheus.MustNewConstMetric(cacheBytes, prometheus.GaugeValue, float64(s.Bytes[tier]), tier.String())
		for reason, v := range s.Evicted[tier] {
			ch <- prometheus.MustNewConstMetric(cacheEvictions, prometheus.CounterValue, float64(v), tier.String(), store.Reason(reason).String())
		}
	}
	if c.d != nil {
		collectDisk(ch, c.d.Stats())
	}
}
