package node

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/origin/balance"
	"hither/origin/limit"
	"hither/origin/pool"
	"hither/origin/upstream"
)

// A gateway is one node through which an origin is reached: a gateway of its own, or the PoP that is its shield.
type gateway struct {
	name          string // what explanations and labels call it: the name of its node, or shieldName of a PoP's
	role, node    string // its identity
	addresses     []string
	weight, group int
}

// gatewaysOf lists the ways from a PoP to an origin: its gateways, and where it has a shield that is not this PoP, that one
// before them all.
func gatewaysOf(n *deploy.Network, pop *deploy.PoP, o *deploy.Origin) (list []gateway) {
	behind := 0
	if s := n.ShieldOf(o, pop); s != nil {
		g := gateway{name: shieldName(s.Name), role: fleet.RoleEdge, node: s.Name, weight: 1}
		for _, a := range s.Probe {
			g.addresses = append(g.addresses, netip.AddrPortFrom(a, uint16(s.Listen.Inner)).String())
		}
		list, behind = append(list, g), 1
	}
	for _, own := range o.AllGateways() {
		g := gateway{name: own.Name, role: fleet.RoleOrigin, node: own.Name, weight: own.Weight, group: own.Group + behind}
		for _, a := range own.Addresses {
			g.addresses = append(g.addresses, a.String())
		}
		list = append(list, g)
	}
	return list
}

// shieldName is what a PoP is called among gateways, none of which can have that name.
func shieldName(pop string) string { return "edge/" + pop }

// An origin is how this node reaches one: its gateways, the connections to each, and what decides between them. Its methods
// may be called concurrently, but for change.
type origin struct {
	name string
	id   *fleet.Identity
	up   *upstream.Upstream
	stop context.CancelFunc // of the upstream's Run

	journal *atomic.Pointer[journalOf] // the node's; nil: none. Set before anything is sent

	// Since the last change, whose caller owns them.
	pool      pool.Config // of each gateway, but for addresses and TLS
	limit     limit.Config
	gateways  []gateway
	instances []upstream.Instance

	mu    sync.Mutex
	dial  map[string][]string // the addresses of each gateway by name, for connections that are made from now on
	lines []*line             // that are open
	gone  pool.Status         // totals of those that are not any more
}

// A line is the connections to one gateway.
type line struct {
	*pool.Pool
	o       *origin
	gateway string
	shield  bool                      // it is a PoP
	behind  atomic.Pointer[time.Time] // until when a shield is done without that was behind; nil = it never was
	once    sync.Once
}

// newOrigin makes the way to an origin, which has no connection yet. A gateway that goes has linger to finish what it has.
func newOrigin(o *deploy.Origin, list []gateway, c pool.Config, id *fleet.Identity, linger time.Duration) (*origin, error) {
	x := &origin{name: o.Name, id: id, pool: c, limit: limitOf(o, list), gateways: list, gone: pool.Status{RetriesTotal: map[string]uint64{}, ErrorsTotal: map[string]uint64{}}}
	x.instances = x.instancesOf(x.gateways, nil, nil)
	x.reach(x.gateways)
	var err error
	x.up, err = upstream.New(upstream.Config{
		Origin: o.Name, Node: c.Node, Instances: x.instances, Sender: x.open, Balance: balanceOf(), Retry: retryOf(), Limit: &x.limit, Linger: linger, Log: c.Log,
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	x.stop = stop
	go x.up.Run(ctx)
	return x, nil
}

// balanceOf is how an edge chooses among an origin's gateways. What of an answer is good is a gateway's to judge, which knows
// the instances: here only errors count.
func balanceOf() balance.Config {
	return balance.Config{
		SlowStart: 10 * time.Second,
		Eject:     balance.Eject{Consecutive: 5, Time: 10 * time.Second, MaxTime: 5 * time.Minute, MaxPercent: 50, PanicPercent: 30},
	}
}

// retryOf is when another gateway is asked. A shield answers 421 for a site that its network file does not have yet, or not any more
// (RFC 9110 section 15.5.20).
func retryOf() upstream.Retry {
	return upstream.Retry{Statuses: []int{http.StatusMisdirectedRequest, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}}
}

// streams is how many requests a gateway takes on one connection (origin/gateway's front, and a shield's for other PoPs).
const streams = 1000

// limitOf is how many requests an origin gets at once from this node. One that is found begins at what the connections can
// carry, and comes down when the origin gets slower by it: an origin that is fast is never held back, nor is a burst refused
// that nobody has measured.
func limitOf(o *deploy.Origin, list []gateway) limit.Config {
	most := 0
	for _, g := range list {
		most += streams * o.Pool.Connections * len(g.addresses)
	}
	return limit.Config{Concurrent: o.Limits.Concurrent, Waiting: o.Limits.Waiting, Wait: time.Duration(o.Limits.Wait), Ceiling: most, Initial: most}
}

// instancesOf are gateways as the upstream has them. One that is as it was keeps its TLS configuration, by which the upstream
// knows that its connections stay.
func (x *origin) instancesOf(list, was []gateway, had []upstream.Instance) []upstream.Instance {
	out := make([]upstream.Instance, len(list))
	for i, g := range list {
		out[i] = upstream.Instance{ID: g.name, URL: &url.URL{Scheme: "https", Host: g.addresses[0]}, Protocol: x.pool.Protocol, Weight: g.weight, Group: g.group}
		if g.role == fleet.RoleEdge { // whose listener for other PoPs is TCP alone
			out[i].Protocol = "h2"
		}
		for j := range was {
			if was[j].name == g.name && reflect.DeepEqual(was[j].addresses, g.addresses) {
				out[i].TLS = had[j].TLS
			}
		}
		if out[i].TLS == nil {
			out[i].TLS = x.id.ClientTLS(g.role, g.node)
		}
	}
	return out
}

// reach says where connections are made to from now on.
func (x *origin) reach(list []gateway) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dial = make(map[string][]string, len(list))
	for _, g := range list {
		x.dial[g.name] = g.addresses
	}
}

// open makes the connections to a gateway.
func (x *origin) open(i upstream.Instance) (upstream.Sender, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.pool
	c.TLS, c.Protocol, c.Addresses = i.TLS, i.Protocol, x.dial[i.ID]
	p, err := pool.New(c)
	if err != nil {
		return nil, fmt.Errorf("gateway %s: %w", i.ID, err)
	}
	p.Start(context.Background())
	l := &line{Pool: p, o: x, gateway: i.ID, shield: strings.HasPrefix(i.ID, shieldName(""))}
	x.lines = append(x.lines, l)
	return l, nil
}

// RoundTrip is the pool's, but that a gateway which cannot be reached is not waited for while another one can. A machine that is
// gone refuses nobody: each request to it would wait for limits.connect, and where it is alone in its group, as a shield is,
// it is tried again and again. The pool goes on dialing, and so it is found when it is back.
func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	if down := l.Pool.Down(); down != nil && l.o.another(l) {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, down
	}
	if l.shield {
		return l.askShield(r)
	}
	return l.Pool.RoundTrip(r)
}

// another reports whether a gateway other than the line's can be reached.
func (x *origin) another(than *line) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, l := range x.lines {
		if l.gateway != than.gateway && l.Pool.Down() == nil {
			return true
		}
	}
	return false
}

// Drain is the pool's; what the line counted stays counted.
func (l *line) Drain(ctx context.Context) error {
	err := l.Pool.Drain(ctx)
	l.once.Do(l.leave)
	return err
}

// Close is the pool's likewise.
func (l *line) Close() error {
	err := l.Pool.Close()
	l.once.Do(l.leave)
	return err
}

// leave takes the line out of its origin's.
func (l *line) leave() {
	x, s := l.o, l.Pool.Status()
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range x.lines {
		if x.lines[i] == l {
			x.lines = append(x.lines[:i], x.lines[i+1:]...)
			break
		}
	}
	x.gone.HandshakesTotal += s.HandshakesTotal
	x.gone.RequestsTotal += s.RequestsTotal
	for reason, n := range s.RetriesTotal {
		x.gone.RetriesTotal[reason] += n
	}
	for reason, n := range s.ErrorsTotal {
		x.gone.ErrorsTotal[reason] += n
	}
}

// status adds up the lines: it is up where one of them is.
func (x *origin) status() pool.Status {
	x.mu.Lock()
	lines := append([]*line(nil), x.lines...)
	s := x.gone
	s.RetriesTotal, s.ErrorsTotal = maps.Clone(x.gone.RetriesTotal), maps.Clone(x.gone.ErrorsTotal)
	x.mu.Unlock()
	s.Origin = x.name
	for _, l := range lines {
		one := l.Pool.Status()
		s.Up = s.Up || one.Up
		s.Connections += one.Connections
		s.Dialing += one.Dialing
		s.Draining += one.Draining
		s.HandshakesTotal += one.HandshakesTotal
		s.RequestsTotal += one.RequestsTotal
		for reason, n := range one.RetriesTotal {
			s.RetriesTotal[reason] += n
		}
		for reason, n := range one.ErrorsTotal {
			s.ErrorsTotal[reason] += n
		}
		if !one.Up && s.Problem == "" {
			s.Problem = one.Problem
		}
	}
	return s
}

// down says which gateways of an origin that is up are not, and why.
func (x *origin) down() (problems []string) {
	x.mu.Lock()
	lines := append([]*line(nil), x.lines...)
	x.mu.Unlock()
	for _, l := range lines {
		if one := l.Pool.Status(); !one.Up {
			problems = append(problems, "gateway "+l.gateway+" of origin "+x.name+" is down: "+one.Problem)
		}
	}
	slices.Sort(problems)
	return problems
}

// warm waits for the lines' connections, or for ctx.
func (x *origin) warm(ctx context.Context) error {
	x.mu.Lock()
	lines := append([]*line(nil), x.lines...)
	x.mu.Unlock()
	errs := make(chan error, len(lines))
	for _, l := range lines {
		go func() { errs <- l.Warm(ctx) }()
	}
	var first error
	for range lines {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// serves reports whether the way to an origin, as this is now, can become that to o without new connections to all of it.
func (x *origin) serves(o *deploy.Origin, c pool.Config) bool {
	a, b := x.pool, c
	a.Log, a.Now, b.Log, b.Now = nil, nil, nil, nil
	return o.Name == x.name && reflect.DeepEqual(a, b)
}

// change takes another list of gateways and another limit. Gateways that stay keep their connections, the others finish what they
// have. On an error nothing has changed. The returned undo takes it back.
func (x *origin) change(o *deploy.Origin, gateways []gateway) (undo func(), err error) {
	limits := limitOf(o, gateways)
	wasGateways, wasInstances, wasLimit := x.gateways, x.instances, x.limit
	undo = func() {
		x.gateways, x.instances, x.limit = wasGateways, wasInstances, wasLimit
		x.reach(wasGateways)
		x.up.Set(wasInstances) // they were good before
		x.up.ChangeLimit(wasLimit)
	}
	if !reflect.DeepEqual(gateways, x.gateways) {
		next := x.instancesOf(gateways, x.gateways, x.instances)
		x.reach(gateways)
		if err := x.up.Set(next); err != nil {
			x.reach(wasGateways)
			return nil, err
		}
		x.gateways, x.instances = gateways, next
	}
	if !reflect.DeepEqual(limits, x.limit) {
		x.limit = limits
		x.up.ChangeLimit(limits)
	}
	return undo, nil
}

// close ends it at once.
func (x *origin) close() {
	x.stop()
	x.up.Close()
}

// retire lets it finish what it has.
func (x *origin) retire(ctx context.Context) {
	x.stop()
	x.up.Drain(ctx)
	x.up.Close()
}
