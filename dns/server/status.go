package server

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"hither/deploy"
	"hither/deploy/ops"
	"hither/dns/steer"
)

// operate opens what the operator uses.
func (s *Server) operate(conf *deploy.Server) (err error) {
	admin := ops.NewAdmin()
	admin.Handle("GET /v1/status", func(*http.Request) (string, any, error) { return "status", s.Status(), nil })
	admin.Handle("POST /v1/drain", s.drainCall)
	admin.Handle("GET /v1/explain/dns", s.explainCall)
	admin.Handle("GET /v1/explain/map", s.mapCall)
	if err := admin.Open(s.o.State); err != nil {
		return err
	}
	s.admin = admin
	if conf.Metrics != 0 {
		addr := netip.AddrPortFrom(conf.MetricsAddress, uint16(conf.Metrics))
		s.page, err = ops.OpenPage(addr.String(), "dns-"+s.o.Name, &s.life, s.metrics)
	}
	return err
}

// Status returns the node's status document.
func (s *Server) Status() ops.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.world.Load()
	n := ops.NodeStatus{
		Node: "dns-" + s.o.Name, Role: "dns", PID: os.Getpid(), Version: s.o.Version, State: s.life.State(), Revision: s.revision,
		RequestsTotal: s.count.served.Load(), Connections: map[string]int64{"tcp": s.connections()}, Problems: []string{},
	}
	if s.refused != "" {
		why := s.refused
		n.Refused = &why
		first, _, _ := strings.Cut(why, "\n")
		n.Problems = append(n.Problems, "the last network file offered was refused: "+first)
	}
	if len(s.later) > 0 {
		n.Problems = append(n.Problems, "changed in the network file, in effect at the next start: "+strings.Join(s.later, ", "))
	}
	for i := range w.pops.list {
		name := w.pops.list[i].name
		if s.told.revoked(name) {
			n.Problems = append(n.Problems, fmt.Sprintf("PoP %s is left out of answers, for its identity was revoked", name))
		}
		if d, drained := s.told.drains[name]; drained && d.Asked() {
			n.Problems = append(n.Problems, fmt.Sprintf("PoP %s is drained by %s since %s", name, d.By, d.Since.Format(time.RFC3339)))
		}
		if at, ok := w.pops.now.Index(name); ok && s.told.times.Standing(at, s.o.Now()).Aside {
			n.Problems = append(n.Problems, fmt.Sprintf("PoP %s claims to be much nearer than this server's own probes find; its round trips are set aside", name))
		}
	}
	for _, t := range w.targets {
		if s.health.drains[t] {
			n.Problems = append(n.Problems, fmt.Sprintf("PoP %s drains at %s", t.pop, t.at))
			continue
		}
		if h := s.health.known[t]; h.State() != steer.Up {
			why := s.health.why[t]
			if why == "" {
				why = "its last probe passed"
			}
			n.Problems = append(n.Problems, fmt.Sprintf("PoP %s is %s at %s: %s", t.pop, h.State(), t.at, why))
		}
	}
	all := ops.Status{Network: w.network.Name, Revision: s.revision, Nodes: []ops.NodeStatus{n}}
	s.o.Fleet.Show(&all)
	return all
}

// connections are the TCP connections open.
func (s *Server) connections() (n int64) {
	for _, t := range s.tcp {
		t.mu.Lock()
		n += int64(len(t.conns))
		t.mu.Unlock()
	}
	return n
}

// drainCall begins the drain that SIGTERM begins; the process ends after it.
func (s *Server) drainCall(*http.Request) (string, any, error) {
	if s.life.Advance(ops.Draining) {
		close(s.drain)
	}
	return "status", s.Status(), nil
}
