package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/ops"
)

// pops are whole edges, fra and iad, in front of one gateway of the test's own. iad is the shield of fra.
type pops struct {
	t     *testing.T
	dir   string
	ports map[string]int
	nodes map[string]*Node
	ends  map[string]*ending
	goes  map[string]chan struct{} // has one for each time that an edge says that it goes
	roots *x509.CertPool
}

// An ending is how a running edge is told to stop, and what it returns.
type ending struct {
	stop context.CancelCauseFunc
	done chan struct{}
	err  error
}

var errSignal = errors.New("a signal, as ops.Run tells it")

// freePort is one that nobody has now, for TCP and UDP.
func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// newPops makes a fleet whose origin is answered for by h. change may edit the network file; it gets what is below its top.
func newPops(t *testing.T, h http.Handler, change func(map[string]any)) *pops {
	t.Helper()
	p := &pops{
		t: t, dir: t.TempDir(), ports: map[string]int{"fra": freePort(t), "iad": freePort(t), "inner": freePort(t)},
		nodes: map[string]*Node{}, ends: map[string]*ending{}, goes: map[string]chan struct{}{},
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	network, text := p.file(ln.Addr().String(), change)
	if _, err := fleet.Init(network, text, p.dir); err != nil {
		t.Fatal(err)
	}
	p.roots = x509.NewCertPool()
	if pem, err := os.ReadFile(filepath.Join(p.dir, "ca.pem")); err != nil || !p.roots.AppendCertsFromPEM(pem) {
		t.Fatalf("%v", err)
	}
	conf := p.identity("origin-us").ServerTLS(fleet.RoleEdge)
	conf.NextProtos = []string{"h2"}
	s := &http.Server{TLSConfig: conf, ErrorLog: log.New(io.Discard, "", 0), Handler: h}
	served := make(chan struct{})
	go func() { s.ServeTLS(ln, "", ""); close(served) }()
	t.Cleanup(func() { s.Close(); <-served })
	for _, name := range []string{"iad", "fra"} {
		p.start(name, network)
	}
	return p
}

// file is the network file, with a gateway at an address.
func (p *pops) file(gateway string, change func(map[string]any)) (*deploy.Network, []byte) {
	p.t.Helper()
	type m = map[string]any
	place := m{"lat": 50, "lon": 8}
	file := m{
		"version": 1, "name": "test", "edge": m{"listen": m{"http": 0, "metrics": 0}, "limits": m{"notice": "1h", "drain": "10s"}},
		"pops": []m{
			{"name": "fra", "place": place, "addresses": []string{"127.0.0.1"}, "listen": m{"https": p.ports["fra"]}},
			{"name": "iad", "place": place, "addresses": []string{"127.0.0.1"}, "listen": m{"https": p.ports["iad"], "inner": p.ports["inner"]}},
		},
		"origins": []m{{"name": "us", "shield": "iad", "gateway": m{"addresses": []string{gateway}}, "app": m{"static": m{}}, "pool": m{"connections": 1}}},
		"sites":   []m{{"name": "www", "hosts": []string{"www.hither.test"}, "origin": "us"}},
		"zones": []m{{
			"name": "hither.test", "name_servers": []string{"ns1.hither.test"}, "soa": m{"mailbox": "hostmaster.hither.test"},
			"records": []string{"ns1 300 A 127.0.0.1"}, "steered": []m{{"name": "www", "site": "www", "ttl": "30m"}},
		}},
		"dns": m{"servers": []m{{"name": "ns1", "addresses": []string{"127.0.0.1"}, "port": 5300}}},
	}
	if change != nil {
		change(file)
	}
	text, err := json.Marshal(file)
	if err != nil {
		p.t.Fatal(err)
	}
	network, err := deploy.Parse("test", text)
	if err != nil {
		p.t.Fatal(err)
	}
	return network, text
}

func (p *pops) identity(node string) *fleet.Identity {
	p.t.Helper()
	id, err := fleet.LoadIdentity(filepath.Join(p.dir, "nodes", node, "identity"))
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// start starts an edge and waits until it is ready.
func (p *pops) start(name string, network *deploy.Network) {
	p.t.Helper()
	ready, goes := make(chan struct{}), make(chan struct{}, 9)
	n, err := New(Options{
		Name: name, State: filepath.Join(p.dir, "nodes", "edge-"+name), Network: network, Identity: p.identity("edge-" + name),
		Version: "test", Log: slog.New(slog.DiscardHandler), Ready: func() { close(ready) }, Goes: func() { goes <- struct{}{} },
	})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	e := &ending{stop: stop, done: make(chan struct{})}
	p.nodes[name], p.ends[name], p.goes[name] = n, e, goes
	go func() { e.err = n.Run(ctx); close(e.done) }()
	p.t.Cleanup(func() {
		ops.Dial(filepath.Join(p.dir, "nodes", "edge-"+name)).Post(context.Background(), "/v1/drain", DrainCall{Told: true}, new(ops.Status))
		stop(nil)
		<-e.done
	})
	<-ready
}

// client speaks HTTP/2 with an edge.
func (p *pops) client(name string) *http.Client {
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: p.roots, ServerName: "www.hither.test"}, ForceAttemptHTTP2: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(p.ports[name]))
		},
	}
	p.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// get asks an edge with fields, and returns the answer and its content.
func (p *pops) get(c *http.Client, method, path string, fields ...string) (*http.Response, string) {
	p.t.Helper()
	r, err := http.NewRequest(method, "https://www.hither.test"+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp, string(b)
}
