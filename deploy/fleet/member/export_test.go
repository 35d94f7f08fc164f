package member

import (
	"context"
	"time"

	"hither/deploy/fleet/bus"
)

// Hear puts f between the connection and the journal; it is to be called before Run.
func (m *Member) Hear(f func(message *bus.Message, take func(*bus.Message))) { m.journal.hear = f }

// Live has m take a message as one that came live.
func (m *Member) Live(message *bus.Message) { m.journal.live(message) }

// Look has m look whether it runs what it is to run.
func (m *Member) Look() { m.revisions.poke() }

// Step has m, which does not run, do what there is to do about its revision, and returns when it would look again.
func (m *Member) Step(ctx context.Context) time.Duration { return m.revisions.step(ctx) }

// Head has m hear a heartbeat, and says whether it would look at once what revision it is to run.
func (m *Member) Head(h bus.Head) bool {
	m.revisions.head(h)
	return len(m.revisions.wake) > 0
}

// MostWaiting bounds the entries that wait.
const MostWaiting = mostWaiting

// PositionFile is the name of the file of the position.
const PositionFile = positionFile

// ParseCall reads a call.
func ParseCall(data []byte) (bus.Call, error) { return parseCall(data) }

// WithProblems adds lines to a status.
var WithProblems = withProblems
