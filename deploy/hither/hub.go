package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
	"hither/deploy/fleet/hub"
)

const (
	// hubAgain is how long after it could not start the hub in this node is tried again. Longer and longer it is not: its port or its
	// disk may be back at any time, and nodes are without it until then.
	hubAgain = 5 * time.Second

	// replicas of each stream in a cluster elsewhere.
	replicas = 3
)

// A leader is what an origin's node may have beside its role: the hub, where the network file puts it in this node, and the
// control. Neither keeps the role from serving.
type leader struct {
	p    *process
	duty duty
	hub  *hub.Hub
	deaf func() // the hub hears no more of who is revoked
	end  func() // of the control, waits for it; nil where none runs
}

// errHubHere is that a hub which the network file names does not end.
var errHubHere = errors.New("the network file in use has the hub here")

// A duty is what the network file has this node do.
type duty struct {
	listen  netip.AddrPort // of the hub; the zero one: it is not here
	moved   string         // the gateway that has the hub now; this one stays for nodes that have not heard
	control bool
	place   string // where the hub is when it is not here
}

func newLeader(p *process) *leader { return &leader{p: p} }

// wanted is the duty by the network file in use.
func (l *leader) wanted() duty {
	h := &l.p.files.Network().Hub
	d := duty{control: h.Control == l.p.identity.Name}
	if h.EmbeddedIn == l.p.identity.Name {
		d.listen = h.Bind
		return d
	}
	d.place = fmt.Sprint(h.URLs, h.EmbeddedIn)
	switch moved, err := control.HubMoved(l.p.o.state); {
	case err != nil:
		l.p.log.Warn("a hub that was here is not there for nodes that have not heard that it moved", "error", err)
	case moved != nil:
		d.listen, d.moved = moved.Listen, moved.Gateway
	}
	return d
}

// run does the node's duty until ctx ends.
func (l *leader) run(ctx context.Context) {
	ring := l.p.changed.listen()
	defer l.leave(false)
	for said := ""; ; {
		var again <-chan time.Time
		if want := l.wanted(); want != l.duty {
			l.leave(want.listen.IsValid() && want.listen == l.duty.listen)
			if err := l.begin(ctx, want); err != nil {
				if said != err.Error() {
					said = err.Error()
					l.p.log.Error("the hub of this node does not work; the node serves without it and tries again", "error", err)
				}
				l.p.fleet.Problem("the hub in this node", err.Error())
				again = time.After(hubAgain)
			} else {
				said = ""
				l.p.fleet.Problem("the hub in this node", "")
			}
		}
		select {
		case <-ring:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// begin starts what the duty is.
func (l *leader) begin(ctx context.Context, d duty) (err error) {
	if d.listen.IsValid() && l.hub == nil {
		l.hub, err = hub.Start(hub.Options{
			Listen: d.listen, Folder: filepath.Join(l.p.o.state, "hub"), Identity: l.p.identity, Log: l.p.log,
			Problem: func(why string) { l.p.fleet.Problem(hubsDisk, why) },
		})
		if err != nil {
			return err
		}
		l.p.leading.hubs(l.hub)
		l.deaf = l.p.identity.OnRevoked(l.hub.Kick) // its next handshake is refused
		l.p.log.Info("the hub is here", "listen", l.hub.Addr())
	}
	if d.moved != "" {
		l.p.log.Info("the hub has moved; the one here stays until all nodes are there", "is in", d.moved, "listen", d.listen)
	}
	if d.control {
		if err := l.lead(ctx); err != nil {
			l.leave(false)
			return err
		}
	}
	l.duty = d
	return nil
}

// hubsDisk is about what the node shows that the hub takes nothing.
const hubsDisk = "the hub's disk"

// leave ends what this node does, the control first. With stays the hub goes on, and its connections.
func (l *leader) leave(stays bool) {
	if l.end != nil {
		l.end()
		l.end = nil
	}
	if l.hub != nil && !stays {
		l.deaf()
		l.p.leading.hubs(nil)
		l.hub.Close()
		l.hub, l.deaf = nil, nil
		l.p.fleet.Problem(hubsDisk, "")
	}
	l.duty = duty{}
}

// lead starts the control.
func (l *leader) lead(ctx context.Context) error {
	n := 1
	h := &l.p.files.Network().Hub
	var o bus.Options
	if l.hub != nil {
		o = l.hub.Control()
	} else {
		n, o = replicas, bus.Options{URLs: h.URLs, Identity: l.p.identity, Embedded: h.EmbeddedIn, Log: l.p.log}
	}
	conn, err := bus.Dial(o)
	if err != nil {
		return err
	}
	c, err := control.New(control.Options{
		Conn: conn, Identity: l.p.identity, State: l.p.o.state, Network: l.p.files.Network, Checks: checks, Log: l.p.log, Replicas: n,
	})
	if err != nil {
		conn.Close()
		return err
	}
	l.p.leading.controls(c)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if !l.ensure(ctx, conn, n) {
			return
		}
		if err := c.Run(ctx); err != nil && ctx.Err() == nil {
			l.p.log.Error("the control ended; the fleet goes on without until this node starts again", "error", err)
			l.p.fleet.Problem("the control in this node", err.Error())
		}
	}()
	l.end = func() {
		l.p.leading.controls(nil)
		cancel()
		<-done
		conn.Close()
	}
	return nil
}

// ensure makes the streams, however long the hub takes to be there; false when ctx ended first.
func (l *leader) ensure(ctx context.Context, conn *bus.Conn, replicas int) bool {
	here := newBell()
	ring := here.listen()
	conn.OnConnect(here.ring)
	for {
		attempt, cancel := context.WithTimeout(ctx, 30*time.Second)
		err := hub.Ensure(attempt, conn, replicas)
		cancel()
		if err == nil {
			l.p.fleet.Problem("the control in this node", "")
			return true
		}
		if !errors.Is(err, bus.ErrAway) && ctx.Err() == nil {
			l.p.log.Warn("the control waits for the hub's streams", "error", err)
			l.p.fleet.Problem("the control in this node", err.Error())
		}
		select {
		case <-ring:
		case <-time.After(hubAgain):
		case <-ctx.Done():
			return false
		}
	}
}
