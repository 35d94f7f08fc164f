package listen

import (
	"net"
	"sync/atomic"
	"time"
)

// This file tells how far away clients are, by what the connections' own transport has measured of it anyway.

// measureEvery is how often one connection is asked at most. A connection that carries many requests says nothing new with each.
const measureEvery = 10 * time.Second

// A pace lets one pass in each measureEvery. The zero pace lets the first one pass.
type pace struct{ next atomic.Int64 } // since the front was made, in nanoseconds

// due reports whether it is time, to one of those who ask at once.
func (p *pace) due(now time.Duration) bool {
	next := p.next.Load()
	return int64(now) >= next && p.next.CompareAndSwap(next, int64(now+measureEvery))
}

// measure tells the hook how far the client is, at the end of a request: then the connection has just carried something both
// ways. A connection that a proxy made ends at the proxy, and says nothing of the client behind it.
func (c *conn) measure(now time.Time) {
	f := c.front
	if f.hooks.RTT == nil || c.proxied || !c.pace.due(now.Sub(f.began)) {
		return
	}
	t, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return
	}
	if smoothed, least := roundTrip(t); least > 0 {
		f.hooks.RTT(addrOf(c.RemoteAddr()).Addr(), smoothed, least)
	}
}

// measure is the same of a QUIC connection. Before the client has acknowledged anything nothing is known.
func (c *quicConn) measure() {
	f := c.front
	if f.hooks.RTT == nil || !c.pace.due(time.Since(f.began)) {
		return
	}
	if s := c.conn.ConnectionStats(); s.MinRTT > 0 {
		f.hooks.RTT(addrOf(c.conn.RemoteAddr()).Addr(), max(s.SmoothedRTT, s.MinRTT), s.MinRTT)
	}
}
