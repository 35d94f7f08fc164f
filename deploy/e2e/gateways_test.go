//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hither/deploy/ops"
)

// gatewaysIn is the network file's line for two further gateways of net: one beside the first as a sidecar of an application of
// its own, and one for when both are down.
func gatewaysIn(net, sidecar string) string {
	return fmt.Sprintf(`gateways: [{name: us-2, addresses: ["%s.0.2:9443"], app: {instances: [{url: %q}]}}, {name: far, group: 1, addresses: ["%[1]s.0.3:9443"]}] #`, net, sidecar)
}

// busy are clients that ask for what is not stored, without a pause, and want every answer. Answers are short: whole in one
// piece, which is asked for again where it is cut.
type busy struct {
	clients  int
	lost     ledger
	answered atomic.Int64
	stop     context.CancelFunc
	wg       sync.WaitGroup
}

// keepAsking lets so many clients of each protocol ask at PoPs by turns.
func (n *network) keepAsking(t *testing.T, each int, pops ...string) *busy {
	t.Helper()
	b := &busy{clients: each * len(protocols)}
	ctx, cancel := context.WithCancel(t.Context())
	b.stop = cancel
	for i, from := range n.sources(each * len(protocols)) {
		v := n.visitor(t, visit{proto: protocols[i%len(protocols)], pops: pops[i%len(pops) : i%len(pops)+1], from: from})
		b.wg.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				path := fmt.Sprintf("/short/%s/%d/%d", pops[i%len(pops)], i, k)
				got, err := v.get(context.WithoutCancel(ctx), path)
				if err := shortFault(path, got, err); err != nil {
					b.lost.add("%s %v", v.proto, err)
					continue
				}
				b.answered.Add(1)
			}
		})
	}
	t.Cleanup(b.end)
	return b
}

// shortFault says what is wrong with an answer to /short/, nil if nothing is.
func shortFault(path string, got answer, err error) error {
	if err == nil && got.status == http.StatusOK && string(got.body) == path {
		return nil
	}
	return fmt.Errorf("%s: status %d with %d bytes, %v, %v", path, got.status, len(got.body), err, got.header)
}

// further waits for so many more answers.
func (b *busy) further(t *testing.T, answers int64) {
	t.Helper()
	from := b.answered.Load()
	if !until(crowdTime, func() bool { return b.answered.Load() >= from+answers }) {
		t.Errorf("only %d of %d more answers came", b.answered.Load()-from, answers)
	}
}

func (b *busy) end() {
	b.stop()
	b.wg.Wait()
}

// atMost fails the test if more answers were lost by a kill than a third of those under way. An answer whose header came, and whose
// content would have come more than a few milliseconds later, as on a machine that has much to do, is handed on, and nobody
// can make it good when its node is killed in between. Where nobody asks again, a kill costs all that is under way, and more.
func (b *busy) atMost(t *testing.T) {
	t.Helper()
	t.Logf("%d answers, %d lost", b.answered.Load(), b.lost.lost())
	if b.tooMany() {
		b.lost.report(t)
	}
}

func (b *busy) tooMany() bool { return b.lost.lost() > b.clients/3 }

// shortly lets the application answer /short/ with the path alone.
func shortly(a *app) {
	a.mux.HandleFunc("/short/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		io.WriteString(w, r.URL.Path)
	})
}

// explained are an origin's instances as an edge tells of them.
func (n *network) explained(t *testing.T, node string) (ids []string) {
	t.Helper()
	states, err := n.gatewaysOf(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(states))
}

// gatewaysOf are the states of an origin's instances as an edge tells of them.
func (n *network) gatewaysOf(ctx context.Context, node string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var doc struct {
		Tiers []struct {
			Upstream struct {
				Instances []struct{ ID, State string } `json:"instances"`
			} `json:"upstream"`
		} `json:"tiers"`
	}
	err := ops.Dial(n.state(node)).Get(ctx, "/v1/explain/origin?site=www", &doc)
	states := map[string]string{}
	for _, tier := range doc.Tiers {
		for _, i := range tier.Upstream.Instances {
			states[i.ID] = i.State
		}
	}
	return states, err
}

// TestGateways has three gateways in front of one origin: the near two share the work, one after the other is killed,
// started again and drained under load, and the far one takes over where both are down.
func TestGateways(t *testing.T) {
	scenario(t, "gateways")
	a := newApp(t, "127.67")
	shortly(a)
	var beside atomic.Int64
	sidecar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		beside.Add(1)
		a.counted().ServeHTTP(w, r)
	}))
	t.Cleanup(sidecar.Close)
	n := run(t, setup{net: "127.67", origin: a.url, edit: []string{"# gateways: [", gatewaysIn("127.67", sidecar.URL)}})

	t.Log("who is there")
	for _, node := range []string{"origin-us", "origin-us-2", "origin-far"} {
		if s := n.status(t, node); s.State != ops.Ready {
			t.Errorf("%s is %s", node, s.State)
		}
	}
	if ids := n.explained(t, "edge-fra"); !slices.Equal(ids, []string{"far", "us", "us-2"}) {
		t.Errorf("the edge tells of the gateways %v", ids)
	}

	t.Log("both near ones are used, and one leads to its own application")
	picks := map[string]*meter{}
	for _, name := range []string{"us", "us-2", "far"} {
		picks[name] = n.meter(t, "edge-fra", "hither_balance_picks_total", "instance", name)
	}
	app := a.meter(t)
	v := n.via(t, "h2", "fra")
	const requests = 300
	each(requests, 10, func(i int) {
		path := fmt.Sprintf("/once/first/%d", i)
		if got, err := v.get(t.Context(), path); err != nil || got.status != http.StatusOK || !bytes.Equal(got.body, content(path)) {
			t.Errorf("%s: status %d, %v", path, got.status, err)
		}
	})
	app.expect(t, requests)
	us, us2 := picks["us"].grown(t), picks["us-2"].grown(t)
	t.Logf("us had %d requests, us-2 %d", us, us2)
	if us+us2 != requests || us < requests/5 || us2 < requests/5 || beside.Load() != us2 {
		t.Errorf("us was picked %d times, us-2 %d, whose application saw %d, of %d", us, us2, beside.Load(), requests)
	}
	picks["far"].expect(t, 0)

	load := n.keepAsking(t, 3, "fra", "iad", "sin")
	load.further(t, 300)

	t.Log("taken out of the file, and put back")
	full := n.file(t)
	n.put(t, edited(t, full, gatewaysIn("127.67", sidecar.URL), "#"))
	n.reload(t, "network file read again")
	if !until(30*time.Second, func() bool { return slices.Equal(n.explained(t, "edge-fra"), []string{"us"}) }) {
		t.Errorf("the edge still tells of the gateways %v", n.explained(t, "edge-fra"))
	}
	load.further(t, 300)
	n.put(t, full)
	n.reload(t, "network file read again")
	served := beside.Load()
	if !until(30*time.Second, func() bool { return beside.Load() > served+20 }) {
		t.Errorf("us-2 is in the file again and gets no request; the edge tells of %v", n.explained(t, "edge-fra"))
	}

	t.Log("killed and started again")
	n.signal(t, "origin-us-2", syscall.SIGKILL)
	load.further(t, 2000)
	before := n.meter(t, "edge-fra", "hither_balance_picks_total", "instance", "us-2")
	again := start(t, program, "origin", "--name", "us-2", "--state", n.state("origin-us-2"), "--network", n.path())
	served = beside.Load()
	if !until(30*time.Second, func() bool { return beside.Load() > served+20 && before.grown(t) > 0 }) {
		t.Errorf("us-2 is back and gets no request; it wrote:\n%s", again.stderr)
	}
	load.further(t, 300)
	load.end()
	load.atMost(t)

	t.Log("drained")
	c := n.crowdOf(t, a, 4, "fra")
	c.begin(t)
	c.further(t, 10)
	again.cmd.Process.Signal(syscall.SIGTERM)
	if s := again.status(t); s != 0 {
		t.Errorf("us-2 ended with status %d:\n%s", s, again.stderr)
	}
	c.further(t, 10)
	c.end()
	c.report(t, 0)

	t.Log("the last near one killed")
	far := n.meter(t, "edge-fra", "hither_balance_picks_total", "instance", "far")
	load = n.keepAsking(t, 3, "fra")
	load.further(t, 300)
	n.signal(t, "origin-us", syscall.SIGKILL)
	load.further(t, 1000)
	load.end()
	load.atMost(t)
	if far.grown(t) < 300 {
		t.Errorf("the far gateway was picked %d times for at least 300 requests", far.grown(t))
	}
	s := n.status(t, "edge-fra")
	if len(s.Origins) != 1 || !s.Origins[0].Up || len(s.Problems) != 2 {
		t.Errorf("the edge does not say that its origin is up and two gateways are not: %+v", s)
	}
}
