package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// info is what the hub knows of a stream.
type info struct {
	Config struct {
		Metadata map[string]string `json:"metadata"`
	} `json:"config"`
	State struct {
		First uint64 `json:"first_seq"`
		Last  uint64 `json:"last_seq"`
	} `json:"state"`
	Error *struct {
		Description string `json:"description"`
	} `json:"error"`
}

// infoTime is how long one question for it may take. While a stream of a cluster has no leader, for seconds after a server ended, nobody answers, and
// what was asked then is not answered later either.
const infoTime = 2 * time.Second

// streamInfo asks the hub for it, again and again until ctx ends where nobody answers.
func streamInfo(ctx context.Context, conn *bus.Conn, stream string) (i info, err error) {
	var m *bus.Message
	for {
		asking, cancel := context.WithTimeout(ctx, infoTime)
		m, err = conn.Request(asking, "$JS.API.STREAM.INFO."+stream, nil)
		cancel()
		if !errors.Is(err, bus.ErrUnanswered) || !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return i, err
	}
	if err := json.Unmarshal(m.Data, &i); err != nil {
		return i, fmt.Errorf("control: what the hub says of stream %s: %w", stream, err)
	}
	if i.Error != nil {
		return i, fmt.Errorf("control: stream %s: the hub says: %s", stream, i.Error.Description)
	}
	return i, nil
}

// hubJournal is the journal's stream as the writer sees it.
type hubJournal struct{ conn *bus.Conn }

// end is where the journal ends: which one it is, and its last entry. One that has no id yet gets one.
func (h hubJournal) end(ctx context.Context) (bus.Position, error) {
	for {
		i, err := streamInfo(ctx, h.conn, bus.StreamJournal)
		if err != nil {
			return bus.Position{}, err
		}
		if id := i.Config.Metadata[journalKey]; id != "" { // of the same moment as the sequence
			return bus.Position{Journal: id, Sequence: i.State.Last}, nil
		}
		if _, _, err := hub.Journal(ctx, h.conn); err != nil {
			return bus.Position{}, err
		}
	}
}

// journalKey is where hub.Journal puts the id.
const journalKey = "hither-journal"

// entry reads one entry; nil where it is not there any more, or not yet.
func (h hubJournal) entry(ctx context.Context, sequence uint64) ([]byte, error) {
	var data []byte
	found := errors.New("found")
	err := h.conn.Read(ctx, bus.StreamJournal, sequence, func(m *bus.Message) error {
		if m.Sequence == sequence {
			data = m.Data
		}
		return found
	})
	if err != nil && !errors.Is(err, found) {
		return nil, err
	}
	return data, nil
}

// append writes the entry after the one with the sequence last.
func (h hubJournal) append(ctx context.Context, data []byte, last uint64) error {
	_, err := h.conn.Append(ctx, bus.SubjectJournal, data, bus.ExpectLast(last))
	return err
}
