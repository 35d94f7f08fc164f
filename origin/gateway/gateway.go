// Package gateway is the origin role assembled: mutual TLS towards the edges, and behind
// it a folder of files, the built-in site, or the instances of an application.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/ops"
	"hither/edge/listen"
)

// Options say which gateway a node is and what it is given.
type Options struct {
	Name     string          // the gateway's name in the network file, which for the first of an origin is the origin's
	State    string          // the node's state folder
	Network  *deploy.Network // the file in use at start
	Identity *fleet.Identity // what the node proves itself with towards edges
	Version  string          // of the program, for the status
	Log      *slog.Logger    // required
	// Fleet is what the process knows of the fleet, to be shown. Nil: files are counted, and there is no hub.
	Fleet *ops.Fleet
	Ready func() // called once, when edges are answered; optional
	Now   func() time.Time
}

// A Gateway is an origin node. Run is called once; the other methods may be called
// concurrently with it.
type Gateway struct {
	o       Options
	life    ops.Life
	metrics *ops.Metrics
	count   counters
	admin   *ops.Admin
	page    *ops.Page
	front   *listen.Front
	expired ops.Limiter
	drain   chan struct{} // closed when an operator says drain
	app     atomic.Pointer[app]
	near    atomic.Pointer[near]

	ctx     context.Context // ends when the gateway has drained
	stop    context.CancelFunc
	retired sync.WaitGroup // apps that finish what they have

	mu       sync.Mutex // guards what follows, and serialises Reload
	origin   *deploy.Origin
	revision int // files taken since the process began; the fleet's number is in o.Fleet
	refused  string
	later    []string
}

// New assembles the gateway and binds its sockets. What cannot be had is one clear
// error, and nothing stays open.
func New(o Options) (_ *Gateway, err error) {
	origin := o.Network.OriginNode(o.Name)
	if origin == nil {
		return nil, fmt.Errorf("gateway: the network file has no origin %q, nor a gateway of that name", o.Name)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	g := &Gateway{o: o, origin: origin, revision: 1, drain: make(chan struct{})}
	g.ctx, g.stop = context.WithCancel(context.Background())
	g.near.Store(nearOf(o.Network))
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	g.expired = ops.Limiter{Log: o.Log, Every: time.Hour, Now: o.Now}
	o.Identity.Expired = g.shout
	g.metrics = ops.NewMetrics("origin-" + o.Name)
	g.count.register(g.metrics)
	o.Fleet.Watch(g.metrics)
	a, err := newApp(origin, &g.o, nil)
	if err != nil {
		return nil, err
	}
	g.app.Store(a)
	g.metrics.MustRegister(appCollector{g})
	g.front, err = listen.Listen(g.frontConfig(origin))
	if err != nil {
		return nil, err
	}
	g.admin = ops.NewAdmin()
	g.admin.Handle("GET /v1/status", func(*http.Request) (string, any, error) { return "status", g.Status(), nil })
	g.admin.Handle("POST /v1/drain", g.drainCall)
	g.admin.Handle("GET /v1/explain/origin", g.explainCall)
	if err := g.admin.Open(o.State); err != nil {
		return nil, err
	}
	if at := origin.Gateway.Metrics; at.Port() != 0 {
		g.page, err = ops.OpenPage(at.String(), "origin-"+o.Name, &g.life, g.metrics)
	}
	return g, err
}

// frontTLS is the same for every connection: nothing is chosen by name between nodes.
func (g *Gateway) frontTLS(quic bool) *tls.Config {
	c := g.o.Identity.ServerTLS(fleet.RoleEdge)
	c.NextProtos = listen.ALPN(quic)
	verify := c.VerifyConnection
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		err := verify(cs)
		if err != nil { // the front counts it
			g.expired.Warn("a connection was refused", "error", err)
		}
		return err
	}
	return c
}

// shout tells of an edge whose certificate has expired and is still taken.
func (g *Gateway) shout(p fleet.Peer, since time.Time) {
	g.expired.Warn("an edge's certificate has expired and is still taken for a while; renew it with `hither fleet init`", "edge", p.String(), "since", since)
}

// gone tells of an edge that was revoked and whose connection is still there.
func (g *Gateway) gone(err error) {
	g.count.rejected.WithLabelValues(rejectedRevoked).Inc()
	g.expired.Warn("a request was refused", "error", err)
}

// Run serves until ctx ends or an operator says drain, and then drains.
func (g *Gateway) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- g.front.Serve() }()
	g.warm(ctx)
	g.life.Advance(ops.Ready)
	g.o.Log.Info("ready", "https", g.front.HTTPS(), "quic", g.front.QUIC())
	if g.o.Ready != nil {
		g.o.Ready()
	}
	var err error
	select {
	case <-ctx.Done():
	case <-g.drain:
	case err = <-served:
		g.o.Log.Error("serving ended", "error", err)
	}
	g.life.Advance(ops.Draining)
	g.o.Log.Info("draining", "requests", g.front.Active())
	left, cancel := context.WithTimeout(context.Background(), time.Duration(g.o.Network.Edge.Limits.Drain)+time.Second)
	defer cancel()
	err = errors.Join(err, g.front.Drain(left))
	g.close()
	g.life.Advance(ops.Down)
	g.o.Log.Info("down")
	return err
}

// mostWarm is how long a gateway waits for the servers behind a name before it says that it is ready: a name server that
// is asked a second time has answered by then.
const mostWarm = 5 * time.Second

// warm waits until the application's servers are known, but not for ever: the edges are told what is wrong by answers.
func (g *Gateway) warm(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, mostWarm)
	defer cancel()
	if a := g.application(); a != nil {
		a.warm(ctx)
	}
}

// Reload takes a new network file while serving: the application behind the gateway
// changes for requests that begin afterwards. On an error nothing has changed.
func (g *Gateway) Reload(network *deploy.Network) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	origin := network.OriginNode(g.o.Name)
	if origin == nil {
		return fmt.Errorf("gateway: the new network file has no origin %q, nor a gateway of that name; it keeps running on the old one", g.o.Name)
	}
	if err := g.take(origin); err != nil {
		return err
	}
	g.later = restartNeeded(g.o.Network.OriginNode(g.o.Name), origin)
	g.origin, g.refused = origin, ""
	g.near.Store(nearOf(network))
	g.revision++
	g.o.Log.Info("network file taken", "at_next_start", g.later)
	return nil
}

// take has the application be what the network file says now. g.mu is held.
func (g *Gateway) take(origin *deploy.Origin) error {
	before := g.application()
	if g.ctx.Err() != nil {
		return errors.New("gateway: it has ended")
	}
	if before != nil {
		if ok, err := before.change(origin); ok || err != nil {
			return err
		}
	} else if reflect.DeepEqual(origin.App, g.origin.App) {
		return nil // the same files: their entity-tags are known
	}
	a, err := newApp(origin, &g.o, before)
	if err != nil {
		return err
	}
	was := g.app.Swap(a)
	g.retired.Go(func() {
		if err := was.retire(g.ctx); err != nil {
			g.o.Log.Warn("the application before this one did not end well", "error", err)
		}
	})
	return nil
}

// Refuse notes why a network file offered was not taken.
func (g *Gateway) Refuse(why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = why.Error()
}

// Admin is where the node answers its operator.
func (g *Gateway) Admin() *ops.Admin { return g.admin }

// Metrics takes what else the node's page of metrics is to show.
func (g *Gateway) Metrics() prometheus.Registerer { return g.metrics }

// close releases everything; what was never opened is left out.
func (g *Gateway) close() {
	soon, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if g.front != nil {
		g.front.Close()
	}
	g.mu.Lock() // no reload begins after it
	g.stop()
	g.mu.Unlock()
	if a := g.app.Load(); a != nil {
		a.close()
	}
	g.retired.Wait()
	if g.page != nil {
		g.page.Close(soon)
	}
	if g.admin != nil {
		g.admin.Close(soon)
	}
}
