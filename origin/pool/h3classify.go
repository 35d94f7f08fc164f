package pool

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// h3Said maps errors of quic-go which have neither a name nor a type to be known by.
var h3Said = []struct {
	text string
	kind Kind
}{
	{"HEADERS frame too large", KindHeaderSize},
	{"headers too large", KindHeaderSize},
	{"too many 1xx informational responses", KindInformational},
	{"peer sent too much data", KindLong},
	{"http: ContentLength=", KindRequestBody},
	{"http: invalid", KindRequestInvalid},
}

// isGoAway reports that a request was not sent because the peer had said GOAWAY.
func isGoAway(err error) bool {
	return strings.Contains(err.Error(), "connection in graceful shutdown")
}

func (s *h3) kind(op string, err error, _ bool) Kind {
	text := err.Error()
	switch {
	case err == errNoStream:
		return KindStreamRefused
	case errors.Is(err, errNoStream):
		return KindTerminated
	case isGoAway(err):
		return KindGoAway
	case strings.HasPrefix(text, "http3: conn unusable"):
		return KindUnusable
	}
	for _, said := range h3Said {
		if strings.Contains(text, said.text) {
			return said.kind
		}
	}
	var h *http3.Error
	if errors.As(err, &h) {
		var stream *quic.StreamError
		switch {
		case h.Remote && h.ErrorCode == http3.ErrCodeRequestRejected && op == opRoundTrip: // RFC 9114 section 8.1: not processed
			return KindStreamRefused
		case h.Remote:
			return KindTerminated
		case errors.As(err, &stream), h.ErrorCode != http3.ErrCodeNoError:
			return KindProtocol // we ended it for what the origin sent
		}
		return KindTerminated
	}
	if k, ok := quicKind(err); ok {
		return k
	}
	switch {
	case op == opReadBody && errors.Is(err, io.ErrUnexpectedEOF):
		return KindShort
	case errors.Is(err, net.ErrClosed):
		return KindTerminated
	}
	return KindProtocol
}

// quicKind says what the end of a QUIC connection is.
func quicKind(err error) (Kind, bool) {
	var (
		transport *quic.TransportError
		app       *quic.ApplicationError
		idle      *quic.IdleTimeoutError
		handshake *quic.HandshakeTimeoutError
		reset     *quic.StatelessResetError
		version   *quic.VersionNegotiationError
	)
	switch {
	case errors.As(err, &idle):
		return KindLost, true
	case errors.As(err, &handshake):
		return KindConnectTimeout, true
	case errors.As(err, &reset):
		return KindTerminated, true
	case errors.As(err, &version):
		return KindProtocol, true
	case errors.As(err, &app) && !app.Remote && !isLocalClose(err):
		return KindProtocol, true
	case errors.As(err, &app):
		return KindTerminated, true
	case errors.As(err, &transport):
		switch tlsAlert := transport.ErrorCode.IsCryptoError(); {
		case tlsAlert && transport.Remote:
			return KindAlert, true
		case tlsAlert:
			return KindTLS, true
		case transport.Remote && transport.ErrorCode == quic.ConnectionRefused:
			return KindRefused, true
		case transport.Remote:
			return KindTerminated, true
		}
		return KindProtocol, true // RFC 9000 section 11: the peer broke a rule
	}
	return 0, false
}

// quicHandshakeKind says what an error between the first packet and the peer's SETTINGS is.
func quicHandshakeKind(err error) Kind {
	var (
		ours    refusedCertificate
		invalid *tls.CertificateVerificationError
		host    x509.HostnameError
	)
	if errors.As(err, &ours) || errors.As(err, &invalid) || errors.As(err, &host) {
		return KindCertificate
	}
	switch k, ok := quicKind(err); {
	case k == KindLost && ok:
		return KindConnectTimeout // as good as no answer at all
	case ok:
		return k
	}
	return handshakeKind(err)
}
