package bus

import (
	"strings"

	"hither/deploy/fleet"
)

// Streams of JetStream. What is in them outlives the hub's process.
const (
	StreamJournal   = "JOURNAL"   // purges, in the order in which they have their effect
	StreamRevisions = "REVISIONS" // network files, by number
	StreamTables    = "TABLES"    // the last value of each key; what every node may read
	StreamSecrets   = "SECRETS"   // the same, for the control alone: hashes of tokens
)

// Subjects. Those that begin with "live" are a stream's as it grows, and the control's heartbeat.
const (
	SubjectJournal  = "journal"   // [Batch]; the control alone publishes
	SubjectRevision = "revision." // and the number: [Revision]
	SubjectTable    = "table."    // and TABLE.KEY: see [TableSubject]
	SubjectSecret   = "secret."   // and TABLE.KEY
	LiveJournal     = "live.journal"
	LiveTables      = "live.table." // and TABLE.KEY
	LiveHead        = "live.head"   // [Head], every HeadEvery
	SubjectControl  = "control."    // and OPERATOR.VERB: see [ControlSubject]
)

// Kinds of what a node publishes of itself.
const (
	UpReceipt = "receipt" // [Receipt]
	UpReport  = "report"  // [Report]
	UpRTT     = "rtt"     // [RTTReport]
)

// UpSubject is where a node publishes its own word of a kind; with "*" for role, name or kind it is what all of them
// are heard by. The hub lets a node publish under its own role and name alone, so the subject says who speaks.
func UpSubject(role, name, kind string) string { return "up." + role + "." + name + "." + kind }

// SpeakerOf reads who published on a subject of [UpSubject].
func SpeakerOf(subject string) (role, name, kind string, ok bool) {
	p := strings.Split(subject, ".")
	if len(p) != 4 || p[0] != "up" {
		return "", "", "", false
	}
	return p[1], p[2], p[3], true
}

// CallSubject is where a node takes calls of operators and of the control: see [Call].
func CallSubject(role, name string) string { return "to." + role + "." + name + ".call" }

// TableSubject is where the value of a key of a table is published. Keys are names of nodes, PoPs or tokens.
func TableSubject(table, key string) string { return SubjectTable + table + "." + key }

// TableOf reads table and key from a subject of [TableSubject] or the live one of it.
func TableOf(subject string) (table, key string, ok bool) {
	rest, live := strings.CutPrefix(subject, LiveTables)
	if !live {
		if rest, ok = strings.CutPrefix(subject, SubjectTable); !ok {
			return "", "", false
		}
	}
	table, key, ok = strings.Cut(rest, ".")
	return table, key, ok && table != "" && key != ""
}

// Inbox is the prefix of the subjects at which a node, and no other, hears answers.
func Inbox(p fleet.Peer) string { return inboxes + p.Role + "." + p.Name }

// inboxes is what all inboxes begin with.
const inboxes = "_INBOX."

// ReadSubject is where a node asks for what lies in a stream; "*" stands for any. See [Conn.ServeReads].
func ReadSubject(role, name, stream string) string { return "read." + role + "." + name + "." + stream }

// directGet is where JetStream is asked for it.
func directGet(stream string) string { return "$JS.API.DIRECT.GET." + stream }

// ControlSubject is where an operator asks the control to do something. The hub lets it publish under its own name alone, so the
// subject says in whose hand the fleet was.
func ControlSubject(operator, verb string) string { return SubjectControl + operator + "." + verb }

// AskedOf reads operator and verb from a subject of [ControlSubject].
func AskedOf(subject string) (operator, verb string, ok bool) {
	rest, ok := strings.CutPrefix(subject, SubjectControl)
	if !ok {
		return "", "", false
	}
	operator, verb, ok = strings.Cut(rest, ".")
	return operator, verb, ok
}
