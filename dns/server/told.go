package server

import (
	"math"
	"net/netip"
	"time"

	"hither/deploy"
	"hither/deploy/fleet/bus"
	"hither/deploy/ops"
	"hither/dns/geo"
	"hither/dns/steer"
)

// A told is what the fleet tells: loads, states and round trips of PoPs, and which of them the operator drains. Without a hub nobody tells
// anything: loads are soon unknown, round trips age, drains stay. Its owner guards it.
type told struct {
	pops   map[string]*popTold  // all of the network
	peers  map[string]*peerTold // all other DNS servers of the network
	since  time.Time            // when anybody was heard first, or again after silence; zero = nobody yet
	last   time.Time            // when anybody was heard last
	drains map[string]bus.Drain
	times  *steer.Times
	view   *steer.View
	step   int64         // of shares, by the clock
	every  time.Duration // between steps
}

// popTold is what is told of one PoP.
type popTold struct {
	load  float64
	state string    // as its status has it, where it leaves
	at    time.Time // of both
	share steer.Share

	reports, rtts bucket
}

// peerTold is what another DNS server says of what it sends on.
type peerTold struct {
	sheds *bus.Sheds // nil = it has just begun and does not know
	at    time.Time

	reports bucket
}

// fresh is how long what a PoP says of its load and its state holds: five reports. Older, both are unknown.
const fresh = 10 * time.Second

// settled is how much longer than a TTL a changed share takes to show in a load, which is smoothed over so long.
const settled = 10 * time.Second

// newTime is for how long from the first that it hears a server takes over what others send on: three of their reports.
const newTime = 3 * bus.ReportEvery

// of goes on with a new network file. self is the server's own name in it.
func (t *told) of(w *world, self string, own []netip.Addr, now time.Time, moved func(pop string, why steer.Move)) *told {
	next := &told{pops: make(map[string]*popTold), peers: make(map[string]*peerTold), drains: make(map[string]bus.Drain), every: period(w.network)}
	for i := range w.network.PoPs {
		name := w.network.PoPs[i].Name
		if next.pops[name] = new(popTold); t != nil && t.pops[name] != nil {
			next.pops[name] = t.pops[name]
		}
	}
	for i := range w.network.DNS.Servers {
		name := w.network.DNS.Servers[i].Name
		if name == self {
			continue
		}
		if next.peers[name] = new(peerTold); t != nil && t.peers[name] != nil {
			next.peers[name] = t.peers[name]
		}
	}
	place := func(a netip.Addr) geo.Found { return w.geo.Lookup(a) }
	next.step = now.UnixNano() / int64(next.every)
	if t == nil {
		next.times = steer.NewTimes(w.pops.now, place, 0, moved)
	} else {
		next.drains, next.times, next.since, next.last = t.drains, t.times, t.since, t.last
		next.times.Use(w.pops.now, place, now)
	}
	next.times.Own(own)
	next.view, _ = next.times.View(now)
	return next
}

// period is how long a step of shedding takes: until the last client has asked again, and the load shows it.
func period(n *deploy.Network) time.Duration {
	ttl := time.Duration(0)
	for i := range n.Zones {
		for j := range n.Zones[i].Steered {
			ttl = max(ttl, time.Duration(n.Zones[i].Steered[j].TTL))
		}
	}
	return ttl + settled
}

// loadOf is a PoP's load, unknownLoad where nobody has said it of late.
func (t *told) loadOf(pop string, now time.Time) float64 {
	if t == nil {
		return unknownLoad
	}
	p := t.pops[pop]
	if p == nil || p.at.IsZero() || now.Sub(p.at) > fresh {
		return unknownLoad
	}
	return p.load
}

// leaving reports whether a PoP is to get no new clients: the operator drains it, or it has just now said that it goes. That it says
// it is ready puts nothing back which a probe or the operator took out.
func (t *told) leaving(pop string, now time.Time) bool {
	if t == nil {
		return false
	}
	if d, drains := t.drains[pop]; drains && d.Asked() {
		return true
	}
	p := t.pops[pop]
	return p != nil && now.Sub(p.at) <= fresh && leaves(p.state)
}

// revoked reports whether the fleet does not take the PoP's identity any more.
func (t *told) revoked(pop string) bool {
	if t == nil {
		return false
	}
	d, there := t.drains[pop]
	return there && !d.Revoked.IsZero()
}

func leaves(state string) bool { return state == ops.Draining.String() || state == ops.Down.String() }

func (t *told) shareOf(pop string) float64 {
	if t == nil || t.pops[pop] == nil {
		return 0
	}
	return t.pops[pop].share.Part
}

// begins reports whether the server has heard anybody for too short a time to have shares of its own.
func (t *told) begins(now time.Time) bool { return t.since.IsZero() || now.Sub(t.since) < newTime }

// others are the shares of a PoP at the other servers that have said theirs of late.
func (t *told) others(pop string, now time.Time) (shares []steer.Share) {
	for _, p := range t.peers {
		if p.sheds != nil && now.Sub(p.at) <= fresh {
			s := p.sheds.PoPs[pop]
			shares = append(shares, steer.Share{Part: s.Part, Way: s.Way})
		}
	}
	return shares
}

// sheds is what the other servers hear; nil where this one has just begun, and would have them take its ignorance for a share.
func (t *told) sheds(now time.Time) *bus.Sheds {
	if t.begins(now) {
		return nil
	}
	sheds := &bus.Sheds{PoPs: make(map[string]bus.Shed)}
	for name, p := range t.pops {
		if p.share != (steer.Share{}) {
			sheds.PoPs[name] = bus.Shed{Part: p.share.Part, Way: p.share.Way}
		}
	}
	return sheds
}

// tick brings what changes with time to now, and says whether answers change by it.
//
// Shares change at multiples of a period of the clock, so that all DNS servers, which hear the same loads, change theirs at the same time
// and by the same factor. A server that has just begun takes over those of the others; where shares differ all the same, as after it was
// cut off from the hub, they come together while they rest.
func (t *told) tick(now time.Time) (changed bool) {
	t.times.Sweep(now)
	if v, another := t.times.View(now); another {
		changed = changed || v.Len() > 0 || t.view.Len() > 0
		t.view = v
	}
	step := now.UnixNano() / int64(t.every)
	steps, begins := step != t.step, t.begins(now)
	t.step = step
	for name, p := range t.pops {
		if changed = t.shed(name, p, now, steps, begins) || changed; leaves(p.state) && now.Sub(p.at) > fresh {
			p.state, changed = "", true // a probe knows by now
		}
	}
	return changed
}

// shed brings a PoP's share to now, and says whether it is another then.
func (t *told) shed(name string, p *popTold, now time.Time, steps, begins bool) (changed bool) {
	before, load := p.share, t.loadOf(name, now)
	if begins {
		p.share = steer.Shedding{}.Taken(p.share, t.others(name, now), load)
	}
	if steps {
		joined := steer.Shedding{}.Joined(p.share, t.others(name, now), load)
		if joined == p.share {
			joined = steer.Shedding{}.Next(p.share, load)
		}
		p.share = joined
	}
	return p.share.Part != before.Part
}

// heard takes a PoP's report, and says whether answers change by it.
func (t *told) heard(p *popTold, r *bus.Report, now time.Time) (changed bool) {
	changed = leaves(p.state) != leaves(r.State)
	p.load, p.state, p.at = r.Load, "", now
	if leaves(r.State) { // no other counts, and it may be of any length
		p.state = r.State
	}
	t.hears(now)
	if math.IsNaN(p.load) || p.load < 0 {
		p.load = unknownLoad
	}
	return changed
}

// heardPeer takes another DNS server's report.
func (t *told) heardPeer(p *peerTold, r *bus.Report, now time.Time) {
	if p.sheds, p.at = nil, now; r.Sheds != nil {
		p.sheds = &bus.Sheds{PoPs: make(map[string]bus.Shed)}
		for name, s := range r.Sheds.PoPs {
			if t.pops[name] != nil { // of others it may say any number
				p.sheds.PoPs[name] = s
			}
		}
	}
	t.hears(now)
}

// hears notes that somebody was heard. After a silence in which no load was known the server begins anew: its shares are not those of the others.
func (t *told) hears(now time.Time) {
	if t.since.IsZero() || now.Sub(t.last) > fresh {
		t.since = now
	}
	t.last = now
}

// A bucket bounds what one node may say: ten times what one says that has nothing to hide, and more at once where its state changes.
type bucket struct {
	left float64
	at   time.Time
}

const (
	messagesPerSecond = 5
	messagesAtOnce    = 30
)

func (b *bucket) take(now time.Time) bool {
	switch passed := now.Sub(b.at); {
	case b.at.IsZero():
		b.left, b.at = messagesAtOnce, now
	case passed > 0:
		b.left, b.at = min(b.left+messagesPerSecond*passed.Seconds(), messagesAtOnce), now
	}
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
