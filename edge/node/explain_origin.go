package node

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"hither/deploy/ops"
	"hither/origin/upstream"
)

// An OriginExplanation is the document "explain-origin": the way of a site's next request, tier by tier.
type OriginExplanation struct {
	Site   string       `json:"site"`
	Origin string       `json:"origin"`
	Tiers  []OriginTier `json:"tiers"` // in the order in which a request passes them; a node's own document has one
}

// An OriginTier is where a request is sent on, with what that node says of it. A gateway's own document has these members too.
type OriginTier struct {
	Tier     string     `json:"tier"` // edge, shield or gateway
	Node     string     `json:"node"`
	Revision int        `json:"revision,omitempty"`
	At       *time.Time `json:"at,omitempty"`
	Error    string     `json:"error,omitempty"` // why the node says nothing; then the rest is absent

	App      string          `json:"app,omitempty"`      // of a gateway: static, instances or discover
	Discover json.RawMessage `json:"discover,omitempty"` // of a gateway: its look-up of instances
	Problems []string        `json:"problems,omitempty"` // of a gateway

	// Upstream has the instances, states, scores and limits, and the next choice; absent where nothing is chosen, as with files.
	Upstream *upstream.Explanation `json:"upstream,omitempty"`
}

// explainOriginCall answers GET /v1/explain/origin?site=NAME.
func (n *Node) explainOriginCall(r *http.Request) (string, any, error) {
	x, err := n.ExplainOrigin(r.FormValue("site"))
	if err != nil {
		return "", nil, err
	}
	return "explain-origin", x, nil
}

// ExplainOrigin tells what the next request of a site, named by its name or by one of its hosts, would do on its way to the origin.
// Nothing is sent, and nothing changes. The error is a *ops.Refusal of 404 with the sites that there are.
func (n *Node) ExplainOrigin(name string) (OriginExplanation, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []string
	for _, s := range n.network.SitesOf(n.network.PoP(n.o.Name)) {
		if s.Name == name || slices.Contains(s.Hosts, strings.ToLower(name)) {
			now := n.o.Now().UTC()
			told := n.origins[s.Origin].up.Explain(&http.Request{
				Method: http.MethodGet, Host: s.Hosts[0], URL: &url.URL{Scheme: "https", Host: s.Hosts[0], Path: "/"}, Header: make(http.Header),
			})
			return OriginExplanation{Site: s.Name, Origin: s.Origin, Tiers: []OriginTier{
				{Tier: "edge", Node: "edge-" + n.o.Name, Revision: n.o.Fleet.Number(n.revision), At: &now, Upstream: &told},
			}}, nil
		}
		names = append(names, s.Name)
	}
	return OriginExplanation{}, &ops.Refusal{
		Status: http.StatusNotFound, Cause: fmt.Errorf("node: edge-%s serves no site %q; it has %s", n.o.Name, name, strings.Join(names, ", ")),
	}
}
