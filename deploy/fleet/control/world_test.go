package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// in has a control log there.
func (r *record) in(c *Control) {
	log := slog.New(slog.NewTextHandler(r, nil))
	c.o.Log, c.faint.Log, c.reports.limiter.Log = log, log, log
}

// world is a hub with its authority, and the network of `hither up`: the PoPs fra, iad and sin.
type world struct {
	t         *testing.T
	authority *fleet.Authority
	origin    *fleet.Identity
	network   *deploy.Network
	folder    string
	hub       *hub.Hub
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, folder: t.TempDir()}
	var err error
	if w.authority, err = fleet.OpenAuthority(filepath.Join(w.folder, "authority"), "demo"); err != nil {
		t.Fatal(err)
	}
	if w.network, err = deploy.Parse("network.yaml", deploy.Example()); err != nil {
		t.Fatal(err)
	}
	w.network.Hub.API = deploy.HubAPI{} // a fixed port; TestServe has one of its own
	w.origin = w.identity(fleet.RoleOrigin, "us")
	w.startHub()
	t.Cleanup(func() { w.hub.Close() })
	return w
}

// startHub starts the hub on what lies in its folder.
func (w *world) startHub() {
	w.t.Helper()
	var err error
	w.hub, err = hub.Start(hub.Options{
		Listen: netip.MustParseAddrPort("127.0.0.1:0"), Folder: filepath.Join(w.folder, "hub"), Identity: w.origin, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}
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

func (w *world) dial(role, name string) *bus.Conn {
	w.t.Helper()
	c, err := bus.Dial(bus.Options{URLs: []string{w.hub.URL()}, Identity: w.identity(role, name), Embedded: "us", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	w.until(role+"-"+name+" is let in", c.Connected)
	return c
}

// until waits for something that is to come.
func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for ctx := w.ctx(); !is(); {
		select {
		case <-ctx.Done():
			w.t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), 60*time.Second)
	w.t.Cleanup(cancel)
	return ctx
}

// inProcess is the control's own connection.
func (w *world) inProcess() *bus.Conn {
	w.t.Helper()
	c, err := bus.Dial(w.hub.Control())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// control starts one; stop ends it and returns when it has ended.
func (w *world) control(change ...func(*Control)) (c *Control, stop func()) {
	w.t.Helper()
	conn := w.inProcess()
	c, err := New(Options{Conn: conn, Identity: w.origin, State: w.folder, Network: func() *deploy.Network { return w.network }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range change {
		f(c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := c.Run(ctx); err != nil {
			w.t.Errorf("control: %v", err)
		}
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			<-ended
			conn.Close()
		})
	}
	w.t.Cleanup(stop)
	w.until("the control has read the journal", c.journal.known)
	return c, stop
}

// ask has an operator ask for a verb.
func (w *world) ask(conn *bus.Conn, verb string, in, out any) bus.Answer {
	w.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := conn.Request(w.ctx(), bus.ControlSubject(conn.Peer().Name, verb), body)
	if err != nil {
		w.t.Errorf("ask %s: %v", verb, err)
		return bus.Answer{}
	}
	var a bus.Answer
	if err := bus.Decode(m.Data, &a); err != nil {
		w.t.Errorf("ask %s: %v", verb, err)
	}
	if a.Status == 200 && out != nil {
		if err := json.Unmarshal(a.Doc, out); err != nil {
			w.t.Errorf("ask %s: %v", verb, err)
		}
	}
	return a
}

// journal reads all orders that the hub has, and checks that their numbers have neither gaps nor doubles.
func (w *world) journal(conn *bus.Conn) (values []string) {
	w.t.Helper()
	next, id := uint64(1), ""
	err := conn.Read(w.ctx(), bus.StreamJournal, 1, func(m *bus.Message) error {
		var b bus.Batch
		if err := errors.Join(bus.Decode(m.Data, &b), b.Check()); err != nil {
			return err
		}
		if id != "" && b.Journal != id || b.First != next {
			return fmt.Errorf("entry %d begins with %d of %s, wanted %d of %s", m.Sequence, b.First, b.Journal, next, id)
		}
		id = b.Journal
		next += uint64(len(b.Orders))
		for _, o := range b.Orders {
			values = append(values, o.Value)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return values
}

// A pop is a PoP's member, as small as it can be: it does what the journal says, in its order, and sends receipts.
type pop struct {
	w    *world
	conn *bus.Conn

	mu      sync.Mutex // guards what follows
	at      bus.Position
	done    map[uint64]string // by number
	deaf    bool
	doubled bool
	answer  func(bus.Order) bus.Done
}

func (w *world) pop(name string) *pop {
	w.t.Helper()
	p := &pop{w: w, conn: w.dial(fleet.RoleEdge, name), done: make(map[uint64]string)}
	if _, err := p.conn.Subscribe(bus.LiveJournal, func(m *bus.Message) { p.take(m, true) }); err != nil {
		w.t.Fatal(err)
	}
	if err := p.conn.Flush(w.ctx()); err != nil {
		w.t.Fatal(err)
	}
	p.catchUp()
	return p
}

func (p *pop) take(m *bus.Message, live bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deaf || m.Sequence != p.at.Sequence+1 {
		return // a gap is found by catchUp
	}
	var b bus.Batch
	if err := bus.Decode(m.Data, &b); err != nil {
		p.w.t.Error(err)
		return
	}
	p.at = bus.Position{Journal: b.Journal, Sequence: m.Sequence}
	r := bus.Receipt{At: p.at}
	for i, o := range b.Orders {
		id := b.First + uint64(i)
		_, twice := p.done[id]
		p.doubled = p.doubled || twice
		p.done[id] = o.Value
		d := bus.Done{Objects: 1}
		if p.answer != nil {
			d = p.answer(o)
		}
		d.ID = id
		r.Done = append(r.Done, d)
	}
	p.conn.Publish(bus.UpSubject(fleet.RoleEdge, p.conn.Peer().Name, bus.UpReceipt), bus.Encode(r))
}

// catchUp reads what was missed.
func (p *pop) catchUp() {
	p.w.t.Helper()
	p.mu.Lock()
	from := p.at.Sequence + 1
	p.mu.Unlock()
	if err := p.conn.Read(p.w.ctx(), bus.StreamJournal, from, func(m *bus.Message) error { p.take(m, false); return nil }); err != nil && p.conn.Connected() {
		p.w.t.Error(err)
	}
}

func (p *pop) setDeaf(deaf bool) {
	p.mu.Lock()
	p.deaf = deaf
	p.mu.Unlock()
}
