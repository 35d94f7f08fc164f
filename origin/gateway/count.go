package gateway

import (
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"hither/edge/listen"
)

// counters are a gateway's metrics and the numbers of its status. Label values come from closed sets.
type counters struct {
	requests *prometheus.CounterVec // code
	broken   prometheus.Counter
	bytes    prometheus.Counter
	rejected *prometheus.CounterVec // reason

	served, sent atomic.Int64
	connections  [4]atomic.Int64 // by the digit of h1, h2, h3
}

// register makes the metrics by the names of the README.
func (c *counters) register(r prometheus.Registerer) {
	c.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hither_origin_requests_total", Help: "Requests of edges answered by the gateway.",
	}, []string{"code"})
	c.broken = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "hither_origin_broken_total", Help: "Responses broken off, because the application's was or the edge gave up.",
	})
	c.bytes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "hither_origin_bytes_total", Help: "Content sent to edges, in bytes.",
	})
	c.rejected = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hither_origin_rejected_total", Help: "Connections, datagrams and requests refused before the application.",
	}, []string{"reason"})
	r.MustRegister(c.requests, c.broken, c.bytes, c.rejected)
	for _, reason := range listen.Reasons {
		c.rejected.WithLabelValues(string(reason))
	}
	c.rejected.WithLabelValues(rejectedRevoked)
}

// rejectedRevoked is the reason of a request over a connection whose peer was revoked since it began.
const rejectedRevoked = "revoked"

// hooks lets a front count.
func (c *counters) hooks() listen.Hooks {
	return listen.Hooks{
		Connections: func(p listen.Proto, delta int) { c.connections[p[1]-'0'].Add(int64(delta)) },
		Rejected:    func(r listen.Reason) { c.rejected.WithLabelValues(string(r)).Inc() },
	}
}

// ServeHTTP answers an edge's request from the application as it is now.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &counted{ResponseWriter: w}
	whole := false
	defer func() { // also when the response is broken off, which is a panic
		if whole && c.status == 0 {
			c.status = http.StatusOK // net/http's answer of a handler that said nothing
		}
		if !whole {
			g.count.broken.Inc()
		}
		g.count.served.Add(1)
		g.count.sent.Add(c.bytes)
		g.count.bytes.Add(float64(c.bytes))
		g.count.requests.WithLabelValues(strconv.Itoa(c.status)).Inc()
	}()
	a := g.enter()
	defer a.use.leave()
	if a.announces {
		r = g.announced(r)
	}
	a.ServeHTTP(c, r)
	whole = true
}

// counted notes the final status and the content sent.
type counted struct {
	http.ResponseWriter
	status int // 0 where the response was broken off before it
	bytes  int64
}

func (c *counted) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *counted) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(p)
	c.bytes += int64(n)
	return n, err
}

// Unwrap lets an http.ResponseController reach what is below.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }
