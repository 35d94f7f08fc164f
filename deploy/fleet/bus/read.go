package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// What one direct get asks for: entries, and bytes; the first entry comes however large it is.
const (
	readEntries = 1024
	readBytes   = 1 << 20
)

// How long an answer in parts may pause, how long its first part may take, and how often that is tried: while a stream is made or has
// no leader nobody says so.
const (
	silence      = 5 * time.Second
	firstSilence = 2 * time.Second
	mostTries    = 3
)

// In a cluster a stream has no leader for some seconds after a server went, and nobody answers for it: whoever asks JetStream itself asks
// again meanwhile. A node is not told: its question was passed on, and NATS says that nobody answers to whoever did that, if to anybody. It waits as
// for an answer that is late, firstSilence each of mostTries times, and comes again by itself.
const (
	electionTime  = 10 * time.Second
	electionPause = 250 * time.Millisecond
)

// Read calls each for what lies in a stream with sequences of from or above, in their order, up to what is its end when it is
// reached. The first may be later than from where the stream's history begins there, and there are gaps where entries were removed. It
// ends with the first error of each. In a cluster any replica may answer, and one may be behind for a while: who knows of a later
// end, such as by a [Head], reads again from where it came to.
func (c *Conn) Read(ctx context.Context, stream string, from uint64, each func(*Message) error) error {
	for {
		next, more, err := c.read(ctx, stream, map[string]any{"seq": max(from, 1), "batch": readEntries, "max_bytes": readBytes}, each)
		if err != nil || !more {
			return err
		}
		from = next
	}
}

// Last returns the last value of each key whose subject matches one of subjects, which may have wildcards, by their sequences. Keys
// that are gone have an empty value. Values that change meanwhile are the old or the new ones.
func (c *Conn) Last(ctx context.Context, stream string, subjects ...string) ([]*Message, error) {
	last := make(map[string]*Message)
	keep := func(m *Message) error {
		if was := last[m.Subject]; was == nil || was.Sequence < m.Sequence {
			last[m.Subject] = m
		}
		return nil
	}
	for from := uint64(0); ; {
		ask := map[string]any{"multi_last": subjects, "batch": readEntries, "max_bytes": readBytes}
		if from > 0 {
			ask["seq"] = from
		}
		next, more, err := c.read(ctx, stream, ask, keep)
		if errors.Is(err, errTooMany) { // the server looks at no more than 1024 keys at once
			err = c.Read(ctx, stream, 1, func(m *Message) error {
				if slices.ContainsFunc(subjects, func(s string) bool { return matches(s, m.Subject) }) {
					return keep(m)
				}
				return nil
			})
			more = false
		}
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		from = next
	}
	all := make([]*Message, 0, len(last))
	for _, m := range last {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *Message) int {
		if a.Sequence < b.Sequence {
			return -1
		}
		return 1
	})
	return all, nil
}

// matches says whether a subject is one of those that a pattern names.
func matches(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range p {
		switch {
		case token == ">" && i == len(p)-1:
			return len(s) > i
		case i >= len(s) || token != "*" && token != s[i]:
			return false
		}
	}
	return len(p) == len(s)
}

// Errors of one direct get.
var (
	errTooMany  = errors.New("it has too many keys")
	errHole     = errors.New("part of the answer was lost")
	errSilent   = fmt.Errorf("no answer came: %w", ErrAway)
	errNoStream = fmt.Errorf("no stream of that name answers: %w", ErrAway)
)

// read sends one direct get and takes its answers: next is the sequence after the last of them.
func (c *Conn) read(ctx context.Context, stream string, ask map[string]any, each func(*Message) error) (next uint64, more bool, err error) {
	began := time.Now()
	for tries := 1; ; tries++ {
		next, more, err = c.readOnce(ctx, stream, ask, each)
		switch {
		case errors.Is(err, errSilent) && tries < mostTries:
		case errors.Is(err, errNoStream) && c.elects() && time.Since(began) < electionTime:
			select {
			case <-time.After(electionPause):
			case <-ctx.Done():
				return next, more, err
			}
		default:
			return next, more, err
		}
	}
}

// elects says whether this connection asks the JetStream of a cluster itself.
func (c *Conn) elects() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.serves && c.cluster
}

// readAt is where this connection asks for what lies in a stream. Who answers others asks JetStream itself, and so the control alone
// reads what is for it alone.
func (c *Conn) readAt(stream string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serves {
		return directGet(stream)
	}
	return ReadSubject(c.who.Role, c.who.Name, stream)
}

func (c *Conn) readOnce(ctx context.Context, stream string, ask map[string]any, each func(*Message) error) (next uint64, more bool, err error) {
	subject := c.readAt(stream)
	asking, done := c.ask(ctx, subject)
	defer done()
	fail := func(err error) (uint64, bool, error) {
		switch cause := context.Cause(asking); {
		case cause != nil:
			err = cause
		case !c.Connected():
			err = ErrAway
		case errors.Is(err, context.DeadlineExceeded):
			err = fmt.Errorf("it paused for %v: %w", silence, ErrAway)
		}
		return 0, false, fmt.Errorf("bus: read %s: %w", stream, err)
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return fail(err)
	}
	nc := c.conn()
	if nc == nil {
		return fail(ErrAway)
	}
	inbox := c.inbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return fail(err)
	}
	defer sub.Unsubscribe()
	if err := nc.PublishRequest(subject, inbox, body); err != nil {
		return fail(err)
	}
	for last := uint64(0); ; {
		pause := silence
		if next == 0 {
			pause = firstSilence
		}
		waiting, cancel := context.WithTimeout(asking, pause)
		m, err := sub.NextMsgWithContext(waiting)
		cancel()
		if errors.Is(err, nats.ErrNoResponders) {
			return fail(errNoStream)
		}
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && next == 0 {
			err = errSilent
		}
		if err != nil {
			return fail(err)
		}
		// Every part names the entry before it in this answer, so that a part which was lost is seen.
		before, _ := strconv.ParseUint(m.Header.Get(headLast), 10, 64)
		switch status := m.Header.Get(headStatus); status {
		case "":
		case "204": // the end of this part
			if before != last {
				return fail(errHole)
			}
			pending, _ := strconv.ParseUint(m.Header.Get(headPending), 10, 64)
			return next, pending > 0 && next > 0, nil
		case "404":
			return next, false, nil // nothing lies there
		case "413":
			return fail(errTooMany)
		case "403":
			return fail(ErrDenied)
		case "503":
			return fail(errNoStream)
		default:
			return fail(fmt.Errorf("the hub says: %s %s", status, m.Header.Get(headDescription)))
		}
		one := message(m)
		one.Subject, one.msg = m.Header.Get("Nats-Subject"), nil
		if one.Sequence <= last || before != last {
			return fail(errHole)
		}
		last, next = one.Sequence, one.Sequence+1
		if err := each(one); err != nil {
			return 0, false, err
		}
	}
}
