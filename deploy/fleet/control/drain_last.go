package control

import (
	"net/http"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/ops"
)

// last refuses the drain of a PoP without which nobody would serve a site that it serves.
func (d *drains) last(network *deploy.Network, pop string) error {
	if site := LastOf(network, pop, d.takesClients); site != "" {
		return refuse(http.StatusConflict, "control: PoP %s is the last that serves site %s: the others do not report, are not ready, drain, have weight 0, or have lost their identity; "+
			"DNS names it all the same while its node runs, and when that ends nobody serves the site. --force drains it", pop, site)
	}
	return nil
}

// LastOf returns a site that nobody would serve if a PoP went, "" where there is none. takes says whether another PoP can take clients; whether DNS would
// name it, by its weight, is seen here.
func LastOf(network *deploy.Network, pop string, takes func(other string) bool) (site string) {
	p := network.PoP(pop)
	if p == nil {
		return ""
	}
	weighted := false // as in dns/steer: where all have weight 0, that means nothing
	for _, other := range network.PoPs {
		weighted = weighted || other.Trust == p.Trust && other.Weight > 0
	}
	if weighted && p.Weight == 0 {
		return ""
	}
	for _, other := range network.PoPs {
		if other.Name != pop && other.Trust == p.Trust && (!weighted || other.Weight > 0) && takes(other.Name) {
			return ""
		}
	}
	for i := range network.Sites {
		if network.Sites[i].Trust == p.Trust {
			return network.Sites[i].Name
		}
	}
	return ""
}

// takesClients says whether a PoP can take clients, by what is known of it. One that may be on its way back to a hub that has just begun to answer can.
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
