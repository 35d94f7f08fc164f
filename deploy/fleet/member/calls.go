package member

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"hither/deploy/fleet/bus"
)

const (
	// mostCall bounds a call.
	mostCall = 64 << 10
	// mostCalls is how many are answered at a time; further ones are refused.
	mostCalls = 8
	// callTime is how long an answer may take.
	callTime = 30 * time.Second
)

// calls answers what operators and the control ask the node's admin socket over the bus.
type calls struct {
	m    *Member
	room chan struct{}

	mu    sync.Mutex // guards what follows
	ended bool
	busy  sync.WaitGroup // is not added to once ended
}

func newCalls(m *Member) *calls { return &calls{m: m, room: make(chan struct{}, mostCalls)} }

// take answers one, beside others.
func (c *calls) take(ctx context.Context, message *bus.Message) {
	call, err := parseCall(message.Data)
	if err != nil {
		c.m.refuse("call", err)
		answer(message, bus.Answer{Status: http.StatusBadRequest, Error: err.Error()})
		return
	}
	select {
	case c.room <- struct{}{}:
	default:
		answer(message, bus.Answer{Status: http.StatusServiceUnavailable, Error: fmt.Sprintf("member: %d calls are being answered, and more are not taken", mostCalls)})
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		<-c.room
		return
	}
	c.busy.Go(func() {
		defer func() { <-c.room }()
		ctx, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		a := c.m.o.Call(ctx, call)
		if len(a.Doc) > bus.MostMessage/2 {
			a = bus.Answer{Status: http.StatusInternalServerError, Error: fmt.Sprintf("member: an answer of %d bytes is not sent", len(a.Doc))}
		}
		answer(message, a)
	})
}

// end takes no more calls, and returns when none is being answered.
func (c *calls) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.busy.Wait()
}

// answer sends one. Who asked and is gone hears nothing.
func answer(message *bus.Message, a bus.Answer) { _ = message.Respond(bus.Encode(a)) }

// parseCall reads a call and says what keeps it from being one: there is a version of the API in front of all that the bus reaches.
func parseCall(data []byte) (call bus.Call, err error) {
	if len(data) > mostCall {
		return call, fmt.Errorf("member: a call of %d bytes; at most %d are taken", len(data), mostCall)
	}
	if err := bus.Decode(data, &call); err != nil {
		return call, err
	}
	path, _, _ := strings.Cut(call.Path, "?")
	switch {
	case call.Method != http.MethodGet && call.Method != http.MethodPost:
		return call, fmt.Errorf("member: a call with the method %.20q", call.Method)
	case !strings.HasPrefix(path, "/v1/"), strings.Contains(path, ".."), strings.Contains(path, "//"), strings.ContainsAny(path, "%\\"):
		return call, fmt.Errorf("member: a call of %.80q, which is not below /v1/", call.Path)
	case strings.ContainsFunc(call.Path, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return call, errors.New("member: a call whose path has a blank or a control character")
	}
	return call, nil
}
