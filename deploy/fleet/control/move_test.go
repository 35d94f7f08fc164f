package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// A pair is a network with two gateways: the hub is in us, and us-b may take it.
type pair struct {
	*world
	file   []byte
	other  *fleet.Identity // us-b
	listen netip.AddrPort  // where the hub would be there
	op     *bus.Conn
	c      *Control // of us
	stop   func()
	given  []string // purges that were taken

	mu     sync.Mutex // guards what follows
	conn   *bus.Conn  // of us-b
	taker  *Taker
	meddle func(c *bus.Call, p *Part) *bus.Answer // may change a call or answer it; nil = us-b does as it should
	hangUp bool                                   // its connection ends with the next answer
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{world: newWorld(t)}
	text := strings.Replace(string(deploy.Example()), `# gateways: [`, `gateways: [{name: us-b, addresses: ["127.0.0.2:9443"]}] # [`, 1)
	p.file = []byte(strings.Replace(text, `, api: {address: "127.0.0.1:9190"}`, "", 1))
	p.network = p.parse(p.file)
	if p.network.OriginNode("us-b") == nil || p.network.Hub.API.Address.IsValid() {
		t.Fatal("the example has become another")
	}
	if err := fleet.RevisionsIn(p.folder).Accept(p.file); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	p.listen = netip.MustParseAddrPort(free.Addr().String())
	p.other = p.identity(fleet.RoleOrigin, "us-b")
	p.begin()
	t.Cleanup(func() { p.taker.Close() })
	p.lead()
	p.op = p.dial(fleet.RoleOperator, "main")
	for i := range 4 { // so much that it goes in several parts
		p.purge(t, fmt.Sprint(i, strings.Repeat("x", 1000)), 80)
	}
	return p
}

func (p *pair) parse(file []byte) *deploy.Network {
	p.t.Helper()
	n, err := deploy.Parse("network.yaml", file)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

func (p *pair) state() string { return filepath.Join(p.folder, "origin-us-b") }

// lead starts a control in us, which has something in force when it returns.
func (p *pair) lead() {
	p.t.Helper()
	p.c, p.stop = p.control()
	p.until("there is a target", func() bool {
		plan, target := p.c.rollout.now()
		return target.Stable > 0 && !plan.busy()
	})
}

// begin starts us-b: it takes calls of the control.
func (p *pair) begin() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taker != nil {
		p.taker.Close()
	}
	p.taker = NewTaker(TakerOptions{Identity: p.other, State: p.state(), Network: func() *deploy.Network { return p.network }, Log: slog.New(slog.DiscardHandler)})
	p.conn = p.dial(fleet.RoleOrigin, "us-b")
	conn, deaf := p.conn, func() {}
	deaf, err := conn.Subscribe(bus.CallSubject(fleet.RoleOrigin, "us-b"), func(m *bus.Message) {
		a := bus.Encode(p.call(m.Data))
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.hangUp { // and the hub knows it when the next call comes
			p.hangUp = false
			deaf()
			defer conn.Close()
		}
		m.Respond(a)
		conn.Flush(p.ctx())
	})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.conn.Flush(p.ctx()); err != nil {
		p.t.Fatal(err)
	}
}

// call answers a call as the gateway's node would.
func (p *pair) call(data []byte) bus.Answer {
	var c bus.Call
	var part Part
	err := bus.Decode(data, &c)
	if err == nil && c.Method == http.MethodPost {
		err = json.Unmarshal(c.Body, &part)
	}
	if err != nil {
		return bus.Answer{Status: http.StatusBadRequest, Error: err.Error()}
	}
	p.mu.Lock()
	meddle, taker := p.meddle, p.taker
	p.mu.Unlock()
	if meddle != nil {
		if a := meddle(&c, &part); a != nil {
			return *a
		}
	}
	doc := taker.Doc()
	if c.Method == http.MethodPost {
		if doc, err = taker.Take(part); err != nil {
			return bus.Answer{Status: http.StatusConflict, Error: err.Error()}
		}
	}
	return answered(doc)
}

func answered(doc TakeDoc) bus.Answer {
	body, err := json.Marshal(doc)
	if err != nil {
		return bus.Answer{Status: http.StatusInternalServerError, Error: err.Error()}
	}
	return bus.Answer{Status: http.StatusOK, Doc: body}
}

// meddles has somebody meddle from the next call on; nil = nobody. A call of the move before may still be under way.
func (p *pair) meddles(f func(c *bus.Call, part *Part) *bus.Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meddle = f
}

// says has us-b report that it runs what is in force, until the control has heard it.
func (p *pair) says() {
	p.t.Helper()
	_, target := p.c.rollout.now()
	r := bus.Report{State: "ready", Hash: target.Hash}
	if err := p.conn.Publish(bus.UpSubject(fleet.RoleOrigin, "us-b", bus.UpReport), bus.Encode(r)); err != nil {
		p.t.Fatal(err)
	}
	p.until("us-b is heard", func() bool {
		got, ok := p.c.reports.of("origin-us-b")
		return ok && got.report.Hash == target.Hash
	})
}

// move has the operator move the hub.
func (p *pair) move() (doc MoveDoc, a bus.Answer) {
	p.t.Helper()
	p.says()
	a = p.ask(p.op, "move-hub", MoveCall{Gateway: "us-b", URLs: []string{"tls://" + p.listen.String()}, Bind: p.listen}, &doc)
	return doc, a
}

// purge gives purges, which are taken with the next numbers.
func (p *pair) purge(t *testing.T, value string, times int) {
	t.Helper()
	orders := slices.Repeat([]bus.Order{{Kind: "tag", Value: value}}, times)
	var doc struct {
		Purges []Purge `json:"purges"`
	}
	a := p.ask(p.op, "purge", PurgeCall{Orders: orders}, &doc)
	if a.Status != http.StatusOK || len(doc.Purges) != times || doc.Purges[0].ID != uint64(len(p.given))+1 {
		t.Fatalf("after %d purges: %d %s, %d are taken", len(p.given), a.Status, a.Error, len(doc.Purges))
	}
	p.given = append(p.given, slices.Repeat([]string{value}, times)...)
}

// stays fails unless all is as it was before a move: purges are taken, nothing was lost, and no note and no copy is left.
func (p *pair) stays(t *testing.T) {
	t.Helper()
	p.purge(t, "y", 1)
	if got := p.journal(p.op); !slices.Equal(got, p.given) {
		t.Errorf("the journal has %d orders, and %d were taken", len(got), len(p.given))
	}
	moved, err := HubMoved(p.folder)
	if left, _ := filepath.Glob(filepath.Join(p.folder, copyPattern)); moved != nil || err != nil || len(left) > 0 {
		t.Errorf("a note %+v, %v; copies %v", moved, err, left)
	}
	if _, target := p.c.rollout.now(); target.Hash != bus.HashOf(p.file) {
		t.Errorf("what is in force is another: %+v", target)
	}
}

// TestMoveFails has a move fail in every way that it may before its last step: all goes on as it was, nothing is lost, and in the end it succeeds.
func TestMoveFails(t *testing.T) {
	p := newPair(t)
	refused := &bus.Answer{Status: http.StatusConflict, Error: "not here"}
	later := func(part *Part) bool { return part.Offset > 0 && !part.Last }
	for _, c := range []struct {
		what, says string
		meddle     func(c *bus.Call, part *Part) *bus.Answer
	}{
		{"it says no", "not here", func(*bus.Call, *Part) *bus.Answer { return refused }},
		{"it says no in the middle", "not here", func(_ *bus.Call, part *Part) *bus.Answer {
			if later(part) {
				return refused
			}
			return nil
		}},
		{"a part is lost", "a part of move", func(_ *bus.Call, part *Part) *bus.Answer {
			if later(part) {
				return &bus.Answer{Status: http.StatusOK, Doc: json.RawMessage("{}")}
			}
			return nil
		}},
		{"a part is damaged", "", func(_ *bus.Call, part *Part) *bus.Answer {
			if later(part) {
				part.Data[len(part.Data)/2] ^= 1
			}
			return nil
		}},
		{"its connection ends in the middle", "nobody listens there", func(_ *bus.Call, part *Part) *bus.Answer {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.hangUp = p.hangUp || later(part)
			return nil
		}},
		{"it starts anew while it makes the hub", "was started again", func(_ *bus.Call, part *Part) *bus.Answer {
			if !part.Last {
				return nil
			}
			a := answered(TakeDoc{})
			p.mu.Lock()
			defer p.mu.Unlock()
			if doc, err := p.taker.Take(*part); err == nil {
				a = answered(doc)
			}
			p.taker.Close()
			p.taker = NewTaker(p.taker.o)
			return &a
		}},
		{"somebody writes meanwhile", "something was written to the hub meanwhile", func(_ *bus.Call, part *Part) *bus.Answer {
			if part.Last {
				if _, err := p.c.o.Conn.Append(p.ctx(), bus.TableSubject("x", "y"), []byte("z"), bus.Expectation{}); err != nil {
					t.Error(err)
				}
			}
			return nil
		}},
		{"its journal ends elsewhere", "its journal ends at", func(c *bus.Call, _ *Part) *bus.Answer {
			doc := p.taker.Doc()
			if c.Method != http.MethodGet || doc.State != TakeReady {
				return nil
			}
			doc.Journal.Sequence--
			a := answered(doc)
			return &a
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			p.meddles(c.meddle)
			_, a := p.move()
			p.meddles(nil)
			if a.Status == http.StatusOK || !strings.Contains(a.Error, c.says) || !strings.Contains(a.Error, "the hub stays in us") {
				t.Errorf("%d %s", a.Status, a.Error)
			}
			p.stays(t)
			if !p.conn.Connected() {
				p.begin()
			}
		})
	}
	t.Run("it cannot listen", func(t *testing.T) {
		taken, err := net.Listen("tcp", p.listen.String())
		if err != nil {
			t.Fatal(err)
		}
		_, a := p.move()
		taken.Close()
		if a.Status == http.StatusOK || !strings.Contains(a.Error, "in use") {
			t.Errorf("%d %s", a.Status, a.Error)
		}
		p.stays(t)
	})
	t.Run("the control ends in the middle", func(t *testing.T) {
		asked := make(chan struct{})
		var once sync.Once
		p.meddles(func(_ *bus.Call, part *Part) *bus.Answer {
			if later(part) {
				once.Do(func() { close(asked) })
			}
			return nil
		})
		p.says()
		go func() {
			<-asked
			p.stop()
		}()
		// The control's last word may be lost with it.
		ctx, cancel := context.WithTimeout(p.ctx(), busTime)
		defer cancel()
		call := MoveCall{Gateway: "us-b", URLs: []string{"tls://" + p.listen.String()}, Bind: p.listen}
		body, err := json.Marshal(call)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := p.op.Request(ctx, bus.ControlSubject("main", "move-hub"), body); err == nil && strings.Contains(string(m.Data), `"status":200`) {
			t.Errorf("it has moved: %s", m.Data)
		}
		p.meddles(nil)
		p.stop()
		// One that is killed leaves its copy, and may have left the note about what it was about to do.
		if err := errors.Join(os.WriteFile(filepath.Join(p.folder, ".move-1.tar"), nil, 0o600),
			writeNote(filepath.Join(p.folder, "hub", movedFile), Moved{Gateway: "us-b", Number: 2, Hash: "not in force"})); err != nil {
			t.Fatal(err)
		}
		p.lead()
		p.stays(t)
	})
	doc, a := p.move()
	if a.Status != http.StatusOK || doc.To != "us-b" {
		t.Errorf("in the end: %d %s, %+v", a.Status, a.Error, doc)
	}
}

// TestMoves moves the hub. All that it had is there, under the same numbers; the old one writes nothing more, also when its control starts
// anew, wherever in the last step it ended; and it stays until all nodes are at the new one, or an operator says that they will not come.
func TestMoves(t *testing.T) {
	p := newPair(t)
	var token TokenDoc
	if a := p.ask(p.op, "token-add", TokenCall{Name: "cms"}, &token); a.Status != http.StatusOK {
		t.Fatal(a.Error)
	}
	was := p.c.receipts.end()
	doc, a := p.move()
	if a.Status != http.StatusOK || doc.Journal != was || doc.Revision != 2 {
		t.Fatalf("%d %s, %+v", a.Status, a.Error, doc)
	}
	closed := func(what string) {
		t.Helper()
		var target bus.Target
		p.until(what+": the target says so", func() bool {
			all, err := p.op.Last(p.ctx(), bus.StreamTables, bus.TableSubject(bus.TableTarget, bus.TargetKey))
			return err == nil && len(all) == 1 && bus.Decode(all[0].Data, &target) == nil && target.Stable == 2 && target.Hash == doc.Hash
		})
		a := p.ask(p.op, "purge", PurgeCall{Order: bus.Order{Kind: "all"}}, nil)
		if a.Status != http.StatusServiceUnavailable || !strings.Contains(a.Error, "moving to us-b") {
			t.Errorf("%s: a purge is answered %d %s", what, a.Status, a.Error)
		}
		if got := p.journal(p.op); !slices.Equal(got, p.given) {
			t.Errorf("%s: the journal has %d orders", what, len(got))
		}
	}
	closed("it has moved")
	old, _ := p.c.rollout.now()
	p.stop()
	p.lead()
	closed("its control starts anew")
	p.stop()
	// As where it ended between the plan and the target that follows from it.
	hand := p.inProcess()
	target := bus.Encode(bus.Target{Stable: old.From, Hash: old.FromHash, Since: old.Began})
	if _, err := hand.Append(p.ctx(), bus.TableSubject(bus.TableTarget, bus.TargetKey), target, bus.Expectation{}); err != nil {
		t.Fatal(err)
	}
	p.lead()
	closed("the target was not written")

	// The new one.
	moved := p.parse(p.revision(2))
	if moved.Hub.EmbeddedIn != "us-b" {
		t.Fatalf("%+v", moved.Hub)
	}
	h, err := hub.Start(hub.Options{Listen: p.listen, Folder: filepath.Join(p.state(), "hub"), Identity: p.other, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	before := p.world
	p.world = &world{t: t, authority: before.authority, origin: p.other, network: moved, folder: p.state(), hub: h}
	p.c, p.stop = p.control()
	defer p.stop()
	p.op = p.dialTo(h, fleet.RoleOperator, "main")
	if at := p.c.receipts.end(); at != was {
		t.Errorf("its journal is at %v, and was at %v", at, was)
	}
	p.purge(t, "z", 1)
	if got := p.journal(p.op); !slices.Equal(got, p.given) {
		t.Errorf("the new journal has %d orders, and %d were taken", len(got), len(p.given))
	}
	var tokens TokenDocs
	if a := p.ask(p.op, "token-list", nil, &tokens); a.Status != http.StatusOK || len(tokens.Tokens) != 1 {
		t.Errorf("%d %s, %+v", a.Status, a.Error, tokens)
	}

	// Who comes, and who does not.
	asked := make(chan string, 100)
	us := p.dialTo(h, fleet.RoleOrigin, "us")
	if _, err := us.Subscribe(bus.CallSubject(fleet.RoleOrigin, "us"), func(m *bus.Message) {
		var c bus.Call
		bus.Decode(m.Data, &c)
		asked <- c.Path
		m.Respond(bus.Encode(bus.Answer{Status: http.StatusOK, Doc: json.RawMessage("{}")}))
	}); err != nil {
		t.Fatal(err)
	}
	p.here(us, "us")
	for _, peer := range namesOf(moved) {
		if peer.String() != "origin-us" && peer.String() != "edge-sin" {
			p.here(p.dialTo(h, peer.Role, peer.Name), peer.Name)
		}
	}
	if absent := p.c.absent(); !slices.Equal(absent, []string{"edge-sin"}) || len(asked) > 0 {
		t.Errorf("absent: %v; the old one was told %d times to end", absent, len(asked))
	}
	var end EndDoc
	if a := p.ask(p.op, "end-hub", EndCall{Gateway: "us"}, nil); a.Status != http.StatusConflict {
		t.Errorf("the hub is not in us: %d %s", a.Status, a.Error)
	}
	a = p.ask(p.op, "end-hub", EndCall{Gateway: "us-b"}, &end)
	if a.Status != http.StatusOK || !slices.Equal(end.Absent, []string{"edge-sin"}) || end.Gateway != "us" {
		t.Errorf("%d %s, %+v", a.Status, a.Error, end)
	}
	if path := <-asked; path != "/v1/hub/end" {
		t.Errorf("the old one is asked %s", path)
	}
	if a := p.ask(p.op, "end-hub", EndCall{Gateway: "us-b"}, nil); a.Status != http.StatusConflict {
		t.Errorf("again: %d %s", a.Status, a.Error)
	}
}

// TestMoveAged moves a hub whose journal has aged away: it goes on behind where it ended.
func TestMoveAged(t *testing.T) {
	p := newPair(t)
	was := p.c.receipts.end()
	body := fmt.Appendf(nil, `{"seq":%d}`, was.Sequence+1)
	if _, err := p.c.o.Conn.Request(p.ctx(), "$JS.API.STREAM.PURGE."+bus.StreamJournal, body); err != nil {
		t.Fatal(err)
	}
	if doc, a := p.move(); a.Status != http.StatusOK || doc.Journal != was {
		t.Errorf("%d %s, %+v; it was %v", a.Status, a.Error, doc, was)
	}
}

// revision reads a network file from the hub.
func (p *pair) revision(number int) []byte {
	p.t.Helper()
	all, err := p.op.Last(p.ctx(), bus.StreamRevisions, bus.RevisionSubject(number))
	var rev bus.Revision
	if err != nil || len(all) != 1 || bus.Decode(all[0].Data, &rev) != nil {
		p.t.Fatalf("revision %d: %v, %v", number, all, err)
	}
	return rev.File
}

func (p *pair) dialTo(h *hub.Hub, role, name string) *bus.Conn {
	p.t.Helper()
	id, err := fleet.LoadIdentity(filepath.Join(filepath.Dir(p.state()), role+"-"+name, "identity"))
	if err != nil {
		folder := filepath.Join(p.t.TempDir(), "identity")
		if _, err = p.authority.Issue(folder, role, name, nil); err == nil {
			id, err = fleet.LoadIdentity(folder)
		}
	}
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := bus.Dial(bus.Options{URLs: []string{h.URL()}, Identity: id, Embedded: "us-b", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(c.Close)
	p.until(role+"-"+name+" is let in", c.Connected)
	return c
}

// here has a node report until it is heard.
func (p *pair) here(conn *bus.Conn, name string) {
	p.t.Helper()
	peer := conn.Peer()
	if err := conn.Publish(bus.UpSubject(peer.Role, name, bus.UpReport), bus.Encode(bus.Report{State: "ready"})); err != nil {
		p.t.Fatal(err)
	}
	p.until(peer.String()+" is heard", func() bool { _, ok := p.c.reports.of(peer.String()); return ok })
}
