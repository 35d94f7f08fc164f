// Package bus is what the nodes of a fleet tell each other, and the connection over which they do: subjects, streams and
// messages, each with a version, on NATS.
//
// Down, from the control to the nodes, go the journal of purges, the revisions of the network file with the target that says
// who runs which, and tables (drains, revocations, renewed certificates). All of it lies in JetStream streams; a stream is
// republished to a live subject as it grows, so that a node hears at once, and reads what it missed by direct get: no
// consumer of its own stands at the hub. Up, from the nodes, go receipts and reports, over plain subjects: what is
// lost of those the next one says again.
//
// Nobody waits for the bus to serve a client: a [Conn] is made at once, whether the hub answers or not.
package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Version is the version of every message's format. A message of a newer one is refused as a whole; members that are not known
// are passed over, so that nodes of this version and the next work together.
const Version = 1

// MostMessage bounds a message: a network file is a megabyte in base64 at most (deploy.MaxBytes), and there is room for what stands around it.
const MostMessage = 1<<20 + 64<<10

// ErrNewer is what an error of [Decode] wraps where the message is of a version that is not known here.
var ErrNewer = errors.New("of a newer version than this program knows")

// versioned is the head of every message.
type versioned struct {
	V int `json:"v"`
}

// Encode writes a message: the JSON object m with its version in front.
func Encode(m any) []byte {
	body, err := json.Marshal(m)
	if err != nil || len(body) < 2 || body[0] != '{' {
		panic(fmt.Sprintf("bus: %T is no message: %v", m, err)) // our own types alone come here
	}
	head := fmt.Appendf(make([]byte, 0, len(body)+8), `{"v":%d`, Version)
	if len(body) > 2 {
		head = append(head, ',')
	}
	return append(head, body[1:]...)
}

// ours is how a message of this version begins that has more than its version.
var ours = fmt.Appendf(nil, `{"v":%d,`, Version)

// Decode reads a message into m, a pointer to its type. The error says what is wrong with it; where it is of a newer version
// it wraps [ErrNewer].
func Decode(data []byte, m any) error {
	if len(data) > MostMessage {
		return fmt.Errorf("bus: a message of %d bytes; at most %d are taken", len(data), MostMessage)
	}
	var head versioned
	if bytes.HasPrefix(data, ours) {
		head.V = Version // as Encode writes it, which saves a look through all that follows
	} else if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("bus: a message that is no JSON object: %w", err)
	}
	switch {
	case head.V > Version:
		return fmt.Errorf("bus: a message with v %d: %w (%d)", head.V, ErrNewer, Version)
	case head.V < 1:
		return errors.New("bus: a message without a version")
	}
	if err := json.Unmarshal(data, m); err != nil {
		return fmt.Errorf("bus: a message of another form: %w", err)
	}
	return nil
}
