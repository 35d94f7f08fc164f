package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// A dialler opens connections of one protocol to one server. It may be used concurrently, but not where connections resume.
type dialler struct {
	load  *HTTPLoad
	proto int // the major version of HTTP that answers must be of
	tls   *tls.Config
	tcp   *http.Transport // of h1 and h2; holds no connection itself
	quic  *quic.Config
	parts sync.Pool // of *[partSize]byte: those who wait for a header need none

	opened atomic.Uint32 // connections from networks
}

func newDialler(l *HTTPLoad) *dialler {
	d := &dialler{load: l, proto: int(l.Protocol[1] - '0'), tls: new(tls.Config), parts: sync.Pool{New: func() any { return new([partSize]byte) }}}
	if l.TLS != nil {
		d.tls = l.TLS.Clone()
	}
	if d.tls.ServerName == "" {
		d.tls.ServerName = l.URLs[0].Hostname()
	}
	d.tls.ClientSessionCache = nil
	if l.Resume {
		d.tls.ClientSessionCache = tls.NewLRUClientSessionCache(1) // quic-go writes to what it resumes: see own
	}
	if d.proto == 3 {
		d.tls.NextProtos = []string{http3.NextProtoH3}
		d.quic = &quic.Config{HandshakeIdleTimeout: min(l.Timeout, shakeTime), MaxIdleTimeout: maxTime, KeepAlivePeriod: keepAlive}
		return d
	}
	var protocols http.Protocols
	protocols.SetHTTP1(d.proto == 1)
	protocols.SetHTTP2(d.proto == 2)
	d.tcp = &http.Transport{
		Protocols:          &protocols,
		TLSClientConfig:    d.tls,
		DisableCompression: true,
		ReadBufferSize:     16 << 10,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.from().DialContext(ctx, network, l.To.String())
		},
	}
	return d
}

// from is where the next connection of TCP comes from: of the networks, if there are to be any, 127.128.0.1, 127.128.1.1, and so on.
func (d *dialler) from() *net.Dialer {
	if d.load.Networks == 0 {
		return new(net.Dialer)
	}
	n := (d.opened.Add(1) - 1) % uint32(d.load.Networks)
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 128+byte(n>>8), byte(n), 1)}}
}

// own is a dialler for one line: with tickets of its own, if there are to be any.
func (d *dialler) own() *dialler {
	if d.load.Resume {
		return newDialler(d.load)
	}
	return d
}

// keepAlive is how often a QUIC connection on which nothing happens is told to live on: servers end them after 30 s.
const keepAlive = 10 * time.Second

// shakeTime is how long nothing may come back from a server that is asked for QUIC: nobody says that nobody listens.
const shakeTime = 5 * time.Second

// A connection is one connection to the server, on which requests can be made until dead says why not.
type connection interface {
	RoundTrip(*http.Request) (*http.Response, error)
	dead() error
	Close() error
}

// open makes one.
func (d *dialler) open(ctx context.Context) (connection, error) {
	if d.proto == 3 {
		return d.openQUIC(ctx)
	}
	u := d.load.URLs[0]
	at, err := port(u)
	if err != nil {
		return nil, err
	}
	c, err := d.tcp.NewClientConn(ctx, u.Scheme, net.JoinHostPort(u.Hostname(), strconv.Itoa(int(at))))
	if err != nil {
		return nil, err
	}
	return tcpConnection{c}, nil
}

type tcpConnection struct{ *http.ClientConn }

func (c tcpConnection) dead() error { return c.Err() }

// openQUIC has a socket for each connection, as each client has: servers spread them by that.
func (d *dialler) openQUIC(ctx context.Context) (connection, error) {
	sock, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	qt := &quic.Transport{Conn: sock}
	conn, err := qt.Dial(ctx, net.UDPAddrFromAddrPort(d.load.To), d.tls, d.quic)
	if err != nil {
		return nil, errors.Join(err, qt.Close(), sock.Close())
	}
	tr := &http3.Transport{DisableCompression: true}
	return &quicConnection{ClientConn: tr.NewClientConn(conn), transport: qt, sock: sock}, nil
}

type quicConnection struct {
	*http3.ClientConn
	transport *quic.Transport
	sock      *net.UDPConn
	once      sync.Once
}

func (c *quicConnection) dead() error { return context.Cause(c.Context()) }

// Close ends the connection, and waits for that.
func (c *quicConnection) Close() (err error) {
	c.once.Do(func() {
		err = c.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
		err = errors.Join(err, c.transport.Close(), c.sock.Close())
	})
	return err
}

// openKind says what was wrong with opening a connection.
func openKind(err error) ErrorKind {
	var op *net.OpError
	var transport *quic.TransportError
	var shake *quic.HandshakeTimeoutError
	var idle *quic.IdleTimeoutError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errSlow):
		return ErrTimeout
	case errors.As(err, &shake), errors.As(err, &idle):
		return ErrConnect
	case errors.As(err, &transport) && transport.ErrorCode.IsCryptoError():
		return ErrTLS
	case errors.As(err, &op) && op.Op == "dial", errors.As(err, &transport):
		return ErrConnect
	}
	return ErrTLS
}

// A line holds the connection that its streams share, and a new one when that has ended.
type line struct {
	d *dialler

	mu      sync.Mutex
	now     *held    // nil: the next request opens one
	opening *opening // nil: nobody does
}

// A held connection is closed when it is of no more use, and nobody uses it any more.
type held struct {
	connection
	users int  // guarded by the line's mu
	old   bool // the same
}

// An opening is one stream's, for which the others wait: what comes of it is for all of them.
type opening struct {
	done chan struct{}
	err  error // set before done is closed
}

// take is a connection to make a request on; put gives it back.
func (l *line) take(ctx context.Context) (h *held, opened bool, err error) {
	l.mu.Lock()
	for {
		if l.now != nil && l.now.dead() != nil {
			l.retire(l.now)
		}
		if l.now != nil {
			l.now.users++
			h = l.now
			l.mu.Unlock()
			return h, false, nil
		}
		if o := l.opening; o != nil {
			l.mu.Unlock()
			select {
			case <-o.done:
			case <-ctx.Done():
				return nil, false, context.Cause(ctx)
			}
			if o.err != nil {
				return nil, false, o.err
			}
			l.mu.Lock()
			continue
		}
		o := &opening{done: make(chan struct{})}
		l.opening = o
		l.mu.Unlock()
		var c connection
		c, o.err = l.d.open(ctx)
		l.mu.Lock()
		l.opening = nil
		close(o.done)
		if o.err == nil {
			h = &held{connection: c, users: 1}
			l.now = h
		}
		l.mu.Unlock()
		return h, o.err == nil, o.err
	}
}

// put gives a connection back, to be used no more or for the next request.
func (l *line) put(h *held, retire bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h.users--
	if retire {
		l.retire(h)
	} else if h.old && h.users == 0 {
		h.Close()
	}
}

// retire has no more requests made on a connection. Those on their way are left to end.
func (l *line) retire(h *held) {
	if l.now == h {
		l.now = nil
	}
	h.old = true
	if h.users == 0 {
		h.Close()
	}
}

// close ends the line; nobody uses it any more.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now != nil {
		l.now.Close()
		l.now = nil
	}
}

// errSlow is why a request is given up.
var errSlow = errors.New("no whole answer in time")

// probe makes the first request, and tells in people's words why there can be no more.
func (d *dialler) probe(ctx context.Context) error {
	w := newWorker(d, &line{d: d}, nil)
	defer w.close()
	defer w.line.close()
	o := w.ask(ctx, 0)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var untrusted *tls.CertificateVerificationError
	var shake *quic.HandshakeTimeoutError
	var idle *quic.IdleTimeoutError
	switch {
	case o.err == nil:
		return d.room(w)
	case errors.As(o.err, &untrusted) && errors.As(o.err, new(x509.HostnameError)):
		return fmt.Errorf("%w; name a host that is in its certificate", untrusted)
	case errors.As(o.err, &untrusted):
		return fmt.Errorf("%w; name whom to trust with --ca FILE (ca.pem in the network's state folder)", untrusted)
	case errors.As(o.err, &shake), errors.As(o.err, &idle), d.proto == 3 && o.kind == ErrTimeout && !o.opened:
		return NotThere(errors.New("no answer to QUIC: it is down, or does not speak HTTP/3 there"))
	case o.kind == ErrTLS && strings.Contains(o.err.Error(), noProtocol):
		return fmt.Errorf("the server does not speak %s there: %w; choose another with --protocol", d.load.Protocol, o.err)
	case o.kind == ErrTLS:
		return fmt.Errorf("TLS handshake: %w; name the port of an HTTPS server", o.err)
	case o.kind == ErrConnect:
		return NotThere(o.err)
	case o.kind == ErrTimeout:
		return fmt.Errorf("%w; name the port of a web server, or wait longer with --timeout", o.err)
	case o.kind == ErrStatus:
		return fmt.Errorf("%w; name a page that is there", o.err)
	case o.kind == ErrProtocol:
		return fmt.Errorf("%w; choose another with --protocol", o.err)
	}
	return o.err
}

// NotThere says what to do about a server to which no connection can be opened.
func NotThere(err error) error {
	return fmt.Errorf("%w; start it, or name the host and port where it listens", err)
}

// noProtocol is in the error of a server that speaks nothing that it was offered: TLS's alert (RFC 7301 section 3.2) has a type of
// its own in QUIC only.
const noProtocol = "tls: no application protocol"

// room finds out that as many streams fit on a connection as are to be there: else requests would wait here, and not at the server.
func (d *dialler) room(w *worker) error {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	if w.line.now == nil {
		return nil
	}
	c, ok := w.line.now.connection.(tcpConnection)
	if !ok || d.proto != 2 || c.Err() != nil {
		return nil
	}
	if most := c.Available() + c.InFlight(); most < d.load.Streams {
		return fmt.Errorf("%d streams: the server takes %d on a connection; open more connections", d.load.Streams, most)
	}
	return nil
}
