package lab

import (
	"context"
	"fmt"
	"time"
)

// coldGap is the silence after which an edge whose origin is down is known to wait for long before it dials again: its
// pauses grow to between 500 ms and 1 s.
const coldGap = 400 * time.Millisecond

// Cool makes the edge start again while its origin is down, so that it has no connection to it, and then starts the
// origin: the next request that the cache does not have opens the first one. It must come at once, for the edge dials
// by itself as well after less than a second. Whether it came in time its [Path] tells: no way to the origin begins
// before the request has come to the edge, so the client waited for its whole handshake.
//
// Both nodes are killed: what the cache had is gone.
func (n *Network) Cool(ctx context.Context) error {
	for _, p := range []Place{Edge, Origin} {
		if err := n.Kill(p); err != nil {
			return err
		}
	}
	if err := n.Start(ctx, Edge); err != nil {
		return err
	}
	dialled, since := n.lab.Count(Edge, Origin).Packets, time.Now()
	for time.Since(since) < coldGap {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("lab: wait for a pause of the edge: %w", context.Cause(ctx))
		}
		if now := n.lab.Count(Edge, Origin).Packets; now != dialled {
			dialled, since = now, time.Now()
		}
	}
	return n.Start(ctx, Origin)
}
