package gateway

import (
	"net/http"
	"os"
	"strings"

	"hither/deploy/ops"
)

// Status returns the node's status document.
func (g *Gateway) Status() ops.Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := ops.NodeStatus{
		Node: "origin-" + g.o.Name, Role: "origin", PID: os.Getpid(), Version: g.o.Version, State: g.life.State(), Revision: g.revision,
		RequestsTotal: g.count.served.Load(), BytesTotal: g.count.sent.Load(), Connections: map[string]int64{}, Problems: []string{},
	}
	for i, proto := range []string{"h1", "h2", "h3"} {
		s.Connections[proto] = g.count.connections[i+1].Load()
	}
	if g.refused != "" {
		why := g.refused
		s.Refused = &why
		first, _, _ := strings.Cut(why, "\n")
		s.Problems = append(s.Problems, "the last network file offered was refused: "+first)
	}
	for _, key := range g.later {
		s.Problems = append(s.Problems, "changed in the network file, in effect at the next start: "+key)
	}
	s.Problems = append(s.Problems, g.problems()...)
	all := ops.Status{Network: g.o.Network.Name, Revision: g.revision, Nodes: []ops.NodeStatus{s}}
	g.o.Fleet.Show(&all)
	return all
}

// drainCall begins the drain that SIGTERM begins; the process ends after it.
func (g *Gateway) drainCall(*http.Request) (string, any, error) {
	if g.life.Advance(ops.Draining) {
		close(g.drain)
	}
	return "status", g.Status(), nil
}
