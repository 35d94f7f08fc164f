package pool

import (
	"errors"
	"fmt"
	"strings"
)

var errClosed = errors.New("pool is closed")

// Whose says who is to blame for an error.
type Whose uint8

const (
	Origin Whose = iota // the origin, or the way to it
	Client              // who made the request: went away, or broke off its body
	Us                  // this node: closed, or at a limit of its own
)

func (w Whose) String() string { return [...]string{"origin", "client", "us"}[w] }

// Kind is what went wrong, from a closed list. It decides whose fault it is, whether the request may be sent again, the
// word for the log, and what to tell the client.
type Kind uint8

const (
	KindTerminated     Kind = iota // connection or stream ended by the origin in the middle
	KindRefused                    // nobody listens
	KindConnectTimeout             // TCP, TLS or SETTINGS took too long
	KindUnroutable                 // no way to the address
	KindName                       // the address's name is not known
	KindNameTimeout                // its name servers do not answer
	KindAlert                      // the origin refused our TLS, as a rule our certificate
	KindCertificate                // we refused the origin's certificate
	KindTLS                        // any other failed handshake
	KindLost                       // connection is dead: no answer to PING
	KindGoAway                     // GOAWAY, and the request was not processed
	KindUnusable                   // connection closed before the request was sent
	KindClosedIdle                 // h1: connection closed while idle, perhaps just before the request came; see ClosedIdle
	KindStreamRefused              // REFUSED_STREAM, so the request was not processed
	KindProtocol                   // not the protocol as its RFC has it
	KindUnasked                    // h1: something came before it was asked for, which may not answer anything
	KindHeaderSize                 // response header section above the limit
	KindInformational              // more 1xx responses than the limit
	KindFirstByte                  // no final response header in time
	KindSilent                     // silence in the middle of the body
	KindShort                      // body ended before its Content-Length
	KindLong                       // body went on after its Content-Length
	KindFull                       // no stream free in time, or too many wait for one
	KindClosed                     // pool is closed
	KindDeadline                   // the caller's deadline passed
	KindCanceled                   // the caller gave up: the client went away
	KindUnread                     // the caller did not read, and held what others needed
	KindRequestBody                // the request's body could not be read
	KindRequestInvalid             // the request cannot be said in the protocol, or is larger than the origin takes
	kinds              = iota
)

// traits of each kind. Tokens are those of RFC 9209 section 2.3, and the status is the one recommended there. retry is for
// a request that was under way: only where it certainly did not reach the application (RFC 9110 section 9.2.2, RFC 9113
// section 8.7). Before it was, every kind may be retried (unsent).
var traits = [kinds]struct {
	whose  Whose
	retry  bool
	status int
	token  string
	word   string
}{
	KindTerminated:     {Origin, false, 502, "connection_terminated", "origin-reset"},
	KindRefused:        {Origin, false, 502, "connection_refused", "origin-refused"},
	KindConnectTimeout: {Origin, false, 504, "connection_timeout", "origin-connect-timeout"},
	KindUnroutable:     {Origin, false, 502, "destination_ip_unroutable", "origin-unroutable"},
	KindName:           {Origin, false, 502, "dns_error", "origin-name"},
	KindNameTimeout:    {Origin, false, 504, "dns_timeout", "origin-name-timeout"},
	KindAlert:          {Origin, false, 502, "tls_alert_received", "origin-alert"},
	KindCertificate:    {Origin, false, 502, "tls_certificate_error", "origin-certificate"},
	KindTLS:            {Origin, false, 502, "tls_protocol_error", "origin-tls"},
	KindLost:           {Origin, false, 502, "connection_terminated", "origin-lost"},
	KindGoAway:         {Origin, true, 502, "connection_terminated", "origin-goaway"},
	KindUnusable:       {Origin, true, 502, "connection_terminated", "origin-unusable"},
	KindClosedIdle:     {Origin, false, 502, "connection_terminated", "origin-closed-idle"},
	KindStreamRefused:  {Origin, true, 503, "destination_unavailable", "origin-stream-refused"},
	KindProtocol:       {Origin, false, 502, "http_protocol_error", "origin-protocol"},
	KindUnasked:        {Origin, false, 502, "http_protocol_error", "origin-unasked"},
	KindHeaderSize:     {Origin, false, 502, "http_response_header_section_size", "origin-header-size"},
	KindInformational:  {Origin, false, 502, "http_protocol_error", "origin-informational"},
	KindFirstByte:      {Origin, false, 504, "http_response_timeout", "origin-timeout"},
	KindSilent:         {Origin, false, 504, "connection_read_timeout", "origin-silent"},
	KindShort:          {Origin, false, 502, "http_response_incomplete", "origin-short"},
	KindLong:           {Origin, false, 502, "http_protocol_error", "origin-long"},
	KindFull:           {Us, false, 503, "connection_limit_reached", "pool-full"},
	KindClosed:         {Us, false, 503, "destination_unavailable", "pool-closed"},
	KindDeadline:       {Us, false, 504, "http_response_timeout", "deadline"},
	KindCanceled:       {Client, false, 502, "http_request_error", "client-gone"},
	KindUnread:         {Client, false, 502, "http_request_error", "client-slow"},
	KindRequestBody:    {Client, false, 400, "http_request_error", "client-body"},
	KindRequestInvalid: {Client, false, 400, "http_request_error", "request-invalid"},
}

// String is the word for the log.
func (k Kind) String() string { return traits[k].word }

// ErrorReasons returns the words of all kinds, which are what Status.ErrorsTotal counts by and the values of a label.
func ErrorReasons() []string {
	words := make([]string, kinds)
	for k := range words {
		words[k] = traits[k].word
	}
	return words
}

// Error is what RoundTrip and the response's body return. It answers whose fault it is, whether the request may be sent
// again, and what to tell the client.
type Error struct {
	Kind  Kind
	Whose Whose
	Retry bool   // the request certainly did not reach the application
	Op    string // what was being done: dial, handshake, settings, take connection, round trip, read body
	From  string // this node
	To    string // the origin
	Addr  string // of the connection; empty when there was none
	Cause error
}

func (p *Pool) error(op, addr string, k Kind, cause error) *Error {
	// The cause of waiting in vain for a dial is the dial's error: one layer of names is enough.
	var inner *Error
	if errors.As(cause, &inner) {
		cause = inner.Cause
	}
	return &Error{
		Kind: k, Whose: traits[k].whose, Retry: traits[k].retry,
		Op: op, From: p.cfg.Node, To: p.cfg.Origin, Addr: addr, Cause: cause,
	}
}

// unsent is an error from before the request was written, which may be retried whatever it is.
func (p *Pool) unsent(op, addr string, k Kind, cause error) *Error {
	e := p.error(op, addr, k, cause)
	e.Retry = true
	return e
}

// Error is like "pool: read body fra→us 127.0.0.1:9443: unexpected EOF".
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pool: %s %s→%s", e.Op, e.From, e.To)
	if e.Addr != "" {
		b.WriteString(" " + e.Addr)
	}
	fmt.Fprintf(&b, ": %v", e.Cause)
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Status is the answer for the client when nothing was sent yet: 502, 503 or 504.
func (e *Error) Status() int { return traits[e.Kind].status }

// ProxyStatus is the error type for Proxy-Status (RFC 9209 section 2.3).
func (e *Error) ProxyStatus() string { return traits[e.Kind].token }

// Reason is one word for the log, from a closed list.
func (e *Error) Reason() string { return traits[e.Kind].word }

// Retryable reports that the request certainly did not reach the application.
func (e *Error) Retryable() bool { return e.Retry }

// ClosedIdle reports that the origin closed an idle connection just as the request was sent over it, as far as this side can
// tell: not a byte of an answer came. The request may have reached the application all the same, so the pool does not send
// it again; who knows that it is idempotent, and still has its body, should (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1).
func (e *Error) ClosedIdle() bool { return e.Kind == KindClosedIdle }

// Timeout reports that a time limit passed, as net.Error has it.
func (e *Error) Timeout() bool { return traits[e.Kind].status == 504 }
