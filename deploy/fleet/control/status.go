package control

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/ops"
)

// status is the document "status" of the whole fleet, by what nodes reported last.
func (c *Control) status(context.Context, string, json.RawMessage) (any, error) {
	out := ops.Status{Network: c.o.Network().Name, Hub: ops.Hub{Connected: c.o.Conn.Connected()}, Nodes: []ops.NodeStatus{}}
	for _, t := range c.reports.all() {
		n := c.nodeStatus(t)
		out.Revision = max(out.Revision, n.Revision)
		out.Nodes = append(out.Nodes, n)
	}
	body, err := ops.MarshalDocument("status", out)
	if err == nil && len(body) > mostDocument {
		brief(out.Nodes)
		body, err = ops.MarshalDocument("status", out)
	}
	return json.RawMessage(body), err
}

// brief leaves out of many nodes what each can be asked for itself.
func brief(nodes []ops.NodeStatus) {
	for i := range nodes {
		n := &nodes[i]
		n.Origins, n.ShieldOf, n.Certificates, n.Connections = nil, nil, nil, map[string]int64{}
		if n.Problems = n.Problems[:min(len(n.Problems), 1)]; len(n.Problems) > 0 {
			n.Problems[0] = start(n.Problems[0])
		}
		if n.Refused != nil {
			why := start(*n.Refused)
			n.Refused = &why
		}
	}
}

// start is how a sentence begins.
func start(s string) string {
	if all := []rune(s); len(all) > mostStart {
		return string(all[:mostStart]) + "…"
	}
	return s
}

// mostStart is how many letters are told of a sentence where there are too many.
const mostStart = 80

// nodeStatus is one node of it. Who it is, its state and its revision are those of the report, whatever its document says; what it
// refused is the fleet's revision or, where it took that, a file of its own operator.
func (c *Control) nodeStatus(t told) ops.NodeStatus {
	n := statusOf(t.report.Status)
	n.Node, n.Role, n.PoP, n.Revision, n.Load = t.peer.String(), t.peer.Role, "", t.report.Revision, t.report.Load
	if t.peer.Role == fleet.RoleEdge {
		n.PoP = t.peer.Name
	}
	if n.Problems == nil {
		n.Problems = []string{}
	}
	if t.report.Refused != 0 {
		why := fmt.Sprintf("revision %d: %s", t.report.Refused, t.report.Why)
		n.Refused = &why
		// Its role tells of what it could not take itself, and not of what was refused before it came there.
		if first, _, _ := strings.Cut(t.report.Why, "\n"); !slices.ContainsFunc(n.Problems, func(p string) bool { return strings.Contains(p, first) }) {
			n.Problems = append(n.Problems, "it refused "+strings.ReplaceAll(why, "\n", "; "))
		}
	}
	since := c.o.Now().Sub(t.seen)
	switch {
	case since > awayTime && c.reports.due(t.peer.String()):
		n.State = ops.Unknown
		n.Problems = []string{"it has not reported yet; the hub has just begun to answer"}
	case t.seen.IsZero():
		n.State = ops.Down
		n.Problems = []string{"it has not reported since the control started"}
	case since > awayTime:
		n.State = ops.Down
		n.Problems = []string{fmt.Sprintf("it has not reported since %s, for %v", t.seen.UTC().Format(time.RFC3339), since.Round(time.Second))}
	default:
		_ = n.State.UnmarshalText([]byte(t.report.State)) // which was checked as it came
		if p := c.astray(t); p != "" {
			n.Problems = append(n.Problems, p)
		}
	}
	if t.peer.Role == fleet.RoleEdge && c.drains.lostIdentity(t.peer.Name) {
		n.Problems = append([]string{"its identity was revoked: it gets no purges, no network file and nothing from origins, and DNS leaves it out; " + backWhen(c.o.Network(), t.peer.Name)}, n.Problems...)
	}
	if p := c.rollout.problem(); p != "" && t.peer == (fleet.Peer{Role: c.o.Identity.Role, Name: c.o.Identity.Name}) {
		n.Problems = append(n.Problems, p)
	}
	return n
}

// astray says what a node runs in the place of what it is to run; "" where it does so, or has not had the time yet, or has said why not.
func (c *Control) astray(t told) string {
	p, target := c.rollout.now()
	number, hash := target.Of(t.peer.String())
	if now := c.o.Now(); number == 0 || t.report.Hash == hash || t.report.Refused == number || !t.named ||
		now.Sub(p.Since) <= awayTime || now.Sub(t.same) <= awayTime {
		return ""
	}
	what := "a network file without a number"
	if t.report.Revision != 0 {
		what = fmt.Sprintf("revision %d", t.report.Revision)
	}
	return fmt.Sprintf("it runs %s, and is to run revision %d", what, number)
}

// NodesDoc is the document "nodes".
type NodesDoc struct {
	Schema string     `json:"schema"` // hither/nodes/1
	Nodes  []NodeLine `json:"nodes"`
}

// A NodeLine is what the fleet knows of a node.
type NodeLine struct {
	Node     string       `json:"node"` // ROLE-NAME
	Role     string       `json:"role"`
	Name     string       `json:"name"`
	State    string       `json:"state"`
	Named    bool         `json:"named"` // the network file in use names it
	Revision int          `json:"revision"`
	Target   int          `json:"target"` // what it is to run
	Runs     bool         `json:"runs"`   // it does
	Refused  int          `json:"refused,omitempty"`
	Why      string       `json:"why,omitempty"`
	Version  string       `json:"version,omitempty"` // of its program
	Seen     time.Time    `json:"seen,omitzero"`     // when it reported last, by the control's clock
	Journal  bus.Position `json:"journal,omitzero"`  // how far an edge is in it; nothing else follows it
	Tables   uint64       `json:"tables"`
	Expires  time.Time    `json:"expires,omitzero"`  // its certificate
	Trust    string       `json:"trust,omitempty"`   // by what authorities it knows others
	Revoked  bool         `json:"revoked,omitempty"` // its identity was, and it is not back since; of PoPs
}

// nodes is the document "nodes".
func (c *Control) nodes(context.Context, string, json.RawMessage) (any, error) {
	doc := NodesDoc{Schema: "hither/nodes/1", Nodes: []NodeLine{}}
	_, target := c.rollout.now()
	named := make(map[string]bool)
	for _, p := range namesOf(c.o.Network()) {
		named[p.String()] = true
	}
	for _, t := range c.reports.all() {
		s, name := c.nodeStatus(t), t.peer.String()
		number, hash := target.Of(name)
		doc.Nodes = append(doc.Nodes, NodeLine{
			Node: name, Role: t.peer.Role, Name: t.peer.Name, State: s.State.String(), Named: named[name],
			Revision: t.report.Revision, Target: number, Runs: hash != "" && t.report.Hash == hash, Refused: t.report.Refused, Why: t.report.Why,
			Version: s.Version, Seen: t.seen.UTC(), Journal: t.report.Journal, Tables: t.report.Tables, Expires: t.report.Expires, Trust: t.report.Trust,
			Revoked: t.peer.Role == fleet.RoleEdge && c.drains.lostIdentity(t.peer.Name),
		})
	}
	if body, err := json.Marshal(doc); err == nil && len(body) > mostDocument {
		for i := range doc.Nodes {
			doc.Nodes[i].Why, doc.Nodes[i].Version = start(doc.Nodes[i].Why), start(doc.Nodes[i].Version)
		}
	}
	return doc, nil
}
