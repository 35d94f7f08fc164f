package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http/httpguts"
)

var (
	errNoStream = errors.New("origin allows no more streams")
	errStatus   = errors.New("origin sent a status that HTTP/3 does not have")
)

// streamsAssumed is how many requests a connection is given at once. quic-go does not tell how many the peer allows; fewer
// than 100 it should not (RFC 9114 section 6.1), and one that does is found out by the first stream that cannot be opened.
const streamsAssumed = 100

// streams remembers how many requests a connection of the origin was found to carry, so that the next one need not find out.
type streams struct {
	mu sync.Mutex
	n  int
	at time.Time
}

// streamsKnown is how long that is believed: the origin may have been restarted with another limit.
const streamsKnown = time.Minute

func (k *streams) note(n int, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.n, k.at = max(n, 1), now // where one allows none, another may
}

func (k *streams) known(now time.Time) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n > 0 && now.Sub(k.at) < streamsKnown {
		return k.n
	}
	return streamsAssumed
}

// openPatience is how long a stream may wait to be opened, above two round trips: the peer gives back what finished streams
// had about one after their end.
const openPatience = 250 * time.Millisecond

// h3 is an HTTP/3 connection: quic-go's, on a UDP socket of its own. It counts the streams, which quic-go does not.
type h3 struct {
	cc    *http3.ClientConn
	conn  *quic.Conn
	hold  time.Duration   // how long a body waits for 100 (Continue)
	ended context.Context // has ended; see leaving

	mu       sync.Mutex
	notify   func()
	inFlight int // reserved and open
	limit    int
	learned  func(streams int)
}

// openH3 opens a connection in the same steps as h1 and h2: "handshake" and "settings".
func (p *Pool) openH3(ctx context.Context, to target) (session, *Error) {
	addr := to.addr.String()
	udp, err := p.listenUDP(to)
	if err != nil {
		return nil, p.unsent("dial", addr, dialKind(err), err)
	}
	tr := &quic.Transport{Conn: udp}
	release := func() { tr.Close(); udp.Close() }
	conn, err := tr.Dial(ctx, net.UDPAddrFromAddrPort(to.addr), p.tlsFor(to.host), p.quicConfig())
	if err != nil {
		release()
		return nil, p.unsent("handshake", addr, quicHandshakeKind(err), err)
	}
	p.handshakes.Add(1)
	context.AfterFunc(conn.Context(), release)
	cc := p.h3Transport().NewClientConn(conn)
	ended, end := context.WithCancel(context.Background())
	end()
	s := &h3{cc: cc, conn: conn, hold: p.cfg.Continue, ended: ended, notify: p.poke}
	s.limit = p.streams.known(p.cfg.Now())
	s.learned = func(n int) { p.streams.note(n, p.cfg.Now()) }
	context.AfterFunc(conn.Context(), s.changed)
	select {
	case <-cc.ReceivedSettings():
		return s, nil
	case <-conn.Context().Done():
		err := context.Cause(conn.Context())
		return nil, p.unsent("settings", addr, quicHandshakeKind(err), err)
	case <-ctx.Done():
		s.Close()
		return nil, p.unsent("settings", addr, KindConnectTimeout, context.Cause(ctx))
	}
}

// listenUDP is the socket of one connection: each has its own port, so that the network may take different ways.
func (p *Pool) listenUDP(to target) (*net.UDPConn, error) {
	network := "udp4"
	if to.addr.Addr().Is6() {
		network = "udp6"
	}
	return net.ListenUDP(network, nil)
}

// h3Transport is quic-go's HTTP/3, without its own pool of connections.
func (p *Pool) h3Transport() *http3.Transport {
	return &http3.Transport{DisableCompression: true, MaxResponseHeaderBytes: p.cfg.HeaderBytes}
}

// quicConfig is what a QUIC connection is given. 0-RTT is never asked for: what it carries can be replayed (RFC 9001 section
// 9.2). A peer of which nothing is heard for as long as h2 would wait for its PING is dead; half of that at the latest
// something is sent which it must answer.
func (p *Pool) quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout: p.cfg.Connect,
		MaxIdleTimeout:       p.cfg.Ping + p.cfg.PingTimeout,
		KeepAlivePeriod:      p.cfg.Ping,
		MaxIncomingStreams:   -1, // a server opens none (RFC 9114 section 6.1)

		// quic-go lets a window grow while its reader is quick. It does not tell what waits for a reader, so the most is less than in h2.
		InitialStreamReceiveWindow:     baseWindow,
		MaxStreamReceiveWindow:         startWindow,
		InitialConnectionReceiveWindow: 64 * baseWindow,
		MaxConnectionReceiveWindow:     1024 * baseWindow,
	}
}

func (s *h3) watch(f func()) {
	s.mu.Lock()
	s.notify = f
	s.mu.Unlock()
	f()
}

func (s *h3) changed() {
	s.mu.Lock()
	f := s.notify
	s.mu.Unlock()
	f()
}

// leaving asks for a stream with a context that has ended, which opens none: the error tells whether the peer said GOAWAY.
func (s *h3) leaving() bool {
	_, err := s.cc.OpenRequestStream(s.ended)
	return err != nil && isGoAway(err)
}

func (s *h3) Err() error { return s.conn.Context().Err() }
func (s *h3) Close() error {
	return s.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
}

func (s *h3) cause() error {
	if err := context.Cause(s.conn.Context()); err != nil && !isLocalClose(err) {
		return err
	}
	return net.ErrClosed
}

// isLocalClose knows this side's own Close.
func isLocalClose(err error) bool {
	var app *quic.ApplicationError
	return errors.As(err, &app) && !app.Remote && app.ErrorCode == quic.ApplicationErrorCode(http3.ErrCodeNoError)
}

func (s *h3) Reserve() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.Err(); err != nil {
		return err
	}
	if s.inFlight >= s.limit {
		return errNoStream
	}
	s.inFlight++
	return nil
}

func (s *h3) Release() {
	s.mu.Lock()
	s.inFlight--
	s.mu.Unlock()
	s.changed()
}

func (s *h3) InFlight() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inFlight
}

// full notes that the peer did not allow as many streams as were tried.
func (s *h3) full() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = min(s.limit, max(s.inFlight-1, 0))
	s.learned(s.limit)
}

func (s *h3) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := s.roundTrip(req)
	if err != nil {
		endBody(req) // quic-go does not when it has not begun to send
		s.Release()
		return nil, err
	}
	return res, nil
}

func (s *h3) roundTrip(req *http.Request) (*http.Response, error) {
	if err := checkRequest(req); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	var opened, late atomic.Bool
	patience := time.AfterFunc(openPatience+2*s.conn.ConnectionStats().SmoothedRTT, func() {
		if !opened.Load() {
			cancel(errNoStream)
		}
	})
	gate := newGate(req, s.hold)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaderField: func(string, []string) { // the first thing that quic-go tells of a stream
			if !opened.Swap(true) {
				late.Store(!patience.Stop())
			}
		},
		Got100Continue: gate.open,
	})
	out := req.WithContext(ctx)
	if req.Body == http.NoBody {
		out.Body = nil
	} else if gate != nil {
		out.Body = gate
	}
	res, err := s.cc.RoundTrip(out)
	patience.Stop()
	gate.open() // a final answer: the rest of the body is the origin's to refuse
	switch {
	case err != nil && context.Cause(ctx) == errNoStream && !opened.Load():
		s.full()
		err = errNoStream
	case err != nil && opened.Load() && late.Load() && req.Context().Err() == nil:
		err = fmt.Errorf("%w, or too late", errNoStream) // in the middle of being opened: perhaps it was sent
	case err == nil && (res.StatusCode < 200 || res.StatusCode > 999):
		res.Body.Close()
		err = errStatus
	}
	if err != nil {
		cancel(nil)
		return nil, err
	}
	res.Body = &h3Body{ReadCloser: res.Body, s: s, cancel: cancel}
	return res, nil
}

// checkRequest refuses what quic-go would refuse after the stream was opened, and then wait for an answer to.
func checkRequest(req *http.Request) error {
	for _, h := range []http.Header{req.Header, req.Trailer} {
		for name, values := range h {
			if !httpguts.ValidHeaderFieldName(name) {
				return fmt.Errorf("http: invalid field name %q", name)
			}
			for _, v := range values {
				if !httpguts.ValidHeaderFieldValue(v) {
					return fmt.Errorf("http: invalid value of field %s", name) // which may be a secret
				}
			}
		}
	}
	switch {
	case len(req.Header["Upgrade"]) > 0:
		return errors.New("http: invalid field Upgrade in HTTP/3")
	case !httpguts.ValidHeaderFieldName(req.Method) && req.Method != "": // a token too
		return fmt.Errorf("http: invalid method %q", req.Method)
	case !httpguts.ValidHostHeader(req.Host):
		return fmt.Errorf("http: invalid host %q", req.Host)
	}
	if path := req.URL.RequestURI(); req.Method != http.MethodConnect && path != "*" && (path == "" || path[0] != '/') {
		return fmt.Errorf("http: invalid path %q", path)
	}
	return nil
}
