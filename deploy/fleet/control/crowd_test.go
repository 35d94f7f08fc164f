package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hither/cache"
	"hither/cache/store"
	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
	"hither/deploy/fleet/hub"
	"hither/deploy/fleet/member"
)

// A crowd is a fleet in one process: a hub with its control, the node in which they are, an operator, and edges with real caches. All of
// them speak over TLS on loopback; a crowd knows no client.
type crowd struct {
	t         *testing.T
	folder    string
	authority *fleet.Authority
	us        *fleet.Identity
	addr      atomic.Value // netip.AddrPort of the hub, the same over restarts
	edges     []*edge
	operator  *bus.Conn
	network   atomic.Pointer[deploy.Network] // in use at the control's node
	file      func(comment string) []byte    // a network file with all PoPs
	found     atomic.Int64                   // objects, by all purges at all edges

	hub     *hub.Hub
	conn    *bus.Conn // the control's
	endLead func()    // ends the control; nil = none runs
}

// crowdFile is a network file with many PoPs.
func crowdFile(pops int) func(comment string) []byte {
	var b strings.Builder
	b.WriteString("version: 1\nname: demo\nhub: {urls: [\"tls://127.0.0.1:4222\"], embedded_in: us}\npops:\n")
	for i := range pops {
		fmt.Fprintf(&b, "  - {name: %s, place: {lat: %d, lon: %d}, addresses: [127.3.%d.%d]}\n", edgeName(i), i%120-60, i%300-150, i/200, i%200+1)
	}
	b.WriteString(`origins:
  - {name: us, gateway: {addresses: ["127.0.2.1:9443"]}, app: {static: {}}}
sites:
  - {name: www, hosts: [www.example.org], origin: us}
zones:
  - {name: example.org, name_servers: [ns1.example.org], steered: [{name: www, site: www}]}
dns:
  servers: [{name: ns1, addresses: [127.0.3.1]}]
`)
	rest := b.String()
	return func(comment string) []byte { return []byte("# " + comment + "\n" + rest) }
}

func edgeName(i int) string { return fmt.Sprintf("p%d", i) }

// newCrowd makes a fleet whose hub, control and edges have not begun yet.
func newCrowd(t *testing.T, edges int) *crowd {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { noneLeft(t, before) }) // after all that is cleaned up below
	c := &crowd{t: t, folder: t.TempDir(), file: crowdFile(edges)}
	c.addr.Store(netip.MustParseAddrPort("127.0.0.1:0"))
	var err error
	if c.authority, err = fleet.OpenAuthority(filepath.Join(c.folder, "authority"), "demo"); err != nil {
		t.Fatal(err)
	}
	c.us = c.identity(fleet.RoleOrigin, "us")
	first := c.file("one")
	network, err := deploy.Parse("network.yaml", first)
	if err != nil {
		t.Fatal(err)
	}
	c.network.Store(network)
	if err := fleet.RevisionsIn(c.state()).Accept(first); err != nil {
		t.Fatal(err)
	}
	for i := range edges {
		e := &edge{c: c, name: edgeName(i), id: c.identity(fleet.RoleEdge, edgeName(i))}
		e.state = filepath.Join(c.folder, "edge-"+e.name)
		e.running.Store(&ran{file: first})
		c.edges = append(c.edges, e)
	}
	t.Cleanup(c.stopHub)
	return c
}

func (c *crowd) state() string { return filepath.Join(c.folder, "origin-us") }

func (c *crowd) identity(role, name string) *fleet.Identity {
	c.t.Helper()
	dir := filepath.Join(c.folder, role+"-"+name, "identity")
	if _, err := c.authority.Issue(dir, role, name, nil); err != nil {
		c.t.Fatal(err)
	}
	id, err := fleet.LoadIdentity(dir)
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// startHub starts hub and control, where they were before if they were.
func (c *crowd) startHub() {
	c.t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); ; {
		c.hub, err = hub.Start(hub.Options{Listen: c.addr.Load().(netip.AddrPort), Folder: filepath.Join(c.state(), "hub"), Identity: c.us, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			break
		}
		if time.Now().After(end) { // somebody may have had the port for a connection of its own
			c.t.Fatal(err)
		}
	}
	c.addr.Store(netip.MustParseAddrPort(c.hub.Addr()))
	if c.conn, err = bus.Dial(c.hub.Control()); err != nil {
		c.t.Fatal(err)
	}
	c.lead()
}

// lead starts a control.
func (c *crowd) lead() {
	c.t.Helper()
	asking, cancelAsking := context.WithTimeout(context.Background(), time.Minute)
	defer cancelAsking()
	if err := hub.Ensure(asking, c.conn, 1); err != nil {
		c.t.Fatal(err)
	}
	leads, err := control.New(control.Options{Conn: c.conn, Identity: c.us, State: c.state(), Log: slog.New(slog.DiscardHandler), Network: c.network.Load})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- leads.Run(ctx) }()
	c.endLead = func() {
		cancel()
		if err := <-ended; err != nil {
			c.t.Error(err)
		}
		c.endLead = nil
	}
}

// stopHub ends control and hub.
func (c *crowd) stopHub() {
	if c.hub == nil {
		return
	}
	if c.endLead != nil {
		c.endLead()
	}
	c.conn.Close()
	c.hub.Close()
	c.hub = nil
}

// dial connects a node; to is where it finds the hub.
func (c *crowd) dial(id *fleet.Identity, to string) *bus.Conn {
	c.t.Helper()
	conn, err := bus.Dial(bus.Options{URLs: []string{to}, Identity: id, Embedded: "us", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		c.t.Fatal(err)
	}
	return conn
}

// url is where the hub is.
func (c *crowd) url() string { return "tls://" + c.at() }

func (c *crowd) at() string { return c.addr.Load().(netip.AddrPort).String() }

// begin starts all: the hub, the operator's connection, the origin's node, the edges. It returns when the control answers and all edges are at
// the journal's end.
func (c *crowd) begin() {
	c.t.Helper()
	c.startHub()
	c.operator = c.dial(c.identity(fleet.RoleOperator, "main"), c.url())
	c.t.Cleanup(c.operator.Close)
	c.other(c.us, c.state(), func(n *deploy.Network) { c.network.Store(n) })
	c.other(c.identity(fleet.RoleDNS, "ns1"), filepath.Join(c.folder, "dns-ns1"), func(*deploy.Network) {})
	for _, e := range c.edges {
		e.start()
	}
	c.until("the control answers", func() bool { return c.try("rollout", nil, nil) == nil })
	c.until("all edges have heard of the journal", func() bool {
		for _, e := range c.edges {
			if e.member.Position().Journal == "" {
				return false
			}
		}
		return true
	})
}

// other starts a node that stores nothing.
func (c *crowd) other(id *fleet.Identity, state string, use func(*deploy.Network)) {
	c.t.Helper()
	conn := c.dial(id, c.url())
	var running atomic.Pointer[ran]
	running.Store(&ran{file: c.file("one")})
	m, err := member.New(member.Options{
		Conn: conn, Identity: id, State: state, Log: slog.New(slog.DiscardHandler),
		Take: func(number int, file []byte) error {
			n, err := deploy.Parse("network.yaml", file)
			if err == nil {
				use(n)
				running.Store(&ran{number, file})
			}
			return err
		},
		Running: func() (int, string) {
			r := running.Load()
			return r.number, bus.HashOf(r.file)
		},
		Report: func(r *bus.Report) { r.State = "ready" },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(runs(c.t, m, conn))
}

// runs has a member run; what it returns ends it and its connection.
func runs(t *testing.T, m *member.Member, conn *bus.Conn) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		conn.Close()
	})
}

// until waits for what is to come true.
func (c *crowd) until(what string, holds func() bool) {
	c.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); !holds(); <-tick.C {
		if time.Now().After(end) {
			c.t.Fatalf("it did not come true that %s", what)
		}
	}
}

// try asks the control once. A refusal is an error.
func (c *crowd) try(verb string, in, out any) error { return c.tryFor(time.Minute, verb, in, out) }

func (c *crowd) tryFor(most time.Duration, verb string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	m, err := c.operator.Request(ctx, bus.ControlSubject("main", verb), body)
	if err != nil {
		return err
	}
	var a bus.Answer
	if err := bus.Decode(m.Data, &a); err != nil {
		return err
	}
	if a.Status != http.StatusOK {
		return fmt.Errorf("%s: %d %s", verb, a.Status, a.Error)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(a.Doc, out)
}

// An edge is a node with a cache.
type edge struct {
	c     *crowd
	name  string
	id    *fleet.Identity
	state string

	// Each may be set before start. drop says that an order is to have no effect, though its receipt says so; take says why a revision is
	// refused; report adds to what it says of itself; options has the last word on what the member is given.
	drop    func(bus.Order) bool
	take    func(file []byte) error
	report  func(*bus.Report)
	options func(*member.Options)
	via     string // where the hub is found; "" = where it is

	running atomic.Pointer[ran]
	taken   atomic.Int64 // revisions ever put into use

	store   *store.Memory // made at the first start, and kept over starts
	cache   *cache.Cache
	conn    *bus.Conn
	member  *member.Member
	stopRun func()
}

// ran is a revision in use.
type ran struct {
	number int
	file   []byte
}

// crowdStore is what a store of a thousand small objects takes with room to spare, so that nothing is ever evicted.
const crowdStore = 4 << 20

// start starts the edge's process.
func (e *edge) start() {
	t := e.c.t
	t.Helper()
	if e.store == nil {
		var err error
		if e.store, err = store.NewMemory(crowdStore); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.store.Close)
		e.cache = cache.New(cache.Config{Store: e.store})
	}
	if err := os.MkdirAll(e.state, 0o700); err != nil {
		t.Fatal(err)
	}
	to := e.via
	if to == "" {
		to = e.c.url()
	}
	e.conn = e.c.dial(e.id, to)
	o := member.Options{
		Conn: e.conn, Identity: e.id, State: e.state, Log: slog.New(slog.DiscardHandler), Purge: e.purge,
		Flush: func(string) { e.cache.Purge(cache.Purge{Kind: cache.PurgeAll, Soft: true}) },
		Take:  e.takes,
		Running: func() (int, string) {
			r := e.running.Load()
			return r.number, bus.HashOf(r.file)
		},
		Report: func(r *bus.Report) {
			if r.State = "ready"; e.report != nil {
				e.report(r)
			}
		},
	}
	if e.options != nil {
		e.options(&o)
	}
	var err error
	if e.member, err = member.New(o); err != nil {
		t.Fatal(err)
	}
	e.stopRun = runs(t, e.member, e.conn)
	t.Cleanup(e.stopRun)
}

// takes puts a revision into use, and keeps it as a node does.
func (e *edge) takes(number int, file []byte) error {
	if e.take != nil {
		if err := e.take(file); err != nil {
			return err
		}
	}
	kept := fleet.RevisionsIn(e.state)
	if err := errors.Join(kept.Accept(file), kept.SetMark(fleet.Mark{Number: number, Hash: bus.HashOf(file)})); err != nil {
		return err
	}
	e.running.Store(&ran{number, file})
	e.taken.Add(1)
	return nil
}

// purge is what an edge does with an order.
func (e *edge) purge(o bus.Order) bus.Done {
	kind, err := cache.ParsePurgeKind(o.Kind)
	if err != nil {
		return bus.Done{Error: err.Error()}
	}
	if e.drop != nil && e.drop(o) {
		return bus.Done{}
	}
	p := cache.Purge{Kind: kind, Value: o.Value, Soft: o.Soft}
	if kind == cache.PurgeURL || kind == cache.PurgePrefix {
		p.Site, p.Value = "www", strings.TrimPrefix(o.Value, "www.example.org")
	}
	done := e.cache.Purge(p)
	e.c.found.Add(int64(done.Objects))
	return bus.Done{Objects: done.Objects, Fills: done.Fills}
}

func crowdKey(path string) cache.Key {
	return cache.Key{Site: "www", Class: cache.ClassGet, Scheme: "https", Path: path}
}

// look is what a request for a path would find now.
func (e *edge) look(path string) cache.Look {
	return e.cache.Look(crowdKey(path), http.Header{}, time.Now())
}

// put stores a path without asking an origin, for speed.
func (e *edge) put(path string) {
	e.store.Put(&cache.Object{Key: crowdKey(path), Status: 200, Received: time.Now(), Lifetime: time.Hour})
}

// fill stores a path with a tag by the way of a request. The error is that it was not to be had.
func (e *edge) fill(path, tag string) error {
	_, err := e.request(context.Background(), path, func(context.Context) (*http.Response, error) {
		h := http.Header{"Cache-Control": {"max-age=3600"}, "Surrogate-Key": {tag}}
		return &http.Response{StatusCode: 200, Header: h, ContentLength: 4, Body: io.NopCloser(strings.NewReader("text"))}, nil
	})
	return err
}

// request is one of a client: it is answered from what is fresh, or by the origin's answer.
func (e *edge) request(ctx context.Context, path string, origin func(context.Context) (*http.Response, error)) (body string, err error) {
	look := e.look(path)
	if look.Fresh() {
		look.Object.Body.Range(0, look.Object.Body.Len(), func(p []byte) bool { body += string(p); return true })
		return body, nil
	}
	r := e.cache.Join(ctx, cache.Want{Look: look, Request: http.Header{}, Fetch: func(ctx context.Context, _ http.Header, _ func(int, http.Header)) (*http.Response, error) {
		return origin(ctx)
	}})
	if r == nil { // it came meanwhile
		return e.request(ctx, path, origin)
	}
	defer r.Close()
	if _, err := r.Head(ctx, nil); err != nil {
		return "", err
	}
	for {
		piece, err := r.Next(ctx, -1)
		if errors.Is(err, io.EOF) {
			return body, nil
		} else if err != nil {
			return "", err
		}
		body += string(piece)
	}
}
