//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	identity "hither/deploy/fleet"
	"hither/deploy/ops"
)

// shielded are the edits by which iad becomes the shield of the network's origin.
var shielded = []string{"listen: {https: 8443, http: 8080, metrics: 9180}", "listen: {https: 8443, http: 8080, metrics: 9180, inner: 9444}", "# shield: iad", "shield: iad #"}

// inner is where a PoP listens for the others.
func (n *network) inner(pop string) string { return n.at(pops[pop], 9444) }

// TestShield has three PoPs fetch from one origin through one of them: what the origin sees is counted.
func TestShield(t *testing.T) {
	scenario(t, "shield")
	a := newApp(t, "127.67")
	shortly(a)
	var version atomic.Int64
	a.mux.HandleFunc("/tagged/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Set("Surrogate-Key", "news")
		fmt.Fprint(w, version.Load())
	})
	n := run(t, setup{net: "127.67", origin: a.url, edit: append(shielded, soonForgotten...)})
	if s := n.status(t, "edge-iad"); !slices.Equal(s.ShieldOf, []string{"us"}) {
		t.Errorf("iad says that it is the shield of %v", s.ShieldOf)
	}
	n.wellBehind(t, "edge-fra", "edge-iad", "edge-sin")
	app := a.meter(t)
	through := n.meter(t, "edge-iad", "hither_edge_inner_total")

	t.Log("a cold object through every PoP, and what is not stored")
	for i, pop := range []string{"fra", "sin", "iad"} {
		got := n.via(t, "h2", pop).must(t, "/keep/cold")
		if got.status != http.StatusOK || !bytes.Equal(got.body, content("/keep/cold")) {
			t.Errorf("%s: status %d with %d bytes", pop, got.status, len(got.body))
		}
		want := []string{"iad; fwd=uri-miss; stored, fra; fwd=uri-miss; stored", "iad; hit; ttl=*, sin; fwd=uri-miss; stored", "iad; hit; ttl=*"}[i]
		if said := strings.Join(got.header.Values("Cache-Status"), ", "); !sameBut(said, want) {
			t.Errorf("%s: Cache-Status: %s, want %s", pop, said, want)
		}
	}
	app.expect(t, 1)
	through.expect(t, 2)
	for _, proto := range protocols {
		v := n.via(t, proto, "sin")
		v.must(t, "/once/"+proto)
		r, err := http.NewRequest(http.MethodPost, site+"/echo/"+proto, bytes.NewReader(content("/echo/x")))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := v.do(t.Context(), r); err != nil || got.status != http.StatusOK || !bytes.Equal(got.body, content("/echo/x")) {
			t.Errorf("%s: an upload: status %d with %d bytes, %v", proto, got.status, len(got.body), err)
		}
	}
	app.expect(t, 6)
	through.expect(t, 6)

	t.Log("many clients of both other PoPs, one cold object")
	shieldCollapses(t, n, a)
	t.Log("purges")
	shieldPurges(t, n, &version)
	t.Log("strangers")
	shieldRefuses(t, n, a)
	t.Log("circles")
	shieldLoops(t, n, a)
	t.Log("killed and started again")
	iad := shieldKilled(t, n)
	t.Log("drained")
	c := n.crowdOf(t, a, 4, "fra")
	c.begin(t)
	c.further(t, 10)
	iad.cmd.Process.Signal(syscall.SIGTERM)
	if s := iad.status(t); s != 0 {
		t.Errorf("iad ended with status %d:\n%s", s, iad.stderr)
	}
	c.further(t, 10)
	c.end()
	c.report(t, 0)
	t.Log("two shields of each other")
	shieldsOfEachOther(t, n, a)
}

// wellBehind waits until nodes have connections to all that they fetch from: until then they do without.
func (n *network) wellBehind(t *testing.T, nodes ...string) {
	t.Helper()
	for _, node := range nodes {
		if !until(30*time.Second, func() bool { return len(n.status(t, node).Problems) == 0 }) {
			t.Errorf("%s has not found what is behind it: %v", node, n.status(t, node).Problems)
		}
	}
}

// sameBut compares texts in which * stands for digits.
func sameBut(got, want string) bool {
	for part := range strings.SplitSeq(want, "*") {
		rest, ok := strings.CutPrefix(got, part)
		if !ok {
			return false
		}
		got = strings.TrimLeft(rest, "0123456789")
	}
	return got == ""
}

// shieldCollapses has clients of both other PoPs wait for one object: each reads its beginning before the application sends the
// rest, so all of them hang on the one request.
func shieldCollapses(t *testing.T, n *network, a *app) {
	const clients = 60
	text := content("/slowly")
	all := make(chan struct{})
	a.mux.HandleFunc("/slowly", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Write(text[:len(text)/2])
		http.NewResponseController(w).Flush()
		select {
		case <-all:
			w.Write(text[len(text)/2:])
		case <-r.Context().Done():
		}
	})
	app := a.meter(t)
	var began atomic.Int64
	var lost ledger
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range clients {
		v := n.via(t, protocols[i%len(protocols)], []string{"fra", "sin"}[i%2])
		wg.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, site+"/slowly", nil)
			if err != nil {
				lost.add("%v", err)
				return
			}
			resp, err := v.http.Do(r)
			if err != nil {
				lost.add("%v", err)
				return
			}
			defer resp.Body.Close()
			first := make([]byte, 100)
			if _, err := io.ReadFull(resp.Body, first); err != nil {
				lost.add("%v", err)
				return
			}
			began.Add(1)
			rest, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(append(first, rest...), text) {
				lost.add("%d bytes, %v", len(first)+len(rest), err)
			}
		})
	}
	if !until(30*time.Second, func() bool { return began.Load()+int64(lost.lost()) == clients }) {
		t.Errorf("%d of %d clients have a beginning", began.Load(), clients)
	}
	close(all)
	wg.Wait()
	lost.report(t)
	app.expect(t, 1)
}

// shieldPurges changes an object again and again, and tells the network to forget it, by tag and by URL in turn, while clients of
// all PoPs ask for it. What is asked for once the command has ended has the new content.
func shieldPurges(t *testing.T, n *network, version *atomic.Int64) {
	const rounds = 10
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	var stale ledger
	var asked, fresh atomic.Int64 // fresh is the oldest version that may be answered
	for _, pop := range []string{"fra", "iad", "sin"} {
		for _, proto := range protocols {
			v := n.via(t, proto, pop)
			wg.Go(func() {
				for ctx.Err() == nil {
					oldest := fresh.Load()
					got, err := v.get(context.WithoutCancel(ctx), "/tagged/1")
					var is int64
					if _, scan := fmt.Sscan(string(got.body), &is); err != nil || scan != nil || got.status != http.StatusOK || is < oldest || len(got.header.Values("Surrogate-Key")) > 0 {
						stale.add("%s over %s: version %q after a purge of those before %d: %d, %v, %v", pop, proto, got.body, oldest, got.status, err, got.header)
					}
					asked.Add(1)
				}
			})
		}
	}
	for i := range rounds {
		next := version.Add(1)
		args := []string{"purge", "--tag", "news", "--state", n.dir}
		if i%2 == 1 {
			args = []string{"purge", "--url", host + "/tagged/1", "--state", n.dir}
		}
		out, stderr, status := call(t, args...)
		if status != 0 || strings.Count(out, "done") != 3 {
			t.Errorf("purge: status %d: %s%s", status, out, stderr)
		}
		fresh.Store(next)
		before := asked.Load()
		until(crowdTime, func() bool { return asked.Load() >= before+60 })
	}
	stop()
	wg.Wait()
	t.Logf("%d answers over %d purges", asked.Load(), rounds)
	stale.report(t)
}

// dialInner is a connection to a PoP's listener for others, as the node whose identity is given.
func dialInner(t *testing.T, n *network, node, pop string) (*http.Client, error) {
	t.Helper()
	id, err := identity.LoadIdentity(filepath.Join(n.state(node), "identity"))
	if err != nil {
		t.Fatal(err)
	}
	conf := id.ClientTLS(identity.RoleEdge, pop)
	conf.NextProtos = []string{"http/1.1"}
	return innerClient(t, n, conf, pop)
}

func innerClient(t *testing.T, n *network, conf *tls.Config, pop string) (*http.Client, error) {
	t.Helper()
	c, err := tls.Dial("tcp", n.inner(pop), conf)
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(c, "OPTIONS * HTTP/1.1\r\nHost: "+host+"\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n")
	if err == nil {
		_, err = c.Read(make([]byte, 1)) // TLS 1.3: a refused certificate shows here
	}
	c.Close()
	if err != nil {
		return nil, err
	}
	tr := &http.Transport{TLSClientConfig: conf}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}, nil
}

// asPoP sends what another PoP would send.
func asPoP(t *testing.T, n *network, c *http.Client, pop, host, path string, fields ...string) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+n.inner(pop)+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	resp, err := c.Do(r)
	if err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return resp, err
}

// shieldRefuses shows that nobody but an edge of the network is answered there, and by no name but a site's.
func shieldRefuses(t *testing.T, n *network, a *app) {
	app := a.meter(t)
	if _, err := innerClient(t, n, &tls.Config{RootCAs: n.roots, ServerName: host}, "iad"); err == nil {
		t.Error("a client without an identity was answered")
	}
	for _, node := range []string{"origin-us", "dns-ns1"} {
		if _, err := dialInner(t, n, node, "iad"); err == nil {
			t.Errorf("%s was answered, which is no edge", node)
		}
	}
	c, err := dialInner(t, n, "edge-sin", "iad")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"other.test", "iad.edge.demo.hither.internal"} {
		if resp, err := asPoP(t, n, c, "iad", name, "/once/none"); err != nil || resp.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s: %v, %v; want 421", name, resp, err)
		}
	}
	app.expect(t, 0)
	resp, err := asPoP(t, n, c, "iad", host, "/once/stranger", "CDN-Loop", "hither-demo")
	if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Cache-Status"), "iad;") {
		t.Errorf("as a PoP: %v, %v", resp, err)
	}
	app.expect(t, 1)
}

// shieldLoops sends what has gone in a circle: an application that asks the network again, and a PoP that sends what came by two
// tiers already. Each is answered 502 and counted.
func shieldLoops(t *testing.T, n *network, a *app) {
	back := n.via(t, "h2", "sin")
	a.mux.HandleFunc("/circle", func(w http.ResponseWriter, r *http.Request) {
		again, err := http.NewRequestWithContext(r.Context(), http.MethodGet, site+"/circle", nil)
		if err != nil {
			t.Error(err)
			return
		}
		again.Header["Cdn-Loop"] = r.Header["Cdn-Loop"]
		got, err := back.do(r.Context(), again)
		if err != nil {
			t.Error(err)
			return
		}
		w.Header()["Proxy-Status"] = got.header["Proxy-Status"]
		w.WriteHeader(got.status)
	})
	app := a.meter(t)
	refused := n.meter(t, "edge-sin", "hither_edge_requests_total", "verdict", "refused", "code", "502")
	got := n.via(t, "h1", "iad").must(t, "/circle")
	if said := got.header.Get("Proxy-Status"); got.status != http.StatusBadGateway || !strings.Contains(said, "sin; error=proxy_loop_detected") {
		t.Errorf("a circle over the application: status %d, Proxy-Status: %s", got.status, said)
	}
	app.expect(t, 1)
	refused.expect(t, 1)

	refused = n.meter(t, "edge-iad", "hither_edge_requests_total", "verdict", "refused", "code", "502")
	c, err := dialInner(t, n, "edge-sin", "iad")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := asPoP(t, n, c, "iad", host, "/once/circle", "CDN-Loop", "hither-demo, hither-demo")
	if err != nil || resp.StatusCode != http.StatusBadGateway || resp.Header.Get("Proxy-Status") != "iad; error=proxy_loop_detected" {
		t.Errorf("a circle over two PoPs: %v, %v", resp, err)
	}
	app.expect(t, 0)
	refused.expect(t, 1)
}

// shieldsOfEachOther gives two PoPs files in which each names the other as the shield: what one sends the other goes to a gateway,
// and not back.
func shieldsOfEachOther(t *testing.T, n *network, a *app) {
	other := filepath.Join(t.TempDir(), "network.yaml")
	if err := os.WriteFile(other, []byte(edited(t, n.file(t), "shield: iad #", "shield: sin #")), 0o600); err != nil {
		t.Fatal(err)
	}
	// It has sin for the shield now, and sin has it.
	iad := start(t, program, "edge", "--name", "iad", "--state", n.state("edge-iad"), "--network", other, "--access-log", "")
	ready(t, n, "edge-iad", iad)
	n.wellBehind(t, "edge-iad", "edge-sin")
	app := a.meter(t)
	passed := map[string]*meter{}
	for _, pop := range []string{"iad", "sin"} {
		passed[pop] = n.meter(t, "edge-"+pop, "hither_edge_inner_total")
	}
	for _, pop := range []string{"iad", "sin"} {
		v := n.via(t, "h2", pop)
		for i := range 10 {
			path := fmt.Sprintf("/short/each-other/%s/%d", pop, i)
			if got := v.must(t, path); got.status != http.StatusOK || string(got.body) != path {
				t.Errorf("%s: status %d, %v", path, got.status, got.header)
			}
		}
	}
	app.expect(t, 20)
	passed["iad"].expect(t, 10)
	passed["sin"].expect(t, 10)
}

// shieldKilled kills the shield while clients of the other PoPs ask: they go on without it, and by it again when it is back.
func shieldKilled(t *testing.T, n *network) *process {
	t.Helper()
	load := n.keepAsking(t, 3, "fra", "sin")
	load.further(t, 300)
	n.signal(t, "edge-iad", syscall.SIGKILL)
	load.further(t, 1000)
	if s := n.status(t, "edge-fra"); len(s.Origins) != 1 || !s.Origins[0].Up || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "edge/iad") {
		t.Errorf("fra does not say that its origin is up and the shield is not: %+v", s)
	}
	iad := start(t, program, "edge", "--name", "iad", "--state", n.state("edge-iad"), "--network", n.path(), "--access-log", "")
	ready(t, n, "edge-iad", iad)
	through := n.meter(t, "edge-iad", "hither_edge_inner_total")
	if !until(30*time.Second, func() bool { return through.grown(t) > 100 }) {
		t.Errorf("iad is back, and %d requests came through it", through.grown(t))
	}
	load.end()
	load.atMost(t)
	return iad
}

// ready waits until a node that was started by hand answers.
func ready(t *testing.T, n *network, node string, p *process) {
	t.Helper()
	if !until(30*time.Second, func() bool {
		var s ops.Status
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := ops.Dial(n.state(node)).Get(ctx, "/v1/status", &s)
		return err == nil && len(s.Nodes) == 1 && s.Nodes[0].State == ops.Ready
	}) {
		t.Fatalf("%s is not ready; it wrote:\n%s", node, p.stderr)
	}
}
