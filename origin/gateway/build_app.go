package gateway

import (
	"cmp"
	"net/netip"
	"time"

	"hither/deploy"
	"hither/origin/balance"
	"hither/origin/discover"
	"hither/origin/health"
	"hither/origin/limit"
	"hither/origin/pool"
	"hither/origin/upstream"
)

// upstreamConfig is how requests are spread over the instances of a's origin.
func (a *application) upstreamConfig(list []upstream.Instance) upstream.Config {
	b := &a.origin.Balance
	c := upstream.Config{
		Origin: a.origin.Name, Node: node(a.o), Instances: list, Sender: a.senders.make,
		Balance: balance.Config{
			Algorithm: b.Algorithm, SlowStart: time.Duration(b.SlowStart),
			Eject: balance.Eject{
				Consecutive: b.Eject.Consecutive, Time: time.Duration(b.Eject.Time), MaxTime: time.Duration(b.Eject.MaxTime),
				MaxPercent: b.Eject.MaxPercent, PanicPercent: b.Eject.PanicPercent,
			},
			Expect: balance.Expect{MinBytes: int64(b.Expect.MinBytes), MinRatio: b.Expect.MinRatio},
		},
		Affinity: upstream.Affinity{Rebalance: time.Duration(b.Rebalance)},
		Retry:    retryConfig(&a.origin.Retry), Limit: limitConfig(a.origin), Check: checkConfig(a.origin),
		Now: a.o.Now, Log: a.log,
	}
	if a.o.Identity != nil { // as it is where nothing is started, but checked
		// All gateways of the network write the same, and nobody who knows the origin's name can find addresses by trying.
		c.Affinity.Key = a.o.Identity.Common("affinity")
	}
	if b.Affinity != nil {
		c.Affinity.Cookie, c.Affinity.Header = b.Affinity.Cookie, b.Affinity.Header
	}
	return c
}

// retryConfig says none where the file says 0, which to the part would be its default.
func retryConfig(r *deploy.Retry) upstream.Retry {
	return upstream.Retry{
		Attempts: cmp.Or(r.Attempts, -1), Percent: cmp.Or(r.Percent, -1),
		Statuses: append([]int{}, r.Statuses...), Hedge: time.Duration(r.Hedge),
	}
}

// limitConfig is the limit for all edges together; nil = none.
func limitConfig(o *deploy.Origin) *limit.Config {
	if o.Limits.Total == 0 {
		return nil
	}
	return &limit.Config{Concurrent: o.Limits.Total, Waiting: o.Limits.Waiting, Wait: time.Duration(o.Limits.Wait)}
}

func checkConfig(o *deploy.Origin) *health.Check {
	h := o.Balance.Health
	if h == nil {
		return nil
	}
	return &health.Check{
		Type: h.Type, Path: h.Path, Host: h.Host, Status: h.Status, Body: h.Body, Service: h.Service,
		ProxyProtocol: o.App.ProxyProtocol, Interval: time.Duration(h.Interval), Timeout: time.Duration(h.Timeout), Fall: h.Fall, Rise: h.Rise,
	}
}

// poolConfig is how an instance is reached.
func poolConfig(origin *deploy.Origin, o *Options, i upstream.Instance) pool.Config {
	// The edge's own limit runs too: this one ends a little earlier, so that the edge hears why instead of guessing.
	first := time.Duration(origin.Limits.FirstByte)
	c := pool.Config{
		Origin: i.ID, Node: node(o), Addresses: []string{i.ID}, TLS: i.TLS, Protocol: i.Protocol, ProxyProtocol: origin.App.ProxyProtocol,
		Connect: time.Duration(origin.Limits.Connect), FirstByte: first - min(first/10, time.Second), BodyIdle: time.Duration(origin.Limits.Idle),
		Now: o.Now, Log: o.Log,
	}
	if i.Protocol == "h1" {
		c.MaxConnections = mostConnections
	}
	return c
}

// mostConnections to an instance that takes one request at a time on each: as many as a gateway takes on one connection of an
// edge. How many an application stands, limits.total says.
const mostConnections = 1000

// discoverConfig is how an application's servers are looked up.
func discoverConfig(d *deploy.Discover, o *Options) discover.Config {
	c := discover.Config{
		Name: d.DNS, Type: d.Type, Port: uint16(d.Port), Networks: d.Networks, Node: node(o), Now: o.Now, Log: o.Log,
	}
	if d.Servers != nil {
		c.Resolver = &discover.System{Servers: addresses(d.Servers)}
	}
	return c
}

func addresses(list []netip.AddrPort) (out []string) {
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

// node is the name of the gateway's node.
func node(o *Options) string { return "origin-" + o.Name }
