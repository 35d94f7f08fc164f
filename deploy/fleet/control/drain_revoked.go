package control

import (
	"context"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// This file is the drain of a PoP whose identity was revoked.

// revoked takes a PoP out of answers whose identities that were issued until then nobody takes any more: it gets no purges and no network file, and nothing from
// origins. It is back when it reports with another identity.
func (d *drains) revoked(ctx context.Context, pop string, until time.Time, by string) (sequence uint64, err error) {
	if err := d.learn(ctx); err != nil {
		return 0, err
	}
	d.op.Lock()
	defer d.op.Unlock()
	d.mu.Lock()
	drain := bus.Drain{By: by}
	if now := d.pops[pop]; now != nil {
		drain = now.Drain
	}
	d.mu.Unlock()
	drain.Revoked = until.UTC()
	return d.write(ctx, pop, &drain)
}

// restored says whether a PoP of a lost identity reports with another one, for so long that the hub has cut off the old one by now. d.mu is held.
func (d *drains) restored(x *draining, pop string) bool {
	if x.Revoked.IsZero() {
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

// lostIdentity says whether a PoP's identity was revoked, and it has not reported with another.
func (d *drains) lostIdentity(pop string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.pops[pop]
	return x != nil && !x.Revoked.IsZero()
}
