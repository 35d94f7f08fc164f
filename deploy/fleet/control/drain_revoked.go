package control

import (
	"context"
	"fmt"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// This file is the drain of a PoP whose identity was revoked.

// revoked takes a PoP out of answers whose identities that were issued until then nobody takes any more: it gets no purges and no network file, and nothing from
// origins. It is back when it reports with another identity (see restored).
func (d *drains) revoked(ctx context.Context, pop string, until time.Time, by string) (sequence uint64, err error) {
	if err := d.learn(ctx); err != nil {
		return 0, err
	}
	d.op.Lock()
	defer d.op.Unlock()
	return d.outlaw(ctx, pop, until, by)
}

// outlaw writes the drain of a PoP that was revoked. d.op is held.
func (d *drains) outlaw(ctx context.Context, pop string, until time.Time, by string) (sequence uint64, err error) {
	d.mu.Lock()
	drain := bus.Drain{By: by}
	if now := d.pops[pop]; now != nil {
		drain = now.Drain
	}
	d.mu.Unlock()
	drain.Revoked = until.UTC()
	return d.write(ctx, pop, &drain)
}

// remind puts back into the tables what the control's own node knows of revocations and they do not: the hub has lost them, or was restored from a
// backup that is older. Nodes forget no revocation, but DNS servers go by the drain, so a PoP that was revoked would be in answers again. One that was
// added again meanwhile is out until it has reported, as after any revocation. d.op is held.
func (d *drains) remind(ctx context.Context) error {
	known := d.c.o.Identity.Revocations()
	if len(known) == 0 {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, busTime)
	all, err := d.c.o.Conn.Last(asking, bus.StreamTables, bus.TableSubject(bus.TableRevoked, "*"))
	cancel()
	if err != nil {
		return err
	}
	at := make(map[string]uint64)
	for _, m := range all {
		_, node, _ := bus.TableOf(m.Subject)
		at[node] = m.Sequence
		var r bus.Revocation
		if len(m.Data) == 0 {
			continue
		}
		// What cannot be read may be of a newer version, and is the business of whoever wrote it.
		if err := bus.Decode(m.Data, &r); err != nil || !r.Until.Before(known[node]) {
			delete(known, node)
		}
	}
	for node, until := range known {
		if err := d.remindOf(ctx, node, until, at[node]); err != nil {
			return fmt.Errorf("control: put back that %s was revoked: %w", node, err)
		}
	}
	return nil
}

// remindOf puts back one revocation, where the tables had an older one at a sequence, or none at 0. The drain comes first: where it fails all is done again.
func (d *drains) remindOf(ctx context.Context, node string, until time.Time, at uint64) error {
	peer, err := fleet.ParseNode(node)
	if err != nil {
		return nil // nobody has that name
	}
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	by := d.c.o.Identity.String()
	if peer.Role == fleet.RoleEdge {
		if _, err := d.outlaw(ctx, peer.Name, until, by); err != nil {
			return err
		}
	}
	r := bus.Revocation{Until: until.UTC(), By: by, Why: "it was revoked, and the hub's tables did not say so any more"}
	if _, err := d.c.append(ctx, bus.TableSubject(bus.TableRevoked, node), bus.Encode(r), bus.ExpectKey(at)); err != nil {
		return err
	}
	d.c.o.Log.Warn("the hub's tables did not say any more that an identity was revoked, and say it again", "node", node, "until", until.UTC())
	return nil
}

// restored says whether a PoP of a lost identity reports with another one, for so long that the hub has cut off the old one by now. When its identity was
// issued is the node's own word, and that a report is not of who stole the old one is the hub's: the servers of a cluster let that one in until their
// configuration is printed again and read, so there the operator alone says that the PoP is back. d.mu is held.
func (d *drains) restored(x *draining, pop string) bool {
	if x.Revoked.IsZero() || d.c.o.Network().Hub.EmbeddedIn == "" {
		return false
	}
	r, ok := d.c.reports.of(fleet.RoleEdge + "-" + pop)
	return ok && r.report.Issued.After(x.Revoked) && r.seen.Sub(x.noted) > awayTime
}

// restore has it in answers again, unless an operator drains it.
func (d *drains) restore(ctx context.Context, pop string) error {
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	d.op.Lock()
	defer d.op.Unlock()
	d.mu.Lock()
	x := d.pops[pop]
	if x == nil || !d.restored(x, pop) {
		d.mu.Unlock()
		return nil
	}
	var drain *bus.Drain
	if x.Asked() {
		drain = &bus.Drain{Since: x.Since, By: x.By, Stop: x.Stop}
	}
	d.mu.Unlock()
	_, err := d.write(ctx, pop, drain)
	if err == nil {
		d.c.o.Log.Info("a PoP whose identity was revoked has another one", "pop", pop)
	}
	return err
}

// backWhen says when a PoP whose identity was revoked is in answers again.
func backWhen(network *deploy.Network, pop string) string {
	if network.Hub.EmbeddedIn == "" {
		return "it is in DNS answers again when it has another one (`hither fleet add pop " + pop + "`), all NATS servers have read the new configuration, " +
			"and an operator says so: `hither drain pop " + pop + " --undo`"
	}
	return "it is in DNS answers again when it reports with another one (`hither fleet add pop " + pop + "`)"
}

// lostIdentity says whether a PoP's identity was revoked, and it is not back since.
func (d *drains) lostIdentity(pop string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.pops[pop]
	return x != nil && !x.Revoked.IsZero()
}
