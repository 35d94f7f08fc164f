package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// HTTPProtocols are what an [HTTPLoad] can speak: HTTP/1.1, 2 and 3.
var HTTPProtocols = []string{"h1", "h2", "h3"}

// HTTPLoad sends GETs for URLs of one site over connections of its own, and reads the answers to their ends. The zero value of
// what is optional is said; the same value may be loaded with several times, one after another.
//
// In a closed loop (Rate 0) each stream of each connection sends the next request when its answer has come. In an open loop
// requests are due at a constant rate, whatever the server does, and streams take them as they become free. What is due while
// none is free waits, and its response time counts that wait: a server that stalls once is seen by all that would have asked
// meanwhile, and not only by those few that were on their way (coordinated omission).
type HTTPLoad struct {
	Protocol string         // "h1", "h2" or "h3"
	To       netip.AddrPort // the server, whatever the URLs' host; zero: what the machine's resolver says
	TLS      *tls.Config    // whom to trust; nil: whom the machine trusts. Name and versions may be set, protocols are by Protocol

	URLs []*url.URL // of one scheme and host; http goes over h1 only
	Zipf float64    // the nth URL is asked for in proportion to n to the power of -Zipf; 0: all in turn
	Seed uint64     // of that order: the nth request of a run is always for the same URL

	Connections int // 0 is 1
	Networks    int // a server at a loopback address sees connections of h1 and h2 from so many /24 in turn, up to 32,768; 0: from one address
	Streams     int // requests at once on each; 0 is 1, and h1 takes no more

	// NewConnections has every request open a connection and close it: what handshakes cost. Resume offers the ticket of
	// the one before, of which each of Connections takes the first; without it none is kept.
	NewConnections, Resume bool

	Rate    float64       // requests per second, of all together; 0: a closed loop
	For     time.Duration // that is measured
	WarmUp  time.Duration // before that, with the same load, of which nothing is counted
	Timeout time.Duration // of each request, with its connection where that is new; 0 is 10 s
	MaxBody int64         // bytes of an answer, above which it is an error; 0 is 1 GiB

	PIDs     []int              // the server's processes, with all below them; none: nothing is known of its usage
	Progress func(HTTPProgress) // called each second of the measurement and of the warm-up; may be nil
}

// HTTPProgress is how far a load is.
type HTTPProgress struct {
	Since    time.Duration // the load began, with its warm-up
	WarmUp   bool
	Rate     float64 // answers per second since the last time
	Answered int64   // of the measurement, so far
	Errors   int64
}

// An ErrorKind says what was wrong with a request.
type ErrorKind string

// The kinds. Only a whole answer with a status below 400 is none of them.
const (
	ErrConnect  ErrorKind = "connect"  // nobody is there
	ErrTLS      ErrorKind = "tls"      // the handshake
	ErrProtocol ErrorKind = "protocol" // another version of HTTP than was asked for
	ErrTimeout  ErrorKind = "timeout"  // nothing, or not all, in time
	ErrBroken   ErrorKind = "broken"   // the connection or stream ended before the answer began
	ErrStatus   ErrorKind = "status"   // 400 or above
	ErrBody     ErrorKind = "body"     // cut, or not as long as was said
	ErrTooLong  ErrorKind = "too-long" // more than MaxBody
)

// HTTPRun is what came of an [HTTPLoad]. Requests are those that were sent, or due in an open loop, in the time that is measured.
type HTTPRun struct {
	Protocol string
	Asked    float64 // requests per second; 0 is a closed loop
	Elapsed  time.Duration

	Requests int64 // Answered, those of Errors, and Unsent
	Answered int64 // whole and well
	InTime   int64 // answers that came while Elapsed, also to what was sent just before
	Unsent   int64 // due, but no stream became free until the end; open loop only
	Errors   map[ErrorKind]int64
	First    error // the first of Errors; nil = there is none
	Status   map[int]int64
	Bytes    int64 // of the bodies that came while Elapsed

	Opened  int64 // connections, in the time that is measured
	Resumed int64 // of them, with a ticket
	Again   int64 // requests sent again on a new connection, as the one that had served before ended before an answer
	Because error // of the first of Again

	// Service is how long answers took from when they were sent, Response from when they were due (the same in a closed loop).
	// In nanoseconds, to a thousandth. A request that timed out counts in both with the time until it was given up, one
	// that was never sent counts in Response with the time it had waited: the least that its answer would have taken.
	// Other errors count in neither: a refusal may be quick.
	Service, Response *hdrhistogram.Histogram

	CPU    time.Duration // of this process
	Server ServerUsage
}

// ServerUsage is what the kernel accounted to the server's processes in the time that is measured. Zero: nothing is known.
type ServerUsage struct {
	CPU                          time.Duration
	RSSBefore, RSSAfter, RSSMost int64 // bytes; Most of samples ten times a second. After is zero, and CPU, where one ended
	Processes                    int   // the most there were at a time
}

// Rate is how many answers a second came.
func (r *HTTPRun) Rate() float64 { return perSecond(r.InTime, r.Elapsed) }

// Failed is how many requests went wrong, without those never sent.
func (r *HTTPRun) Failed() (n int64) {
	for _, k := range r.Errors {
		n += k
	}
	return n
}

// PerRequest is a share of processor time for each answer.
func (r *HTTPRun) PerRequest(cpu time.Duration) time.Duration {
	return time.Duration(float64(cpu) / float64(max(r.InTime, 1)))
}

// Limits of a load: more connections than a client has ports are none, and an hour of the fastest is a count.
const (
	maxConnections = 50_000
	maxStreams     = 1000
	maxRate        = 1e6
	maxNetworks    = 1 << 15
	maxTime        = time.Hour
	defaultTimeout = 10 * time.Second
	defaultBody    = 1 << 30
)

// Check finds what is wrong with a load before it begins, and sets what is optional.
func (l *HTTPLoad) Check() error {
	l.Connections, l.Streams = max(l.Connections, 1), max(l.Streams, 1)
	if l.Timeout == 0 {
		l.Timeout = defaultTimeout
	}
	if l.MaxBody == 0 {
		l.MaxBody = defaultBody
	}
	switch {
	case !slices.Contains(HTTPProtocols, l.Protocol):
		return fmt.Errorf("protocol %q: want h1, h2 or h3", l.Protocol)
	case len(l.URLs) == 0:
		return errors.New("no URL to ask for")
	case l.Connections > maxConnections:
		return fmt.Errorf("%d connections: want %d at most", l.Connections, maxConnections)
	case l.Streams > maxStreams || l.Streams*l.Connections > maxConnections:
		return fmt.Errorf("%d connections with %d streams: want %d streams at most, and %d of all together", l.Connections, l.Streams, maxStreams, maxConnections)
	case l.Networks < 0 || l.Networks > maxNetworks || l.Networks > 0 && (l.Protocol == "h3" || !l.To.Addr().Is4() || !l.To.Addr().IsLoopback()):
		return fmt.Errorf("clients of %d networks: want %d at most, over h1 or h2, and a server at 127.0.0.0/8", l.Networks, maxNetworks)
	case l.Streams > 1 && l.Protocol == "h1":
		return fmt.Errorf("%d streams: HTTP/1.1 has one request at a time on a connection; open more connections", l.Streams)
	case l.Streams > 1 && l.NewConnections:
		return fmt.Errorf("%d streams: where each request opens a connection there is one on each", l.Streams)
	case l.Resume && !l.NewConnections:
		return errors.New("to resume goes with new connections only")
	case !(l.Rate >= 0 && l.Rate <= maxRate):
		return fmt.Errorf("rate %v: want 0 (a closed loop) to %d a second", l.Rate, int(maxRate))
	case !(l.Zipf >= 0 && l.Zipf <= 10):
		return fmt.Errorf("zipf %v: want an exponent of 0 (all in turn) to 10", l.Zipf)
	case l.For <= 0 || l.For > maxTime || l.WarmUp < 0 || l.WarmUp > maxTime:
		return fmt.Errorf("measure for %v after %v: want more than 0, and %v at most", l.For, l.WarmUp, maxTime)
	case l.Timeout < 0 || l.MaxBody < 0:
		return fmt.Errorf("timeout %v, body of %d: cannot be negative", l.Timeout, l.MaxBody)
	}
	first := l.URLs[0]
	for i, u := range l.URLs {
		if err := sameSite(u, first); err != nil {
			return fmt.Errorf("URL %d: %w", i+1, err)
		}
	}
	if first.Scheme == "http" && (l.Protocol != "h1" || l.NewConnections && l.Resume) {
		return fmt.Errorf("%s: without TLS there is h1 only, and nothing to resume", first)
	}
	return nil
}

// Load runs until its time is over. The error is of a load that is wrong, of a server that cannot be loaded (the first request is
// made before the load begins, and must succeed), or of a process of PIDs that is not there or ends. When ctx ends, what was
// measured so far is returned with its error.
func (l HTTPLoad) Load(ctx context.Context) (*HTTPRun, error) {
	if err := l.Check(); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	if !l.To.IsValid() {
		to, err := Resolve(ctx, l.URLs[0], "")
		if err != nil {
			return nil, fmt.Errorf("load: %v: %w", l.URLs[0], err)
		}
		l.To = to
	}
	if _, err := ReadTrees(l.PIDs); err != nil {
		return nil, fmt.Errorf("%w; name the server's number", err)
	}
	d := newDialler(&l)
	if err := d.probe(ctx); err != nil {
		return nil, fmt.Errorf("load: %v over %s at %v: %w", l.URLs[0], l.Protocol, l.To, err)
	}
	return newHTTPLoop(&l, d).run(ctx)
}
