//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// each runs do for 0 to count-1, some at once.
func each(count, atOnce int, do func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	wg.Wait()
}

// TestWarm sends a thousand requests to the origin through one edge and counts TLS
// handshakes on the way, over each protocol between the two.
func TestWarm(t *testing.T) {
	scenario(t, "warm")
	a := newApp(t, "127.22")
	for _, far := range []string{"h2", "h3"} {
		t.Run(far, func(t *testing.T) { warm(t, a, far) })
	}
}

func warm(t *testing.T, a *app, far string) {
	const requests = 1000
	n := run(t, setup{net: "127.22", origin: a.url, edit: []string{"pool: {protocol: h2", "pool: {protocol: " + far}})
	handshakes := n.meter(t, "edge-fra", "hither_pool_handshakes_total")
	sent := n.meter(t, "edge-fra", "hither_pool_requests_total")
	origin := n.meter(t, "origin-us", "hither_origin_requests_total")
	app := a.meter(t)
	for _, proto := range protocols {
		v := n.via(t, proto, "fra")
		bypassed := n.meter(t, "edge-fra", "hither_edge_requests_total", "proto", proto)
		each(requests, 10, func(i int) {
			path := fmt.Sprintf("/once/%s/%s/%d", far, proto, i)
			if i%2 == 1 {
				path = fmt.Sprintf("/keep/%s/%s?n=%d", far, proto, i) // storable, but nobody asked for it before
			}
			got, err := v.get(t.Context(), path)
			if err != nil || got.status != http.StatusOK || !bytes.Equal(got.body, content(path)) {
				t.Errorf("%s %s: status %d, %d bytes, %v", proto, path, got.status, len(got.body), err)
			}
		})
		bypassed.expect(t, requests)
		handshakes.expect(t, 0)
		sent.expect(t, requests)
		origin.expect(t, requests)
		app.expect(t, requests)
	}
}

// outcomes counts answers to requests while the origin is away.
type outcomes struct {
	mu    sync.Mutex
	count map[string]int
	wrong []string
}

func newOutcomes() *outcomes { return &outcomes{count: map[string]int{}} }

// note takes the outcome of a request for a path of the application. 200 with the right
// content, 502 and 504 are defined answers; anything else is wrong, a hang above all.
func (o *outcomes) note(path string, a answer, err error) (word string) {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		word = "hang"
	case err != nil && a.status != 0:
		word = "cut" // the origin died in the middle of its answer: what came must not look whole
	case err != nil:
		word = "no answer"
	case a.status == http.StatusOK && bytes.Equal(a.body, content(path)):
		word = "200"
	case a.status == http.StatusBadGateway || a.status == http.StatusGatewayTimeout:
		word = fmt.Sprint(a.status)
	default:
		word = fmt.Sprintf("status %d with %d bytes", a.status, len(a.body))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count[word]++
	switch word {
	case "200", "502", "504", "cut":
	default:
		o.wrong = append(o.wrong, fmt.Sprintf("%s: %s (%v)", path, word, err))
	}
	return word
}

// report fails the test with the first wrong outcomes.
func (o *outcomes) report(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	t.Log("answers:", o.count)
	for _, w := range o.wrong[:min(len(o.wrong), 5)] {
		t.Error(w)
	}
	if len(o.wrong) > 5 {
		t.Errorf("... %d wrong outcomes", len(o.wrong))
	}
}

// TestOriginKilled kills the gateway under load and starts it again by hand.
func TestOriginKilled(t *testing.T) {
	scenario(t, "origin-killed")
	a := newApp(t, "127.23")
	n := run(t, setup{net: "127.23", origin: a.url})
	visitors := make([]*visitor, 0, len(protocols))
	for _, proto := range protocols {
		v := n.via(t, proto, "fra")
		visitors = append(visitors, v)
		if got := v.must(t, "/brief/page"); got.status != http.StatusOK {
			t.Fatalf("%s: status %d before anything happened", proto, got.status)
		}
	}
	all := newOutcomes()
	load, stop := context.WithCancel(t.Context())
	defer stop()
	var under sync.WaitGroup
	for i := range 12 {
		v := visitors[i%len(visitors)]
		under.Go(func() {
			for k := 0; load.Err() == nil; k++ {
				path := fmt.Sprintf("/once/%d/%d", i, k)
				got, err := v.get(context.WithoutCancel(load), path)
				all.note(path, got, err)
			}
		})
	}
	handshakes := n.meter(t, "edge-fra", "hither_pool_handshakes_total")
	n.signal(t, "origin-us", syscall.SIGKILL)
	if !n.up.stderr.wait(10*time.Second, "origin-us ended (signal: killed)", 1) {
		t.Errorf("up does not say that the gateway ended:\n%s", n.up.stderr)
	}
	if pid := n.upFile(t).Nodes[0].PID; !until(endTime, func() bool { return n.upFile(t).Nodes[0].PID == 0 }) {
		t.Errorf("up.json still has process %d of the gateway", pid)
	}

	// While it is down: 502 for what is not stored, and the stored copy once it is stale.
	down := newOutcomes()
	each(200, 10, func(i int) {
		path := fmt.Sprintf("/once/down/%d", i)
		got, err := visitors[i%len(visitors)].get(t.Context(), path)
		if word := down.note(path, got, err); word != "502" && word != "504" {
			t.Errorf("%s: %s although the gateway is dead", path, word)
		}
		if i == 0 && got.header.Get("Proxy-Status") == "" {
			t.Error("a 502 without Proxy-Status")
		}
	})
	down.report(t)
	var stale answer
	if !until(10*time.Second, func() bool {
		stale = visitors[0].must(t, "/brief/page")
		return stale.status != http.StatusOK || !strings.Contains(stale.verdict(), "hit; ttl=") || strings.Contains(stale.verdict(), "ttl=-")
	}) || stale.status != http.StatusOK || !bytes.Equal(stale.body, content("/brief/page")) {
		t.Errorf("what is stored and stale: status %d, %d bytes, Cache-Status: %s", stale.status, len(stale.body), stale.verdict())
	}
	t.Logf("stale: Cache-Status: %s", stale.verdict())
	if s := n.status(t, "edge-fra"); len(s.Origins) != 1 || s.Origins[0].Up || len(s.Problems) == 0 {
		t.Errorf("the edge's status does not say that its origin is down: %+v", s)
	}

	gateway := start(t, program, "origin", "--name", "us", "--state", n.state("origin-us"), "--network", n.path())
	var back answer
	if !until(30*time.Second, func() bool {
		path := "/once/again"
		var err error
		back, err = visitors[1].get(t.Context(), path)
		return all.note(path, back, err) == "200"
	}) {
		t.Errorf("the edge has not come back to its origin: status %d; the gateway wrote:\n%s", back.status, gateway.stderr)
	}
	stop()
	under.Wait()
	all.report(t)
	if m := handshakes.grown(t); m < 1 {
		t.Errorf("%d handshakes since the gateway died", m)
	}

	// Warm again: as many requests as you like on the connections there are now.
	until(10*time.Second, func() bool { return n.status(t, "edge-fra").Origins[0].Connections >= 2 })
	handshakes = n.meter(t, "edge-fra", "hither_pool_handshakes_total")
	each(300, 10, func(i int) {
		path := fmt.Sprintf("/once/warm/%d", i)
		if got, err := visitors[i%len(visitors)].get(t.Context(), path); err != nil || got.status != http.StatusOK {
			t.Errorf("%s: status %d, %v", path, got.status, err)
		}
	})
	handshakes.expect(t, 0)
	gateway.end(t)
	if s := gateway.status(t); s != 0 {
		t.Errorf("the gateway ended with status %d:\n%s", s, gateway.stderr)
	}
}

// TestRestart kills nodes of a network that was told to restart them.
func TestRestart(t *testing.T) {
	scenario(t, "restart")
	n := run(t, setup{net: "127.24", flags: []string{"--restart"}})
	for _, node := range []string{"origin-us", "edge-fra"} {
		before := n.pid(t, node)
		n.signal(t, node, syscall.SIGKILL)
		if !n.up.stderr.wait(20*time.Second, node+" started again", 1) {
			t.Fatalf("%s was not started again:\n%s", node, n.up.stderr)
		}
		if !until(endTime, func() bool { return n.pid(t, node) != before }) {
			t.Errorf("up.json still has the killed process of %s", node)
		}
		ready := func() bool {
			_, _, status := call(t, "ready", "--state", n.dir)
			return status == 0
		}
		if !until(20*time.Second, ready) {
			t.Fatalf("not ready again after %s was killed; %s", node, filepath.Join(n.state(node), "node.log"))
		}
	}
	if got := n.via(t, "h3", "fra").must(t, "/"); got.status != http.StatusOK {
		t.Errorf("status %d after the restarts", got.status)
	}
}
