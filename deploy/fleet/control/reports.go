package control

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/ops"
)

// Bounds of what is kept of reports.
const (
	// awayTime is after how long without a report a node counts as away: five of them are lost one after the other hardly ever.
	awayTime = 5 * bus.ReportEvery
	// newTime is for how long, from when the control begins to hear nodes, nothing is said of one that was not heard of: it may still be on its
	// way back to a hub that has just begun, for which the bus gives itself so long.
	newTime = 30 * time.Second
	// mostStrangers is how many nodes are known that the network file in use does not name: those that were added and wait for
	// the revision which does, and those that a revision took away and that still run.
	mostStrangers = 64
	// mostStatus bounds the status document that a node sends with each report, and mostWords a sentence of it.
	mostStatus, mostWords = 64 << 10, 500
	// mostCounter bounds a counter, so that sums of them stay numbers.
	mostCounter = 1 << 53
)

// A told is what a node said last.
type told struct {
	peer   fleet.Peer
	report bus.Report
	seen   time.Time // by the control's clock, the only one that counts: nodes' own may be off by anything
	same   time.Time // since when its process reports that it runs what it does
	named  bool      // by the network file in use; of all
	series series    // of an edge
}

// reports are the last word of every node. The hub lets a node speak under its own name alone, and none in whose identity is
// revoked, so the subject says who spoke.
type reports struct {
	c       *Control
	limiter ops.Limiter
	wake    func() // after each

	mu    sync.Mutex // guards what follows
	nodes map[string]*told
	names names
	full  time.Time // until when there is no room for strangers, as far as was seen
	began time.Time // when the hub began to answer, the last time
	ended time.Time // when a node was heard last before the hub went away, the last time; zero = it never did
	gone  bool      // the hub is away, and that was noted
}

// names are the nodes of a network file.
type names struct {
	of   *deploy.Network
	all  []fleet.Peer // in its order
	each map[fleet.Peer]bool
}

// named returns the nodes of the network file in use. r.mu is held.
func (r *reports) named() names {
	if n := r.c.o.Network(); n != r.names.of {
		r.names, r.full = names{of: n, all: namesOf(n), each: make(map[fleet.Peer]bool)}, time.Time{}
		for _, p := range r.names.all {
			r.names.each[p] = true
		}
	}
	return r.names
}

func newReports(c *Control) *reports {
	r := &reports{c: c, nodes: make(map[string]*told), wake: func() {}}
	r.limiter = ops.Limiter{Log: c.o.Log, Now: c.o.Now}
	return r
}

// away notes that the hub does not answer. It may be called again and again. A hub that goes again while nodes are still on their way back
// to it has not been without them for longer.
func (r *reports) away() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return
	}
	r.gone = true
	if r.c.o.Now().Sub(r.began) <= newTime {
		return
	}
	for _, t := range r.nodes {
		r.ended = later(r.ended, t.seen)
	}
}

// again notes that the hub begins to answer, so that the nodes have until newTime from now to be back.
func (r *reports) again() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began, r.gone = r.c.o.Now(), false
}

// due says whether a node was not heard since the hub began to answer, and may still be on its way back to it: it was there before, as far as is known.
func (r *reports) due(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var seen time.Time
	if t := r.nodes[node]; t != nil {
		seen = t.seen
	}
	return r.c.o.Now().Sub(r.began) <= newTime && seen.Before(r.began) && !seen.Before(r.ended.Add(-awayTime))
}

// namesOf are the nodes of a network, ROLE-NAME, in the order of its file.
func namesOf(n *deploy.Network) []fleet.Peer {
	var all []fleet.Peer
	for i := range n.PoPs {
		all = append(all, fleet.Peer{Role: fleet.RoleEdge, Name: n.PoPs[i].Name})
	}
	for i := range n.Origins {
		for _, g := range n.Origins[i].AllGateways() {
			all = append(all, fleet.Peer{Role: fleet.RoleOrigin, Name: g.Name})
		}
	}
	for i := range n.DNS.Servers {
		all = append(all, fleet.Peer{Role: fleet.RoleDNS, Name: n.DNS.Servers[i].Name})
	}
	return all
}

// take hears one report.
func (r *reports) take(m *bus.Message) {
	if counter, err := r.hear(m); err != nil {
		// An edge's is heard by receipts as well, and what nobody can read or nobody knows is counted there.
		if role, _, _, _ := bus.SpeakerOf(m.Subject); role != fleet.RoleEdge || counter == &r.c.stats.impossible {
			counter.Add(1)
		}
		r.limiter.Warn("a report is passed over", "subject", m.Subject, "error", err)
		return
	}
	r.wake()
}

// hear takes a report, or says what is wrong with it and where that is counted.
func (r *reports) hear(m *bus.Message) (counter *atomic.Int64, err error) {
	role, name, kind, ok := bus.SpeakerOf(m.Subject)
	if !ok || kind != bus.UpReport || !slices.Contains([]string{fleet.RoleEdge, fleet.RoleOrigin, fleet.RoleDNS}, role) {
		return &r.c.stats.unknown, fmt.Errorf("control: no node reports there")
	}
	var report bus.Report
	if err := bus.Decode(m.Data, &report); err != nil {
		return &r.c.stats.garbage, err
	}
	if err := checkReport(&report); err != nil {
		return &r.c.stats.impossible, err
	}
	now, peer := r.c.o.Now(), fleet.Peer{Role: role, Name: name}
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.nodes[peer.String()]
	if t == nil {
		if !r.room(peer) {
			return &r.c.stats.unknown, fmt.Errorf("control: more than %d nodes report that the network file does not name", mostStrangers)
		}
		t = &told{peer: peer}
		r.nodes[peer.String()] = t
	}
	if report.Hash != t.report.Hash || !report.Started.Equal(t.report.Started) || t.seen.IsZero() {
		t.same = now
	}
	t.report, t.seen = report, now
	if role == fleet.RoleEdge {
		t.series.add(now, report.Started, count{report.Requests, report.Errors, report.Hits})
	}
	return nil, nil
}

// room says whether one more node may be known. Strangers that have gone make room. r.mu is held.
func (r *reports) room(peer fleet.Peer) bool {
	named, now := r.named(), r.c.o.Now()
	switch {
	case named.each[peer]:
		return true
	case now.Before(r.full): // not each of them has all that is known looked through
		return false
	}
	strangers := 0
	for key, t := range r.nodes {
		switch {
		case named.each[t.peer]:
		case now.Sub(t.seen) > seriesTime:
			delete(r.nodes, key)
		default:
			strangers++
		}
	}
	if strangers >= mostStrangers {
		r.full = now.Add(bus.ReportEvery)
	}
	return strangers < mostStrangers
}

// checkReport says what no node can mean.
func checkReport(p *bus.Report) error {
	for _, n := range []int64{p.Requests, p.Errors, p.Hits, p.Active, p.Accepted} {
		if n < 0 || n > mostCounter {
			return fmt.Errorf("control: a counter at %d", n)
		}
	}
	if math.IsNaN(p.Load) || p.Load < 0 || p.Load > 1e6 {
		return fmt.Errorf("control: a load of %g", p.Load)
	}
	if p.Revision < 0 || p.Refused < 0 {
		return fmt.Errorf("control: revision %d, refused %d", p.Revision, p.Refused)
	}
	if s := ops.Unknown; s.UnmarshalText([]byte(p.State)) != nil || s == ops.Unknown {
		return fmt.Errorf("control: the state %.20q", p.State)
	}
	if len(p.Hash) > 64 || len(p.Trust) > 64 || len(p.Journal.Journal) > 64 {
		return fmt.Errorf("control: a hash or a name of more than 64 bytes")
	}
	if len(p.Status) > mostStatus {
		p.Status = nil // the rest of the word counts
	}
	p.Why = words(p.Why)
	return nil
}

// words makes a sentence from a node fit to be shown: on one line, of some length, and without what moves a terminal's cursor.
func words(s string) string {
	out := []rune{}
	for _, c := range s {
		if len(out) == mostWords {
			return string(append(out, '…'))
		}
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			c = ' '
		}
		out = append(out, c)
	}
	return string(out)
}

// of returns what a node said last, if it did within awayTime.
func (r *reports) of(node string) (told, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.nodes[node]
	if t == nil || r.c.o.Now().Sub(t.seen) > awayTime {
		return told{}, false
	}
	return told{peer: t.peer, report: t.report, seen: t.seen}, true
}

// between is what an edge counted between two instants.
func (r *reports) between(node string, from, to time.Time) (count, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.nodes[node]; t != nil {
		return t.series.between(from, to)
	}
	return count{}, 0
}

// others is what all edges but one counted between two instants.
func (r *reports) others(but string, from, to time.Time) (all count) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, t := range r.nodes {
		if key != but && t.peer.Role == fleet.RoleEdge {
			one, _ := t.series.between(from, to)
			all = all.plus(one)
		}
	}
	return all
}

// all returns the last word of every node that is named by the network or has reported, in the order of the file, strangers after
// them. One that never reported has no seen.
func (r *reports) all() (list []told) {
	r.mu.Lock()
	defer r.mu.Unlock()
	named := r.named()
	for _, peer := range named.all {
		if t := r.nodes[peer.String()]; t != nil {
			list = append(list, told{peer: t.peer, report: t.report, seen: t.seen, same: t.same, named: true})
		} else {
			list = append(list, told{peer: peer, named: true})
		}
	}
	var strangers []told
	for _, t := range r.nodes {
		if !named.each[t.peer] && r.c.o.Now().Sub(t.seen) <= seriesTime {
			strangers = append(strangers, told{peer: t.peer, report: t.report, seen: t.seen})
		}
	}
	slices.SortFunc(strangers, func(a, b told) int { return cmp.Compare(a.peer.String(), b.peer.String()) })
	return append(list, strangers...)
}

// statusOf reads the status document of a report, as far as it is about its node.
func statusOf(raw json.RawMessage) (out ops.NodeStatus) {
	var s ops.Status
	if json.Unmarshal(raw, &s) == nil && len(s.Nodes) == 1 {
		out = s.Nodes[0]
	}
	out.Problems = slices.Clone(out.Problems[:min(len(out.Problems), 20)])
	for i := range out.Problems {
		out.Problems[i] = words(out.Problems[i])
	}
	out.Version, out.Hash = words(out.Version), words(out.Hash)
	if out.Refused != nil {
		why := words(*out.Refused)
		out.Refused = &why
	}
	for i := range out.Origins {
		out.Origins[i].Origin = words(out.Origins[i].Origin)
	}
	for i := range out.ShieldOf {
		out.ShieldOf[i] = words(out.ShieldOf[i])
	}
	for i := range out.Certificates {
		c := &out.Certificates[i]
		c.Name, c.Issuer = words(c.Name), words(c.Issuer)
	}
	maps.DeleteFunc(out.Connections, func(protocol string, _ int64) bool { return protocol != words(protocol) })
	return out
}
