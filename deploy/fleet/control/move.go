package control

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// This file moves the hub to another gateway. All that can fail comes first, while everything goes on with the hub that is:
//
//  1. the gate is closed, so that nothing is written; purges are refused for these seconds
//  2. the network file that names the other gateway becomes a revision
//  3. what the hub has, with that revision as the one in force, goes to the gateway, which makes streams of it, on the address where it
//     will listen, and says where its journal ends (taker.go)
//  4. a note is left here that the hub has moved (moved.go)
//  5. the revision is put into force here: from this one write on the hub is there
//
// Until 5 a failure opens the gate again and nothing has changed. From 5 on nodes take the revision and go to the other hub, which has the
// journal that they know, up to where it ended. This one stays, without a control, for nodes that come later.

// A MoveCall is the content of the verb "move-hub".
type MoveCall struct {
	Gateway string         `json:"gateway"`
	URLs    []string       `json:"urls"`          // by which nodes reach it there
	Bind    netip.AddrPort `json:"bind,omitzero"` // where it listens; the zero value: as the network file says
	Note    string         `json:"note,omitempty"`
}

// MoveDoc is the document "move".
type MoveDoc struct {
	Schema   string       `json:"schema"` // hither/move/1
	From     string       `json:"from"`
	To       string       `json:"to"`
	URLs     []string     `json:"urls"`
	Revision int          `json:"revision"`
	Hash     string       `json:"hash"`
	Journal  bus.Position `json:"journal"` // where it goes on
	Bytes    int64        `json:"bytes"`   // that were copied
}

// Times of a move.
const (
	moveTime = 10 * time.Minute
	// partEvery keeps a gateway below what a node may be sent, and below what it may send.
	partEvery = 3 * time.Millisecond
	pollEvery = 200 * time.Millisecond
	// partData is what one call has of the copy. A node takes calls of 64 KiB, in base64.
	partData = 40 << 10
)

// copyPattern is what the copy is called in the node's state folder.
const copyPattern = ".move-*.tar"

func (c *Control) moveHub(ctx context.Context, by string, body json.RawMessage) (any, error) {
	var call MoveCall
	if err := readCall(body, &call); err != nil {
		return nil, err
	}
	if len(call.Note) > mostNote {
		return nil, refuse(http.StatusBadRequest, "control: a note of %d bytes; at most %d are taken", len(call.Note), mostNote)
	}
	ctx, cancel := context.WithTimeout(ctx, moveTime)
	defer cancel()
	c.rollout.op.Lock() // no roll-out begins, and none goes on
	defer c.rollout.op.Unlock()
	if err := c.gate.closed(); err != nil {
		return nil, err
	}
	m := &move{c: c, by: by, call: call, id: rand.Text()}
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	c.o.Log.Warn("the hub is moving; nothing is written meanwhile", "to", call.Gateway, "urls", call.URLs, "by", by)
	c.gate.close(errMoves(call.Gateway))
	if err := m.do(context.WithValue(ctx, movesHub{}, true)); err != nil {
		if m.unsure {
			return nil, fmt.Errorf("control: it is not known whether the hub has moved, so nothing is written here until %s is started again, which finds out: %w", c.o.Identity.Peer, err)
		}
		c.gate.open()
		c.o.Log.Warn("the hub stays where it is", "error", err)
		if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
			return nil, err
		}
		return nil, fmt.Errorf("control: the hub stays in %s, and all goes on as before: %w", c.o.Identity.Name, err)
	}
	c.o.Log.Warn("the hub has moved", "to", call.Gateway, "revision", m.line.Number, "journal", m.at)
	return MoveDoc{"hither/move/1", c.o.Identity.Name, call.Gateway, call.URLs, m.line.Number, m.line.Hash, m.at, m.bytes}, nil
}

// A move is one that is under way.
type move struct {
	c    *Control
	by   string
	call MoveCall
	id   string // by which the gateway tells its parts from those of another

	file   []byte // the next network file
	listen netip.AddrPort
	from   bus.Target
	line   RevisionLine
	plan   plan
	at     bus.Position // of the journal
	bytes  int64
	unsure bool // it is not known whether the plan was written
}

// ready says what keeps the hub from moving, and makes the network file.
func (m *move) ready(ctx context.Context) error {
	c, old := m.c, m.c.o.Network()
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	if err := c.rollout.learn(ctx); err != nil {
		return err
	}
	p, t := c.rollout.now()
	m.from = t
	node := fleet.Peer{Role: fleet.RoleOrigin, Name: m.call.Gateway}.String()
	switch {
	case old.Hub.EmbeddedIn != c.o.Identity.Name:
		return refuse(http.StatusConflict, "control: the hub is a cluster elsewhere, and none of a gateway that could move")
	case old.OriginNode(m.call.Gateway) == nil:
		return refuse(http.StatusBadRequest, "control: the network has no gateway %.64q; `hither fleet add origin NAME` and `hither fleet apply` add one", m.call.Gateway)
	case m.call.Gateway == c.o.Identity.Name:
		return refuse(http.StatusConflict, "control: the hub is in %s already", m.call.Gateway)
	case len(m.call.URLs) == 0:
		return refuse(http.StatusBadRequest, "control: no URL by which nodes would reach the hub in %s", m.call.Gateway)
	case p.busy():
		return refuse(http.StatusConflict, "control: revision %d of %s is being tried at %s; promote it or abort it first", p.Number, p.By, p.Canary)
	}
	r, ok := c.reports.of(node)
	switch {
	case !ok:
		return refuse(http.StatusConflict, "control: %s does not report: see whether it runs", node)
	case r.report.State != "ready":
		return refuse(http.StatusConflict, "control: %s is %s", node, r.report.State)
	case r.report.Hash != t.Hash:
		return refuse(http.StatusConflict, "control: %s does not run revision %d, which is in force", node, t.Stable)
	}
	rev, err := c.revisions.file(ctx, t.Stable)
	if err != nil || rev == nil {
		return errors.Join(err, fmt.Errorf("control: revision %d cannot be read", t.Stable))
	}
	if m.file, err = deploy.MoveHub(rev.File, old.Hub, m.call.Gateway, m.call.URLs, m.call.Bind); err != nil {
		return refuse(http.StatusConflict, "control: %w", err)
	}
	before, err := c.parse("network.yaml", rev.File)
	if err != nil {
		return err
	}
	after, err := c.parse("network.yaml", m.file)
	if err != nil {
		return refuse(http.StatusBadRequest, "control: with the hub in %s: %w", m.call.Gateway, err)
	}
	m.listen = after.Hub.Bind
	before.Hub, after.Hub = deploy.Hub{}, deploy.Hub{}
	if !reflect.DeepEqual(before, after) {
		return refuse(http.StatusConflict, "control: the network file could not be changed so that nothing but its hub is another; write its `hub:` as one line")
	}
	return nil
}

// do moves it. Before the plan is written an error leaves everything as it was.
func (m *move) do(ctx context.Context) error {
	if err := m.number(ctx); err != nil {
		return err
	}
	before, err := m.ends(ctx)
	if err != nil {
		return err
	}
	copied, err := m.copy(ctx)
	if err != nil {
		return err
	}
	defer os.Remove(copied.Name())
	defer copied.Close()
	if err := m.send(ctx, copied); err != nil {
		return fmt.Errorf("%s: %w", m.call.Gateway, err)
	}
	switch after, err := m.ends(ctx); {
	case err != nil:
		return err
	case after != before:
		return errors.New("something was written to the hub meanwhile, by whomever")
	case m.at != after.journal:
		return fmt.Errorf("its journal ends at %v, and the one here at %v", m.at, after.journal)
	}
	return m.commit(ctx)
}

// number makes the file a revision, unless an attempt that failed has done so.
func (m *move) number(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	lines, err := m.c.revisions.list(ctx)
	if err != nil {
		return err
	}
	note := m.call.Note
	if note == "" {
		note = "the hub moves to " + m.call.Gateway
	}
	if n := len(lines); n > 0 && lines[n-1].Hash == bus.HashOf(m.file) {
		m.line = lines[n-1]
	} else if m.line, err = m.c.revisions.add(ctx, m.by, note, m.file, m.from.Stable); err != nil {
		return err
	}
	now := m.c.o.Now()
	m.plan = plan{
		Number: m.line.Number, Hash: m.line.Hash, From: m.from.Stable, FromHash: m.from.Hash, By: m.by, Note: note,
		Phase: everywhere, Began: now.UTC(), Since: now, Outcome: verdictStable, Why: "the hub moved to " + m.call.Gateway,
	}
	return nil
}

// An extent is where all that is copied ends.
type extent struct{ journal, revisions, tables, secrets bus.Position }

func (m *move) ends(ctx context.Context) (e extent, err error) {
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	for stream, at := range map[string]*bus.Position{
		bus.StreamJournal: &e.journal, bus.StreamRevisions: &e.revisions, bus.StreamTables: &e.tables, bus.StreamSecrets: &e.secrets,
	} {
		i, err := streamInfo(ctx, m.c.o.Conn, stream)
		if err != nil {
			return e, err
		}
		*at = bus.Position{Journal: i.Config.Metadata[journalKey], Sequence: i.State.Last}
	}
	return e, nil
}

// copy writes what the hub has into a file, with the plan in force.
func (m *move) copy(ctx context.Context) (f *os.File, err error) {
	if f, err = os.CreateTemp(m.c.o.State, copyPattern); err != nil { // mode 0600
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	w := fleet.NewArchive(f, m.c.o.Identity.Network, m.c.o.Now())
	target := bus.Encode(m.plan.target())
	err = Reader{Conn: m.c.o.Conn, Ask: m.c.own, Change: func(stream string, e Entry) Entry {
		switch {
		case stream != bus.StreamTables:
		case e.Subject == bus.TableSubject(tableRollout, rolloutKey):
			e.Data = m.plan.encode()
		case e.Subject == bus.TableSubject(bus.TableTarget, bus.TargetKey):
			e.Data = target
		}
		return e
	}}.BackUp(ctx, w, true)
	if err != nil {
		return nil, err
	}
	// What is written here yet, the plan and what follows from it, is behind what was copied: no node has come as far there.
	w.Manifest().Tables += 1 << 10
	if err := w.Close(); err != nil {
		return nil, err
	}
	m.bytes, err = f.Seek(0, io.SeekEnd)
	return f, err
}

// own asks a verb of the control itself.
func (c *Control) own(ctx context.Context, verb string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	doc, err := c.verbs[verb](ctx, c.o.Identity.Peer.String(), body)
	if err != nil {
		return err
	}
	if body, err = json.Marshal(doc); err != nil {
		return err
	}
	return json.Unmarshal(body, out)
}

// send gives the copy to the gateway, part by part, and waits until it has made a hub of it.
func (m *move) send(ctx context.Context, f *os.File) error {
	part := Part{Move: m.id, From: m.c.o.Identity.Name, Listen: m.listen, Data: make([]byte, partData)}
	pace := time.NewTicker(partEvery)
	defer pace.Stop()
	for part.Offset = 0; part.Offset < m.bytes; {
		n, err := f.ReadAt(part.Data[:min(partData, m.bytes-part.Offset)], part.Offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		next := part
		next.Data, next.Last = part.Data[:n], part.Offset+int64(n) == m.bytes
		if err := m.c.tell(ctx, m.call.Gateway, takePath, next, nil); err != nil {
			return err
		}
		part.Offset += int64(n)
		select {
		case <-pace.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for {
		var doc TakeDoc
		if err := m.c.tell(ctx, m.call.Gateway, takePath, nil, &doc); err != nil {
			return err
		}
		switch {
		case doc.Move != m.id:
			return errors.New("it takes a hub from somebody else, or was started again")
		case doc.State == TakeFailed:
			return errors.New(words(doc.Why))
		case doc.State == TakeReady:
			m.at = doc.Journal
			return nil
		}
		if pause(ctx, pollEvery); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// takePath is where a gateway takes a hub; see [Taker].
const takePath = "/v1/hub/take"

// commit puts the revision into force. From the moment at which the plan is on the disk the hub is at the other gateway.
func (m *move) commit(ctx context.Context) error {
	c := m.c
	note := filepath.Join(c.o.State, "hub", movedFile)
	moved := Moved{Gateway: m.call.Gateway, Number: m.line.Number, Hash: m.line.Hash, Listen: c.o.Network().Hub.Bind, At: m.c.o.Now().UTC()}
	if err := writeNote(note, moved); err != nil {
		return err
	}
	putting, cancel := context.WithTimeout(ctx, busTime)
	err := c.rollout.put(putting, m.plan)
	cancel()
	for began := time.Now(); err != nil; { // whether it is the plan or what follows from it that was not written
		there, why := c.rollout.has(ctx, m.line.Number, m.line.Hash)
		switch {
		case why == nil && there:
			return nil // the rest is written by the roll-out's own loop
		case why == nil && !errors.Is(err, bus.ErrUnsure):
			return errors.Join(err, EndMoved(c.o.State))
		case ctx.Err() != nil || time.Since(began) > sureTime:
			m.unsure = true
			return errors.Join(err, why)
		}
		pause(ctx, pollEvery)
	}
	return nil
}

// sureTime is how long it is looked whether a write came to the hub's disk of which it said nothing.
const sureTime = 30 * time.Second
