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
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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
	o        Options
	life     ops.Life
	metrics  *ops.Metrics
	requests *prometheus.CounterVec // code
	rejected *prometheus.CounterVec // reason
	revised  prometheus.Gauge
	admin    *ops.Admin
	page     *ops.Page
	front    *listen.Front
	expired  ops.Limiter
	drain    chan struct{} // closed when an operator says drain
	app      atomic.Pointer[app]

	served, sent atomic.Int64
	connections  [4]atomic.Int64 // by the digit of h1, h2, h3

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
	g.measure()
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

// measure makes the counters.
func (g *Gateway) measure() {
	g.metrics = ops.NewMetrics("origin-" + g.o.Name)
	g.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hither_origin_requests_total", Help: "Requests of edges answered by the gateway.",
	}, []string{"code"})
	g.rejected = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hither_origin_rejected_total", Help: "Connections, datagrams and requests refused before the application.",
	}, []string{"reason"})
	g.revised = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hither_fleet_revision", Help: "The revision of the network file in use.",
	})
	g.metrics.MustRegister(g.requests, g.rejected, g.revised)
	g.revised.Set(1)
	for _, reason := range listen.Reasons {
		g.rejected.WithLabelValues(string(reason))
	}
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

// ServeHTTP answers an edge's request from the application as it is now.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &counted{ResponseWriter: w}
	defer func() {
		g.served.Add(1)
		g.sent.Add(c.bytes)
		g.requests.WithLabelValues(strconv.Itoa(c.status)).Inc()
	}()
	g.app.Load().ServeHTTP(c, r)
}

// counted notes the final status and the content sent.
type counted struct {
	http.ResponseWriter
	status int // 0 where the response was broken off before it
	bytes  int64
}

func (c *counted) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *counted) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(p)
	c.bytes += int64(n)
	return n, err
}

// Unwrap lets an http.ResponseController reach what is below.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

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
	a, err := newApp(origin, g.o.Now, g.o.Log)
	if err != nil {
		return err
	}
	g.app.Swap(a).retire()
	g.later = restartNeeded(g.o.Network.Origin(g.o.Name), origin)
	g.origin, g.refused = origin, ""
	g.revision++
	g.revised.Set(float64(g.revision))
	g.o.Log.Info("network file taken", "revision", g.revision, "at_next_start", g.later)
	return nil
}

// Refuse notes why a network file offered was not taken.
func (g *Gateway) Refuse(why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = why.Error()
}

// Status returns the node's status document.
func (g *Gateway) Status() ops.Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := ops.NodeStatus{
		Node: "origin-" + g.o.Name, Role: "origin", PID: os.Getpid(), Version: g.o.Version, State: g.life.State(), Revision: g.revision,
		RequestsTotal: g.served.Load(), BytesTotal: g.sent.Load(), Connections: map[string]int64{}, Problems: []string{},
	}
	for i, proto := range []string{"h1", "h2", "h3"} {
		s.Connections[proto] = g.connections[i+1].Load()
	}
	if g.refused != "" {
		s.Refused = &g.refused
		s.Problems = append(s.Problems, "the last network file offered was refused")
	}
	for _, key := range g.later {
		s.Problems = append(s.Problems, "changed in the network file, in effect at the next start: "+key)
	}
	return ops.Status{Network: g.o.Network.Name, Revision: g.revision, Nodes: []ops.NodeStatus{s}}
}

// drainCall begins the drain that SIGTERM begins; the process ends after it.
func (g *Gateway) drainCall(*http.Request) (string, any, error) {
	if g.life.Advance(ops.Draining) {
		close(g.drain)
	}
	return "status", g.Status(), nil
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
