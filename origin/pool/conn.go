package pool

import (
	"net/http"
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
	*http.ClientConn
	wire     *wire
	id       uint64 // counts from 1; set before it is shared
	addr     string
	born     time.Time
	expires  time.Time // zero: never
	requests atomic.Uint64

	// Guarded by Pool.mu.
	state connState
	load  int // streams in flight when last looked at
}

func (c *conn) expired(now time.Time) bool { return !c.expires.IsZero() && !now.Before(c.expires) }
