package node

import (
	"sync"
	"time"

	"hither/cache"
	"hither/deploy/fleet/bus"
	"hither/edge/proxy"
)

// PurgeOrder carries out an order of the fleet's journal. When it returns no request that begins is answered with what the order names. One
// that means nothing here, such as a host of a site that this PoP does not have, is Done with its Error. It may be called for several
// orders at a time, which then share the passes through the store.
func (n *Node) PurgeOrder(o bus.Order) bus.Done {
	p, err := n.forget(PurgeCall{Kind: o.Kind, Value: o.Value, Soft: o.Soft})
	if err != nil {
		n.orders.note(n, 0)
		return bus.Done{Error: err.Error()}
	}
	n.orders.note(n, p.Objects)
	return bus.Done{Objects: p.Objects, Fills: p.Fills, MS: p.MS}
}

// FlushSoft makes all that is stored stale, and has no fill under way stored: it is not known what was purged. What an origin confirms is
// fresh again.
func (n *Node) FlushSoft(why string) {
	done := n.cache.Purge(cache.Purge{Kind: cache.PurgeAll, Soft: true})
	n.o.Log.Info("all that is stored is stale", "why", why, "objects", done.Objects, "fills", done.Fills)
}

// keptAfter is for how long after its start a node counts as one that has stored nothing yet.
const keptAfter = time.Minute

// KeptObjects reports whether something may be stored from before the fleet was heard of: it lay on disk at the start, or was stored since and
// the start is a while ago.
func (n *Node) KeptObjects() bool {
	if n.kept || time.Since(n.began) < keptAfter {
		return n.kept
	}
	m, _ := tiers(n.store)
	if m == nil {
		return false
	}
	for _, objects := range m.Stats().Objects {
		if objects > 0 {
			return true
		}
	}
	return false
}

// FillReport adds to a node's report what an edge knows of itself.
func (n *Node) FillReport(r *bus.Report) {
	n.mu.Lock()
	capacity := n.network.PoP(n.o.Name).Capacity
	n.mu.Unlock()
	r.State = n.life.State().String()
	r.Load = n.tally.load(capacity.Requests, capacity.Streams)
	r.Requests, r.Errors, r.Hits = n.tally.requests.Load(), n.tally.errors.Load(), n.tally.hits.Load()
	r.Active, r.Accepted = n.tally.open.Load(), n.tally.accepted.Load()
}

// failed reports whether an exchange ended in a way that its client is not to blame for: with a status of 5xx, whoever said so, or broken off.
// A new network file is judged by the share of these before and since; it may have led requests to an origin that works, and answers wrongly.
func failed(x *proxy.Exchange) bool {
	if x.Reason == "client-gone" {
		return false
	}
	return x.Fault != nil || x.Status >= 500
}

// An orderLog logs orders together, once a second: there may be a thousand in one. The zero orderLog has logged nothing.
type orderLog struct {
	mu              sync.Mutex // guards what follows
	last            time.Time
	orders, objects int
}

// note counts an order.
func (l *orderLog) note(n *Node, objects int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.orders++
	l.objects += objects
	now := time.Now()
	if now.Sub(l.last) < time.Second {
		return
	}
	n.o.Log.Info("purged for the fleet", "orders", l.orders, "objects", l.objects)
	l.last, l.orders, l.objects = now, 0, 0
}
