package hub_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// world is a hub with its authority.
type world struct {
	t         *testing.T
	authority *fleet.Authority
	folder    string
	options   hub.Options     // what start adds to its own
	gateway   *fleet.Identity // of the node that has the hub in it
	hub       *hub.Hub        // nil where a cluster elsewhere serves, at urls
	urls      []string
	route     string // where one of its servers meets the others
	control   *bus.Conn
}

func newWorld(t *testing.T, options ...hub.Options) *world {
	t.Helper()
	w := &world{t: t, folder: t.TempDir()}
	if len(options) > 0 {
		w.options = options[0]
	}
	var err error
	if w.authority, err = fleet.OpenAuthority(filepath.Join(w.folder, "authority"), "demo"); err != nil {
		t.Fatal(err)
	}
	w.start("127.0.0.1:0")
	return w
}

// start starts the hub in the same folder as before, with a control.
func (w *world) start(listen string) {
	w.t.Helper()
	var err error
	o := w.options
	w.gateway = w.identity(fleet.RoleOrigin, "us")
	o.Listen, o.Identity = netip.MustParseAddrPort(listen), w.gateway
	if o.Folder == "" {
		o.Folder = filepath.Join(w.folder, "hub")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for end := time.Now().Add(30 * time.Second); ; {
		if w.hub, err = hub.Start(o); err == nil {
			break
		}
		if time.Now().After(end) { // somebody may have had the port for a connection of its own
			w.t.Fatal(err)
		}
	}
	w.t.Cleanup(w.hub.Close)
	if w.control, err = bus.Dial(w.hub.Control()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.control.Close)
	if err := hub.Ensure(w.t.Context(), w.control, 1); err != nil {
		w.t.Fatal(err)
	}
}

// stop ends the hub; start brings it back.
func (w *world) stop() {
	w.control.Close()
	w.hub.Close()
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

// where and embedded are as the network file has them.
func (w *world) where() []string {
	if w.hub == nil {
		return w.urls
	}
	return []string{w.hub.URL()}
}

func (w *world) embedded() string {
	if w.hub == nil {
		return ""
	}
	return "us"
}

func (w *world) dial(role, name string) *bus.Conn {
	w.t.Helper()
	c, err := bus.Dial(bus.Options{URLs: w.where(), Identity: w.identity(role, name), Embedded: w.embedded(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	if err := c.Wait(w.ctx()); err != nil {
		w.t.Fatalf("%s-%s was not let in: %v", role, name, err)
	}
	return c
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	w.t.Cleanup(cancel)
	return ctx
}

// TestJournal has an edge hear what the control writes, at once and again from the stream.
func TestJournal(t *testing.T) {
	w := newWorld(t)
	edge := w.dial(fleet.RoleEdge, "fra")
	live := make(chan *bus.Message, 10)
	if _, err := edge.Subscribe(bus.LiveJournal, func(m *bus.Message) { live <- m }); err != nil {
		t.Fatal(err)
	}
	if err := edge.Flush(w.ctx()); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(3) {
		seq, err := w.control.Append(w.ctx(), bus.SubjectJournal, bus.Encode(bus.Batch{Journal: "a", First: i + 1, Orders: []bus.Order{{Kind: "all"}}}), bus.ExpectLast(i))
		if err != nil || seq != i+1 {
			t.Fatalf("append: %d, %v", seq, err)
		}
		if m := <-live; m.Sequence != i+1 || m.Last != i {
			t.Errorf("live: %d after %d, wanted %d", m.Sequence, m.Last, i+1)
		}
	}
	if _, err := w.control.Append(w.ctx(), bus.SubjectJournal, []byte("x"), bus.ExpectLast(1)); !errors.Is(err, bus.ErrChanged) {
		t.Errorf("an expectation that does not hold: %v", err)
	}
	var read []uint64
	err := edge.Read(w.ctx(), bus.StreamJournal, 2, func(m *bus.Message) error {
		var b bus.Batch
		if err := bus.Decode(m.Data, &b); err != nil || b.First != m.Sequence || m.Subject != bus.SubjectJournal {
			t.Errorf("entry %d of %s: %+v, %v", m.Sequence, m.Subject, b, err)
		}
		read = append(read, m.Sequence)
		return nil
	})
	if err != nil || len(read) != 2 || read[0] != 2 || read[1] != 3 {
		t.Errorf("read: %v, %v", read, err)
	}
	if err := edge.Read(w.ctx(), bus.StreamJournal, 4, func(*bus.Message) error { return errors.New("nothing is there") }); err != nil {
		t.Errorf("read at the end: %v", err)
	}
	if err := edge.Read(w.ctx(), bus.StreamSecrets, 1, func(*bus.Message) error { return nil }); err == nil {
		t.Error("an edge read the secrets")
	}
}

// TestTables has a node read a table and hear of its changes.
func TestTables(t *testing.T) {
	w := newWorld(t)
	for _, key := range []string{"edge-fra", "edge-iad"} {
		if _, err := w.control.Append(w.ctx(), bus.TableSubject(bus.TableRevoked, key), bus.Encode(bus.Revocation{By: "me"}), bus.Expectation{}); err != nil {
			t.Fatal(err)
		}
	}
	dns := w.dial(fleet.RoleDNS, "ns1")
	all, err := dns.Last(w.ctx(), bus.StreamTables, bus.TableSubject(bus.TableRevoked, "*"))
	if err != nil || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	if table, key, ok := bus.TableOf(all[1].Subject); !ok || table != bus.TableRevoked || key != "edge-iad" || all[1].Sequence != 2 {
		t.Errorf("%+v", all[1])
	}
	if none, err := dns.Last(w.ctx(), bus.StreamTables, bus.TableSubject(bus.TableDrain, "*")); err != nil || len(none) != 0 {
		t.Errorf("%v, %v", none, err)
	}
}

// TestJournalNames has several name a journal at once, one that is new and one whose name was taken away: it has one name each time.
func TestJournalNames(t *testing.T) {
	w := newWorld(t)
	name := func() string {
		t.Helper()
		const many = 8
		ids := make(chan string, many)
		for range many {
			go func() {
				id, _, err := hub.Journal(w.ctx(), w.control)
				if err != nil {
					t.Error(err)
				}
				ids <- id
			}()
		}
		first := <-ids
		for range many - 1 {
			if id := <-ids; id != first {
				t.Errorf("the names %s and %s at once", first, id)
			}
		}
		return first
	}
	seen := map[string]bool{name(): true}
	for range 3 {
		if err := hub.Forget(w.ctx(), w.control); err != nil {
			t.Fatal(err)
		}
		id := name()
		if len(id) != 26 || seen[id] {
			t.Errorf("the name %q after %v", id, seen)
		}
		seen[id] = true
	}
}

// TestAppendWaits has an append come while no stream takes it, which is there soon.
func TestAppendWaits(t *testing.T) {
	w := newWorld(t)
	gone := func() {
		t.Helper()
		if _, err := w.control.Request(w.ctx(), "$JS.API.STREAM.DELETE."+bus.StreamJournal, nil); err != nil {
			t.Fatal(err)
		}
	}
	gone()
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := w.control.Append(short, bus.SubjectJournal, []byte("{}"), bus.ExpectLast(0)); !errors.Is(err, bus.ErrAway) || errors.Is(err, bus.ErrUnsure) {
		t.Errorf("no stream takes it: %v", err)
	}
	written := make(chan error, 1)
	go func() {
		_, err := w.control.Append(w.ctx(), bus.SubjectJournal, []byte("{}"), bus.ExpectLast(0))
		written <- err
	}()
	if err := w.control.Flush(w.ctx()); err != nil {
		t.Fatal(err)
	}
	if err := hub.Ensure(w.ctx(), w.control, 1); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}
