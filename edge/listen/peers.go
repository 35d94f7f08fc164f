package listen

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// peers counts what each client address holds and how fast it begins handshakes. It is asked before
// any work is done for a connection.
type peers struct {
	conns    int           // bound on open connections; negative: none
	interval time.Duration // between two handshakes at the bound; 0: none
	now      func() time.Time

	mu    sync.Mutex
	table map[netip.Addr]peer
	sweep int // table size at which entries that say nothing any more are dropped
}

// A peer is what is known about one address.
type peer struct {
	conns int
	// due is when the handshakes admitted so far would be over if they came evenly (the generic cell
	// rate algorithm): a bound on a rate in one word.
	due time.Time
}

// peerBurst is the handshakes, in time at the bound's rate, that may come at once.
const peerBurst = time.Second

// firstSweep is the table size below which nothing is worth dropping.
const firstSweep = 1024

func newPeers(l Limits, now func() time.Time) *peers {
	p := &peers{conns: l.ConnectionsPerAddress, now: now, table: make(map[netip.Addr]peer), sweep: firstSweep}
	if l.HandshakesPerAddress > 0 {
		p.interval = time.Second / time.Duration(l.HandshakesPerAddress)
	}
	return p
}

// peerKey is the address under which a client is counted. Whoever has one IPv6 address has
// its whole /64 (RFC 6177 section 2).
func peerKey(a net.Addr) netip.Addr {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}

// admit takes one connection of k, or says why not. Each admitted one is given back with release.
func (p *peers) admit(k netip.Addr) (Reason, bool) {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	e, known := p.table[k]
	if p.conns > 0 && e.conns >= p.conns {
		return ReasonConnections, false
	}
	if p.interval > 0 {
		due := e.due
		if due.Before(now) {
			due = now
		}
		due = due.Add(p.interval)
		if due.Sub(now) > peerBurst {
			return ReasonRate, false
		}
		e.due = due
	}
	e.conns++
	if !known && len(p.table) >= p.sweep {
		p.dropStale(now)
	}
	p.table[k] = e
	return "", true
}

// busy reports whether k holds half of what it may. An address that is not validated may be
// forged, and nobody shall be able to use up another's share: beyond half of it, QUIC clients must show that the
// address is theirs.
func (p *peers) busy(k netip.Addr) bool {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.table[k]
	return p.conns > 0 && 2*e.conns >= p.conns || p.interval > 0 && e.due.Sub(now) > peerBurst/2
}

func (p *peers) release(k netip.Addr) {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.table[k]
	e.conns--
	if e.conns <= 0 && !e.due.After(now) {
		delete(p.table, k)
		return
	}
	p.table[k] = e
}

// dropStale forgets addresses without connections and without recent handshakes, so the table
// is bounded by what is open and by one second's handshakes. Called with mu held.
func (p *peers) dropStale(now time.Time) {
	for k, e := range p.table {
		if e.conns <= 0 && !e.due.After(now) {
			delete(p.table, k)
		}
	}
	p.sweep = max(firstSweep, 2*len(p.table))
}
