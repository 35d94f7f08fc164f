package control

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// Files in the hub's folder of the node in which the control runs, STATE/hub.
const (
	// RestoreFile is a backup from which the control fills the streams of a hub that has nothing, at its next start.
	RestoreFile = "restore.tar"
	refusedFile = "restore.refused.tar" // where it could not be used; it says so in the log
	begunFile   = "restore.begun"       // the backup's time, while the streams are being filled
)

// leap is how far the tables' sequences go on after those of the backup, so that no node has come as far already: what was written
// after the backup had fewer.
const leap = 1 << 20

// restoreAll restores the hub where there is a backup for it, and returns when nothing of that is left to do: it waits for a hub that is away.
func (c *Control) restoreAll(ctx context.Context) {
	said := false
	for {
		trying, cancel := context.WithTimeout(ctx, restoreTime)
		err := c.restore(trying)
		cancel()
		var refusal *Refusal
		if err == nil || ctx.Err() != nil {
			return
		}
		if errors.As(err, &refusal) {
			c.o.Log.Error("restore", "error", err)
			return
		}
		if !said {
			said = true
			c.o.Log.Warn("the hub is not restored yet; it is tried again", "error", err)
		}
		t := time.NewTimer(restorePause)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

const (
	restoreTime  = 10 * time.Minute
	restorePause = time.Second
)

// restore fills the hub's streams from RestoreFile, where there is one. It is called before anything else is written. A backup that
// is damaged, of another network, or for a hub that has something is put aside: the error is a [*Refusal] then, and the hub is as it was. Any other error is the
// hub's, and the next call goes on. A restored hub has a new journal, by which nodes know that they may have missed something.
func (c *Control) restore(ctx context.Context) error {
	folder := filepath.Join(c.o.State, "hub")
	path := filepath.Join(folder, RestoreFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control: restore the hub: %w", err)
	}
	defer f.Close()
	if err := hub.Ensure(ctx, c.o.Conn, c.o.Replicas); err != nil {
		return fmt.Errorf("control: restore the hub: %w", err)
	}
	b, err := fleet.OpenArchive(f)
	if err == nil && b.Network != c.o.Identity.Network {
		err = fmt.Errorf("it is a backup of network %s, and this one is %s", b.Network, c.o.Identity.Network)
	}
	if err == nil && !b.Hub {
		err = errors.New("it has nothing of a hub")
	}
	if err == nil {
		var refusal *Refusal
		err = c.fill(ctx, b, filepath.Join(folder, begunFile))
		if err != nil && !errors.As(err, &refusal) {
			return fmt.Errorf("control: restore the hub from %s: %w", path, err)
		}
	}
	if err != nil {
		aside := filepath.Join(folder, refusedFile)
		return refuse(http.StatusConflict, "control: the hub was not restored from %s, and is as it was; the file is now %s: %w", path, aside, errors.Join(err, os.Rename(path, aside)))
	}
	c.o.Log.Warn("the hub was restored from a backup", "of", b.At, "moved", b.Move)
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("control: the hub was restored from %s, which is to be removed: %w", path, err)
	}
	if err := os.Remove(filepath.Join(folder, begunFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("control: the hub was restored: %w", err)
	}
	return nil
}

// fill writes what is in a backup. A [*Refusal] says that nothing was written.
func (c *Control) fill(ctx context.Context, b *fleet.Archive, begun string) error {
	mark := []byte(b.At.Format(time.RFC3339Nano) + "\n")
	old, err := os.ReadFile(begun)
	again := err == nil && bytes.Equal(old, mark) // an earlier start ended in the middle of this
	for _, stream := range []string{bus.StreamJournal, bus.StreamRevisions, bus.StreamTables, bus.StreamSecrets} {
		s, err := askStream(ctx, c.o.Conn, stream)
		if err != nil {
			return err
		}
		if s.State.Messages > 0 && !again {
			return refuse(http.StatusConflict, "control: stream %s has %d entries, and a backup is for a hub that has none", stream, s.State.Messages)
		}
	}
	last, err := lastEntries(b)
	if err != nil {
		return &Refusal{http.StatusConflict, err}
	}
	if !again {
		if err := os.WriteFile(begun, mark, 0o600); err != nil {
			return err
		}
	}
	tables := b.Tables + 1
	if !b.Move {
		tables += leap
	}
	if err := c.beginAt(ctx, bus.StreamTables, tables); err != nil {
		return err
	}
	// Files first, then who is to run which of them.
	for _, stream := range []string{bus.StreamRevisions, bus.StreamSecrets, bus.StreamTables} {
		err := entries(b, stream, func(e Entry) error {
			if last[e.Subject] != e.Sequence {
				return nil // it was replaced while the backup was made
			}
			_, err := c.o.Conn.Append(ctx, e.Subject, e.Data, bus.ExpectKey(0))
			if errors.Is(err, bus.ErrChanged) && again {
				return nil // it is there since the earlier start
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if b.Move {
		return c.moved(ctx, b)
	}
	return c.begun(ctx, b)
}

// begun begins a new journal, whose orders go on where the old one's ended. Its first has every node hold what it stores for
// stale, also one which has never heard of the old.
func (c *Control) begun(ctx context.Context, b *fleet.Archive) error {
	s, err := askStream(ctx, c.o.Conn, bus.StreamJournal)
	if err != nil {
		return err
	}
	if s.State.Messages > 0 {
		return nil // the earlier start came to its end
	}
	id := rand.Text()
	if err := s.name(ctx, c.o.Conn, id); err != nil {
		return err
	}
	first := bus.Batch{Journal: id, First: max(b.Next, 1), At: c.o.Now().UTC(), Orders: []bus.Order{{Kind: "all", Soft: true}}}
	_, err = c.o.Conn.Append(ctx, bus.SubjectJournal, bus.Encode(first), bus.ExpectLast(s.State.Last))
	return err
}

// moved goes on with the journal of the hub that was before: the same entries under the same sequences.
func (c *Control) moved(ctx context.Context, b *fleet.Archive) error {
	s, err := askStream(ctx, c.o.Conn, bus.StreamJournal)
	if err != nil {
		return err
	}
	if err := s.name(ctx, c.o.Conn, b.Journal); err != nil {
		return err
	}
	last := s.State.Last
	err = entries(b, bus.StreamJournal, func(e Entry) error {
		if s.State.Messages == 0 && last < e.Sequence-1 {
			if err := c.beginAt(ctx, bus.StreamJournal, e.Sequence); err != nil {
				return err
			}
			s.State.Messages, last = 1, e.Sequence-1
		}
		if e.Sequence <= last {
			return nil // it is there since an earlier start
		}
		at, err := c.o.Conn.Append(ctx, e.Subject, e.Data, bus.ExpectLast(last))
		if err == nil && at != e.Sequence {
			err = fmt.Errorf("entry %d of the journal came to lie at %d", e.Sequence, at)
		}
		last = at
		return err
	})
	if err == nil && last < b.Last { // the last of them has aged away
		err = c.beginAt(ctx, bus.StreamJournal, b.Last+1)
	}
	return err
}

// CheckBackup says why no hub can be filled from a backup, as far as the backup shows.
func CheckBackup(b *fleet.Archive) error {
	_, err := lastEntries(b)
	return err
}

// mostEntries bounds the keys and revisions of a backup.
const mostEntries = 1 << 18

// lastEntries reads all entries of a backup, and returns the sequence of the last one of each subject but the journal's. The error says what
// keeps an entry from being a stream's.
func lastEntries(b *fleet.Archive) (last map[string]uint64, err error) {
	last = make(map[string]uint64)
	for _, stream := range []string{bus.StreamRevisions, bus.StreamSecrets, bus.StreamTables, bus.StreamJournal} {
		before := uint64(0)
		err := entries(b, stream, func(e Entry) error {
			if e.Sequence <= before {
				return fmt.Errorf("an entry %d after %d", e.Sequence, before)
			}
			if before = e.Sequence; stream == bus.StreamJournal {
				return nil
			}
			if last[e.Subject] = e.Sequence; len(last) > mostEntries {
				return fmt.Errorf("more than %d keys", mostEntries)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("control: what the backup has of stream %s: %w", stream, err)
		}
	}
	return last, nil
}

// entries calls f for what a backup has of a stream.
func entries(b *fleet.Archive, stream string, f func(Entry) error) error {
	return b.Each(func(name string, data []byte) error {
		if !strings.HasPrefix(name, streamFolder+stream+".") {
			return nil
		}
		for line := range bytes.Lines(data) {
			var e Entry
			if err := json.Unmarshal(line, &e); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if !isSubject(stream, e.Subject) || e.Sequence == 0 || e.Sequence > mostSequence {
				return fmt.Errorf("%s: an entry %d of %.80q", name, e.Sequence, e.Subject)
			}
			if len(e.Data) > bus.MostMessage {
				return fmt.Errorf("%s: entry %d has %d bytes; at most %d are taken", name, e.Sequence, len(e.Data), bus.MostMessage)
			}
			if err := f(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// mostSequence bounds sequences, so that none that follows is too large.
const mostSequence = 1 << 62

// isSubject says whether something lies in a stream under a subject. What has other characters could be taken for another command to the hub.
func isSubject(stream, subject string) bool {
	words := strings.Split(subject, ".")
	for _, w := range words {
		if w == "" || len(w) > 255 || strings.ContainsFunc(w, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '*' || r == '>' }) {
			return false
		}
	}
	switch stream {
	case bus.StreamJournal:
		return subject == bus.SubjectJournal
	case bus.StreamRevisions:
		return len(words) == 2 && strings.HasPrefix(subject, bus.SubjectRevision)
	case bus.StreamTables:
		return len(words) == 3 && strings.HasPrefix(subject, bus.SubjectTable)
	case bus.StreamSecrets:
		return len(words) == 3 && strings.HasPrefix(subject, bus.SubjectSecret)
	}
	return false
}

// beginAt has a stream that is empty go on with a sequence. One that is not is left as it is.
func (c *Control) beginAt(ctx context.Context, stream string, sequence uint64) error {
	s, err := askStream(ctx, c.o.Conn, stream)
	if err != nil || s.State.Messages > 0 || s.State.Last >= sequence-1 {
		return err
	}
	return askHub(ctx, c.o.Conn, "STREAM.PURGE."+stream, map[string]uint64{"seq": sequence}, nil)
}

// A hubStream is what the hub says of a stream.
type hubStream struct {
	Config map[string]any `json:"config"`
	State  struct {
		Messages uint64 `json:"messages"`
		First    uint64 `json:"first_seq"`
		Last     uint64 `json:"last_seq"`
	} `json:"state"`
}

func askStream(ctx context.Context, conn *bus.Conn, stream string) (hubStream, error) {
	var s hubStream
	return s, askHub(ctx, conn, "STREAM.INFO."+stream, struct{}{}, &s)
}

// name says which journal the stream is.
func (s *hubStream) name(ctx context.Context, conn *bus.Conn, id string) error {
	metadata, ok := s.Config["metadata"].(map[string]any)
	if !ok {
		metadata = make(map[string]any)
		s.Config["metadata"] = metadata
	}
	metadata[journalKey] = id
	return askHub(ctx, conn, "STREAM.UPDATE."+bus.StreamJournal, s.Config, nil)
}

// askHub calls JetStream's API.
func askHub(ctx context.Context, conn *bus.Conn, call string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	m, err := conn.Request(ctx, "$JS.API."+call, body)
	if err != nil {
		return fmt.Errorf("the hub's %s: %w", call, err)
	}
	var failed struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &failed); err != nil {
		return fmt.Errorf("the hub's %s: %w", call, err)
	}
	if failed.Error != nil {
		return fmt.Errorf("the hub's %s: %s", call, failed.Error.Description)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(m.Data, out)
}
