package node

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

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
		Connections: map[string]int64{}, FirstByte: n.tally.quantiles(), ShieldOf: shieldOf(n.network, n.o.Name), Problems: []string{},
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
	for name, x := range n.origins {
		st := x.status()
		s.Origins = append(s.Origins, ops.OriginStatus{
			Origin: name, Connections: st.Connections, HandshakesTotal: st.HandshakesTotal, RequestsTotal: st.RequestsTotal, Up: st.Up,
		})
		if !st.Up {
			s.Problems = append(s.Problems, "origin "+name+" is down: "+st.Problem)
			continue
		}
		s.Problems = append(s.Problems, x.down()...)
		if l := x.up.Status().Limit; l != nil && l.In >= l.Limit {
			s.Problems = append(s.Problems, fmt.Sprintf("origin %s has all the %d requests that it may have at once; %d of at most %d wait (hither explain origin)", name, l.Limit, l.Waiting, l.WaitingMost))
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
	all := ops.Status{Network: n.network.Name, Revision: n.revision, Nodes: []ops.NodeStatus{s}}
	n.o.Fleet.Show(&all)
	return all
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
