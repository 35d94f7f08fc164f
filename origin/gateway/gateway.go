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

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/ops"
	"hither/edge/listen"
)

// Options say which origin a gateway is and what it is given.
type Options struct {
	Name     string          // the origin's name in the network file
	State    string          // the node's state folder
	Network  *deploy.Network // the file in use at start
	Identity *fleet.Identity // what the node proves itself with towards edges
	Version  string          // of the program, for the status
	Log      *slog.Logger    // required
	Ready    func()          // called once, when edges are answered; optional
	Now      func() time.Time
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

	mu       sync.Mutex // guards what follows, and serialises Reload
	origin   *deploy.Origin
	revision int // counted since the process began: there is no hub that numbers files
	refused  string
	later    []string
}

// New assembles the gateway and binds its sockets. What cannot be had is one clear
// error, and nothing stays open.
func New(o Options) (_ *Gateway, err error) {
	origin := o.Network.Origin(o.Name)
	if origin == nil {
		return nil, fmt.Errorf("gateway: the network file has no origin %q", o.Name)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	g := &Gateway{o: o, origin: origin, revision: 1, drain: make(chan struct{})}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	g.expired = ops.Limiter{Log: o.Log, Every: time.Hour, Now: o.Now}
	o.Identity.Expired = g.shout
	g.metrics = ops.NewMetrics("origin-" + o.Name)
	g.count.register(g.metrics)
	a, err := newApp(origin, o.Now, o.Log)
	if err != nil {
		return nil, err
	}
	g.app.Store(a)
	g.front, err = listen.Listen(g.frontConfig(origin))
	if err != nil {
		return nil, err
	}
	g.admin = ops.NewAdmin()
	g.admin.Handle("GET /v1/status", func(*http.Request) (string, any, error) { return "status", g.Status(), nil })
	g.admin.Handle("POST /v1/drain", g.drainCall)
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
	return c
}

// shout tells of an edge whose certificate has expired and is still taken.
func (g *Gateway) shout(p fleet.Peer, since time.Time) {
	g.expired.Warn("an edge's certificate has expired and is still taken for a while; renew it with `hither fleet init`", "edge", p.String(), "since", since)
}

// Run serves until ctx ends or an operator says drain, and then drains.
func (g *Gateway) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- g.front.Serve() }()
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

// Reload takes a new network file while serving: the application behind the gateway
// changes for requests that begin afterwards. On an error nothing has changed.
func (g *Gateway) Reload(network *deploy.Network) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	origin := network.Origin(g.o.Name)
	if origin == nil {
		return fmt.Errorf("gateway: the new network file has no origin %q; it keeps running on the old one", g.o.Name)
	}
	// The same application stays: it knows the entity-tags of its files.
	if !reflect.DeepEqual(origin.App, g.origin.App) || origin.Limits != g.origin.Limits {
		a, err := newApp(origin, g.o.Now, g.o.Log)
		if err != nil {
			return err
		}
		g.app.Swap(a).retire()
	}
	g.later = restartNeeded(g.o.Network.Origin(g.o.Name), origin)
	g.origin, g.refused = origin, ""
	g.revision++
	g.count.revision.Set(float64(g.revision))
	g.o.Log.Info("network file taken", "revision", g.revision, "at_next_start", g.later)
	return nil
}

// Refuse notes why a network file offered was not taken.
func (g *Gateway) Refuse(why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = why.Error()
}

// close releases everything; what was never opened is left out.
func (g *Gateway) close() {
	soon, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if g.front != nil {
		g.front.Close()
	}
	if a := g.app.Load(); a != nil {
		a.retire()
	}
	if g.page != nil {
		g.page.Close(soon)
	}
	if g.admin != nil {
		g.admin.Close(soon)
	}
}
