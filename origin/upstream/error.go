package upstream

import "errors"

var errClosed = errors.New("closed")

// Error is why a request was sent to no instance. Other errors of RoundTrip are *pool.Error and *limit.Refusal, with the
// same methods; what another kind of [Sender] returns is passed on as it is.
type Error struct {
	Origin string
	Cause  error // balance.ErrNone, or that the upstream is closed
}

// Error is like "upstream: origin app: balance: no instance takes requests".
func (e *Error) Error() string { return "upstream: origin " + e.Origin + ": " + e.Cause.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Status is for the client: 503 (RFC 9110 section 15.6.4).
func (e *Error) Status() int { return 503 }

// ProxyStatus is the error type of RFC 9209 section 2.3.4.
func (e *Error) ProxyStatus() string { return "destination_unavailable" }

// Reason is the word for the log.
func (e *Error) Reason() string {
	if e.Cause == errClosed {
		return "upstream-closed"
	}
	return "no-instance"
}

// Retryable says that the request reached nobody.
func (e *Error) Retryable() bool { return true }
