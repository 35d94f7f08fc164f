package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// A Message is what came.
type Message struct {
	Subject string
	Data    []byte

	// Of what lies in a stream: its own sequence, and that of the entry before it of the same subject's live stream, from which
	// gaps are seen. 0 for others.
	Sequence, Last uint64

	msg *nats.Msg
}

// message takes what came over NATS.
func message(m *nats.Msg) *Message {
	out := &Message{Subject: m.Subject, Data: m.Data, msg: m}
	if len(m.Header) > 0 {
		out.Sequence, _ = strconv.ParseUint(m.Header.Get(headSequence), 10, 64)
		out.Last, _ = strconv.ParseUint(m.Header.Get(headLast), 10, 64)
	}
	return out
}

// Respond answers a request. Where the message was none, or wants its answer elsewhere than in an inbox, it does nothing.
func (m *Message) Respond(data []byte) error {
	if m.msg == nil || !strings.HasPrefix(m.msg.Reply, inboxes) {
		return nil
	}
	return m.msg.Respond(data)
}

// Publish sends data to whoever listens now.
func (c *Conn) Publish(subject string, data []byte) error {
	nc := c.conn()
	if nc == nil {
		return fmt.Errorf("bus: publish to %s: %w", subject, ErrAway)
	}
	switch err := nc.Publish(subject, data); {
	case err != nil && !nc.IsConnected():
		return fmt.Errorf("bus: publish to %s: %w", subject, ErrAway)
	case err != nil:
		return fmt.Errorf("bus: publish to %s: %w", subject, err)
	}
	return nil
}

// Subscribe calls f for each message of a subject, one after the other, from now on and after every time the connection came
// back. Messages of which too many wait are lost, as others are that nobody heard; whoever must have all reads them from the
// stream: see [Conn.OnLost]. A subject that the hub does not allow is logged and stays silent.
func (c *Conn) Subscribe(subject string, f func(*Message)) (unsubscribe func(), err error) {
	if strings.ContainsAny(subject, " \t\r\n") || strings.Contains("."+subject+".", "..") {
		return nil, fmt.Errorf("bus: subscribe to %q: it is no subject", subject)
	}
	s := &subscription{subject: subject, take: f}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subs[s] = struct{}{}
	if c.nc != nil {
		if err := c.start(s); err != nil && !c.nc.IsClosed() {
			delete(c.subs, s)
			return nil, fmt.Errorf("bus: subscribe to %s: %w", subject, err)
		}
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.subs, s)
		if s.on != nil {
			s.on.Unsubscribe()
		}
	}, nil
}

// start makes a subscription on the connection in use. c.mu is held.
func (c *Conn) start(s *subscription) (err error) {
	if s.on, err = c.nc.QueueSubscribe(s.subject, s.queue, func(m *nats.Msg) { s.take(message(m)) }); err != nil {
		return err
	}
	return s.on.SetPendingLimits(mostWaiting, mostWaitingBytes)
}

// A question is something that waits for an answer.
type question struct {
	subject string
	stop    context.CancelCauseFunc
}

// ask returns a context that ends, with its cause, when no answer to what is published to a subject can come any more: the hub
// denies it, or the connection ended. The caller calls done.
func (c *Conn) ask(ctx context.Context, subject string) (asking context.Context, done func()) {
	asking, stop := context.WithCancelCause(ctx)
	q := &question{subject, stop}
	c.mu.Lock()
	c.asked[q] = struct{}{}
	c.mu.Unlock()
	return asking, func() {
		c.mu.Lock()
		delete(c.asked, q)
		c.mu.Unlock()
		stop(nil)
	}
}

// stop ends what waits for an answer from a subject; "" = from any.
func (c *Conn) stop(subject string, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for q := range c.asked {
		if subject == "" || q.subject == subject {
			q.stop(why)
		}
	}
}

// nobodyThere is the status by which the hub says that nobody hears a subject.
const nobodyThere = "503"

// request sends m and waits for one answer. sent says whether it may have reached the hub when there is an error.
func (c *Conn) request(ctx context.Context, m *nats.Msg) (answer *nats.Msg, sent bool, err error) {
	asking, done := c.ask(ctx, m.Subject)
	defer done()
	nc := c.conn()
	if nc == nil {
		return nil, false, ErrAway
	}
	reply, answers, forget := c.await()
	defer forget()
	m.Reply = reply
	if err = nc.PublishMsg(m); err == nil {
		select {
		case answer = <-answers:
			if len(answer.Data) > 0 || answer.Header.Get(headStatus) != nobodyThere {
				return answer, true, nil
			}
			err = nats.ErrNoResponders
		case <-asking.Done():
			err = asking.Err()
		case <-c.ctx.Done(): // Close has ended those that it knew of
			err = ErrAway
		}
	}
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrBadSubject):
		sent = false
	default:
		sent = true
	}
	switch cause := context.Cause(asking); {
	case cause != nil && ctx.Err() == nil:
		return nil, sent && !errors.Is(cause, ErrDenied), cause
	case !nc.IsConnected():
		return nil, sent, ErrAway
	}
	return nil, sent, err
}

// ErrNobody is what an error of [Conn.Request] wraps where nobody listens to what was asked: nothing was done.
var ErrNobody = errors.New("nobody listens there")

// ErrUnanswered is what an error of [Conn.Request] wraps where the question may have been heard and no answer came: what was asked may have been done.
var ErrUnanswered = errors.New("it is not known whether it was done")

// Request sends data and waits for the one answer. The error wraps [ErrAway] or [ErrDenied] where one of them is why, and
// [ErrUnanswered] where what was asked may have been done.
func (c *Conn) Request(ctx context.Context, subject string, data []byte) (*Message, error) {
	m, sent, err := c.request(ctx, &nats.Msg{Subject: subject, Data: data})
	switch {
	case err == nil:
		return message(m), nil
	case errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("bus: ask %s: %w", subject, ErrNobody)
	case sent:
		return nil, fmt.Errorf("bus: ask %s: %w: %w", subject, err, ErrUnanswered)
	}
	return nil, fmt.Errorf("bus: ask %s: %w", subject, err)
}

// Flush waits until the hub has what was published.
func (c *Conn) Flush(ctx context.Context) error {
	asking, done := c.ask(ctx, "")
	defer done()
	nc := c.conn()
	if nc == nil {
		return fmt.Errorf("bus: flush: %w", ErrAway)
	}
	if err := nc.FlushWithContext(asking); err != nil {
		if cause := context.Cause(asking); cause != nil {
			err = cause
		}
		return fmt.Errorf("bus: flush: %w", err)
	}
	return nil
}
