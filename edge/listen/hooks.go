package listen

import (
	"net/netip"
	"time"
)

// A Proto is a protocol as a counter's label names it.
type Proto string

// The protocols.
const (
	H1 Proto = "h1"
	H2 Proto = "h2"
	H3 Proto = "h3"
)

// A Kind is how a TLS handshake went.
type Kind string

// The kinds of handshakes.
const (
	Full    Kind = "full"    // with certificates
	Resumed Kind = "resumed" // from a session ticket
	Early   Kind = "early"   // from a session ticket, with 0-RTT data taken (QUIC only)
)

// A Reason is why a peer was refused, one word from the list [Reasons].
type Reason string

// The reasons, by what was refused: connections, handshakes, datagrams, requests, bodies.
const (
	ReasonConnections Reason = "connections-per-address" // too many open connections
	ReasonRate        Reason = "handshake-rate"          // too many handshakes in a second
	ReasonProxy       Reason = "proxy-protocol"          // a proxy whose header is missing, late, malformed or too large

	ReasonTLS     Reason = "tls"          // a handshake that failed, stopped, or was not TLS
	ReasonUnknown Reason = "unknown-name" // SNI absent, or a name we have no certificate for
	ReasonNotTLS  Reason = "not-tls"      // plain HTTP on a TLS port

	ReasonDatagram Reason = "datagram"     // UDP that is no QUIC, or belongs to no connection
	ReasonVersion  Reason = "quic-version" // a QUIC version we do not speak; answered with ours

	ReasonFraming    Reason = "framing"       // a form of HTTP/1.1 whose end two parsers may see differently
	ReasonBadRequest Reason = "bad-request"   // malformed otherwise: 400, 417, 505; a method that is too long: 501
	ReasonCoding     Reason = "coding"        // a transfer coding other than chunked: 501
	ReasonConnect    Reason = "connect"       // CONNECT: there is no tunnel here: 501
	ReasonFields     Reason = "header-fields" // too many fields: 431
	ReasonBytes      Reason = "header-bytes"  // too large a header: 431
	ReasonURL        Reason = "url-too-long"  // 414
	ReasonH2         Reason = "h2-error"      // an HTTP/2 stream or connection error found below the handler
	ReasonSlowHeader Reason = "slow-header"   // the header did not end in time
	ReasonSlowBody   Reason = "slow-body"     // the body went silent
)

// Reasons lists every [Reason] a [Front] uses, so that a counter's labels are a closed set.
var Reasons = []Reason{
	ReasonConnections, ReasonRate, ReasonProxy, ReasonTLS, ReasonUnknown, ReasonNotTLS, ReasonDatagram,
	ReasonVersion, ReasonFraming, ReasonBadRequest, ReasonCoding, ReasonConnect, ReasonFields,
	ReasonBytes, ReasonURL, ReasonH2, ReasonSlowHeader, ReasonSlowBody,
}

// Hooks are functions a [Front] calls as things happen; a nil one is not called. They are called
// concurrently and from hot loops: they must not block.
type Hooks struct {
	// Connections is called with +1 when a connection's protocol is known and with -1 when
	// it has closed. A connection on the plain port is h1.
	Connections func(p Proto, delta int)
	// Handshakes is called when a handshake has completed.
	Handshakes func(p Proto, k Kind)
	// Rejected is called when a peer, a datagram or a request was refused.
	Rejected func(r Reason)
	// RTT is called with the round trip to a client as its connection has measured it, smoothed and the least, at the end of
	// a request and at most once in ten seconds for each connection. Not for what comes by a proxy of Config.ProxyProtocol: that is the
	// way to the proxy. TCP's is known on Linux alone.
	RTT func(client netip.Addr, smoothed, least time.Duration)
}

func (h *Hooks) connections(p Proto, delta int) {
	if h.Connections != nil {
		h.Connections(p, delta)
	}
}

func (h *Hooks) handshake(p Proto, k Kind) {
	if h.Handshakes != nil {
		h.Handshakes(p, k)
	}
}

func (h *Hooks) rejected(r Reason) {
	if h.Rejected != nil {
		h.Rejected(r)
	}
}
