package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"hither/deploy"
	"hither/dns/geo"
	"hither/dns/zone"
)

// A world is all that answers are made of, from one network file. It never changes: a new file, and every change of a
// PoP's health, makes another one.
type world struct {
	network *deploy.Network
	zones   map[string]*zone.Zone // by canonical name
	geo     *geo.Table
	targets []target
	aliases []string // names outside our zones at which the search for ALIAS targets goes on
	pops    popTable // as of now
}

// newWorld makes a world in which every PoP is up. The error names every mistake in its zones and its database.
func newWorld(n *deploy.Network, now time.Time) (*world, error) {
	w, found := build(n, now)
	var errs []error
	for _, f := range found {
		where := f.Path
		if f.File != "" {
			where = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		errs = append(errs, fmt.Errorf("dns: %s: %s", where, f.Msg))
	}
	return w, errors.Join(errs...)
}

// Check finds what is wrong with the records of a network's zones, and with the database it names. It opens no socket.
func Check(n *deploy.Network) []deploy.Finding {
	_, found := build(n, time.Time{})
	return found
}

// build makes a world, or finds why not.
func build(n *deploy.Network, now time.Time) (*world, []deploy.Finding) {
	w := &world{network: n, zones: make(map[string]*zone.Zone)}
	var found []deploy.Finding
	for i := range n.Zones {
		z, wrong := makeZone(n, i, serial(now))
		found = append(found, wrong...)
		if z != nil {
			w.zones[z.Name()] = z
		}
	}
	table, wrong := geoTable(&n.DNS.Geo)
	if found = append(found, wrong...); len(found) > 0 {
		return nil, found
	}
	w.geo = table
	for i := range n.PoPs {
		w.targets = append(w.targets, targetsOf(n, &n.PoPs[i])...)
	}
	for _, z := range w.zones {
		for _, t := range z.Aliases() {
			if name := w.outside(t.Target); name != "" {
				w.aliases = append(w.aliases, name)
			}
		}
	}
	slices.Sort(w.aliases)
	w.aliases = slices.Compact(w.aliases)
	var err error
	if w.pops, err = newPopTable(n, nil, nil, now); err != nil {
		return nil, []deploy.Finding{{Path: "pops", Msg: err.Error()}}
	}
	return w, nil
}

// outside is where the search for an ALIAS's target leaves our zones, by CNAMEs or a delegation; "" where it does not.
func (w *world) outside(name string) string {
	for range aliasDepth {
		z := w.zoneOf(name, dns.TypeA)
		if z == nil {
			return name
		}
		switch res := z.Lookup(name, dns.TypeA); {
		case res.Kind == zone.Delegation:
			return res.Name
		case res.Kind == zone.Success && res.Answer[len(res.Answer)-1].Header().Rrtype == dns.TypeCNAME:
			name = res.Name
		default: // another ALIAS among these has its own target in the list
			return ""
		}
	}
	return ""
}

// serial is a zone's SOA serial: seconds since 1970, which grows with every new file, whoever started when (RFC 1982
// arithmetic holds for its wrap in 2106).
func serial(now time.Time) uint32 { return uint32(now.Unix()) }

// zoneOf returns the zone that answers for a name: the longest that holds it. A DS record is the parent's (RFC 4035
// section 3.1.4.1), where that is ours too.
func (w *world) zoneOf(name string, qtype uint16) *zone.Zone {
	name = dns.CanonicalName(name)
	var apex *zone.Zone
	for off, end := 0, false; ; off, end = dns.NextLabel(name, off) {
		at := name[off:]
		if end {
			at = "."
		}
		if z := w.zones[at]; z != nil {
			if qtype != dns.TypeDS || off > 0 || end {
				return z
			}
			apex = z
		}
		if end {
			return apex
		}
	}
}

// sameName reports whether two names are one (RFC 4343).
func sameName(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }
