package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"hither/deploy"
	"hither/deploy/ops"
	"hither/origin/discover"
	"hither/origin/upstream"
)

// Explanation is the document "explain-origin" of a gateway: its instances, their scores and states, the limit, and where
// the request that was asked about would go, and why.
type Explanation struct {
	Origin   string    `json:"origin"`
	Tier     string    `json:"tier"` // gateway, as one of the tiers that a request passes
	Node     string    `json:"node"`
	Revision int       `json:"revision"`
	At       time.Time `json:"at"`
	App      string    `json:"app"` // static, instances or discover; for static there is no more

	Look     *LookStatus           `json:"discover,omitempty"` // the look-up of instances
	Upstream *upstream.Explanation `json:"upstream,omitempty"`
	Problems []string              `json:"problems"`
}

// LookStatus is what a look-up of instances knows.
type LookStatus struct {
	Name         string            `json:"name"`
	Type         string            `json:"type"`
	Found        []string          `json:"found"`            // host:port
	Looked       *time.Time        `json:"looked,omitempty"` // when an answer came last
	Error        string            `json:"error,omitempty"`  // why none came since then
	Problems     []string          `json:"problems"`         // what of the answer is not used, and why
	LookupsTotal map[string]uint64 `json:"lookups_total"`    // by result
}

// explainCall answers GET /v1/explain/origin. The query says what is asked about: method (default GET), host (default: the
// first of site, by its name or one of its hosts), target (default /), and field, "Name: value", as often as there are fields.
func (g *Gateway) explainCall(r *http.Request) (string, any, error) {
	req, err := asked(r.URL.Query())
	if name := r.FormValue("site"); err == nil && req.Host == "" && name != "" {
		for i := range g.o.Network.Sites {
			if s := &g.o.Network.Sites[i]; s.Name == name || slices.Contains(s.Hosts, strings.ToLower(name)) {
				req.Host = s.Hosts[0]
			}
		}
	}
	if err != nil {
		return "", nil, &ops.Refusal{Status: http.StatusBadRequest, Cause: err}
	}
	return "explain-origin", g.Explain(req), nil
}

// asked makes the request of a question.
func asked(q url.Values) (*http.Request, error) {
	get := func(key, def string) string {
		if v := q.Get(key); v != "" {
			return v
		}
		return def
	}
	req, err := http.NewRequest(get("method", http.MethodGet), "http://instance/", nil)
	if err != nil {
		return nil, fmt.Errorf("gateway: explain origin: %w", err)
	}
	if req.URL, err = url.ParseRequestURI(get("target", "/")); err != nil {
		return nil, fmt.Errorf("gateway: explain origin: the target is no path: %w", err)
	}
	req.Host = q.Get("host")
	for _, f := range q["field"] {
		name, value, ok := strings.Cut(f, ":")
		value = strings.TrimSpace(value)
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("gateway: explain origin: %q is no field; write NAME: VALUE", f)
		}
		req.Header.Add(name, value)
	}
	return req, nil
}

// Explain tells where a request would go now. It goes nowhere: nothing is sent or counted. It may be called at any time.
func (g *Gateway) Explain(req *http.Request) Explanation {
	g.mu.Lock()
	x := Explanation{Origin: g.origin.Name, Tier: "gateway", Node: node(&g.o), Revision: g.o.Fleet.Number(g.revision), At: g.o.Now().UTC(), App: kind(&g.origin.App), Problems: []string{}}
	g.mu.Unlock()
	x.Problems = append(x.Problems, g.problems()...)
	if a := g.application(); a != nil {
		x.Upstream = new(a.up.Explain(req))
		x.Look = a.lookStatus()
	}
	return x
}

// kind is the key of what answers.
func kind(a *deploy.App) string {
	switch {
	case a.Static != nil:
		return "static"
	case a.Discover != nil:
		return "discover"
	}
	return "instances"
}

// lookStatus is what the look-up of instances knows; nil where the file lists them.
func (a *application) lookStatus() *LookStatus {
	s, ok := a.looked()
	if !ok {
		return nil
	}
	out := &LookStatus{Name: s.Name, Type: s.Type, Found: []string{}, Error: s.Error, Problems: append([]string{}, s.Problems...), LookupsTotal: s.LookupsTotal}
	for _, f := range s.Found {
		out.Found = append(out.Found, f.Addr.String())
	}
	if !s.Looked.IsZero() {
		out.Looked = new(s.Looked.UTC())
	}
	return out
}

// looked is the status of the look-up; false where there is none.
func (a *application) looked() (discover.Status, bool) {
	a.mu.Lock()
	l := a.look
	a.mu.Unlock()
	if l == nil {
		return discover.Status{}, false
	}
	return l.Status(), true
}
