package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/control"
	"hither/deploy/fleet/member"
	"hither/deploy/ops"
)

// A process is a node's: its role, and around it what makes it part of a fleet. That is a member in each, and in the
// one or two origins that the network file names the hub and the control.
type process struct {
	o        nodeOptions
	identity *fleet.Identity
	log      *slog.Logger
	fleet    ops.Fleet
	files    *member.Files
	role     atomic.Pointer[role]          // nil before it is assembled
	part     atomic.Pointer[member.Member] // in the fleet; nil while it has none
	changed  *bell                         // rung at each network file
	counts   counts                        // of all members that this process has had
	taker    *control.Taker                // of an origin
	leading  leading                       // of the hub and the control, where they are here
	kept     bool                          // what is stored is as the member before left it; of membership alone
}

func newProcess(o nodeOptions, identity *fleet.Identity, log *slog.Logger) *process {
	p := &process{o: o, identity: identity, log: log, changed: newBell()}
	p.files = &member.Files{
		Revisions: fleet.RevisionsIn(o.state), Checks: o.checks, Log: log, Reload: p.use, Refused: p.refused,
		Agreed: func() (int, string) {
			if o.network == "" {
				return 0, ""
			}
			n := agreedIn(filepath.Dir(o.network))
			return n.Number, n.Hash
		},
		Used: func(_ *deploy.Network, number int, hash string) {
			p.fleet.Use(number, hash)
			p.changed.ring()
		},
		Unkept: func(err error) {
			what := ""
			if err != nil {
				what = "it is in force but could not be kept: " + err.Error()
			}
			p.fleet.Problem("network file", what)
		},
	}
	return p
}

// load reads the network file that the node starts with: the one given, unless that was read before and the fleet has sent a
// revision since; else its last good one. Where a node has none, but knows a hub, it leaves it at that.
func (p *process) load() error {
	revisions := p.files.Revisions
	if p.o.network != "" {
		data, err := os.ReadFile(p.o.network)
		if err != nil {
			return usage("--network: %v", err)
		}
		if !p.files.Said(data) {
			network, err := deploy.Parse(p.o.network, data, p.o.checks...)
			if err != nil {
				return wrong(errors.Join(err, revisions.Refuse(data, err)))
			}
			if err := revisions.Accept(data); err != nil {
				return usage("%v", err)
			}
			return p.begin(network, data, true)
		}
	}
	current, err := revisions.Current()
	switch {
	case errors.Is(err, os.ErrNotExist) && len(p.identity.Hub) > 0:
		return nil
	case err != nil:
		return usage("%v", err)
	case current.Damaged != nil:
		p.counts.refused("revision")
		p.log.Error("the network file in use was damaged, or is of a newer version; starting with the one before it", "error", current.Damaged)
	}
	if missing(current.Network, p.identity.Peer) != nil && len(p.identity.Hub) > 0 {
		return nil // it was added to the network after that file
	}
	return p.begin(current.Network, current.Data, false)
}

func (p *process) begin(network *deploy.Network, data []byte, given bool) error {
	if err := p.files.Begin(network, data, given); err != nil {
		p.log.Warn("network file", "error", err)
	}
	return nil
}

// missing says that a network has no such node.
func missing(n *deploy.Network, p fleet.Peer) error {
	there := false
	switch p.Role {
	case fleet.RoleEdge:
		there = n.PoP(p.Name) != nil
	case fleet.RoleOrigin:
		there = n.OriginNode(p.Name) != nil
	case fleet.RoleDNS:
		there = n.Server(p.Name) != nil
	}
	if there {
		return nil
	}
	return fmt.Errorf("the network file has no node %s", p)
}

// use gives a network file to the role. Before there is one, any that has this node is good.
func (p *process) use(n *deploy.Network) error {
	if n.Name != p.identity.Network {
		return fmt.Errorf("the network file is of network %s, and this node's identity of %s", n.Name, p.identity.Network)
	}
	if r := p.role.Load(); r != nil {
		return (*r).Reload(n)
	}
	return missing(n, p.identity.Peer)
}

func (p *process) refused(why error) {
	if r := p.role.Load(); r != nil {
		(*r).Refuse(why)
	}
}

// take makes r the node's role.
func (p *process) take(r role) {
	r.Metrics().MustRegister(&p.counts)
	if p.identity.Role == fleet.RoleOrigin {
		p.moves(r.Admin())
		r.Metrics().MustRegister(&p.leading)
	}
	p.role.Store(&r)
}

// reload reads the network file again, or what it names where the node has none of its own. One that is bad, or that the role cannot
// take, is kept aside with the reason, and the old one stays.
func (p *process) reload() error {
	if p.o.network == "" {
		return p.files.Again()
	}
	data, err := os.ReadFile(p.o.network)
	if err != nil {
		p.refused(err)
		return err
	}
	return p.files.File(p.o.network, data)
}

// await waits until the fleet has a network file with this node in it.
func (p *process) await(ctx context.Context) error {
	p.log.Info("the network file has no such node yet; waiting for a revision that has", "hub", p.identity.Hub)
	admin, err := p.waiting()
	if err != nil {
		return usage("%v", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var parts sync.WaitGroup
	parts.Go(func() { p.membership(ctx) })
	for ring := p.changed.listen(); p.files.Network() == nil && ctx.Err() == nil; {
		select {
		case <-ring:
		case <-ctx.Done():
		}
	}
	cancel()
	parts.Wait()
	soon, stop := context.WithTimeout(context.Background(), lastTime)
	defer stop()
	return admin.Close(soon)
}

// run runs the role until it has drained, and what is around it for longer: the last that the fleet hears of a node is that it goes, and the
// hub outlives those that speak over it.
func (p *process) run(ctx context.Context) error {
	var parts, around sync.WaitGroup
	beside := context.WithoutCancel(ctx)
	lead, endLead := context.WithCancel(beside)
	member, endMember := context.WithCancel(beside)
	if p.identity.Role == fleet.RoleOrigin {
		around.Go(func() { newLeader(p).run(lead) })
		defer p.taker.Close()
	}
	parts.Go(func() { p.membership(member) })
	err := (*p.role.Load()).Run(ctx)
	endMember()
	parts.Wait()
	endLead()
	around.Wait()
	return err
}
