package listen

import (
	"crypto/tls"
	"net/http"
	"slices"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// MinVersion is the oldest TLS version unless a site's own configuration allows 1.2: one round
// trip less, and no renegotiation, compression or CBC to be careful about. QUIC has no older one (RFC 9001
// section 4.2).
const MinVersion = tls.VersionTLS13

// ALPN returns the protocols a TLS configuration must offer, best first: h2 and http/1.1 on
// TCP, h3 alone on QUIC (RFC 9114 section 3.1). The slice is the caller's.
func ALPN(quic bool) []string {
	if quic {
		return []string{http3.NextProtoH3}
	}
	return []string{"h2", "http/1.1"}
}

// What HTTP/2 and QUIC connections advertise. A client remembers QUIC's values together with its
// session ticket, and 0-RTT is refused when any has become smaller (RFC 9000 section 7.4.1), so
// they are constants and not settings: every PoP sends the same, whatever its machine.
const (
	// streamWindow lets a client send half a megabyte of a request body before we answer:
	// 20 Mbit/s at a round trip of 200 ms. Uploads are read as fast as the origin takes them; QUIC's grow to maxStreamWindow.
	streamWindow    = 512 << 10
	maxStreamWindow = 4 << 20
	// frameSize is the least that HTTP/2 lets an endpoint announce, and what clients send anyway (RFC
	// 9113 section 4.2): a larger one is memory per connection, for a client to fill.
	frameSize = 16 << 10
	// connWindow is two streams' worth, so that one stalled upload does not stop another.
	connWindow    = 1 << 20
	maxConnWindow = 8 << 20
	// uniStreams is what RFC 9114 section 6.2 needs (control and two of QPACK), and some for grease.
	uniStreams = 8
	// packetSize is the size of the first QUIC packets. 1280 bytes is what every IPv6 path must carry less
	// its headers; larger ones are found by probing.
	packetSize = 1232
	// headerSlack is added to Limits.HeaderBytes where a library enforces it, so that our
	// own guard sees (and counts, and answers alike on all protocols) what is moderately too large.
	headerSlack = 8 << 10
	// tableBytes bounds HPACK's dynamic table per connection and direction (RFC 7541's default).
	tableBytes = 4 << 10
)

// quicConfig returns what each QUIC connection is given.
func quicConfig(l Limits) *quic.Config {
	return &quic.Config{
		Versions:                       []quic.Version{quic.Version1, quic.Version2},
		HandshakeIdleTimeout:           l.HeaderTime / 2, // quic-go gives up after twice this time
		MaxIdleTimeout:                 l.Idle,
		InitialStreamReceiveWindow:     streamWindow,
		MaxStreamReceiveWindow:         maxStreamWindow,
		InitialConnectionReceiveWindow: connWindow,
		MaxConnectionReceiveWindow:     maxConnWindow,
		MaxIncomingStreams:             int64(l.Streams),
		MaxIncomingUniStreams:          uniStreams,
		InitialPacketSize:              packetSize,
		Allow0RTT:                      true,
	}
}

// http2Config returns what each HTTP/2 connection is given.
func http2Config(l Limits, h *Hooks) *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          l.Streams,
		MaxDecoderHeaderTableSize:     tableBytes,
		MaxEncoderHeaderTableSize:     tableBytes,
		MaxReadFrameSize:              frameSize,
		MaxReceiveBufferPerConnection: connWindow,
		MaxReceiveBufferPerStream:     streamWindow,
		// A header block that stops in the middle is ended by this alone: no frame
		// completes, and the peer may not answer the PING inside it (RFC 9113 section 6.10). Every
		// HeaderTime would wake the radio of each idle phone.
		SendPingTimeout: l.Silence,
		PingTimeout:     l.HeaderTime,
		CountError: func(what string) {
			switch what {
			case "conn_close_lost_ping": // a client that walked out of coverage does no wrong,
			case "stream_STREAM_CLOSED_closed": // nor one whose DATA crossed our early answer
			default:
				h.rejected(ReasonH2)
			}
		},
	}
}

// baseTLS is the configuration a listener starts with; the one that counts is chosen for each
// hello. It issues and takes no tickets: crypto/tls falls back to its keys when the chosen one has none.
func baseTLS(isQUIC bool, choose func(*tls.ClientHelloInfo) (*tls.Config, error)) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		NextProtos:             slices.Clip(ALPN(isQUIC)),
		SessionTicketsDisabled: true,
		GetConfigForClient:     choose,
	}
}
