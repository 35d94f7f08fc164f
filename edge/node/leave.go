package node

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"hither/deploy/ops"
)

// This file is how a node goes: first it says so to whoever asks about it, and goes on as before until clients are sent elsewhere; then
// it sends away those who have stayed.

// A DrainCall is the content of POST /v1/drain, which may be absent.
type DrainCall struct {
	// Told says that the PoP has been out of all answers of DNS for as long as resolvers keep one: nobody is waited for who might
	// still be sent here.
	Told bool `json:"told"`
}

// drainCall begins the drain that SIGTERM begins; the process ends after it. A later call may say that resolvers know by now.
func (n *Node) drainCall(r *http.Request) (string, any, error) {
	var call DrainCall
	if r.ContentLength != 0 {
		if err := ops.DecodeBody(r, &call); err != nil {
			return "", nil, err
		}
	}
	if call.Told {
		n.toldOnce.Do(func() { close(n.told) })
	}
	if n.goes() {
		close(n.drain)
	}
	return "status", n.Status(), nil
}

// goes makes the node one that drains, for all who ask, and reports whether it was none before.
func (n *Node) goes() bool {
	n.leaving.Store(true)
	if !n.life.Advance(ops.Draining) {
		return false
	}
	if n.o.Goes != nil {
		n.o.Goes()
	}
	return true
}

// notice is how long clients may still be sent to a node that says it drains. DNS servers hear of it within an interval of their probes,
// each at most a tenth of it later; and for the TTL of what they said last, resolvers go on saying so. No longer than limits.notice; 0
// where no name is steered to this PoP.
func (n *Node) notice() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	ttl, steered := n.network.TTLOf(n.network.PoP(n.o.Name))
	if len(n.network.DNS.Servers) == 0 || !steered {
		return 0
	}
	p := n.network.DNS.Probe
	return min(time.Duration(p.Interval)*11/10+time.Duration(p.Timeout)+ttl, time.Duration(n.edge.Limits.Notice))
}

// farewell is how long a node goes on that was told to stop by ctx or by an operator. When ctx ends by itself, and not by a
// signal, the whole network ends, and nobody is waited for.
func (n *Node) farewell(ctx context.Context) time.Duration {
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return 0
	}
	return n.notice()
}

// progressEvery is how often a node that goes says how far it has come.
const progressEvery = 10 * time.Second

// takeLeave serves for as long as clients may still be sent here, and then lets go of those who have stayed. Where an operator has
// told the node alone to go, ctx may still end with the whole network.
func (n *Node) takeLeave(ctx context.Context, notice time.Duration) error {
	n.goes()
	last := max(time.Duration(n.edge.Limits.Drain), time.Second)
	n.o.Log.Info("draining", "clients_come_for", notice.String(), "then_at_most", last.String(), "requests", n.front.Active())
	progress := time.NewTicker(progressEvery)
	defer progress.Stop()
	from := n.tally.accepted.Load()
	ended := time.NewTimer(notice)
	defer ended.Stop()
	began, over := time.Now(), ctx.Done()
	for waiting := notice > 0; waiting; {
		select {
		case <-over:
			over, waiting = nil, n.farewell(ctx) > 0
		case <-ended.C:
			waiting = false
		case <-n.told:
			waiting = false
		case <-progress.C:
			n.o.Log.Info("draining: clients may still come", "for", max(notice-time.Since(began), 0).Round(time.Second).String(), n.stillHere(from))
		}
	}
	n.o.Log.Info("sending away who is here", n.stillHere(from))
	left, cancel := context.WithTimeout(context.Background(), last)
	defer cancel()
	gone := make(chan error, 1)
	go func() { gone <- n.drainFronts(left) }()
	for {
		select {
		case err := <-gone:
			return err
		case <-progress.C:
			n.o.Log.Info("draining: requests are under way", n.stillHere(from))
		}
	}
}

// stillHere is who is connected, for the log.
func (n *Node) stillHere(from int64) slog.Attr {
	var open int64
	for i := range n.tally.connections {
		open += n.tally.connections[i].Load()
	}
	return slog.Group("", "connections", open, "came_since", n.tally.accepted.Load()-from, "requests", n.front.Active())
}
