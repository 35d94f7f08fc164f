package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Front listens, and hands requests to its handlers. Made by [Listen]; its methods may be called
// concurrently.
type Front struct {
	cfg      Config
	limits   Limits
	hooks    *Hooks
	log      *slog.Logger
	began    time.Time
	peers    *peers
	tlsConf  *tls.Config
	secure   []*net.TCPListener
	plain    []*net.TCPListener
	udp      []*udp
	h1       *site // HTTP/1.1 inside TLS
	clear    *site // HTTP/1.1 on the plain port
	serving  atomic.Bool
	draining atomic.Bool
	active   atomic.Int64  // requests in a handler
	quiet    chan struct{} // told when active falls to zero while draining
	fewer    chan struct{} // told when a connection or a tail is gone
	stop     chan struct{} // closed by Close
	stopOnce sync.Once
	loops    sync.WaitGroup // accept loops, handshakes, QUIC connections

	mu      sync.Mutex
	current *generation
	conns   map[*conn]struct{}
	tails   map[*conn]struct{} // closed, but for the peer's side
	shut    bool               // no connection is taken any more
}

// Listen binds every address of cfg, and serves none of them yet. Its error says which
// address, why, and what to do about it; then nothing stays bound.
func Listen(cfg Config) (*Front, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	f := &Front{
		cfg:    cfg,
		limits: cfg.Limits.withDefaults(),
		hooks:  &cfg.Hooks,
		log:    cfg.Logger,
		began:  time.Now(),
		quiet:  make(chan struct{}, 1),
		fewer:  make(chan struct{}, 1),
		stop:   make(chan struct{}),
		conns:  make(map[*conn]struct{}),
		tails:  make(map[*conn]struct{}),
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.peers = newPeers(f.limits, time.Now)
	f.tlsConf = baseTLS(false, f.chooseTCP)
	f.h1 = newSite(f.h1Server(cfg.Handler))
	f.clear = newSite(f.h1Server(cfg.Plain))
	f.current = f.newGeneration()
	if err := f.bind(); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *Front) bind() error {
	lc := net.ListenConfig{Control: f.cfg.Control}
	lc.SetMultipathTCP(false) // whose sockets take few of the options, and nobody asks for it
	bindTCP := func(addrs []netip.AddrPort) (lns []*net.TCPListener, err error) {
		for _, a := range addrs {
			ln, err := lc.Listen(context.Background(), "tcp", a.String())
			if err != nil {
				return lns, bindError("tcp", a, err)
			}
			lns = append(lns, ln.(*net.TCPListener))
		}
		return lns, nil
	}
	var err error
	if f.secure, err = bindTCP(f.cfg.HTTPS); err != nil {
		return err
	}
	if f.plain, err = bindTCP(f.cfg.HTTP); err != nil {
		return err
	}
	for _, a := range f.cfg.QUIC {
		if a.Port() == 0 {
			if i := slices.IndexFunc(f.secure, func(ln *net.TCPListener) bool { return addrOf(ln.Addr()).Addr() == a.Addr() }); i >= 0 {
				a = netip.AddrPortFrom(a.Addr(), addrOf(f.secure[i].Addr()).Port())
			}
		}
		sock, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(a))
		if err != nil {
			return bindError("udp", a, err)
		}
		u, err := f.newUDP(sock)
		if err != nil {
			sock.Close()
			return fmt.Errorf("listen: quic on %s: %w", a, err)
		}
		f.udp = append(f.udp, u)
	}
	return nil
}

// bindError says in one line what an operator can do.
func bindError(network string, a netip.AddrPort, err error) error {
	hint := "see that the address is right"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "stop the program that holds it, or choose another port"
	case errors.Is(err, syscall.EACCES):
		hint = "a port below 1024 needs CAP_NET_BIND_SERVICE, or choose another port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = "this machine does not have the address; set the one to bind"
	}
	var cause syscall.Errno
	if errors.As(err, &cause) {
		err = cause
	}
	return fmt.Errorf("listen: %s %s: %w: %s", network, a, err, hint)
}

func addrOf(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	case *net.UDPAddr:
		return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	}
	return netip.AddrPort{}
}

// HTTPS returns the TCP addresses with TLS which are bound, in the order of the configuration.
func (f *Front) HTTPS() []netip.AddrPort { return addrs(f.secure) }

// HTTP returns the TCP addresses without TLS which are bound.
func (f *Front) HTTP() []netip.AddrPort { return addrs(f.plain) }

// QUIC returns the UDP addresses which are bound.
func (f *Front) QUIC() []netip.AddrPort { return addrs(f.udp) }

func addrs[L interface{ Addr() net.Addr }](lns []L) []netip.AddrPort {
	out := make([]netip.AddrPort, len(lns))
	for i, ln := range lns {
		out[i] = addrOf(ln.Addr())
	}
	return out
}

// Serve takes connections until Drain or Close has ended, and then returns nil. It is called once.
func (f *Front) Serve() error {
	if f.serving.Swap(true) {
		return errors.New("listen: Serve called twice")
	}
	f.h1.start(&f.loops)
	f.clear.start(&f.loops)
	f.mu.Lock()
	g := f.current
	f.mu.Unlock()
	g.start(&f.loops)
	for _, ln := range f.secure {
		f.loops.Go(func() { f.accept(ln, f.handshake) })
	}
	for _, ln := range f.plain {
		f.loops.Go(func() { f.accept(ln, f.serveClear) })
	}
	for _, u := range f.udp {
		f.loops.Go(func() { f.acceptQUIC(u) })
	}
	<-f.stop
	f.loops.Wait()
	return nil
}

// Draining reports whether Drain has been called.
func (f *Front) Draining() bool { return f.draining.Load() }

// Active returns the number of requests which are in a handler.
func (f *Front) Active() int { return int(f.active.Load()) }

func (f *Front) begin() { f.active.Add(1) }

func (f *Front) end() {
	if f.active.Add(-1) == 0 && f.draining.Load() {
		select {
		case f.quiet <- struct{}{}:
		default:
		}
	}
}

// remember takes c into the books, or reports that it came too late.
func (f *Front) remember(c *conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		return false
	}
	f.conns[c] = struct{}{}
	return true
}

func (f *Front) forget(c *conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
	f.tellFewer()
}

// h1Server returns an HTTP/1.1 server; its connections are gates.
func (f *Front) h1Server(h http.Handler) *http.Server {
	var p http.Protocols
	p.SetHTTP1(true)
	s := f.server(h)
	s.Protocols = &p
	s.ConnState = func(c net.Conn, st http.ConnState) {
		if g := gateOf(c); g != nil {
			g.state(st)
		}
	}
	return s
}

// server returns what HTTP/1.1 and HTTP/2 have in common.
func (f *Front) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:                      &guard{front: f, next: h},
		DisableGeneralOptionsHandler: true, // "OPTIONS *" is the handler's, as on HTTP/3
		ConnContext:                  connContext,
		ReadHeaderTimeout:            f.limits.HeaderTime,
		IdleTimeout:                  f.limits.Idle,
		MaxHeaderBytes:               f.limits.HeaderBytes + headerSlack,
		ErrorLog:                     log.New(debugWriter{f.log}, "", 0),
	}
}

// debugWriter takes what net/http would print about peers.
type debugWriter struct{ log *slog.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Debug("net/http", "says", strings.TrimSpace(string(p)))
	return len(p), nil
}
