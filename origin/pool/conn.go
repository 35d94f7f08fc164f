package pool

import (
	"sync/atomic"
	"time"
)

// connState is what a connection is good for.
type connState uint8

const (
	open     connState = iota // takes requests
	draining                  // finishes those it has: old, or the peer said GOAWAY
)

// conn is one connection to the origin.
type conn struct {
	session
	id       uint64 // counts from 1; set before it is shared
	key      Key
	to       target
	addr     string // to.addr, as text
	born     time.Time
	requests atomic.Uint64

	// Guarded by Pool.mu.
	expires time.Time // zero: never
	state   connState
	load    int       // streams in flight when last looked at
	idle    time.Time // since when the keeper has seen no request
	seen    uint64    // requests then
}

func (c *conn) expired(now time.Time) bool { return !c.expires.IsZero() && !now.Before(c.expires) }
