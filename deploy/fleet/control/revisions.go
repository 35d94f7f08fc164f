package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"hither/deploy"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// mostNote bounds an operator's words to a revision.
const mostNote = 500

// tableVerdict says what became of each revision that the hub keeps: value is a [verdict], for its key see verdictSubject.
const tableVerdict = "verdict"

// What becomes of a revision.
const (
	verdictStable = "stable"      // it was put into use everywhere
	verdictRefuse = "refused"     // the canary could not take it
	verdictBack   = "rolled back" // the canary ran it, and something spoke against it; or an operator did
)

// A verdict is what became of a revision.
type verdict struct {
	Number int       `json:"number"` // of the revision
	State  string    `json:"state"`
	Why    string    `json:"why,omitempty"`
	At     time.Time `json:"at"`
}

// verdictSubject is where it stands what became of a revision: in the place of one that the hub keeps no more. All nodes read the keys of all
// tables, so they do not grow with the revisions that there ever were.
func verdictSubject(number int) string {
	return bus.TableSubject(tableVerdict, strconv.Itoa(number%hub.MostRevisions))
}

// A RevisionLine is a revision in the history, without its file.
type RevisionLine struct {
	Number int       `json:"number"`
	Hash   string    `json:"hash"`
	By     string    `json:"by"`
	Note   string    `json:"note,omitempty"`
	At     time.Time `json:"at"`
	Bytes  int       `json:"bytes"`

	// State is stable or canary where nodes run it now; replaced where all did; refused or rolled back, with the reason in Why; unused
	// where none was told to.
	State string `json:"state"`
	Why   string `json:"why,omitempty"`

	sequence uint64 // in the stream
}

// revisions are those in the hub's stream, of which this process knows all but the files.
type revisions struct {
	c     *Control
	stale atomic.Bool // the hub may have another stream by now

	mu    sync.Mutex     // guards what follows, over waits for the hub too
	lines []RevisionLine // by number
	last  uint64         // sequence of the last that was read
}

func newRevisions(c *Control) *revisions {
	r := &revisions{c: c}
	c.o.Conn.OnConnect(func() { r.stale.Store(true) }) // a hub that comes back may have lost its disk
	return r
}

// read brings what is known to the stream's end, and forgets what it has no more but the last: numbers go on behind it. r.mu is held.
func (r *revisions) read(ctx context.Context) error {
	if r.stale.Swap(false) {
		r.lines, r.last = nil, 0
	}
	err := r.c.o.Conn.Read(ctx, bus.StreamRevisions, r.last+1, func(m *bus.Message) error {
		r.last = m.Sequence
		rev, err := decodeRevision(m)
		if err != nil {
			r.c.o.Log.Warn("a revision in the hub's stream cannot be read", "subject", m.Subject, "error", err)
			return nil
		}
		r.lines = append(r.lines, RevisionLine{Number: rev.Number, Hash: rev.Hash, By: rev.By, Note: rev.Note, At: rev.At, Bytes: len(rev.File), sequence: m.Sequence})
		return nil
	})
	if err != nil {
		r.stale.Store(true)
		return err
	}
	i, err := streamInfo(ctx, r.c.o.Conn, bus.StreamRevisions)
	if err != nil {
		return err
	}
	gone := 0
	for gone < len(r.lines)-1 && r.lines[gone].sequence < i.State.First {
		gone++
	}
	r.lines = slices.Delete(r.lines, 0, gone)
	return nil
}

// decodeRevision reads an entry of the stream, which is what its subject and its hash say, or an error.
func decodeRevision(m *bus.Message) (*bus.Revision, error) {
	rev := new(bus.Revision)
	if err := bus.Decode(m.Data, rev); err != nil {
		return nil, err
	}
	if m.Subject != bus.RevisionSubject(rev.Number) || rev.Number < 1 || bus.HashOf(rev.File) != rev.Hash {
		return nil, fmt.Errorf("control: what lies at %s is not that revision as it was given", m.Subject)
	}
	return rev, nil
}

// add gives a file the next number, which is above least: a number that was in force is not given again where the hub has lost that revision. Where
// another control gave one meanwhile, it is taken into account.
func (r *revisions) add(ctx context.Context, by, note string, file []byte, least int) (RevisionLine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for range 3 {
		var end uint64
		if err != nil { // what the hub cannot read any more it counts all the same; asked before it is read, so that none is overlooked
			i, wrong := streamInfo(ctx, r.c.o.Conn, bus.StreamRevisions)
			if wrong != nil {
				return RevisionLine{}, wrong
			}
			end = i.State.Last
		}
		if err = r.read(ctx); err != nil {
			return RevisionLine{}, err
		}
		rev := bus.Revision{Number: least + 1, Hash: bus.HashOf(file), File: file, By: by, Note: note, At: r.c.o.Now().UTC()}
		if n := len(r.lines); n > 0 {
			rev.Number = max(rev.Number, r.lines[n-1].Number+1)
		}
		if end > r.last {
			r.c.o.Log.Warn("the hub has lost the last of its revisions; numbers go on behind them", "last", r.last, "end", end)
			r.last, rev.Number = end, max(rev.Number, int(end)+1) // each was one entry
		}
		data := bus.Encode(rev)
		if len(data) > bus.MostMessage {
			return RevisionLine{}, refuse(http.StatusRequestEntityTooLarge, "control: a network file of %d bytes is too large for a message to the nodes; %d are sure to fit", len(file), deploy.MaxBytes)
		}
		var seq uint64
		seq, err = r.c.append(ctx, bus.RevisionSubject(rev.Number), data, bus.ExpectLast(r.last))
		if err == nil {
			r.last = seq
			one := RevisionLine{Number: rev.Number, Hash: rev.Hash, By: by, Note: note, At: rev.At, Bytes: len(file), sequence: seq}
			r.lines = append(r.lines, one)
			return one, nil
		}
		r.stale.Store(true)
		if !errors.Is(err, bus.ErrChanged) {
			return RevisionLine{}, err
		}
	}
	return RevisionLine{}, err
}

// list returns all of them, the oldest first.
func (r *revisions) list(ctx context.Context) ([]RevisionLine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.read(ctx)
	return slices.Clone(r.lines), err
}

// file reads a revision; nil where there is none of that number.
func (r *revisions) file(ctx context.Context, number int) (*bus.Revision, error) {
	all, err := r.c.o.Conn.Last(ctx, bus.StreamRevisions, bus.RevisionSubject(number))
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return decodeRevision(all[len(all)-1])
}

// parse checks a file that is to be a revision. The error tells all mistakes.
func (c *Control) parse(name string, file []byte) (*deploy.Network, error) {
	if len(file) > deploy.MaxBytes {
		return nil, refuse(http.StatusRequestEntityTooLarge, "control: a network file of %d bytes; at most %d are taken", len(file), deploy.MaxBytes)
	}
	n, err := deploy.Parse(name, file, c.o.Checks...)
	if err != nil {
		return nil, &Refusal{http.StatusBadRequest, err}
	}
	return n, nil
}

// A RevisionCall is the content of the verb "revision": 0 = the stable one.
type RevisionCall struct {
	Number int `json:"number"`
}

// RevisionDoc is the document "revision".
type RevisionDoc struct {
	Schema string `json:"schema"` // hither/revision/1
	RevisionLine
	File []byte `json:"file"`
}

func (c *Control) revision(ctx context.Context, _ string, body json.RawMessage) (any, error) {
	var call RevisionCall
	if err := readCall(body, &call); err != nil {
		return nil, err
	}
	history, err := c.rollout.history(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(history, func(l RevisionLine) bool {
		return l.Number == call.Number || call.Number == 0 && l.State == verdictStable
	})
	if i < 0 {
		return nil, refuse(http.StatusNotFound, "control: there is no revision %d; `hither fleet history` shows them", call.Number)
	}
	rev, err := c.revisions.file(ctx, history[i].Number)
	if err != nil {
		return nil, err
	}
	if rev == nil {
		return nil, refuse(http.StatusNotFound, "control: revision %d is gone", history[i].Number)
	}
	return RevisionDoc{"hither/revision/1", history[i], rev.File}, nil
}

// HistoryDoc is the document "history": the newest first.
type HistoryDoc struct {
	Schema    string         `json:"schema"` // hither/history/1
	Revisions []RevisionLine `json:"revisions"`
}

func (c *Control) history(ctx context.Context, _ string, _ json.RawMessage) (any, error) {
	lines, err := c.rollout.history(ctx)
	if err != nil {
		return nil, err
	}
	slices.Reverse(lines)
	doc := HistoryDoc{"hither/history/1", lines}
	if body, err := json.Marshal(doc); err == nil && len(body) > mostDocument {
		for i := range lines {
			lines[i].Note, lines[i].Why = start(lines[i].Note), start(lines[i].Why)
		}
	}
	return doc, nil
}

// verdicts reads what became of the revisions.
func (c *Control) verdicts(ctx context.Context) (map[int]verdict, error) {
	all, err := c.o.Conn.Last(ctx, bus.StreamTables, bus.TableSubject(tableVerdict, "*"))
	if err != nil {
		return nil, err
	}
	out := make(map[int]verdict)
	for _, m := range all {
		var v verdict
		if bus.Decode(m.Data, &v) == nil {
			out[v.Number] = v
		}
	}
	return out, nil
}
