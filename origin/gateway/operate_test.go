package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"hither/deploy"
	"hither/deploy/ops"
	"hither/origin/health"
)

// page is what the metrics page of a gateway says.
func page(g *Gateway) string {
	w := httptest.NewRecorder()
	g.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestGatewayTellsOfItsInstances(t *testing.T) {
	good := newInstance(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x") })
	gone := refused(t)
	h := newHouse(t, deploy.LocalOptions{})
	us := h.network.Origin("us")
	said := origin(t, list(good.URL, "http://"+gone)+"balance: {algorithm: round-robin, expect: {min_bytes: 1}}\nlimits: {total: 10}\n")
	us.App, us.Balance, us.Limits = said.App, said.Balance, said.Limits
	g, _ := h.run(t)
	p := h.edge(t, g)
	for range 20 {
		if res, _, err := fetch(t, p, "/"); err != nil || res.StatusCode != 200 {
			t.Fatalf("%v, %v", res, err)
		}
	}

	text := page(g)
	for _, line := range []string{
		fmt.Sprintf(`hither_balance_picks_total{instance="%s",node="origin-us",origin="us"} 20`, good.id()),
		fmt.Sprintf(`hither_balance_outcomes_total{instance="%s",node="origin-us",origin="us",result="good"} 20`, good.id()),
		fmt.Sprintf(`hither_balance_outcomes_total{instance="%s",node="origin-us",origin="us",result="bad"} 5`, gone),
		`hither_balance_ejections_total{node="origin-us",origin="us",reason="consecutive"} 1`,
		`hither_balance_anomalies_total{node="origin-us",origin="us",reason="short"} 0`,
		`hither_balance_instances{node="origin-us",origin="us",state="ejected"} 1`,
		`hither_balance_instances{node="origin-us",origin="us",state="well"} 1`,
		`hither_balance_panic{node="origin-us",origin="us"} 0`,
		`hither_limit_concurrent{node="origin-us",origin="us"} 10`,
		`hither_limit_refused_total{node="origin-us",origin="us",reason="full"} 0`,
		`hither_pool_retries_total{node="origin-us",origin="us",reason="unconnected"} 5`,
		`hither_pool_connections{node="origin-us",origin="us",state="open"} 1`,
		`hither_upstream_requests_total{node="origin-us",origin="us"} 20`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("metrics have no %s", line)
		}
	}
	if t.Failed() {
		for line := range strings.Lines(text) {
			if strings.Contains(line, `origin="us"`) {
				t.Log(line)
			}
		}
	}

	client := ops.Dial(h.state("origin-us"))
	var s ops.Status
	if err := client.Get(deadline(t), "/v1/status", &s); err != nil {
		t.Fatal(err)
	}
	if p := strings.Join(s.Nodes[0].Problems, "\n"); !strings.Contains(p, "instance "+gone+" is out until ") {
		t.Errorf("problems %s", p)
	}

	var raw json.RawMessage
	query := url.Values{"host": {"www.hither.test"}, "target": {"/a?b"}, "field": {"X-User: a"}}
	if err := client.Get(deadline(t), "/v1/explain/origin?"+query.Encode(), &raw); err != nil {
		t.Fatal(err)
	}
	var x struct {
		Schema, Origin, Tier, Node, App string
		Problems                        []string
		Upstream                        struct {
			Algorithm string
			Next      struct{ Instance, Sentence string }
		}
	}
	if err := json.Unmarshal(raw, &x); err != nil {
		t.Fatal(err)
	}
	if x.Schema != "hither/explain-origin/1" || x.Origin != "us" || x.Node != "origin-us" || x.Tier != "gateway" || x.App != "instances" ||
		len(x.Problems) == 0 || x.Upstream.Algorithm != "round-robin" || x.Upstream.Next.Instance != good.id() || x.Upstream.Next.Sentence == "" {
		t.Errorf("%s", raw)
	}
	if n := good.asked.Load(); n != 20 {
		t.Errorf("to explain is to ask: %d", n)
	}
	for _, bad := range []string{"field=x", "target=x", "method=a%20b", "field=a%3A%00"} {
		var refusal *ops.Refusal
		if err := client.Get(deadline(t), "/v1/explain/origin?"+bad, &raw); !errors.As(err, &refusal) || refusal.Status != 400 {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// Files have no instances: the document says so, and the page has no metric of them.
func TestFilesHaveNoInstances(t *testing.T) {
	h := newHouse(t, deploy.LocalOptions{})
	g, _ := h.run(t)
	if x := g.Explain(httptest.NewRequest("GET", "/", nil)); x.App != "static" || x.Upstream != nil {
		t.Errorf("%+v", x)
	}
	if text := page(g); strings.Contains(text, "hither_balance") {
		t.Error(text)
	}
}

// However many instances there are, the page has so many of them and one for the others.
func TestInstanceLabelsAreBounded(t *testing.T) {
	var all []health.Status
	for i := range 1000 {
		all = append(all, health.Status{ID: fmt.Sprintf("10.0.%d.%d:80", i/250, i%250), PassTotal: 1})
	}
	name := labelled(all, func(s health.Status) string { return s.ID })
	seen := map[string]int{}
	for _, s := range all {
		seen[name(s.ID)]++
	}
	if len(seen) != mostInstances+1 || seen[otherInstances] != 1000-mostInstances {
		t.Errorf("%d labels, %d of others", len(seen), seen[otherInstances])
	}
	few := labelled(all[:mostInstances], func(s health.Status) string { return s.ID })
	if few(all[mostInstances-1].ID) == otherInstances {
		t.Error("one that has room has none")
	}
}
