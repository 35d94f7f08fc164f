package node

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"hither/deploy"
	"hither/edge/cert"
	"hither/edge/listen"
)

// Reload takes a new network file while serving: sites, certificates and origins change
// at once for requests that begin afterwards, and no connection is dropped. Sockets,
// sizes and limits need a new start, and the status says so. On an error nothing has
// changed.
func (n *Node) Reload(network *deploy.Network) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	pop := network.PoP(n.o.Name)
	if pop == nil {
		return fmt.Errorf("node: the new network file has no PoP %q; it keeps running on the old one", n.o.Name)
	}
	table, err := n.table(network)
	if err != nil {
		return err
	}
	origins, err := n.makeOrigins(network, n.origins)
	if err != nil {
		return err
	}
	n.names.Swap(table)
	n.proxy.SetSites(sitesOf(network, pop, origins))
	n.retire(n.origins, origins)
	n.later = restartNeeded(n.edge, network.EdgeOf(n.o.Name), n.o.Network.PoP(n.o.Name), pop)
	if network.CDNID != n.o.Network.CDNID {
		n.later = append(n.later, "cdn_id")
	}
	n.network, n.refused, n.origins = network, "", origins
	n.revision++
	n.expiries()
	n.o.Log.Info("network file taken", "at_next_start", n.later)
	return nil
}

// Refuse notes why a network file offered was not taken.
func (n *Node) Refuse(why error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refused = why.Error()
}

// makeOrigins makes the way to each origin that the PoP's sites use. Of old, those stay whose connections serve for the new
// file too, with its gateways and limits. On an error nothing has changed.
func (n *Node) makeOrigins(network *deploy.Network, old map[string]*origin) (_ map[string]*origin, err error) {
	next := make(map[string]*origin)
	var undo []func()
	defer func() {
		if err == nil {
			return
		}
		for name, x := range next {
			if old[name] != x {
				x.close()
			}
		}
		for _, back := range undo {
			back()
		}
	}()
	pop := network.PoP(n.o.Name)
	for _, s := range network.SitesOf(pop) {
		if next[s.Origin] != nil {
			continue
		}
		o := network.Origin(s.Origin)
		list := gatewaysOf(network, pop, o)
		if x := old[s.Origin]; x != nil && x.serves(o, n.poolConfig(o)) {
			back, err := x.change(o, list)
			if err != nil {
				return nil, err
			}
			next[s.Origin], undo = x, append(undo, back)
			continue
		}
		x, err := newOrigin(o, list, n.poolConfig(o), n.o.Identity, n.lastTime())
		if err != nil {
			return nil, err
		}
		x.journal = &n.journal
		next[s.Origin] = x
	}
	return next, nil
}

// lastTime is how long what is no longer used may finish its requests.
func (n *Node) lastTime() time.Duration { return max(time.Duration(n.edge.Limits.Drain), time.Second) }

// retire lets origins that are no longer used finish their requests.
func (n *Node) retire(old, next map[string]*origin) {
	for name, x := range old {
		if next[name] != x {
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), n.lastTime())
				defer cancel()
				x.retire(ctx)
			}()
		}
	}
}

// table reads the certificates and builds the table of names.
func (n *Node) table(network *deploy.Network) (*cert.Table, error) {
	pairs, err := cert.Load(n.certsFolder(), n.pairs)
	if err != nil {
		n.o.Log.Warn("some certificates were not taken", "error", err)
	}
	list, err := entries(network, network.PoP(n.o.Name), pairs)
	if err != nil {
		return nil, err
	}
	n.pairs = pairs
	return cert.NewTable(listen.ALPN, list...)
}

// restartNeeded names the settings that differ and take a new start.
func restartNeeded(a, b deploy.Edge, p, q *deploy.PoP) []string {
	var later []string
	differ := func(key string, x, y any) {
		if !reflect.DeepEqual(x, y) {
			later = append(later, key)
		}
	}
	differ("addresses", p.Addresses, q.Addresses)
	differ("bind", p.Bind, q.Bind)
	differ("listen", a.Listen, b.Listen)
	differ("cache", a.Cache, b.Cache)
	differ("limits", a.Limits, b.Limits)
	differ("trusted", a.Trusted, b.Trusted)
	return later
}
