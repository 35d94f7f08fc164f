package node

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/ops"
)

// hello answers for the origin.
var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=3600")
	io.WriteString(w, "hello")
})

// told says to a node that no client is sent to it any more.
func (p *pops) told(name string) ops.NodeStatus {
	p.t.Helper()
	var s ops.Status
	if err := ops.Dial(filepath.Join(p.dir, "nodes", "edge-"+name)).Post(p.t.Context(), "/v1/drain", DrainCall{Told: true}, &s); err != nil {
		p.t.Fatal(err)
	}
	return s.Nodes[0]
}

// wait waits for an edge to have ended.
func (e *ending) wait(t *testing.T) {
	t.Helper()
	select {
	case <-e.done:
		if e.err != nil {
			t.Errorf("it ended with %v", e.err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it has not ended")
	}
}

// An edge that was told to stop says so to all that ask, and goes on taking clients until they are sent elsewhere; then it lets go
// of them, and ends.
func TestTakeLeave(t *testing.T) {
	p := newPops(t, hello, nil)
	stays := p.client("fra")
	if resp, body := p.get(stays, "GET", "/"); body != "hello" || resp.Header.Get("Alt-Svc") == "clear" {
		t.Fatalf("before: %q, Alt-Svc %q", body, resp.Header.Get("Alt-Svc"))
	}
	p.ends["fra"].stop(errSignal)
	<-p.goes["fra"] // from then on whoever hears of its state hears that
	if s := p.nodes["fra"].Status().Nodes[0].State; s != ops.Draining {
		t.Errorf("it says that it goes, and is %v", s)
	}
	for what, c := range map[string]*http.Client{"who was there": stays, "a new client": p.client("fra")} {
		if resp, body := p.get(c, "GET", "/"); body != "hello" || resp.Header.Get("Alt-Svc") != "clear" {
			t.Errorf("%s: %q, Alt-Svc %q", what, body, resp.Header.Get("Alt-Svc"))
		}
		if resp, _ := p.get(c, "OPTIONS", "/", "Max-Forwards", "0"); resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s is answered %d when it asks for the node", what, resp.StatusCode)
		}
	}
	select {
	case <-p.ends["fra"].done:
		t.Fatal("it ended while clients could still be sent to it")
	default:
	}
	if s := p.told("fra"); s.State != ops.Draining {
		t.Errorf("it is %v", s.State)
	}
	p.ends["fra"].wait(t)
	if len(p.goes["fra"]) > 0 {
		t.Error("it says more than once that it goes")
	}
}

// When the whole network ends nobody is waited for, also where a node had been told to go by itself.
func TestNoLeave(t *testing.T) {
	p := newPops(t, hello, nil)
	p.ends["fra"].stop(nil)
	p.ends["fra"].wait(t)

	var s ops.Status
	if err := ops.Dial(filepath.Join(p.dir, "nodes", "edge-iad")).Post(t.Context(), "/v1/drain", nil, &s); err != nil {
		t.Fatal(err)
	}
	if _, body := p.get(p.client("iad"), "GET", "/"); body != "hello" {
		t.Errorf("%q", body)
	}
	p.ends["iad"].stop(nil)
	p.ends["iad"].wait(t)
}

// How long clients may still come follows from what DNS servers and resolvers do.
func TestNotice(t *testing.T) {
	type m = map[string]any
	for name, c := range map[string]struct {
		change func(file m)
		want   time.Duration
	}{
		"probes and the TTL":         {nil, 2200*time.Millisecond + time.Second + 30*time.Minute},
		"at most limits.notice":      {func(f m) { f["edge"].(m)["limits"] = m{"notice": "5s"} }, 5 * time.Second},
		"none":                       {func(f m) { f["edge"].(m)["limits"] = m{"notice": "0s"} }, 0},
		"nobody is sent here by DNS": {func(f m) { delete(f, "zones") }, 0},
		"by default": {func(f m) {
			delete(f["edge"].(m), "limits")
			f["zones"].([]m)[0]["steered"] = []m{{"name": "www", "site": "www"}}
		}, 33200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			network := networkFile(t, c.change)
			n := &Node{o: Options{Name: "fra"}, network: network, edge: network.EdgeOf("fra")}
			if got := n.notice(); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
			ctx, stop := context.WithCancelCause(context.Background())
			if got := n.farewell(ctx); got != c.want {
				t.Errorf("told by an operator: %v", got)
			}
			stop(errSignal)
			if got := n.farewell(ctx); got != c.want {
				t.Errorf("told by a signal: %v", got)
			}
			ctx, end := context.WithCancel(context.Background())
			end()
			if got := n.farewell(ctx); got != 0 {
				t.Errorf("the network ends: %v", got)
			}
		})
	}
}

func networkFile(t *testing.T, change func(map[string]any)) *deploy.Network {
	t.Helper()
	network, _ := (&pops{t: t, ports: map[string]int{"fra": 8443, "iad": 8444, "inner": 9444}}).file("127.0.0.1:9", change)
	return network
}
