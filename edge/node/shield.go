package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/ops"
	"hither/edge/listen"
	"hither/origin/upstream"
)

// This file is the PoP as an origin's shield: the listener by which the other PoPs of the network fetch through it.

// listenInner binds the listener for other PoPs, where the PoP has one. n.proxy is there.
func (n *Node) listenInner(pop *deploy.PoP) (err error) {
	at := addresses(pop, n.edge.Listen.Inner)
	if len(at) == 0 {
		return nil
	}
	expired := ops.Limiter{Log: n.o.Log, Every: time.Hour, Now: n.o.Now}
	n.o.Identity.Expired = func(p fleet.Peer, since time.Time) {
		expired.Warn("a PoP's certificate has expired and is still taken for a while; renew it with `hither fleet init`", "edge", p.String(), "since", since)
	}
	accept := n.o.Identity.ServerTLS(fleet.RoleEdge)
	accept.NextProtos = listen.ALPN(false)
	anyEdge := accept.VerifyConnection
	verify := func(cs tls.ConnectionState) error {
		if err := anyEdge(cs); err != nil {
			return err
		}
		peer, err := fleet.PeerOf(cs)
		if err != nil {
			return err
		}
		return n.shields(peer)
	}
	accept.VerifyConnection = func(cs tls.ConnectionState) error {
		err := verify(cs)
		if err != nil { // the listener counts it
			expired.Warn("a connection was refused", "error", err)
		}
		return err
	}
	gone := func(err error) {
		n.count.rejected.WithLabelValues(rejectedRevoked).Inc()
		expired.Warn("a request was refused", "error", err)
	}
	n.inner, err = listen.Listen(listen.Config{
		HTTPS: at, Handler: n.tally.around(n.o.Identity.Guard(n.caughtUp(n.proxy.Inner()), gone)),
		TLS: func(*tls.ClientHelloInfo, bool) (*tls.Config, error) { return accept, nil },
		// The peers are our own edges, which open few connections and many streams, and add fields of their own.
		Limits: listen.Limits{
			HeaderBytes: 2 * int(n.edge.Limits.HeaderBytes), HeaderFields: 2 * n.edge.Limits.HeaderFields, URLBytes: 64 << 10, Streams: 1000,
			Idle: 10 * time.Minute, Silence: time.Duration(n.edge.Limits.BodyTime), HeaderTime: time.Duration(n.edge.Limits.HeaderTime),
			// Others than our own find this address too, and may begin handshakes.
			ConnectionsPerAddress: n.edge.Limits.ConnectionsPerAddress, HandshakesPerAddress: n.edge.Limits.HandshakesPerAddress,
		},
		// Whoever is sent away asks a gateway. A connection that was still taken would be sent away after its first answer, and
		// the PoP would make one after the other.
		Promise: -1, Logger: n.o.Log, Hooks: n.tally.hooks(n.count),
	})
	return err
}

// shields says why what a PoP sends is not taken: it is not in the network file, or of another trust domain, whose PoPs may not
// speak for clients of this one's sites.
func (n *Node) shields(peer fleet.Peer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	own, p := n.network.PoP(n.o.Name), n.network.PoP(peer.Name)
	switch {
	case p == nil:
		return fmt.Errorf("node: %v is no PoP of the network file", peer)
	case p.Trust != own.Trust:
		return fmt.Errorf("node: %v is of the trust domain %s, and this PoP is of %s", peer, p.Trust, own.Trust)
	}
	return nil
}

// fronts are the listeners that are open.
func (n *Node) fronts() []*listen.Front {
	var open []*listen.Front
	for _, f := range []*listen.Front{n.front, n.inner} {
		if f != nil {
			open = append(open, f)
		}
	}
	return open
}

// serve answers until a front can no longer; each tells its end.
func (n *Node) serve() <-chan error {
	ended := make(chan error, 2)
	for _, f := range n.fronts() {
		go func() { ended <- f.Serve() }()
	}
	return ended
}

// drainFronts sends away who is connected, clients and PoPs alike.
func (n *Node) drainFronts(left context.Context) error {
	fronts := n.fronts()
	errs := make(chan error, len(fronts))
	for _, f := range fronts {
		go func() { errs <- f.Drain(left) }()
	}
	var all error
	for range fronts {
		all = errors.Join(all, <-errs)
	}
	return all
}

// innerAddresses are where other PoPs find this one, for the log; nil where it takes none.
func (n *Node) innerAddresses() []netip.AddrPort {
	if n.inner == nil {
		return nil
	}
	return n.inner.HTTPS()
}

// direct is the way to an origin for what other PoPs send here: by no shield, whatever this node's network file says of one. So
// a request passes one shield at most, also where two nodes have files that name each other. nil where there is none.
func (x *origin) direct() http.RoundTripper {
	var shields []string
	for _, g := range x.gateways {
		if g.role == fleet.RoleEdge {
			shields = append(shields, g.name)
		}
	}
	if len(shields) == 0 {
		return nil
	}
	return direct{x.up, shields}
}

// A direct is an upstream without some of its instances.
type direct struct {
	up    *upstream.Upstream
	avoid []string
}

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	return d.up.RoundTrip(r.WithContext(upstream.Avoid(r.Context(), d.avoid...)))
}

// shieldOf names the origins whose shield the PoP is.
func shieldOf(network *deploy.Network, pop string) (origins []string) {
	for i := range network.Origins {
		if network.Origins[i].Shield == pop {
			origins = append(origins, network.Origins[i].Name)
		}
	}
	return origins
}
