package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// An Entry is what lies in a stream, in a backup.
type Entry struct {
	Subject  string `json:"subject"`
	Sequence uint64 `json:"sequence"`
	Data     []byte `json:"data"`
}

// An Export asks for what no operator may read from the stream itself, in parts.
type Export struct {
	Stream string `json:"stream"` // StreamSecrets
	From   uint64 `json:"from"`   // the first sequence
}

// Exported is one part. More says that another one begins at Next. The journal's identity and the sequence of its last entry stand in each.
type Exported struct {
	Entries []Entry `json:"entries"`
	Next    uint64  `json:"next"`
	More    bool    `json:"more,omitempty"`
	Journal string  `json:"journal"`
	Last    uint64  `json:"last"`
}

// exportBytes is about how much one answer has; in JSON it is a third more, far below what NATS takes.
const exportBytes = 256 << 10

func (i *identities) export(ctx context.Context, by string, body json.RawMessage) (any, error) {
	var e Export
	if err := readCall(body, &e); err != nil {
		return nil, err
	}
	if e.Stream != bus.StreamSecrets {
		return nil, refuse(http.StatusBadRequest, "control: export %.40q: only %s is exported; operators read the others themselves", e.Stream, bus.StreamSecrets)
	}
	journal, err := hubJournal{i.c.o.Conn}.end(ctx)
	if err != nil {
		return nil, err
	}
	out := Exported{Entries: []Entry{}, Journal: journal.Journal, Last: journal.Sequence, Next: e.From}
	full := errors.New("enough for one part")
	size := 0
	err = i.c.o.Conn.Read(ctx, e.Stream, e.From, func(m *bus.Message) error {
		if size += len(m.Data) + len(m.Subject) + 64; size > exportBytes && len(out.Entries) > 0 {
			out.More = true
			return full
		}
		out.Entries, out.Next = append(out.Entries, Entry{m.Subject, m.Sequence, bytes.Clone(m.Data)}), m.Sequence+1
		return nil
	})
	if err != nil && !errors.Is(err, full) {
		return nil, err
	}
	if e.From <= 1 {
		i.c.o.Log.Info("a backup is made", "by", by)
	}
	return out, nil
}

// A Reader is what a backup is made with: the connection of an operator, and how it asks the control.
type Reader struct {
	Conn *bus.Conn
	Ask  func(ctx context.Context, verb string, in, out any) error

	// Change, if not nil, is asked of each entry what it is in the backup.
	Change func(stream string, e Entry) Entry
}

// partBytes is about how much of a stream one file of a backup has.
const partBytes = 1 << 20

// BackUp adds what the hub has to a backup: revisions, tables and secrets, and where the journal stands. The journal's entries
// are not in it: nodes of a restored hub hold what they store for stale. With move all of them are.
func (r Reader) BackUp(ctx context.Context, w *fleet.ArchiveWriter, move bool) error {
	m := w.Manifest()
	m.Hub, m.Move = true, move
	parts := parter{w: w}
	for part := (Export{Stream: bus.StreamSecrets, From: 1}); ; {
		var got Exported
		if err := r.Ask(ctx, "export", part, &got); err != nil {
			return fmt.Errorf("back up what only the control reads: %w", err)
		}
		for _, e := range got.Entries {
			if err := parts.add(bus.StreamSecrets, e); err != nil {
				return err
			}
		}
		m.Journal, m.Last = got.Journal, got.Last
		if !got.More {
			break
		}
		if got.Next <= part.From {
			return errors.New("back up what only the control reads: its answer leads nowhere")
		}
		part.From = got.Next
	}
	for _, stream := range []string{bus.StreamTables, bus.StreamRevisions, bus.StreamJournal} { // what the target names is there, being read after it
		var last *Entry
		err := r.Conn.Read(ctx, stream, 1, func(msg *bus.Message) error {
			e := Entry{msg.Subject, msg.Sequence, bytes.Clone(msg.Data)}
			last = &e
			if stream == bus.StreamJournal && !move {
				return nil
			}
			if r.Change != nil {
				e = r.Change(stream, e)
			}
			return parts.add(stream, e)
		})
		if err != nil {
			return err
		}
		switch {
		case last == nil && stream == bus.StreamJournal && m.Last > 0: // all of it has aged away
			m.Next = bus.Leap(m.Last)
		case last == nil:
		case stream == bus.StreamTables:
			m.Tables = last.Sequence
		case stream == bus.StreamJournal:
			var b bus.Batch
			if err := bus.Decode(last.Data, &b); err != nil {
				return fmt.Errorf("back up the journal: its last entry: %w", err)
			}
			m.Next = b.First + uint64(len(b.Orders))
		}
	}
	return parts.flush()
}

// A parter gathers entries into files, each of one stream.
type parter struct {
	w      *fleet.ArchiveWriter
	stream string
	buffer bytes.Buffer
	n      int
}

func (p *parter) add(stream string, e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if p.stream != stream || p.buffer.Len()+len(line) > partBytes {
		if err := p.flush(); err != nil {
			return err
		}
		p.stream = stream
	}
	p.buffer.Write(line)
	p.buffer.WriteByte('\n')
	return nil
}

func (p *parter) flush() error {
	if p.buffer.Len() == 0 {
		return nil
	}
	p.n++
	err := p.w.Add(fmt.Sprintf("%s%s.%06d", streamFolder, p.stream, p.n), p.buffer.Bytes())
	p.buffer.Reset()
	return err
}

// streamFolder is where the entries of streams lie in a backup, as STREAM.NUMBER.
const streamFolder = "hub/"
