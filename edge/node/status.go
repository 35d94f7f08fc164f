package node

import (
	"crypto/tls"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"hither/deploy/ops"
	"hither/edge/proxy"
)

// redirect is the handler of the port without TLS.
type redirect struct{ p *proxy.Proxy }

func (h redirect) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.p.Redirect(w, r) }

// Status returns the node's status document.
func (n *Node) Status() ops.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	pop := n.network.PoP(n.o.Name)
	s := ops.NodeStatus{
		Node: "edge-" + n.o.Name, Role: "edge", PoP: n.o.Name, PID: os.Getpid(), Version: n.o.Version, State: n.life.State(),
		Revision: n.revision, Load: n.tally.load(pop.Capacity.Requests, pop.Capacity.Streams),
		RequestsTotal: n.tally.requests.Load(), HitsTotal: n.tally.hits.Load(), BytesTotal: n.tally.bytes.Load(),
		Connections: map[string]int64{}, FirstByte: n.tally.quantiles(), Problems: []string{},
	}
	for i, proto := range []string{"h1", "h2", "h3"} {
		s.Connections[proto] = n.tally.connections[i+1].Load()
	}
	if n.refused != "" {
		s.Refused = &n.refused
		s.Problems = append(s.Problems, "the last network file offered was refused: "+firstLine(n.refused))
	}
	if len(n.later) > 0 {
		s.Problems = append(s.Problems, "changed in the network file, in effect at the next start: "+strings.Join(n.later, ", "))
	}
	for name, p := range n.pools {
		st := p.Status()
		s.Origins = append(s.Origins, ops.OriginStatus{
			Origin: name, Connections: st.Connections, HandshakesTotal: st.HandshakesTotal, RequestsTotal: st.RequestsTotal, Up: st.Up,
		})
		if !st.Up {
			s.Problems = append(s.Problems, "origin "+name+" is down: "+st.Problem)
		}
	}
	if _, d := tiers(n.store); d != nil && d.Off() != nil {
		s.Problems = append(s.Problems, "the disk tier is off until the next start: "+firstLine(d.Off().Error()))
	}
	slices.SortFunc(s.Origins, func(a, b ops.OriginStatus) int { return strings.Compare(a.Origin, b.Origin) })
	now := n.o.Now()
	n.eachName(func(name, issuer string, c *tls.Certificate) {
		days := int(c.Leaf.NotAfter.Sub(now).Hours() / 24)
		s.Certificates = append(s.Certificates, ops.CertificateStatus{Name: name, Issuer: issuer, DaysLeft: days})
	})
	return ops.Status{Network: n.network.Name, Revision: n.revision, Nodes: []ops.NodeStatus{s}}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// eachName calls f for every name served with a certificate. n.mu is held.
func (n *Node) eachName(f func(name, issuer string, c *tls.Certificate)) {
	table := n.names.Table()
	for _, s := range n.network.SitesOf(n.network.PoP(n.o.Name)) {
		issuer := s.TLS.Certificate.Source
		if issuer == "" {
			issuer = "file"
		}
		for _, host := range s.Hosts {
			if e, ok := table.Lookup(strings.Replace(host, "*", "any", 1)); ok && e.Certificate.Leaf != nil {
				f(host, issuer, e.Certificate)
			}
		}
	}
}

// expiries sets the metric of certificates. n.mu is held, or nothing runs yet.
func (n *Node) expiries() {
	n.count.expiry.Reset()
	n.eachName(func(name, _ string, c *tls.Certificate) {
		n.count.expiry.WithLabelValues(name).Set(float64(c.Leaf.NotAfter.Unix()))
	})
}

func (n *Node) statusCall(*http.Request) (string, any, error) { return "status", n.Status(), nil }

// drainCall begins the drain that SIGTERM begins; the process ends after it.
func (n *Node) drainCall(*http.Request) (string, any, error) {
	if n.life.Advance(ops.Draining) {
		close(n.drain)
	}
	return "status", n.Status(), nil
}

// poolCollector tells what the pools count, which come and go with the network file.
type poolCollector struct{ n *Node }

var (
	poolConnections = prometheus.NewDesc("hither_pool_connections", "Connections to an origin.", []string{"origin", "state"}, nil)
	poolHandshakes  = prometheus.NewDesc("hither_pool_handshakes_total", "TLS handshakes completed with an origin.", []string{"origin"}, nil)
	poolRequests    = prometheus.NewDesc("hither_pool_requests_total", "Requests sent to an origin.", []string{"origin"}, nil)
	poolRetries     = prometheus.NewDesc("hither_pool_retries_total", "Requests sent again, which the origin had certainly not seen.", []string{"origin", "reason"}, nil)
)

func (poolCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- poolConnections
	ch <- poolHandshakes
	ch <- poolRequests
	ch <- poolRetries
}

func (c poolCollector) Collect(ch chan<- prometheus.Metric) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for origin, p := range c.n.pools {
		s := p.Status()
		for state, v := range map[string]int{"open": s.Connections, "dialing": s.Dialing, "draining": s.Draining} {
			ch <- prometheus.MustNewConstMetric(poolConnections, prometheus.GaugeValue, float64(v), origin, state)
		}
		ch <- prometheus.MustNewConstMetric(poolHandshakes, prometheus.CounterValue, float64(s.HandshakesTotal), origin)
		ch <- prometheus.MustNewConstMetric(poolRequests, prometheus.CounterValue, float64(s.RequestsTotal), origin)
		for reason, v := range s.RetriesTotal {
			ch <- prometheus.MustNewConstMetric(poolRetries, prometheus.CounterValue, float64(v), origin, reason)
		}
	}
}
