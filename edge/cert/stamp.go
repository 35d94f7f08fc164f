package cert

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"time"
)

// An EarlyRefusal is why the early data of a ticket was not taken. Its session was resumed all the same.
type EarlyRefusal int

// The refusals.
const (
	// EarlyUsed: the ticket was used before. It is a replay, or a client uses one ticket for several connections.
	EarlyUsed EarlyRefusal = iota
	// EarlyOld: it was issued before this process began, which does not know whether it was used (RFC 8446 section 8.2).
	EarlyOld
	// EarlyUnknown: it does not say when it was issued, or it was later than this process began and not by this process: by another node, or by one
	// of before whose clock was ahead. Whether it was used is not known either.
	EarlyUnknown

	earlyRefusals int = iota
)

// EarlyRefusals returns all of them.
func EarlyRefusals() []EarlyRefusal { return []EarlyRefusal{EarlyUsed, EarlyOld, EarlyUnknown} }

// String is the refusal's value as a label of metrics.
func (r EarlyRefusal) String() string { return [earlyRefusals]string{"used", "old", "unknown"}[r] }

// A life is a random number by which a process knows the tickets that it has issued itself. An instant alone would not do: a clock may be set
// back over a restart.
type life [8]byte

// stampPrefix begins our entry in what a ticket has beside the session. quic-go has an entry of its own there.
const stampPrefix = "hither1"

// stamp is what a ticket for early data says of its issue: by whom, and when in nanoseconds since 1970.
func (t *Tickets) stamp() []byte {
	b := append([]byte(stampPrefix), t.life[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(t.now().UnixNano()))
}

// readStamp finds the stamp among a session's extra entries.
func readStamp(extra [][]byte) (by life, at time.Time, ok bool) {
	for _, e := range extra {
		rest, found := bytes.CutPrefix(e, []byte(stampPrefix))
		if found && len(rest) == len(by)+8 {
			copy(by[:], rest)
			return by, time.Unix(0, int64(binary.BigEndian.Uint64(rest[len(by):]))), true
		}
	}
	return by, at, false
}

// takes decides on the early data of a ticket that has been opened, and remembers its use.
func (t *Tickets) takes(ticket []byte, extra [][]byte) (why EarlyRefusal, ok bool) {
	by, at, ok := readStamp(extra)
	switch {
	case ok && by == t.life:
		return EarlyUsed, t.guard.first(ticket, t.epoch.Load())
	case ok && !at.After(t.began):
		return EarlyOld, false
	}
	return EarlyUnknown, false
}

// wrap is the tls.Config.WrapSession of a configuration for QUIC: its tickets are stamped.
func (t *Tickets) wrap(conf *tls.Config) func(tls.ConnectionState, *tls.SessionState) ([]byte, error) {
	return func(cs tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		if session.EarlyData {
			session.Extra = append(session.Extra, t.stamp())
		}
		return conf.EncryptTicket(cs, session)
	}
}

// unwrap is the tls.Config.UnwrapSession of a configuration for QUIC: a ticket that was used before, or may have been, keeps its
// session, and loses its early data.
func (t *Tickets) unwrap(conf *tls.Config) func([]byte, tls.ConnectionState) (*tls.SessionState, error) {
	return func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		session, err := conf.DecryptTicket(ticket, cs)
		if session == nil || !session.EarlyData {
			return session, err
		}
		if why, ok := t.takes(ticket, session.Extra); !ok {
			session.EarlyData = false
			t.refused[why].Add(1)
		}
		return session, err
	}
}

// EarlyRefused counts the tickets whose early data was not taken.
func (t *Tickets) EarlyRefused(why EarlyRefusal) uint64 { return t.refused[why].Load() }
