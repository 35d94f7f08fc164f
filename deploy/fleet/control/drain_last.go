package control

import (
	"net/http"
	"slices"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/ops"
)

// last refuses the drain of a PoP without which nobody would serve a site that it serves.
func (d *drains) last(network *deploy.Network, pop string) error {
	p := network.PoP(pop)
	for i := range network.Sites {
		site := &network.Sites[i]
		if p == nil || site.Trust != p.Trust {
			continue
		}
		others := slices.ContainsFunc(network.PoPs, func(other deploy.PoP) bool {
			return other.Name != pop && other.Trust == site.Trust && d.takesClients(other.Name)
		})
		if !others {
			return refuse(http.StatusConflict, "control: PoP %s is the last that serves site %s: the others do not report, are not ready, drain, or have lost their identity; "+
				"DNS names it all the same while its node runs, and when that ends nobody serves the site. --force drains it", pop, site.Name)
		}
	}
	return nil
}

// takesClients says whether DNS gives clients to a PoP, by what is known of it. One that may be on its way back to a hub that has just begun to answer does.
func (d *drains) takesClients(pop string) bool {
	d.mu.Lock()
	_, drains := d.pops[pop]
	d.mu.Unlock()
	r, ok := d.c.reports.of(fleet.RoleEdge + "-" + pop)
	switch {
	case drains:
		return false
	case !ok:
		return d.c.reports.due(fleet.RoleEdge + "-" + pop)
	}
	return r.report.State == ops.Ready.String()
}
