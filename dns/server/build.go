package server

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"hither/deploy"
	"hither/dns/geo"
	"hither/dns/zone"
)

// This file turns the network file's structs into the parts' own.

// bindAddresses are where a server listens, over UDP and TCP.
func bindAddresses(s *deploy.Server) []netip.AddrPort {
	bind := s.Bind
	if len(bind) == 0 {
		bind = s.Addresses
	}
	out := make([]netip.AddrPort, len(bind))
	for i, a := range bind {
		out[i] = netip.AddrPortFrom(a, uint16(s.Port))
	}
	return out
}

// Limits of the files a network names, so that a wrong path is an error and not the end of the machine's memory.
const (
	mostZoneFile = 64 << 20 // what dns/zone takes
	mostDatabase = 1 << 30
)

// readFile reads a file that the network names.
func readFile(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", path)
	case info.Size() > most:
		return nil, fmt.Errorf("%s is larger than %d MiB", path, most>>20)
	}
	return os.ReadFile(path)
}

// geoTable is how clients' places are found.
func geoTable(g *deploy.Geo) (*geo.Table, []deploy.Finding) {
	var db geo.Database = geo.Embedded()
	if g.Database != "" {
		data, err := readFile(g.Database, mostDatabase)
		if err == nil {
			db, err = geo.OpenMMDB(data)
		}
		if err != nil {
			return nil, []deploy.Finding{{Path: "dns.geo.database", Msg: err.Error()}}
		}
	}
	prefixes := make(map[netip.Prefix]geo.Spot, len(g.Prefixes))
	for p, spot := range g.Prefixes {
		s := geo.Spot{PoP: spot.PoP}
		if spot.Place != nil {
			s.Point = &geo.Point{Lat: spot.Place.Lat, Lon: spot.Place.Lon}
		}
		prefixes[p] = s
	}
	return geo.New(prefixes, db), nil
}

// makeZone makes the zone with an index, in which steered names are answered by this server.
func makeZone(n *deploy.Network, index int, serial uint32) (*zone.Zone, []deploy.Finding) {
	z, path := &n.Zones[index], fmt.Sprintf("zones[%d]", index)
	c := zone.Config{
		Name: z.Name, NameServers: z.NameServers, Records: z.Records, File: z.File,
		SOA: zone.SOA{
			Mailbox: z.SOA.Mailbox, Serial: serial, Refresh: time.Duration(z.SOA.Refresh), Retry: time.Duration(z.SOA.Retry),
			Expire: time.Duration(z.SOA.Expire), Negative: time.Duration(z.SOA.Negative),
		},
	}
	if z.DNSSEC == "on" {
		return nil, []deploy.Finding{{Path: path + ".dnssec", Msg: "this program cannot sign zones; leave it off"}}
	}
	if z.File != "" {
		var err error
		if c.Data, err = readFile(z.File, mostZoneFile); err != nil {
			return nil, []deploy.Finding{{Path: path + ".file", Msg: err.Error()}}
		}
	}
	for i := range z.Steered {
		st, where := &z.Steered[i], fmt.Sprintf("steered[%d]", i)
		full, err := deploy.Absolute(st.Name, z.Name)
		if err != nil {
			return nil, []deploy.Finding{{Path: path + "." + where + ".name", Msg: err.Error()}}
		}
		s := newSteered(n, st)
		c.Dynamic = append(c.Dynamic, zone.DynamicName{
			Name: full, Types: []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS}, Value: s, Where: where,
		})
		if strings.HasPrefix(full, "*.") {
			continue // a wildcard answers for names with a port's prefix too
		}
		for _, port := range s.otherPorts(n) {
			c.Dynamic = append(c.Dynamic, zone.DynamicName{Name: portPrefix(port) + full, Types: []uint16{dns.TypeHTTPS}, Value: s, Where: where})
		}
	}
	made, err := zone.New(c)
	if err != nil {
		return nil, findings(path, z, err)
	}
	return made, nil
}

// findings tells a zone's mistakes by their place in the network file, or in the zone's own.
func findings(path string, z *deploy.Zone, err error) (found []deploy.Finding) {
	var mistakes zone.Mistakes
	if !errors.As(err, &mistakes) {
		return []deploy.Finding{{Path: path, Msg: err.Error()}}
	}
	for _, m := range mistakes {
		f := deploy.Finding{Path: path + "." + m.Where, Msg: m.What}
		if line, ok := strings.CutPrefix(m.Where, z.File+":"); ok && z.File != "" {
			f.Path, f.File = path+".file", z.File
			f.Line, _ = strconv.Atoi(line)
		}
		found = append(found, f)
	}
	return found
}

// portPrefix begins the name at which the HTTPS record of another port than 443 stands (RFC 9460 section 9.1).
func portPrefix(port int) string { return "_" + strconv.Itoa(port) + "._https." }

// targetsOf lists what of a PoP is probed; nothing where it serves no HTTPS, or no site that a probe could name.
func targetsOf(n *deploy.Network, p *deploy.PoP) []target {
	settings := n.EdgeOf(p.Name)
	name := probeName(n, p)
	if settings.Listen.HTTPS == 0 || name == "" {
		return nil
	}
	port := settings.Listen.HTTPS
	if reflect.DeepEqual(p.Probe, p.Addresses) {
		port = settings.Listen.Public
	}
	var out []target
	for _, a := range p.Probe {
		out = append(out, target{
			pop: p.Name, at: netip.AddrPortFrom(a, uint16(port)), name: name,
			interval: time.Duration(n.DNS.Probe.Interval), timeout: time.Duration(n.DNS.Probe.Timeout),
		})
	}
	return out
}

// probeName is the name by which a PoP is probed: of a site whose certificate the probe can check and that asks for
// none itself, where there is one.
func probeName(n *deploy.Network, p *deploy.PoP) string {
	var name string
	best := -1
	for _, s := range n.SitesOf(p) {
		good := 0
		if s.TLS.ClientCA == "" {
			good += 2
		}
		if s.TLS.Certificate.Cert == "" { // local or acme: authorities that a dns node knows
			good++
		}
		if good > best {
			name, best = strings.Replace(s.Hosts[0], "*", "www", 1), good
		}
	}
	return name
}

// restartNeeded names the settings that differ and take a new start.
func restartNeeded(a, b *deploy.Server) []string {
	var later []string
	differ := func(key string, x, y any) {
		if !reflect.DeepEqual(x, y) {
			later = append(later, key)
		}
	}
	differ("addresses", a.Addresses, b.Addresses)
	differ("bind", a.Bind, b.Bind)
	differ("port", a.Port, b.Port)
	differ("metrics", a.Metrics, b.Metrics)
	differ("metrics_address", a.MetricsAddress, b.MetricsAddress)
	return later
}
