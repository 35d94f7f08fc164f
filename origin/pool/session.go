package pool

import "net/http"

// session is one connection as its protocol has it. A stream is what carries one request: all of an h1 connection, a
// stream of h2 and h3. Methods may be called concurrently and do not block, but for RoundTrip and Close.
type session interface {
	// RoundTrip sends req on a stream that was reserved, and closes its body in every case.
	RoundTrip(req *http.Request) (*http.Response, error)

	// Reserve keeps a stream for one RoundTrip or Release; an error when there is none.
	Reserve() error
	Release()

	// InFlight counts the streams in use and reserved.
	InFlight() int

	// Err is nil until the connection has ended.
	Err() error

	// Close ends the connection and everything on it.
	Close() error

	// watch has f called when a stream has become free, or the connection leaves or has ended. f must not block.
	watch(f func())

	// leaving reports that the connection takes no more requests, by the peer's will, but finishes those it has.
	leaving() bool

	// cause is why the connection ended; net.ErrClosed when this side closed it.
	cause() error

	// kind says what the error of RoundTrip ("round trip") or of its response's body ("read body") is, when neither the
	// caller nor a limit of the exchange caused it. first is true for a request that the connection was opened for.
	kind(op string, err error, first bool) Kind
}
