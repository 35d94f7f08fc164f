package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Headers of JetStream.
const (
	headSequence    = "Nats-Sequence"
	headLast        = "Nats-Last-Sequence"
	headPending     = "Nats-Num-Pending"
	headStatus      = "Status"
	headDescription = "Description"
	headExpectLast  = "Nats-Expected-Last-Sequence"
	headExpectKey   = "Nats-Expected-Last-Subject-Sequence"
)

// Errors that those of [Conn.Append] wrap.
var (
	ErrChanged = errors.New("it has changed meanwhile") // somebody else wrote first, or an Append before it whose answer was lost
	ErrUnsure  = errors.New("it is not known whether it was written")
)

// wrongLast is JetStream's number for an expectation that does not hold: JSStreamWrongLastSequenceErrF.
const wrongLast = 10071

// An Expectation makes Append compare and set. The zero Expectation expects nothing.
type Expectation struct {
	header string
	value  uint64
}

// ExpectLast is that the stream's last entry has a sequence; 0 = it has none yet.
func ExpectLast(sequence uint64) Expectation { return Expectation{headExpectLast, sequence} }

// ExpectKey is that the subject's last value has a sequence; 0 = it has none yet.
func ExpectKey(sequence uint64) Expectation { return Expectation{headExpectKey, sequence} }

// How long an append may take, for JetStream says nothing at all where it could not write, and how soon it is tried again where no
// stream takes it, as in a cluster that chooses a leader after a server ended.
const (
	appendTime  = 10 * time.Second
	appendAgain = 100 * time.Millisecond
)

// Append puts data into the stream that holds the subject, and returns its sequence when the hub has it on disk. Where an expectation
// does not hold the error wraps [ErrChanged]. Where the answer was lost, or ctx ended before it came, the error wraps [ErrUnsure]: the
// caller reads what lies there, or appends once more with the same expectation and takes ErrChanged as a reason to read. With any
// other error nothing was written.
func (c *Conn) Append(ctx context.Context, subject string, data []byte, expect Expectation) (sequence uint64, err error) {
	m := &nats.Msg{Subject: subject, Data: data}
	if expect.header != "" {
		m.Header = nats.Header{expect.header: {strconv.FormatUint(expect.value, 10)}}
	}
	waiting, cancel := context.WithTimeout(ctx, appendTime)
	defer cancel()
	answer, sent, err := c.request(waiting, m)
	for errors.Is(err, nats.ErrNoResponders) { // nobody got it
		select {
		case <-time.After(appendAgain):
			answer, sent, err = c.request(waiting, m)
			continue
		case <-waiting.Done():
		}
		break
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return 0, fmt.Errorf("bus: append to %s: the hub was silent for %v, as with a full disk; its log says more: %w", subject, appendTime, ErrUnsure)
	case errors.Is(err, nats.ErrNoResponders):
		return 0, fmt.Errorf("bus: append to %s: no stream takes it: %w", subject, ErrAway)
	case err != nil && sent:
		return 0, fmt.Errorf("bus: append to %s: %w: %w", subject, err, ErrUnsure)
	case err != nil:
		return 0, fmt.Errorf("bus: append to %s: %w", subject, err)
	}
	var ack struct {
		Sequence uint64 `json:"seq"`
		Error    *struct {
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, fmt.Errorf("bus: append to %s: the hub's answer: %w: %w", subject, err, ErrUnsure)
	}
	switch {
	case ack.Error == nil && ack.Sequence > 0:
		return ack.Sequence, nil
	case ack.Error == nil:
		return 0, fmt.Errorf("bus: append to %s: the hub's answer has no sequence: %w", subject, ErrUnsure)
	case ack.Error.Code == wrongLast:
		return 0, fmt.Errorf("bus: append to %s: %w (%s)", subject, ErrChanged, ack.Error.Description)
	}
	return 0, fmt.Errorf("bus: append to %s: the hub says: %s", subject, ack.Error.Description)
}
