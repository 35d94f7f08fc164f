package hub

import (
	"time"

	"hither/deploy/fleet/bus"
)

// A stream is one of JetStream's, as its API has it.
type stream struct {
	Name            string        `json:"name"`
	Subjects        []string      `json:"subjects"`
	Retention       string        `json:"retention"`
	Storage         string        `json:"storage"`
	Discard         string        `json:"discard"`
	Replicas        int           `json:"num_replicas"`
	MaxAge          time.Duration `json:"max_age"`
	MaxBytes        int64         `json:"max_bytes"`
	MaxMessages     int64         `json:"max_msgs"`
	MaxPerSubject   int64         `json:"max_msgs_per_subject"`
	MaxMessageSize  int32         `json:"max_msg_size"`
	AllowDirect     bool          `json:"allow_direct"`
	DuplicateWindow time.Duration `json:"duplicate_window"`
	RePublish       *republish    `json:"republish,omitempty"`
	MaxConsumers    int           `json:"max_consumers"`
}

type republish struct {
	Source      string `json:"src"`
	Destination string `json:"dest"`
}

// History is for how long, and how large, the journal goes back. A node that was away for longer takes all that it has for stale.
const (
	HistoryTime  = 30 * 24 * time.Hour
	historyBytes = 1 << 30
)

// MostRevisions is how many network files a hub keeps.
const MostRevisions = 1000

// How much the others may take. Together with the journal it is less than mostDisk. An append to a table that is full is an error; of
// revisions the oldest go.
const (
	revisionBytes = 512 << 20
	tableBytes    = 128 << 20
	secretBytes   = 16 << 20
)

// streams are all of a hub.
func streams(replicas int) []stream {
	base := stream{
		Retention: "limits", Storage: "file", Discard: "old", Replicas: replicas, MaxBytes: -1, MaxMessages: -1, MaxPerSubject: -1,
		MaxMessageSize: bus.MostMessage + 32<<10, AllowDirect: true, DuplicateWindow: 2 * time.Minute, MaxConsumers: -1,
	}
	journal, revisions, tables, secrets := base, base, base, base
	journal.Name, journal.Subjects, journal.MaxAge, journal.MaxBytes = bus.StreamJournal, []string{bus.SubjectJournal}, HistoryTime, historyBytes
	journal.RePublish = &republish{bus.SubjectJournal, bus.LiveJournal}
	revisions.Name, revisions.Subjects, revisions.MaxMessages = bus.StreamRevisions, []string{bus.SubjectRevision + "*"}, MostRevisions
	revisions.MaxBytes = revisionBytes
	tables.Name, tables.Subjects, tables.MaxPerSubject = bus.StreamTables, []string{bus.SubjectTable + "*.*"}, 1
	tables.MaxBytes, tables.Discard = tableBytes, "new"
	tables.RePublish = &republish{bus.SubjectTable + ">", bus.LiveTables + ">"}
	secrets.Name, secrets.Subjects, secrets.MaxPerSubject = bus.StreamSecrets, []string{bus.SubjectSecret + "*.*"}, 1
	secrets.MaxBytes, secrets.Discard = secretBytes, "new"
	return []stream{journal, revisions, tables, secrets}
}
