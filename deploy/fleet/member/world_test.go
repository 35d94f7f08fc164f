package member_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
	"hither/deploy/fleet/member"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// loopback has any port that is free.
var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// A world is a hub with a control that writes by hand.
type world struct {
	t         testing.TB
	authority *fleet.Authority
	folder    string
	gateway   *fleet.Identity
	addr      netip.AddrPort
	hub       *hub.Hub
	control   *bus.Conn

	journal string // the name of the one that is written
	last    uint64 // its last entry
	next    uint64 // the number of its next order
	tables  uint64
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, folder: t.TempDir(), addr: loopback, journal: "a", next: 1}
	var err error
	if w.authority, err = fleet.OpenAuthority(filepath.Join(w.folder, "authority"), "demo"); err != nil {
		t.Fatal(err)
	}
	w.gateway = w.identity(fleet.RoleOrigin, "us")
	w.start()
	t.Cleanup(w.stop)
	return w
}

// start starts the hub, where it was before if it was, with its streams.
func (w *world) start() {
	w.t.Helper()
	w.startBare()
	if err := hub.Ensure(w.ctx(), w.control, 1); err != nil {
		w.t.Fatal(err)
	}
}

// startBare starts the hub with the streams that it has.
func (w *world) startBare() {
	w.t.Helper()
	var err error
	for began := time.Now(); ; {
		w.hub, err = hub.Start(hub.Options{Listen: w.addr, Folder: filepath.Join(w.folder, "hub"), Identity: w.gateway, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			break
		}
		if time.Since(began) > patience { // somebody may have taken the port for a connection of its own
			w.t.Fatal(err)
		}
	}
	w.addr = netip.MustParseAddrPort(w.hub.Addr())
	if w.control, err = bus.Dial(w.hub.Control()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stop() {
	w.control.Close()
	w.hub.Close()
}

// restart ends the hub and starts it again; with empty it has lost its disk, and another journal begins.
func (w *world) restart(empty bool) {
	w.t.Helper()
	w.stop()
	if empty {
		if err := os.RemoveAll(filepath.Join(w.folder, "hub")); err != nil {
			w.t.Fatal(err)
		}
		w.journal, w.last, w.next = w.journal+"+", 0, 1
	}
	w.start()
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.t.Cleanup(cancel)
	return ctx
}

func (w *world) identity(role, name string) *fleet.Identity {
	w.t.Helper()
	dir := filepath.Join(w.folder, role+"-"+name, "identity")
	if _, err := w.authority.Issue(dir, role, name, nil); err != nil {
		w.t.Fatal(err)
	}
	id, err := fleet.LoadIdentity(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// entry writes one to the journal.
func (w *world) entry(data []byte) {
	w.t.Helper()
	seq, err := w.control.Append(w.ctx(), bus.SubjectJournal, data, bus.ExpectLast(w.last))
	if err != nil {
		w.t.Fatal(err)
	}
	w.last = seq
}

// order writes an entry with purges of URLs.
func (w *world) order(urls ...string) {
	w.t.Helper()
	b := bus.Batch{Journal: w.journal, First: w.next, At: time.Now()}
	for _, u := range urls {
		b.Orders = append(b.Orders, bus.Order{Kind: "url", Value: u})
	}
	w.next += uint64(len(urls))
	w.entry(bus.Encode(b))
}

// head is the heartbeat.
func (w *world) head() {
	w.t.Helper()
	if err := w.control.Publish(bus.LiveHead, bus.Encode(bus.Head{Journal: w.end(), Tables: w.tables, At: time.Now()})); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) end() bus.Position { return bus.Position{Journal: w.journal, Sequence: w.last} }

// table sets a value.
func (w *world) table(table, key string, value []byte) {
	w.t.Helper()
	seq, err := w.control.Append(w.ctx(), bus.TableSubject(table, key), value, bus.Expectation{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.tables = seq
}

// until has the control send its heartbeat until ok.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	poll(w.t, what, func() bool {
		w.head()
		return ok()
	})
}

// poll asks until ok.
func poll(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !ok(); <-tick.C {
		if time.Since(began) > patience {
			t.Fatalf("%s: not after %v", what, patience)
		}
	}
}

// A record is a log that a test reads.
type record struct {
	mu   sync.Mutex // guards what follows
	text strings.Builder
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

// count is how many lines have a text.
func (r *record) count(text string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.text.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func (r *record) logger() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

// A node has a store of its own, which outlives its processes where it is kept.
type node struct {
	w       *world
	id      *fleet.Identity
	state   string
	options func(*member.Options) // changes what a process is given; nil = nothing
	hear    func(*bus.Message, func(*bus.Message))
	offline bool // the next process cannot reach the hub
	conn    *bus.Conn
	member  *member.Member
	stopRun func()
	kept    bool
	log     record
	mu      sync.Mutex // guards what follows
	stored  map[string]int
	purged  []string
	flushed []string
	told    []string
}

func (w *world) node(role, name string) *node {
	return &node{w: w, id: w.identity(role, name), state: filepath.Join(w.folder, role+"-"+name), stored: make(map[string]int)}
}

// start starts a process.
func (n *node) start() {
	n.w.t.Helper()
	o := member.Options{
		Identity: n.id, State: n.state, Log: n.log.logger(), Kept: n.kept,
		Purge: func(o bus.Order) bus.Done {
			n.mu.Lock()
			defer n.mu.Unlock()
			d := bus.Done{}
			if _, ok := n.stored[o.Value]; ok {
				d.Objects = 1
			}
			delete(n.stored, o.Value)
			n.purged = append(n.purged, o.Value)
			if o.Value == "nobody" {
				d.Error = "no site has it"
			}
			return d
		},
		Flush: func(why string) {
			n.mu.Lock()
			defer n.mu.Unlock()
			clear(n.stored)
			n.flushed = append(n.flushed, why)
		},
		Table: func(table, key string, value []byte) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.told = append(n.told, fmt.Sprintf("%s/%s=%s", table, key, value))
			return nil
		},
	}
	if n.options != nil {
		n.options(&o)
	}
	url := n.w.hub.URL()
	if n.offline {
		url = "tls://127.0.0.1:1"
	}
	var err error
	if n.conn, err = bus.Dial(bus.Options{URLs: []string{url}, Identity: n.id, Embedded: "us", Log: o.Log}); err != nil {
		n.w.t.Fatal(err)
	}
	o.Conn = n.conn
	if n.member, err = member.New(o); err != nil {
		n.w.t.Fatal(err)
	}
	if n.hear != nil {
		n.member.Hear(n.hear)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.member.Run(ctx) }()
	n.stopRun = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			n.w.t.Error(err)
		}
		n.conn.Close()
	})
	n.w.t.Cleanup(n.stopRun)
}

// stop ends the process. What is not kept is gone.
func (n *node) stop() {
	n.stopRun()
	if !n.kept {
		n.mu.Lock()
		clear(n.stored)
		n.mu.Unlock()
	}
}

func (n *node) put(url string, made int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stored[url] = made
}

func (n *node) has(url string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.stored[url]
	return ok
}

func (n *node) seen() (purged, flushed, told []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.purged...), append([]string(nil), n.flushed...), append([]string(nil), n.told...)
}

// there waits until the node is where the journal ends.
func (n *node) there() {
	n.w.t.Helper()
	n.w.until(n.id.Peer.String()+" at the end of the journal", func() bool { return n.member.Position() == n.w.end() })
}
