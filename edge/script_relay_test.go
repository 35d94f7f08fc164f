package edge_test

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go/quicvarint"
)

// A relay stands between a QUIC client and the edge. It lets pass what a client sends before
// it has heard the edge, Initial and 0-RTT packets, and holds everything else back until it
// is opened. What is answered or logged while it is closed was so before the handshake could
// be complete: that is how a script knows that its request came as early data.
type relay struct {
	front *net.UDPConn // the client's side
	back  *net.UDPConn // the edge's side
	work  sync.WaitGroup

	carried sync.WaitGroup // all that came from the client

	opened chan struct{}

	mu     sync.Mutex
	client *net.UDPAddr
	open   bool     // nothing is held back: opened is closed
	held   [][]byte // datagrams
	early  bool     // the flight's 0-RTT data has passed
	word   [][]byte // the edge's datagrams that wait for that
	flown  [][]byte // those of the first flight that were let pass: what an observer would capture
}

func newRelay(edge netip.AddrPort) (*relay, error) {
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	back, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(edge))
	if err != nil {
		front.Close()
		return nil, err
	}
	r := &relay{front: front, back: back, opened: make(chan struct{})}
	r.carried.Go(r.forth)
	r.work.Go(r.home)
	return r, nil
}

// forth carries the client's datagrams.
func (r *relay) forth() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := r.front.ReadFromUDP(buf)
		if err != nil || n == 0 { // an empty datagram is close's
			return
		}
		datagram := append([]byte(nil), buf[:n]...)
		r.mu.Lock()
		r.client = from
		switch {
		case r.open:
			r.back.Write(datagram)
		case firstFlight(datagram):
			r.flown = append(r.flown, datagram)
			r.back.Write(datagram)
			// An answer to half a ClientHello has the client send the other half to a connection ID of the edge's
			// choice, and nobody can replay that: answers wait until the flight is whole.
			if hasEarly(datagram) && !r.early {
				r.early = true
				r.answer()
			}
		default:
			r.held = append(r.held, datagram)
		}
		r.mu.Unlock()
	}
}

// firstFlight reports whether all packets of a datagram are Initial or 0-RTT ones of QUIC
// version 1 (RFC 9000 section 17.2).
func firstFlight(datagram []byte) bool {
	first, _ := flightOf(datagram)
	return first
}

// hasEarly reports whether a 0-RTT packet is in a datagram of a first flight.
func hasEarly(datagram []byte) bool {
	_, early := flightOf(datagram)
	return early
}

func flightOf(datagram []byte) (first, early bool) {
	for b := datagram; len(b) > 6 && b[0] != 0; { // a datagram may end in zeros
		kind := b[0] >> 4 & 3
		if b[0]&0x80 == 0 || kind > 1 {
			return false, early
		}
		early = early || kind == 1
		at := 5 // after the version
		at += 1 + int(b[at])
		at += 1 + int(b[at])
		if kind == 0 {
			token, n, err := quicvarint.Parse(b[at:])
			if err != nil {
				return false, early
			}
			at += n + int(token)
		}
		length, n, err := quicvarint.Parse(b[at:])
		if err != nil || at+n+int(length) > len(b) {
			return false, early
		}
		b = b[at+n+int(length):]
	}
	return true, early
}

// home carries the edge's datagrams.
func (r *relay) home() {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.back.Read(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.word = append(r.word, append([]byte(nil), buf[:n]...))
		if r.early || r.open {
			r.answer()
		}
		r.mu.Unlock()
	}
}

// answer gives the client what the edge has sent. r.mu is held.
func (r *relay) answer() {
	for _, datagram := range r.word {
		r.front.WriteToUDP(datagram, r.client)
	}
	r.word = nil
}

// release lets go of what was held back.
func (r *relay) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open {
		return
	}
	for _, datagram := range r.held {
		r.back.Write(datagram)
	}
	r.open, r.held = true, nil
	r.answer()
	close(r.opened)
}

// close ends the relay behind all that the client has sent: its last datagram says that the
// connection is over, and an edge that never hears so keeps it until it has been idle too long.
func (r *relay) close() {
	r.release()
	r.front.SetReadDeadline(time.Now().Add(patience))
	if last, err := net.Dial("udp", r.front.LocalAddr().String()); err == nil {
		last.Write(nil)
		last.Close()
	}
	r.carried.Wait()
	r.front.Close()
	r.back.Close()
	r.work.Wait()
}
