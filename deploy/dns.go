package deploy

import (
	"net/netip"
	"slices"
	"time"
)

// Zone is a DNS zone that the network's servers answer for.
type Zone struct {
	// Name of the zone, without the last dot.
	Name string `yaml:"name" jsonschema:"required" check:"domain"`

	// NameServers are the names in its NS records, without the last dot: the servers of this file, and those elsewhere that serve the zone too.
	NameServers []string `yaml:"name_servers" jsonschema:"required,minItems=1" check:"domain"`

	// SOA holds the times of its SOA record.
	SOA SOA `yaml:"soa"`

	// Records as RFC 1035 lines, names relative to the zone: `ns1 300 A 192.0.2.1`. `@ 300 ALIAS app.example.net.` is answered with the addresses of that name.
	Records []string `yaml:"records"`

	// File is an RFC 1035 zone file, as an absolute path; its records join those above. A SOA record in it, and NS records of the zone itself, replace the ones made here. Optional.
	File string `yaml:"file" check:"path"`

	// Steered names are answered with the PoPs best for each client; their A, AAAA and HTTPS records are made.
	Steered []Steered `yaml:"steered"`

	// DNSSEC is `on` to sign the zone with keys from the node's state folder. Default off; this program cannot sign yet and refuses `on`.
	DNSSEC string `yaml:"dnssec" jsonschema:"enum=off,enum=on"`
}

// SOA holds what a zone's SOA record says (RFC 1035 section 3.3.13), in whole
// seconds. Its serial is the second, counted from 1970, in which the server took the file.
type SOA struct {
	// Mailbox of whoever keeps the zone, with a dot for the @. Default hostmaster.ZONE.
	Mailbox string `yaml:"mailbox" check:"domain"`

	// Refresh is how often a secondary server asks for a new serial. Default 1h.
	Refresh Duration `yaml:"refresh" check:"positive,seconds"`

	// Retry is how long it waits after failing. Default 10m.
	Retry Duration `yaml:"retry" check:"positive,seconds"`

	// Expire is when it gives up; longer than `refresh`. Default 168h.
	Expire Duration `yaml:"expire" check:"positive,seconds"`

	// Negative is how long resolvers remember that something does not exist (RFC 2308 section 4). Default 60s.
	Negative Duration `yaml:"negative" check:"seconds"`
}

// Steered is a name answered with PoPs.
type Steered struct {
	// Name relative to the zone, `@` for the zone itself; with a last dot, absolute. A host of the site, or what CNAME records of its hosts, here or elsewhere, lead to.
	Name string `yaml:"name" jsonschema:"required"`

	// Site that the PoPs must serve.
	Site string `yaml:"site" jsonschema:"required"`

	// TTL of the answer, in whole seconds: how soon clients follow a change. Default 30s.
	TTL Duration `yaml:"ttl" check:"seconds"`

	// Answers is how many PoPs an answer holds, best first. Default 1.
	Answers int `yaml:"answers" jsonschema:"minimum=1,maximum=16"`
}

// DNS holds the servers and what they know of clients and PoPs.
type DNS struct {
	// Servers that answer for the zones, one dns node each.
	Servers []Server `yaml:"servers"`

	// Geo is how a client's place is found.
	Geo Geo `yaml:"geo"`

	// Unknown is the order of PoPs for a client whose place nobody knows. Default: the order of `pops`.
	Unknown []string `yaml:"unknown"`

	// Probe is how servers find out whether a PoP is up.
	Probe Probe `yaml:"probe"`
}

// Server is one DNS server of the network, over UDP and TCP.
type Server struct {
	// Name of the server, and of its node (`dns-NAME`).
	Name string `yaml:"name" jsonschema:"required" check:"name"`

	// Addresses by which resolvers reach it.
	Addresses []netip.Addr `yaml:"addresses" jsonschema:"required,minItems=1"`

	// Bind are the addresses to listen on, where they are others. Default: `addresses`.
	Bind []netip.Addr `yaml:"bind"`

	// Port for UDP and TCP. Default 53.
	Port int `yaml:"port" jsonschema:"minimum=1,maximum=65535"`

	// Metrics is the port of `/metrics`, `/live` and `/ready`. Default 9181; 0 = off.
	Metrics int `yaml:"metrics" jsonschema:"minimum=0,maximum=65535"`

	// MetricsAddress is where the metrics port is opened. Default: the node's own first address when that is a loopback address, else 127.0.0.1.
	MetricsAddress netip.Addr `yaml:"metrics_address"`
}

// Geo is how a client's place is found: by the operator's prefixes first, then by a
// database.
type Geo struct {
	// Database is a .mmdb file, as an absolute path. Empty: the table built into the program.
	Database string `yaml:"database" check:"path"`

	// Prefixes whose place the operator knows better: the name of a PoP, or `{lat, lon}`. The longest that holds an address counts.
	Prefixes map[netip.Prefix]Spot `yaml:"prefixes"`
}

// Spot is where a prefix is: at a PoP, or at a place of its own.
type Spot struct {
	// PoP is the name of the PoP that its clients get first; "" when Place is set.
	PoP string

	// Place on earth; nil when PoP is set.
	Place *Place
}

// Probe is how a DNS server finds out whether a PoP is up.
type Probe struct {
	// Interval between probes of one PoP. Default 2s.
	Interval Duration `yaml:"interval" check:"positive"`

	// Timeout of one probe; at most the interval. Default 1s.
	Timeout Duration `yaml:"timeout" check:"positive"`

	// Fall is how many probes in a row must fail before a PoP counts as down. Default 3.
	Fall int `yaml:"fall" jsonschema:"minimum=1,maximum=100"`

	// Rise is how many probes in a row must pass before it counts as up again. Default 2.
	Rise int `yaml:"rise" jsonschema:"minimum=1,maximum=100"`
}

// TTLOf is the longest TTL of the names that lead to a PoP: for that long after a change resolvers may go on saying what they were told.
// steered is false where no name does.
func (n *Network) TTLOf(p *PoP) (ttl time.Duration, steered bool) {
	if p == nil {
		return 0, false
	}
	sites := n.SitesOf(p)
	for i := range n.Zones {
		for _, s := range n.Zones[i].Steered {
			if slices.ContainsFunc(sites, func(x *Site) bool { return x.Name == s.Site }) {
				ttl, steered = max(ttl, time.Duration(s.TTL)), true
			}
		}
	}
	return ttl, steered
}
