//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// firstNames are the metrics which the contract promises of these roles.
var firstNames = map[string][]string{
	"edge-fra": {
		"hither_edge_requests_total", "hither_edge_first_byte_seconds", "hither_edge_bytes_total", "hither_edge_connections",
		"hither_edge_handshakes_total", "hither_edge_rejected_total", "hither_cache_objects", "hither_cache_bytes",
		"hither_cache_evictions_total", "hither_cache_collapsed_total", "hither_pool_connections", "hither_pool_handshakes_total",
		"hither_pool_requests_total", "hither_pool_retries_total", "hither_pool_errors_total", "hither_fleet_revision", "hither_hub_connected", "hither_cert_expiry_seconds",
		"hither_balance_picks_total", "hither_balance_ejections_total", "hither_balance_retries_total", "hither_balance_retries_refused_total",
		"hither_limit_concurrent", "hither_limit_in_flight", "hither_limit_waiting", "hither_limit_refused_total",
	},
	"origin-us": {
		"hither_origin_requests_total", "hither_fleet_revision", "hither_hub_connected", "hither_control_orders_total", "hither_control_requests_total",
		"hither_control_receipts_total", "hither_control_waiting", "hither_control_rollout", "hither_hub_rejected_total", "hither_hub_broken",
	},
	"dns-ns1": {
		"hither_dns_queries_total", "hither_dns_answers_total", "hither_dns_all_down_total", "hither_pop_up", "hither_fleet_revision", "hither_hub_connected",
	},
}

// labels are all that a metric of ours may have.
var labels = []string{"node", "site", "proto", "verdict", "code", "origin", "pop", "reason", "direction", "kind", "tier", "state", "name", "instance", "result", "coding", "event", "transport", "qtype", "rcode", "le"}

// TestOperate uses what an operator has: status, health, metrics, log and drain.
func TestOperate(t *testing.T) {
	scenario(t, "operate")
	a := newApp(t, "127.37")
	n := run(t, setup{net: "127.37", origin: a.url, edit: soonForgotten})
	for _, proto := range protocols {
		v := n.via(t, proto, "fra")
		v.must(t, "/keep/1")
		v.must(t, "/once/"+proto)
	}

	// The counts below show that explaining is no request.
	t.Log("explain request")
	var told struct{ Schema, Verdict, Stage string }
	out, stderr, code := call(t, "explain", "request", "https://"+host+":8443/keep/1", "--pop", "fra", "--state", n.dir, "-o", "json")
	if err := json.Unmarshal([]byte(out), &told); err != nil || code != 0 || told.Schema != "hither/explain-request/1" || told.Verdict != "hit" || told.Stage != "proxy" {
		t.Errorf("explain request -o json: status %d, %v, %q\n%s", code, err, stderr, out)
	}
	for _, c := range []struct {
		status int
		words  []string
		args   []string
	}{
		{1, []string{"nobody.test", "edge-fra serves no site"}, []string{"https://nobody.test/"}},
		{2, []string{"no edge mars", "edge-fra"}, []string{"https://" + host + "/", "--pop", "mars"}},
		{2, []string{`"x" is no field`}, []string{"https://" + host + "/", "--header", "x"}},
	} {
		stdout, stderr, status := call(t, append([]string{"explain", "request", "--state", n.dir}, c.args...)...)
		if err := oneLine(stdout, stderr, status, c.status, c.words...); err != nil {
			t.Errorf("explain request %s: %v", c.args, err)
		}
	}

	t.Log("status")
	var doc struct {
		Schema   string
		Network  string
		Revision int
		Nodes    []map[string]any
	}
	var text string
	if !until(20*time.Second, func() bool { // the load is measured once a second
		out, stderr, status := call(t, "status", "--state", n.dir, "-o", "json")
		if err := json.Unmarshal([]byte(out), &doc); err != nil || status != 0 {
			t.Fatalf("status -o json: status %d, %v, %q\n%s", status, err, stderr, out)
		}
		text = out
		return missing(find(doc.Nodes, "edge-fra"), edgeKeys) == nil
	}) {
		t.Errorf("the status of an edge has no %v:\n%s", missing(find(doc.Nodes, "edge-fra"), edgeKeys), text)
	}
	if doc.Schema != "hither/status/1" || doc.Network != "demo" || doc.Revision < 1 || len(doc.Nodes) != 5 {
		t.Errorf("status -o json: %s", text)
	}
	for _, o := range n.upFile(t).Nodes {
		s := find(doc.Nodes, o.Node)
		if s == nil || s["role"] != o.Role || s["pid"] != float64(o.PID) || s["state"] != "ready" || s["refused"] != nil {
			t.Errorf("the status of %s: %v", o.Node, s)
		}
	}
	if s := find(doc.Nodes, "edge-fra"); s["requests_total"] != 6. || s["hits_total"] != 2. || s["bytes_total"].(float64) < 1000 {
		t.Errorf("the status after 6 requests and 2 hits: %v", s)
	}
	if m := missing(find(doc.Nodes, "origin-us"), []string{"role", "pid", "version", "state", "revision", "refused", "requests_total", "bytes_total", "problems"}); m != nil {
		t.Errorf("the status of the origin has no %v", m)
	}
	table, _, status := call(t, "status", "--state", n.dir)
	if lines := strings.Split(strings.TrimSpace(table), "\n"); status != 0 || len(lines) != 6 || !strings.HasPrefix(lines[0], "NODE") ||
		strings.Count(table, "ready") != 5 {
		t.Errorf("status, the table: status %d\n%s", status, table)
	}

	t.Log("health and metrics")
	q := new(dns.Msg)
	q.SetQuestion(host+".", dns.TypeA)
	if reply, err := dns.Exchange(q, n.at("0.1", 5300)); err != nil || len(reply.Answer) != 1 {
		t.Errorf("DNS: %v, %v", reply, err)
	}
	for node, names := range firstNames {
		for path, want := range map[string]string{"/live": `"hither/live/1"`, "/ready": `"ready":true`} {
			code, body, err := fetch(n.page(node), path)
			if err != nil {
				t.Fatal(err)
			}
			if text, _ := io.ReadAll(body); code != http.StatusOK || !bytes.Contains(bytes.ReplaceAll(text, []byte(": "), []byte(":")), []byte(want)) {
				t.Errorf("%s %s: %d %s", node, path, code, text)
			}
		}
		c := n.counters(t, node)
		for _, name := range names {
			if c[name] == nil {
				t.Errorf("%s has no metric %s", node, name)
			}
		}
		for _, w := range strangeLabels(c, node) {
			t.Error(w)
		}
	}
	if c := n.counters(t, "edge-fra"); c.sum("hither_edge_requests_total") != 6 || c.sum("hither_edge_handshakes_total", "kind", "full", "proto", "h2") != 1 ||
		c.sum("hither_edge_handshakes_total", "kind", "full", "proto", "h3") != 1 || c.sum("hither_edge_probes_total") == 0 ||
		c.sum("hither_cache_objects") < 1 || c.sum("hither_edge_first_byte_seconds") != 6 {
		t.Errorf("counters after 6 requests over 3 connections: %d requests, %d handshakes, %d objects, %d first bytes",
			c.sum("hither_edge_requests_total"), c.sum("hither_edge_handshakes_total", "kind", "full"), c.sum("hither_cache_objects"), c.sum("hither_edge_first_byte_seconds"))
	}
	resp, err := http.Post("http://"+n.page("edge-fra")+"/ready", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST to the page: %d", resp.StatusCode)
	}

	t.Log("the access log")
	log := filepath.Join(n.state("edge-fra"), "access.log")
	var entries []map[string]any
	if !until(10*time.Second, func() bool {
		entries, err = logLines(log)
		return err != nil || len(entries) == 6
	}) || err != nil {
		t.Fatalf("%d lines in the access log, not 6: %v", len(entries), err)
	}
	if e := entries[3]; e["node"] != "fra" || e["site"] != "www" || e["proto"] != "h2" || e["method"] != "GET" || e["host"] != host+":8443" ||
		e["target"] == nil || e["status"] != 200. || e["verdict"] == nil || e["response_bytes"] == nil || e["total_ms"] == nil || e["client"] != "127.0.0.1" {
		t.Errorf("a line of the access log: %v", e)
	}
	verdicts := map[any]int{}
	for _, e := range entries {
		verdicts[e["verdict"]]++
	}
	if verdicts["hit"] != 2 || verdicts["miss"]+verdicts["bypass"] != 4 {
		t.Errorf("verdicts in the access log: %v", verdicts)
	}

	t.Log("the sockets")
	for _, o := range n.upFile(t).Nodes {
		if info, err := os.Lstat(o.Socket); err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != os.ModeSocket {
			t.Errorf("%s: %v, %v", o.Socket, info, err)
		}
	}

	t.Log("drain")
	stdout, stderr, status := call(t, "drain", "--state", n.dir)
	if err := oneLine(stdout, stderr, status, 2, "edge-fra", "edge-iad", "edge-sin", "origin-us", "dns-ns1"); err != nil {
		t.Errorf("drain of nothing: %v", err)
	}
	stdout, stderr, status = call(t, "drain", "edge-moon", "--state", n.dir)
	if err := oneLine(stdout, stderr, status, 2, "edge-moon", "edge-fra"); err != nil {
		t.Errorf("drain of nobody: %v", err)
	}
	if _, _, status := call(t, "ready", "--state", n.dir); status != 0 {
		t.Errorf("ready: status %d", status)
	}
	if stdout, stderr, status := call(t, "drain", "edge-iad", "--state", n.dir); status != 0 || !strings.Contains(stdout, "edge-iad") {
		t.Errorf("drain: status %d, %q%q", status, stdout, stderr)
	}
	if !n.up.stderr.wait(endTime, "edge-iad ended (exit status 0)", 1) {
		t.Errorf("the drained node has not ended:\n%s", n.up.stderr)
	}
	stdout, stderr, status = call(t, "ready", "--state", n.dir)
	if err := oneLine(stdout, stderr, status, 1, "edge-iad", "down"); err != nil {
		t.Errorf("ready with a node drained: %v", err)
	}
	if out, _, status := call(t, "status", "--state", n.dir, "-o", "json"); status != 0 || strings.Count(out, `"down"`) != 1 {
		t.Errorf("status with a node drained: status %d\n%s", status, out)
	}
}

// edgeKeys are what the contract's status has of an edge that has answered requests.
var edgeKeys = []string{
	"node", "role", "pop", "pid", "version", "state", "revision", "refused", "load", "requests_total", "hits_total", "bytes_total",
	"connections", "first_byte_ms", "origins", "certificates", "problems",
}

// missing lists the keys that an object does not have.
func missing(object map[string]any, keys []string) (none []string) {
	for _, k := range keys {
		if _, ok := object[k]; !ok {
			none = append(none, k)
		}
	}
	return none
}

// find returns a node of a status document.
func find(nodes []map[string]any, node string) map[string]any {
	for _, o := range nodes {
		if o["node"] == node {
			return o
		}
	}
	return nil
}

// strangeLabels lists labels of our metrics that are not from the closed set, and
// samples without the node's name.
func strangeLabels(c counters, node string) (wrong []string) {
	for name, family := range c {
		if !strings.HasPrefix(name, "hither_") {
			continue
		}
		for _, m := range family.GetMetric() {
			named := false
			for _, l := range m.GetLabel() {
				named = named || l.GetName() == "node" && l.GetValue() == node
				if !slices.Contains(labels, l.GetName()) {
					wrong = append(wrong, fmt.Sprintf("%s has a label %s", name, l.GetName()))
				}
			}
			if !named {
				wrong = append(wrong, fmt.Sprintf("%s does not say that it is %s's", name, node))
			}
		}
	}
	return wrong
}

// logLines reads an access log in JSON.
func logLines(path string) (entries []map[string]any, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		var e map[string]any
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			return entries, fmt.Errorf("%s: %w in %q", path, err, in.Text())
		}
		entries = append(entries, e)
	}
	return entries, nil
}
