package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"hither/deploy/fleet"
)

// Errors that others wrap.
var (
	// ErrAway is that the hub does not answer, or that what is asked for is out of its reach now.
	ErrAway = errors.New("the hub does not answer")

	// ErrDenied is that the hub does not let this node say that. It is for good.
	ErrDenied = errors.New("the hub does not allow it")
)

// Options say whose connection it is and where to.
type Options struct {
	URLs     []string        // of the hub, tls://HOST:PORT; tried in turn
	Identity *fleet.Identity // whose connection it is. Required
	Embedded string          // the gateway that has the hub in it; "" = a NATS cluster elsewhere
	Log      *slog.Logger    // required

	// InProcess is the hub's server in this process, and Token what it lets in without a certificate; URLs do not count then.
	InProcess nats.InProcessConnProvider
	Token     string

	// Refused is told of each read of a node that [Conn.ServeReads] refuses; nil = it is logged once a minute.
	Refused func(node, why string)
}

// How long the parts of a connection may take.
const (
	dialTime  = 5 * time.Second  // of one try
	pingEvery = 10 * time.Second // of a silent connection; two without an answer end it
	mostWait  = 30 * time.Second // between two tries
)

// What waits for one subscription at most, before messages are lost. See [Conn.OnLost].
const (
	mostWaiting      = 64 << 10
	mostWaitingBytes = 32 << 20
)

// mostAnswers bounds what waits for one read: its entries, the end of them, and room for what nobody asked for. NATS makes room for all of it at once.
const mostAnswers = readEntries + 64

// A Conn is a node's connection to the hub. It is made at once, and from then on there or away: it comes back by itself, after
// waits that grow to half a minute, each with a part left to chance. Nothing but Close ends it: a node that was refused goes on
// trying, for its certificate may be renewed. What is published while it is away is an error and is not kept. It is safe
// for concurrent use.
type Conn struct {
	who     fleet.Peer
	servers string
	options []nats.Option
	told    *limiter
	answers answers
	refused func(node, why string) // nil = log
	cluster bool                   // the hub is a NATS cluster elsewhere

	ctx   context.Context // ends with Close
	close context.CancelFunc

	calling sync.Mutex // held while functions of OnConnect run, so that they run one after the other

	mu    sync.Mutex // guards what follows
	nc    *nats.Conn // nil until it was there once, and between two of them
	subs  map[*subscription]struct{}
	asked map[*question]struct{}
	here  []func() // called after each connect
	lost  []func(subject string)
	comes chan struct{} // closed when the hub answers next
	tried error         // why the last try to make nc failed

	serves bool // ServeReads was called
}

// A subscription outlives the connections of NATS on which it is made.
type subscription struct {
	subject string
	queue   string // "" = all that subscribe hear all
	take    func(*Message)
	on      *nats.Subscription // nil while there is no connection
}

// Dial makes a connection. The error is about the options; a hub that does not answer is none. Only within the process has the
// hub answered when Dial returns; see [Conn.Wait].
func Dial(o Options) (*Conn, error) {
	c := &Conn{
		who: o.Identity.Peer, servers: strings.Join(o.URLs, ","), told: newLimiter(o.Log),
		subs: make(map[*subscription]struct{}), asked: make(map[*question]struct{}), comes: make(chan struct{}),
		answers: answers{all: make(map[string]chan *nats.Msg)}, refused: o.Refused, cluster: o.Embedded == "" && o.InProcess == nil,
	}
	c.subs[&subscription{subject: c.answerSubject() + "*", take: c.answered}] = struct{}{}
	c.ctx, c.close = context.WithCancel(context.Background())
	c.options = []nats.Option{
		nats.Name(c.who.String()), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
		nats.CustomReconnectDelay(delay), nats.SyncQueueLen(mostAnswers), nats.Timeout(dialTime), nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(2), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectHandler(func(*nats.Conn) { c.connected() }), nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { c.away(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) { c.fault(s, err) }),
	}
	if o.InProcess != nil {
		c.options = append(c.options, nats.InProcessServer(o.InProcess), nats.Token(o.Token))
		nc, ended, err := c.connect()
		if err != nil {
			return nil, err
		}
		c.take(nc)
		go c.run(nc, ended)
		return c, nil
	}
	if len(o.URLs) == 0 {
		return nil, errors.New("bus: no URL of a hub")
	}
	for _, s := range o.URLs {
		if u, err := url.Parse(s); err != nil || u.Scheme != "tls" || u.Host == "" || strings.Contains(s, ",") {
			return nil, fmt.Errorf("bus: %q is no address of a hub; they are tls://HOST:PORT", s)
		}
	}
	c.options = append(c.options, nats.Secure(o.Identity.HubTLS(o.Embedded)), nats.SetCustomDialer(&dialer{ctx: c.ctx}))
	if o.Embedded != "" {
		c.options = append(c.options, nats.TLSHandshakeFirst())
	}
	go c.run(nil, nil)
	return c, nil
}

// connect makes a connection of NATS, which comes back by itself until ended is closed.
func (c *Conn) connect() (nc *nats.Conn, ended chan struct{}, err error) {
	ended = make(chan struct{})
	nc, err = nats.Connect(c.servers, append(c.options[:len(c.options):len(c.options)], nats.ClosedHandler(func(*nats.Conn) { close(ended) }))...)
	if err != nil {
		return nil, nil, fmt.Errorf("bus: dial the hub: %w", err)
	}
	return nc, ended, nil
}

// run sees to it that there is a connection, until Close. A connection of NATS comes back by itself after most of what can
// befall it; after some errors that a server may answer it ends, and a new one is made.
func (c *Conn) run(nc *nats.Conn, ended chan struct{}) {
	for attempts := 0; ; attempts++ {
		if nc == nil {
			var err error
			if nc, ended, err = c.connect(); err != nil {
				c.mu.Lock()
				c.tried = err
				c.mu.Unlock()
				if c.ctx.Err() == nil {
					c.told.say("dial", slog.LevelWarn, "the hub is away; what is known stays in force", "error", err)
				}
				select {
				case <-time.After(delay(attempts)):
					continue
				case <-c.ctx.Done():
					return
				}
			}
			c.take(nc)
		}
		c.connected()
		select {
		case <-ended:
			c.take(nil)
			nc, attempts = nil, 0
		case <-c.ctx.Done():
			nc.Close()
			return
		}
		if c.ctx.Err() != nil {
			return
		}
		select { // a server that ends each connection at once is not asked for more of them at once
		case <-time.After(delay(0)):
		case <-c.ctx.Done():
			return
		}
	}
}

// take makes nc the connection in use, with all subscriptions; nil = there is none.
func (c *Conn) take(nc *nats.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc = nc
	for s := range c.subs {
		if s.on = nil; nc != nil {
			c.start(s)
		}
	}
}

// delay is how long to wait before the hub is tried once more.
func delay(attempts int) time.Duration {
	most := min(100*time.Millisecond<<min(attempts, 10), mostWait)
	return most/2 + rand.N(most/2)
}

// connected tells those who wait for it, or asked with OnConnect.
func (c *Conn) connected() {
	c.told.say("here", slog.LevelInfo, "the hub answers")
	c.mu.Lock()
	here := c.here
	close(c.comes)
	c.comes = make(chan struct{})
	c.mu.Unlock()
	c.calling.Lock()
	defer c.calling.Unlock()
	for _, f := range here {
		f()
	}
}

// away ends what waits for an answer on a connection that is no more.
func (c *Conn) away(err error) {
	if c.ctx.Err() != nil {
		return
	}
	if err == nil {
		err = errors.New("the connection ended")
	}
	c.told.say("away", slog.LevelWarn, "the hub is away; what is known stays in force", "error", err)
	c.stop("", ErrAway)
}

// fault takes what goes wrong apart from any call.
func (c *Conn) fault(s *nats.Subscription, err error) {
	switch {
	case s != nil && errors.Is(err, nats.ErrSlowConsumer):
		c.told.say("lost "+s.Subject, slog.LevelWarn, "bus: messages were lost, for too many waited", "subject", s.Subject)
		c.mu.Lock()
		lost := c.lost
		c.mu.Unlock()
		for _, f := range lost {
			f(s.Subject)
		}
	case errors.Is(err, nats.ErrPermissionViolation):
		_, rest, _ := strings.Cut(err.Error(), `"`)
		subject, _, _ := strings.Cut(rest, `"`)
		c.told.say("denied "+subject, slog.LevelWarn, "bus: the hub does not allow it", "error", err)
		if strings.Contains(err.Error(), "Violation for Publish") {
			c.stop(subject, ErrDenied)
		}
	default:
		c.told.say("fault "+err.Error(), slog.LevelWarn, "bus", "error", err)
	}
}

// OnConnect has f called after each time that the hub begins to answer, and now if it does. f must not wait for the bus, nor
// call OnConnect: it is called from the connection's own goroutine. Calls of these functions never overlap.
func (c *Conn) OnConnect(f func()) {
	c.calling.Lock()
	defer c.calling.Unlock()
	c.mu.Lock()
	c.here = append(c.here[:len(c.here):len(c.here)], f)
	c.mu.Unlock()
	if c.Connected() {
		f()
	}
}

// OnLost has f called with the subject of a subscription when messages for it begin to be lost because too many waited. What a
// stream holds can be read from there. It must not wait for the bus.
func (c *Conn) OnLost(f func(subject string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = append(c.lost[:len(c.lost):len(c.lost)], f)
}

// Wait returns when the hub answers, with an error that wraps [ErrAway] when ctx ends before.
func (c *Conn) Wait(ctx context.Context) error {
	for {
		c.mu.Lock()
		comes := c.comes
		c.mu.Unlock()
		if c.Connected() {
			return nil
		}
		select {
		case <-comes:
		case <-ctx.Done():
			return fmt.Errorf("bus: wait for the hub: %w", ErrAway)
		case <-c.ctx.Done():
			return fmt.Errorf("bus: wait for the hub: the connection was closed: %w", ErrAway)
		}
	}
}

// conn returns the connection of NATS that is there, or nil.
func (c *Conn) conn() *nats.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nc == nil || !c.nc.IsConnected() {
		return nil
	}
	return c.nc
}

// Connected says whether the hub answers.
func (c *Conn) Connected() bool { return c.conn() != nil }

// Peer is whose connection it is.
func (c *Conn) Peer() fleet.Peer { return c.who }

// Close ends the connection at once. Functions that run go on to their end.
func (c *Conn) Close() {
	c.close()
	c.stop("", ErrAway)
	c.mu.Lock()
	nc := c.nc
	c.mu.Unlock()
	if nc != nil {
		nc.Close()
	}
}

// A dialer opens connections that end with ctx, in whatever state they are.
type dialer struct{ ctx context.Context }

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, dialTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &bound{conn, context.AfterFunc(d.ctx, func() { conn.Close() })}, nil
}

// bound is a connection that ends with a context.
type bound struct {
	net.Conn
	free func() bool
}

func (b *bound) Close() error {
	b.free()
	return b.Conn.Close()
}
