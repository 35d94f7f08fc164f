package pool

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// streamError is net/http's unexported HTTP/2 stream error, which errors.As copies into any struct of the same fields.
type streamError struct {
	StreamID uint32
	Code     uint32 // RFC 9113 section 7
	Cause    error
}

func (e streamError) Error() string {
	return fmt.Sprintf("stream %d: code %d: %v", e.StreamID, e.Code, e.Cause)
}

const codeRefusedStream = 0x7

// said maps errors of net/http's HTTP/2 which have neither a name nor a type to be known by. A request that ended with one
// of the first three was not processed: it had not been written yet, or its stream is above the last one of a GOAWAY.
// Tests with a peer that provokes them hold this table to the library.
var said = []struct {
	text string
	kind Kind
}{
	{"http2: Transport received Server's graceful shutdown GOAWAY", KindGoAway},
	{"http2: client conn not usable", KindUnusable},
	{"http2: client conn could not be established", KindUnusable},
	{"http2: client connection lost", KindLost},
	{"http2: server sent GOAWAY and closed the connection", KindTerminated},
	{"http2: Transport received GOAWAY from server", KindTerminated},
	{"http2: client connection force closed", KindTerminated},
	{"http2: request header list larger than", KindRequestInvalid},
	{"net/http: server replied with more than declared Content-Length", KindLong},
	{"net/http: invalid", KindRequestInvalid},
	{"http: invalid", KindRequestInvalid},
	{"http2: invalid", KindRequestInvalid},
	{"http: request method or response status code does not allow body", KindRequestInvalid},
	{"http2: frame too large", KindProtocol},
	{"connection error:", KindProtocol},
}

// exchangeKind says what an error of a request on an HTTP/2 connection c is, when neither the caller nor a limit of ours caused it.
func exchangeKind(c session, err error) Kind {
	var se streamError
	if errors.As(err, &se) {
		switch {
		case se.Code == codeRefusedStream:
			return KindStreamRefused
		case se.Cause != nil && se.Cause.Error() == "received from peer":
			return KindTerminated
		case se.Cause != nil && strings.HasPrefix(se.Cause.Error(), "http2: response header list larger"):
			return KindHeaderSize
		}
		return KindProtocol // we reset it for what the origin sent
	}
	if k, ok := saidKind(err); ok {
		return k
	}
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "remote error":
		return KindAlert
	case errors.As(err, &op), errors.Is(err, net.ErrClosed):
		return KindTerminated
	case c.Err() != nil:
		return KindTerminated
	case errors.Is(err, io.ErrUnexpectedEOF):
		return KindShort
	}
	return KindProtocol
}

func saidKind(err error) (Kind, bool) {
	text := err.Error()
	for _, s := range said {
		if strings.HasPrefix(text, s.text) || strings.HasPrefix(text, "http2: "+s.text) {
			return s.kind, true
		}
	}
	return 0, false
}

// dialKind says what an error of a TCP dial is.
func dialKind(err error) Kind {
	var name *net.DNSError
	switch {
	case errors.As(err, &name):
		if name.IsTimeout {
			return KindNameTimeout
		}
		return KindName
	case errors.Is(err, syscall.ECONNREFUSED):
		return KindRefused
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return KindUnroutable
	case isTimeout(err):
		return KindConnectTimeout
	}
	return KindTerminated
}

// handshakeKind says what an error between TCP and the peer's SETTINGS is.
func handshakeKind(err error) Kind {
	var (
		op      *net.OpError
		ours    refusedCertificate
		invalid *tls.CertificateVerificationError
		host    x509.HostnameError
	)
	switch {
	case isTimeout(err):
		return KindConnectTimeout
	case errors.As(err, &op) && op.Op == "remote error":
		return KindAlert
	case errors.As(err, &ours), errors.As(err, &invalid), errors.As(err, &host):
		return KindCertificate
	case errors.As(err, &op), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return KindTerminated
	}
	return KindTLS
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// callerError is the error of a request whose own context has ended.
func (p *Pool) callerError(op, addr string, ctx context.Context) *Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return p.error(op, addr, KindDeadline, context.Cause(ctx))
	}
	return p.error(op, addr, KindCanceled, context.Cause(ctx))
}
