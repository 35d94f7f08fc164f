package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/ops"
)

// A far side is the fleet that a node under test belongs to, with gateways of the origin us.
type farSide struct {
	t    *testing.T
	edge *fleet.Identity
	us   *fleet.Identity
}

func newFarSide(t *testing.T) *farSide {
	f := &farSide{t: t}
	dir := t.TempDir()
	network, file := f.network(nil, "127.0.0.1:9")
	if _, err := fleet.Init(network, file, dir); err != nil {
		t.Fatal(err)
	}
	identity := func(node string) *fleet.Identity {
		id, err := fleet.LoadIdentity(filepath.Join(dir, "nodes", node, "identity"))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	f.edge, f.us = identity("edge-fra"), identity("origin-us")
	return f
}

// network is a file with one edge and one origin that has these limits and gateway addresses.
func (f *farSide) network(limits map[string]any, addresses ...string) (*deploy.Network, []byte) {
	f.t.Helper()
	type m = map[string]any
	if limits == nil {
		limits = m{}
	}
	file, err := json.Marshal(m{
		"version": 1, "name": "test", "edge": m{"listen": m{"https": 8443, "metrics": 0}, "limits": m{"drain": "10s"}},
		"pops":    []m{{"name": "fra", "place": m{"lat": 50, "lon": 8}, "addresses": []string{"127.66.1.1"}}},
		"origins": []m{{"name": "us", "gateway": m{"addresses": addresses}, "app": m{"static": m{}}, "limits": limits, "pool": m{"connections": 1}}},
		"sites":   []m{{"name": "www", "hosts": []string{"www.hither.test", "*.hither.test"}, "origin": "us"}, {"name": "shop", "hosts": []string{"shop.test"}, "origin": "us"}},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	n, err := deploy.Parse("test", file)
	if err != nil {
		f.t.Fatal(err)
	}
	return n, file
}

// A far gateway answers with its name, after gate where that is not nil.
type farGateway struct {
	addr   string
	gate   chan struct{}
	inside atomic.Int64
}

func (f *farSide) gateway(name string, gate chan struct{}) *farGateway {
	f.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	g := &farGateway{addr: ln.Addr().String(), gate: gate}
	conf := f.us.ServerTLS(fleet.RoleEdge)
	conf.NextProtos = []string{"h2"}
	s := &http.Server{TLSConfig: conf, ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.inside.Add(1)
		defer g.inside.Add(-1)
		if g.gate != nil {
			<-g.gate
		}
		io.WriteString(w, name)
	})}
	done := make(chan struct{})
	go func() {
		s.ServeTLS(ln, "", "")
		close(done)
	}()
	f.t.Cleanup(func() {
		s.Close()
		<-done
	})
	return g
}

// node is a node that has only the way to its origins.
func (f *farSide) node(network *deploy.Network) *Node {
	f.t.Helper()
	n := &Node{o: Options{Name: "fra", Identity: f.edge, Network: network, Log: slog.New(slog.DiscardHandler), Now: time.Now}, edge: network.EdgeOf("fra"), network: network, revision: 1}
	var err error
	if n.origins, err = n.makeOrigins(network, nil); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		for _, x := range n.origins {
			x.close()
		}
	})
	return n
}

// change is a reload's part for origins.
func (f *farSide) change(n *Node, network *deploy.Network) *origin {
	f.t.Helper()
	next, err := n.makeOrigins(network, n.origins)
	if err != nil {
		f.t.Fatal(err)
	}
	n.retire(n.origins, next)
	n.network, n.origins = network, next
	return next["us"]
}

// ask sends a request, and returns the content of the answer.
func ask(ctx context.Context, x *origin) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://www.hither.test/", nil)
	if err != nil {
		return "", err
	}
	resp, err := x.up.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func expectFrom(t *testing.T, x *origin, want string) {
	t.Helper()
	if got, err := ask(t.Context(), x); got != want || err != nil {
		t.Fatalf("%q, %v; want an answer of %s", got, err, want)
	}
}

// until waits for what another goroutine brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// What a file changes of limits alone changes them alone.
func TestReloadLimits(t *testing.T) {
	f := newFarSide(t)
	one := f.gateway("one", nil)
	network, _ := f.network(nil, one.addr)
	n := f.node(network)
	was := n.origins["us"]
	expectFrom(t, was, "one")
	if l := was.up.Status().Limit; !l.Adaptive || l.Limit != 1000 || l.WaitingMost != 100 {
		t.Errorf("one connection to one address: %+v", l)
	}
	network, _ = f.network(map[string]any{"concurrent": 7, "waiting": 3}, one.addr)
	x := f.change(n, network)
	if x != was {
		t.Error("the way to the origin was made anew")
	}
	expectFrom(t, x, "one")
	if l := x.up.Status().Limit; l.Adaptive || l.Limit != 7 || l.WaitingMost != 3 {
		t.Errorf("concurrent 7, waiting 3: %+v", l)
	}
	if s := x.status(); s.HandshakesTotal != 1 || s.RequestsTotal != 2 {
		t.Errorf("%d handshakes and %d requests, want 1 and 2", s.HandshakesTotal, s.RequestsTotal)
	}
	network, _ = f.network(map[string]any{"first_byte": "3s"}, one.addr)
	if x = f.change(n, network); x == was {
		t.Error("connections have the old times")
	}
	expectFrom(t, x, "one")
}

// A gateway at another address gets new connections; what the old ones carry is finished, and stays counted.
func TestReloadAddresses(t *testing.T) {
	f := newFarSide(t)
	one, two := f.gateway("one", make(chan struct{})), f.gateway("two", nil)
	network, _ := f.network(nil, one.addr)
	n := f.node(network)
	x := n.origins["us"]
	told := make(chan string, 1)
	go func() {
		got, err := ask(t.Context(), x)
		told <- fmt.Sprint(got, err)
	}()
	until(t, "the request is at the first gateway", func() bool { return one.inside.Load() == 1 })

	network, _ = f.network(nil, one.addr, two.addr)
	if l := f.change(n, network).up.Status().Limit.Limit; l != 1000 {
		t.Errorf("the limit went to %d by itself", l) // the ceiling is 2,000: it may go there
	}
	network, _ = f.network(nil, two.addr)
	if f.change(n, network) != x {
		t.Error("the way to the origin was made anew")
	}
	expectFrom(t, x, "two")
	close(one.gate)
	if got := <-told; got != "one<nil>" {
		t.Errorf("the request at the old address: %s", got)
	}
	until(t, "the old connections are gone", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.lines) == 1
	})
	if s := x.status(); s.RequestsTotal != 2 || s.HandshakesTotal < 2 {
		t.Errorf("%d requests over %d handshakes, want 2 over at least 2", s.RequestsTotal, s.HandshakesTotal)
	}
}

// A file that cannot be taken changes nothing.
func TestReloadUndone(t *testing.T) {
	f := newFarSide(t)
	one, two := f.gateway("one", nil), f.gateway("two", nil)
	network, _ := f.network(nil, one.addr)
	n := f.node(network)
	x := n.origins["us"]
	expectFrom(t, x, "one")
	other, _ := f.network(map[string]any{"concurrent": 7}, two.addr)
	ways := gatewaysOf(other, other.PoP(n.o.Name), other.Origin("us"))
	undo, err := x.change(other.Origin("us"), ways)
	if err != nil {
		t.Fatal(err)
	}
	expectFrom(t, x, "two")
	undo()
	expectFrom(t, x, "one")
	if l := x.up.Status().Limit; !l.Adaptive {
		t.Errorf("the limit is still %+v", l)
	}
	x.pool.Protocol = "carrier pigeon" // no connection of which can be made
	if _, err := x.change(other.Origin("us"), ways); err == nil || !strings.Contains(err.Error(), "us") {
		t.Errorf("a protocol that is none: %v", err)
	}
	expectFrom(t, x, "one")
	// Of two origins one can be changed, and the other cannot be had.
	x.pool.Protocol = other.Origins[0].Pool.Protocol
	bad := *other
	bad.Origins = append(slices.Clone(other.Origins), other.Origins[0])
	bad.Sites = slices.Clone(other.Sites)
	bad.Origins[1].Name, bad.Sites[1].Origin, bad.Origins[1].Pool.Protocol = "eu", "eu", "carrier pigeon"
	if _, err := n.makeOrigins(&bad, n.origins); err == nil || !strings.Contains(err.Error(), "eu") {
		t.Errorf("an origin with a protocol that is none: %v", err)
	}
	expectFrom(t, x, "one")
}

// A gateway that is as it was keeps its connections, whatever becomes of the others.
func TestInstances(t *testing.T) {
	f := newFarSide(t)
	x := &origin{id: f.edge}
	x.pool.Protocol = "h3"
	list := []gateway{{name: "a", addresses: []string{"x:1"}, weight: 1}, {name: "b", addresses: []string{"y:1"}, weight: 1}, {name: "edge/iad", role: fleet.RoleEdge, node: "iad", addresses: []string{"z:1"}}}
	had := x.instancesOf(list, nil, nil)
	next := slices.Clone(list)
	next[0].weight, next[0].group, next[1].addresses = 5, 1, []string{"y:1", "y:2"}
	got := x.instancesOf(next, list, had)
	if got[0].TLS != had[0].TLS || got[0].Weight != 5 || got[0].Group != 1 || got[1].TLS == had[1].TLS || had[0].TLS == had[1].TLS {
		t.Errorf("%+v after %+v", got, had)
	}
	// A shield listens for other PoPs over TCP alone, whatever gateways are reached by.
	if got[0].Protocol != "h3" || got[2].Protocol != "h2" {
		t.Errorf("a gateway by %s, a shield by %s", got[0].Protocol, got[2].Protocol)
	}
}

// The limit's words reach the proxy: 503 with a time to come again.
func TestOriginFull(t *testing.T) {
	f := newFarSide(t)
	one := f.gateway("one", make(chan struct{}))
	network, _ := f.network(map[string]any{"concurrent": 1, "waiting": 0}, one.addr)
	n := f.node(network)
	x := n.origins["us"]
	told := make(chan error, 1)
	go func() {
		_, err := ask(t.Context(), x)
		told <- err
	}()
	until(t, "the request is at the gateway", func() bool { return one.inside.Load() == 1 })
	_, err := ask(t.Context(), x)
	var full interface {
		Status() int
		RetryAfter() time.Duration
	}
	if !errors.As(err, &full) || full.Status() != 503 || full.RetryAfter() < time.Second {
		t.Errorf("no place: %v", err)
	}
	x2, err := n.ExplainOrigin("www")
	if err != nil || len(x2.Tiers) != 1 || !strings.Contains(x2.Tiers[0].Upstream.Sentence, "refused") || x2.Tiers[0].Upstream.Limit.In != 1 {
		t.Errorf("explained: %+v, %v", x2, err)
	}
	close(one.gate)
	if err := <-told; err != nil {
		t.Error(err)
	}
	count := collected(t, n)
	for name, want := range map[string]float64{
		"hither_limit_concurrent{origin=us}": 1, "hither_limit_in_flight{origin=us}": 0, "hither_limit_waiting{origin=us}": 0,
		"hither_limit_refused_total{origin=us,reason=full}": 1, "hither_limit_refused_total{origin=us,reason=background}": 0,
		"hither_balance_picks_total{instance=us,origin=us}": 1, "hither_pool_requests_total{origin=us}": 1,
		"hither_balance_retries_refused_total{origin=us}": 0, "hither_balance_ejections_total{origin=us,reason=consecutive}": 0,
		"hither_balance_retries_total{origin=us,reason=goaway}": 0, "hither_pool_retries_total{origin=us,reason=goaway}": 0,
		"hither_pool_errors_total{origin=us,reason=origin-reset}": 0, "hither_pool_errors_total{origin=us,reason=client-slow}": 0,
	} {
		if got, ok := count[name]; !ok || got != want {
			t.Errorf("%s is %v (%v), want %v", name, got, ok, want)
		}
	}
}

// collected are the metrics of the origins, as name{label=value,…}.
func collected(t *testing.T, n *Node) map[string]float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(originCollector{n})
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			out[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = value(m)
		}
	}
	return out
}

func value(m *dto.Metric) float64 { return m.GetCounter().GetValue() + m.GetGauge().GetValue() }

// A site that is none is told with those that there are.
func TestExplainOrigin(t *testing.T) {
	f := newFarSide(t)
	network, _ := f.network(nil, f.gateway("one", nil).addr)
	n := f.node(network)
	for name, site := range map[string]string{"www": "www", "shop.test": "shop", "WWW.hither.test": "www", "shop": "shop"} {
		x, err := n.ExplainOrigin(name)
		if err != nil || x.Site != site || x.Origin != "us" || x.Tiers[0].Node != "edge-fra" || x.Tiers[0].Upstream.Next.Instance != "us" || len(x.Tiers[0].Upstream.Instances) != 1 {
			t.Errorf("%s: %+v, %v", name, x, err)
		}
	}
	_, err := n.ExplainOrigin("nobody")
	var refusal *ops.Refusal
	if !errors.As(err, &refusal) || refusal.Status != http.StatusNotFound || !strings.Contains(err.Error(), `serves no site "nobody"; it has www, shop`) {
		t.Errorf("nobody: %v", err)
	}
	text, err := ops.MarshalDocument("explain-origin", must(n.ExplainOrigin("www")))
	if err != nil {
		t.Fatal(err)
	}
	for _, member := range []string{
		`{"schema":"hither/explain-origin/1","site":"www","origin":"us","tiers":[{"tier":"edge","node":"edge-fra","revision":1,`,
		`"sentence":"`, `"limit":{"adaptive":true,"limit":1000,`, `"senders":{"us":{`, `"next":{"instance":"us","why":"only"`,
	} {
		if !strings.Contains(string(text), member) {
			t.Errorf("no %s in %s", member, text)
		}
	}
}

func must(x OriginExplanation, err error) OriginExplanation {
	if err != nil {
		panic(err)
	}
	return x
}
