package control

import (
	"context"
	"net/http"
	"sync"

	"hither/deploy/fleet/bus"
)

// A gate stands before all that the control writes. While the hub moves it is closed, so that the copy of what the hub has is all of it.
type gate struct {
	mu  sync.RWMutex // held for reading over a write under way
	why error        // nil = open
}

// close lets nothing be written from now on, and returns when what was under way is over. Whoever comes is told why.
func (g *gate) close(why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.why = why
}

func (g *gate) open() { g.close(nil) }

// closed says why nothing is written; nil = it is.
func (g *gate) closed() error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.why
}

// movesHub marks the context of what moves the hub, for which the gate is open.
type movesHub struct{}

// append writes to a stream, unless the gate is closed.
func (c *Control) append(ctx context.Context, subject string, data []byte, expect bus.Expectation) (uint64, error) {
	c.gate.mu.RLock()
	defer c.gate.mu.RUnlock()
	if c.gate.why != nil && ctx.Value(movesHub{}) == nil {
		return 0, c.gate.why
	}
	return c.o.Conn.Append(ctx, subject, data, expect)
}

// A heldJournal is the journal's stream behind the gate.
type heldJournal struct {
	hubJournal
	c *Control
}

func (h heldJournal) append(ctx context.Context, data []byte, last uint64) error {
	_, err := h.c.append(ctx, bus.SubjectJournal, data, bus.ExpectLast(last))
	return err
}

// errMoves is what everybody is told who would have something written meanwhile.
func errMoves(gateway string) error {
	return refuse(http.StatusServiceUnavailable, "control: the hub is moving to %s; nothing was done: tell it again in some seconds", gateway)
}
