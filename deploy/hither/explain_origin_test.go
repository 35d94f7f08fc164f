package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hither/deploy/ops"
	"hither/edge/node"
	"hither/origin/balance"
	"hither/origin/gateway"
	"hither/origin/upstream"
)

// A tree is the state folder of a network, with sockets of nodes that say what a test wants.
type tree struct {
	t   *testing.T
	dir string
	up  upState
}

func newTree(t *testing.T) *tree {
	dir, err := os.MkdirTemp("", "tree-") // short, for the sockets' sake
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &tree{t: t, dir: dir, up: upState{Schema: "hither/up/1"}}
}

// node adds one; call nil = it is down.
func (tr *tree) node(name string, call ops.Call) {
	tr.t.Helper()
	folder := filepath.Join(tr.dir, "nodes", name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		tr.t.Fatal(err)
	}
	tr.up.Nodes = append(tr.up.Nodes, upChild{Node: name, Socket: filepath.Join(folder, ops.SocketName)})
	if err := writeJSON(filepath.Join(tr.dir, "up.json"), tr.up); err != nil {
		tr.t.Fatal(err)
	}
	if call == nil {
		return
	}
	a := ops.NewAdmin()
	a.Handle("GET /v1/explain/origin", call)
	if err := a.Open(folder); err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(func() { a.Close(tr.t.Context()) })
}

func says(name string, doc any, err error) ops.Call {
	return func(*http.Request) (string, any, error) { return name, doc, err }
}

// explained is what an upstream with these instances says.
func explained(sentence string, ids ...string) *upstream.Explanation {
	e := &upstream.Explanation{Origin: "us", Sentence: sentence, Limit: &upstream.LimitExplanation{Limit: 4, In: 2, Waiting: 1, WaitingMost: 9, RefusedTotal: map[string]uint64{"full": 2, "late": 1}}}
	e.Algorithm, e.Groups = "p2c-ewma", []balance.GroupStatus{{Well: len(ids), Of: len(ids), Share: 1}}
	for _, id := range ids {
		e.Instances = append(e.Instances, balance.InstanceStatus{ID: id, Weight: 1, State: "well", Score: balance.Score{LatencyMS: 20.25, InFlight: 3, Good: 1, Warm: 1, Effective: 1, Cost: 81}, PicksTotal: 12})
	}
	if len(ids) > 0 {
		e.Next = &balance.Next{Instance: ids[0], Why: balance.Turn}
	}
	return e
}

func edgeSays(pop string, ids ...string) ops.Call {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return says("explain-origin", node.OriginExplanation{Site: "www", Origin: "us", Tiers: []node.OriginTier{
		{Tier: "edge", Node: "edge-" + pop, Revision: 3, At: &at, Upstream: explained("the request goes to us: there is no other", ids...)},
	}}, nil)
}

// call runs the command.
func (tr *tree) call(args ...string) (out, errs string, status int) {
	var o, e bytes.Buffer
	status = run(tr.t.Context(), append([]string{"explain", "origin", "--state", tr.dir}, args...), &o, &e)
	return o.String(), e.String(), status
}

// What edges and gateways say becomes one document, in the order in which a request passes them; a node that is down says so.
func TestExplainOrigin(t *testing.T) {
	tr := newTree(t)
	tr.node("edge-fra", edgeSays("fra", "edge/iad", "us", "us-2", "far"))
	tr.node("edge-sin", nil)
	tr.node("edge-iad", edgeSays("iad", "us", "us-2", "far"))
	tr.node("dns-ns1", nil)
	tr.node("origin-us", says("explain-origin", map[string]any{
		"origin": "us", "node": "origin-us", "revision": 2, "live": true, "app": "instances", "problems": []string{"127.0.0.1:3001 is down"},
		"upstream": explained("the request goes to 127.0.0.1:3000: it is its turn", "127.0.0.1:3000", "127.0.0.1:3001"),
	}, nil))
	tr.node("origin-us-2", nil)

	out, errs, status := tr.call("www", "-o", "json")
	if status != 0 || errs != "" {
		t.Fatalf("status %d, %q", status, errs)
	}
	var x struct {
		Schema string
		node.OriginExplanation
	}
	if err := json.Unmarshal([]byte(out), &x); err != nil || x.Schema != "hither/explain-origin/1" || x.Site != "www" || x.Origin != "us" {
		t.Fatalf("%v: %s", err, out)
	}
	var tiers []string
	for _, tier := range x.Tiers {
		word := tier.Tier + " " + tier.Node
		if tier.Error != "" {
			word += ": " + strings.ReplaceAll(tier.Error, tr.dir, "DIR")
		}
		tiers = append(tiers, word)
	}
	want := "edge edge-fra, edge edge-sin: down: no node runs there, edge edge-iad, gateway origin-far: not in DIR: ask where it runs, gateway origin-us, gateway origin-us-2: down: no node runs there"
	if got := strings.Join(tiers, ", "); got != want {
		t.Errorf("tiers\n\tgot  %s\n\twant %s", got, want)
	}

	out, _, status = tr.call("www")
	for _, line := range []string{
		"site www, origin us\n\nedge-fra, revision 3, 2026-01-01T00:00:00Z\nINSTANCE  GROUP  WEIGHT  STATE  LATENCY  GOOD   IN FLIGHT  COST     SHARE  PICKS  WHY\n",
		"us        0      1       well   20.2 ms  100 %  3          81.0 ms  25 %   12     -\n",
		"limit: 4 at once (given), 2 under way, 1 of at most 9 waiting, 3 refused\n", "next: the request goes to us: there is no other\n",
		"\nedge-sin: down: no node runs there\n", "\norigin-us, revision 2\nINSTANCE ", "127.0.0.1:3001  0      1       well   20.2 ms  100 %  3          81.0 ms  50 %   12     -\n",
		"next: the request goes to 127.0.0.1:3000: it is its turn\nproblem: 127.0.0.1:3001 is down\n",
	} {
		if status != 0 || !strings.Contains(out, line) {
			t.Errorf("status %d; no %q in\n%s", status, line, out)
		}
	}

	// One edge alone, whose shield is asked in its turn.
	out, _, status = tr.call("www.hither.test", "--pop", "fra", "-o", "json")
	if i, j := strings.Index(out, `"shield"`), strings.Index(out, `"gateway"`); status != 0 || i < 0 || strings.Count(out, `"edge"`) != 1 || !strings.Contains(out, `"edge-iad"`) || j < 0 {
		t.Errorf("status %d: %s", status, out)
	}
}

// A call that is wrong ends with 2 and one line, one about what is not there with 1.
func TestExplainOriginCalls(t *testing.T) {
	none := says("", nil, &ops.Refusal{Status: http.StatusNotFound, Cause: errors.New(`node: edge-fra serves no site "x"; it has www, shop`)})
	for _, c := range []struct {
		what   string
		build  func(*tree)
		args   []string
		status int
		says   string
	}{
		{"no site", func(tr *tree) { tr.node("edge-fra", none) }, []string{"x"}, exitUsage, `edge-fra serves no site "x"; it has www, shop`},
		{"no site, and an edge that is down", func(tr *tree) { tr.node("edge-sin", nil); tr.node("edge-fra", none) }, []string{"x"}, exitUsage, `it has www, shop`},
		{"no edge", func(tr *tree) { tr.node("dns-ns1", nil); tr.node("origin-us", nil) }, []string{"www"}, exitWrong, "has no edge"},
		{"no site anywhere", func(tr *tree) {
			tr.node("edge-fra", none)
			tr.node("edge-sin", says("", nil, &ops.Refusal{Status: http.StatusNotFound, Cause: errors.New("node: edge-sin serves no site")}))
		}, []string{"x"}, exitUsage, "edge-fra serves no site"},
		{"no such edge", func(tr *tree) { tr.node("edge-fra", none); tr.node("dns-ns1", nil) }, []string{"www", "--pop", "mars"}, exitUsage, "no edge mars"},
		{"all down", func(tr *tree) { tr.node("edge-fra", nil); tr.node("origin-us", nil) }, []string{"www"}, exitWrong, "no node runs here"},
		{"no edge at all", func(tr *tree) { tr.node("origin-us", says("explain-origin", struct{ App string }{"static"}, nil)) }, []string{"www"}, exitUsage, "is no edge"},
		{"no network", func(*tree) {}, []string{"www"}, exitWrong, "no network runs"},
		{"no argument", func(*tree) {}, nil, exitUsage, "accepts 1 arg"},
		{"another output", func(*tree) {}, []string{"www", "-o", "xml"}, exitUsage, "-o"},
		{"an older edge", func(tr *tree) { tr.node("edge-fra", says("status", struct{}{}, nil)) }, []string{"www"}, exitUsage, "is no edge"},
		{"nonsense", func(tr *tree) { tr.node("edge-fra", says("x", struct{ Tiers int }{1}, nil)) }, []string{"www"}, exitWrong, "cannot unmarshal"},
	} {
		tr := newTree(t)
		c.build(tr)
		out, errs, status := tr.call(c.args...)
		if status != c.status || !strings.Contains(errs, c.says) || strings.Count(errs, "\n") != 1 || out != "" {
			t.Errorf("%s: status %d, %q, %q", c.what, status, errs, out)
		}
	}
}

// A gateway may have files, or be of a version that cannot tell.
func TestPrintOrigin(t *testing.T) {
	for _, c := range []struct {
		doc  any
		err  error
		says string
	}{
		{map[string]any{"app": "static", "revision": 1, "problems": []string{}}, nil, "origin-us, revision 1\nchooses nothing: it has what it sends\n"},
		{map[string]any{"app": "discover", "upstream": explained("x", "a"), "discover": gateway.LookStatus{
			Name: "_http._tcp.app.internal", Type: "SRV", Found: []string{"a:1", "b:2"}, Looked: new(time.Unix(1e9, 0).UTC()), Error: "no answer",
		}}, nil, "looked up: _http._tcp.app.internal SRV, 2 servers at 2001-09-09T01:46:40Z; since then: no answer\n"},
		{map[string]any{"discover": 7}, nil, "looked up: json: cannot unmarshal"},
		{nil, &ops.Refusal{Status: http.StatusNotFound, Cause: errors.New("Not Found")}, "origin-us: Not Found\n"},
		{map[string]any{"upstream": 7}, nil, "origin-us: ops: ask"},
	} {
		tr := newTree(t)
		tr.node("edge-fra", edgeSays("fra", "us"))
		tr.node("origin-us", says("explain-origin", c.doc, c.err))
		if out, errs, status := tr.call("www"); status != 0 || !strings.Contains(out, c.says) {
			t.Errorf("status %d, %q: no %q in\n%s", status, errs, c.says, out)
		}
	}
	e := explained("", "a")
	e.Instances[0].Score.LatencyMS = 0 // never measured
	var b bytes.Buffer
	if printTier(&b, e); !strings.Contains(b.String(), "well   -        100 %  3          -     100 %") {
		t.Error(b.String())
	}
	e.Limit = &upstream.LimitExplanation{Adaptive: true, Limit: 2000}
	if got := limitWords(e.Limit); !strings.HasPrefix(got, "2000 at once (found, and nothing measured yet)") {
		t.Error(got)
	}
	e.Limit.Baseline = 1.5
	if got := limitWords(e.Limit); !strings.Contains(got, "(found, by a first byte of 1.5 ms at its best)") || limitWords(nil) != "none" {
		t.Error(got)
	}
	e.Instances[0].Score.Effective = 0
	if got := shareWords(e, e.Instances[0]); got != "-" {
		t.Error(got)
	}
	e = explained("", "a", "b")
	e.Instances[1].State, e.Checks = "down", []upstream.CheckExplanation{{ID: "a", Why: "no"}, {ID: "b", Why: "no"}}
	b.Reset()
	if printTier(&b, e); !strings.Contains(b.String(), "check of a: down: no; used all the same") || !strings.Contains(b.String(), "check of b: down: no\n") {
		t.Error(b.String())
	}
	e = explained("", "a", "b") // of two groups, of which none can carry anything
	e.Panic, e.Instances[1].Group = true, 1
	e.Groups = []balance.GroupStatus{{Of: 1}, {Group: 1, Of: 1}}
	for _, i := range e.Instances {
		if got := shareWords(e, i); got != "50 %" {
			t.Errorf("in panic %s gets %s", i.ID, got)
		}
	}
}
