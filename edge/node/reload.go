package node

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"hither/deploy"
	"hither/edge/cert"
	"hither/edge/listen"
	"hither/origin/pool"
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
	pools, err := n.makePools(network, n.pools)
	if err != nil {
		return err
	}
	table, err := n.table(network)
	if err != nil {
		closeOthers(pools, n.pools)
		return err
	}
	n.names.Swap(table)
	n.proxy.SetSites(sitesOf(network, pop, pools))
	n.retire(n.pools, pools)
	n.later = restartNeeded(n.edge, network.EdgeOf(n.o.Name), n.o.Network.PoP(n.o.Name), pop)
	if network.CDNID != n.o.Network.CDNID {
		n.later = append(n.later, "cdn_id")
	}
	n.network, n.refused, n.pools = network, "", pools
	n.revision++
	n.count.revision.Set(float64(n.revision))
	n.expiries()
	n.o.Log.Info("network file taken", "revision", n.revision, "at_next_start", n.later)
	return nil
}

// Refuse notes why a network file offered was not taken.
func (n *Node) Refuse(why error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refused = why.Error()
}

// makePools makes a pool for each origin that the PoP's sites use, and keeps those of
// old whose origin is unchanged. On an error the new ones are closed.
func (n *Node) makePools(network *deploy.Network, old map[string]*pool.Pool) (map[string]*pool.Pool, error) {
	pools := make(map[string]*pool.Pool)
	for _, s := range network.SitesOf(network.PoP(n.o.Name)) {
		if pools[s.Origin] != nil {
			continue
		}
		o := network.Origin(s.Origin)
		if p := old[s.Origin]; p != nil && sameOrigin(o, n.network.Origin(s.Origin)) {
			pools[s.Origin] = p
			continue
		}
		c := poolConfig(n.o.Name, o, n.o.Identity)
		c.Log, c.Now = n.o.Log, n.o.Now
		p, err := pool.New(c)
		if err != nil {
			closeOthers(pools, old)
			return nil, err
		}
		p.Start(context.Background())
		pools[s.Origin] = p
	}
	return pools, nil
}

// sameOrigin reports whether a pool made for one serves for the other.
func sameOrigin(a, b *deploy.Origin) bool {
	return b != nil && reflect.DeepEqual(a.Gateway.Addresses, b.Gateway.Addresses) && a.Pool == b.Pool && a.Limits == b.Limits
}

// closeOthers closes the pools that are not among keep.
func closeOthers(pools, keep map[string]*pool.Pool) {
	for name, p := range pools {
		if keep[name] != p {
			p.Close()
		}
	}
}

// retire lets pools that are no longer used finish their requests.
func (n *Node) retire(old, next map[string]*pool.Pool) {
	for name, p := range old {
		if next[name] != p {
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), max(time.Duration(n.edge.Limits.Drain), time.Second))
				defer cancel()
				p.Drain(ctx)
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
