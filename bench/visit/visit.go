// Package visit is one client's visit to a server: a question to DNS, a connection of its own over one of the web's protocols, a GET, and
// the instants at which each step was done.
package visit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// A Protocol is how a visit connects.
type Protocol int

// The protocols. Over TLS the request goes by HTTP/2, as browsers send it.
const (
	TLS12        Protocol = iota // a full handshake of TLS 1.2
	TLS13                        // a full handshake of TLS 1.3
	TLS13Resumed                 // TLS 1.3 with a ticket of a visit before (RFC 8446 section 2.2)
	H3                           // HTTP/3, a full handshake
	H3Early                      // HTTP/3 with the request in 0-RTT data (RFC 9001 section 4.6)
	protocols    int      = iota
)

var protocolTable = [protocols]struct {
	name   string
	rounds int
}{{"tls1.2", 4}, {"tls1.3", 3}, {"tls1.3-resumed", 3}, {"h3", 2}, {"h3-0rtt", 1}}

// String is the protocol's name in documents.
func (p Protocol) String() string { return protocolTable[p].name }

// RoundTrips is how many a visit takes to its server until the first byte of an answer that is there already.
func (p Protocol) RoundTrips() int { return protocolTable[p].rounds }

// Resumes reports whether a visit needs the ticket of one before.
func (p Protocol) Resumes() bool { return p == TLS13Resumed || p == H3Early }

// QUIC reports whether the visit is over QUIC: TCP and TLS have a handshake each, QUIC has one.
func (p Protocol) QUIC() bool { return p == H3 || p == H3Early }

// Protocols lists them all.
func Protocols() []Protocol {
	var all []Protocol
	for p := range Protocol(protocols) {
		all = append(all, p)
	}
	return all
}

// A Visit is what one was like. Instants that do not exist for a protocol are zero.
type Visit struct {
	Start     time.Time // before the first packet
	Connected time.Time // TCP is connected
	Shaken    time.Time // the request can be sent; zero with 0-RTT, where it need not wait
	First     time.Time // the answer's header has come
	Last      time.Time // so has its body

	Port    uint16 // the client's own
	Status  int
	Verdict string // the answer's Cache-Status
	Bytes   int64  // of its body
	Early   bool   // the server took the request from 0-RTT data
	Resumed bool   // the server took the ticket
}

// ErrNoTicket tells that a protocol resumes and there is nothing to resume: see [Client.Prime].
var ErrNoTicket = errors.New("visit: no ticket to resume with")

// A Client visits one site at one address. One visit at a time.
type Client struct {
	// Dial connects by TCP, ListenUDP opens a socket for QUIC: they stand in the client's place.
	Dial      Dialer
	ListenUDP func() (net.PacketConn, error)

	// To is the server. Its name, and whom the client trusts, are in TLS; versions and protocols are set by the visit.
	To  netip.AddrPort
	TLS *tls.Config

	// Authority is what requests name, with the port where that is not 443. "" is the server's name.
	Authority string

	// Body takes the bodies of answers as they come. nil: they are only counted.
	Body io.Writer

	tickets [protocols]tickets
}

// Visit connects by a protocol, gets a path, and leaves. A visit that resumes uses up a ticket, and stays for
// the next one after the answer, so that there is one for the next visit where the server gives any. The error is that of
// the connection or the answer; a status other than 200 is none.
func (c *Client) Visit(ctx context.Context, p Protocol, path string) (Visit, error) {
	t := &c.tickets[p]
	if p.Resumes() && !t.any() {
		return Visit{}, ErrNoTicket
	}
	v, err := c.visit(ctx, p, path, t)
	if err != nil {
		return v, fmt.Errorf("visit: get %s from %v over %v: %w", path, c.To, p, err)
	}
	return v, nil
}

// Prime shakes hands without asking for anything, and leaves with a ticket. A protocol that does not resume needs none.
func (c *Client) Prime(ctx context.Context, p Protocol) error {
	if !p.Resumes() {
		return nil
	}
	t := &c.tickets[p]
	t.clear()
	conf := c.TLS.Clone()
	conf.ClientSessionCache, conf.MinVersion = t, tls.VersionTLS13
	prime := c.primeTCP
	if p.QUIC() {
		prime = c.primeQUIC
	}
	err := prime(ctx, conf, t)
	if err == nil && !t.any() {
		err = fmt.Errorf("none came within %v", ticketTime)
	}
	if err != nil {
		return fmt.Errorf("visit: get a ticket from %v for %v: %w", c.To, p, err)
	}
	return nil
}

// Primed reports whether there is a ticket that a visit would resume with.
func (c *Client) Primed(p Protocol) bool { return c.tickets[p].any() }

func (c *Client) visit(ctx context.Context, p Protocol, path string, t *tickets) (Visit, error) {
	conf := c.TLS.Clone()
	if p.Resumes() {
		conf.ClientSessionCache = t
	}
	early := p == H3Early && t.any()
	if p.QUIC() {
		return c.overQUIC(ctx, conf, path, early, t)
	}
	conf.MinVersion, conf.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	if p == TLS12 {
		conf.MinVersion, conf.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	}
	return c.overTCP(ctx, conf, path, t)
}

// get sends the request and takes the answer. The header's arrival is the first byte's: it leads the body in the same
// packet, or in one right before.
func (c *Client) get(ctx context.Context, rt http.RoundTripper, method, path string, v *Visit) error {
	authority := c.Authority
	if authority == "" {
		authority = c.TLS.ServerName
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://"+authority+path, nil)
	if err != nil {
		return err
	}
	answer, err := rt.RoundTrip(r)
	if err != nil {
		return err
	}
	v.First = time.Now()
	v.Status, v.Verdict = answer.StatusCode, answer.Header.Get("Cache-Status")
	to := c.Body
	if to == nil {
		to = io.Discard
	}
	v.Bytes, err = io.Copy(to, answer.Body)
	v.Last = time.Now()
	return errors.Join(err, answer.Body.Close())
}
