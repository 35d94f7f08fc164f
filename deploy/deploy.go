// Package deploy is the description of a network: its PoPs and their places, the
// origins, the sites, the DNS zones and the hub, as one YAML file that every role
// reads. It loads that file, fills in the defaults and names all mistakes at once;
// it is pure data and opens no socket.
package deploy

import "net/netip"

// Version is the version of the network file that this program reads and writes.
const Version = 1

// Network is a whole network file. The same file goes to every node; which node a
// process is, and where its folders are, it learns from its flags.
//
// A Network that came from [Load] or [Parse] has all defaults filled in and no
// mistake. It is not changed afterwards and may be shared.
type Network struct {
	// Version of the file's format: 1. A node refuses a version it does not know and keeps the file it had.
	Version int `yaml:"version" jsonschema:"required,enum=1"`

	// Name of the network. It is part of every node's identity, so renaming a network means new identities (`hither fleet init` into a new folder).
	Name string `yaml:"name" jsonschema:"required" check:"name"`

	// CDNID is the network's name in CDN-Loop (RFC 8586), which all requests to its origins have, and by which it refuses those that came by it before: best a host name of yours, else a word that no other network has. Default: `hither-` and the network's name.
	CDNID string `yaml:"cdn_id" check:"cdn"`

	// Hub is where nodes meet to hear of revisions, purges and certificates. Optional: nodes serve without it.
	Hub Hub `yaml:"hub"`

	// Edge holds what every PoP uses unless it says otherwise itself.
	Edge Edge `yaml:"edge"`

	// PoPs are the places where edges stand, one edge node each. Their order is the default order for clients whose place nobody knows.
	PoPs []PoP `yaml:"pops"`

	// Origins are where content comes from, one origin node each.
	Origins []Origin `yaml:"origins"`

	// Sites are what is served: host names, and how they are cached and protected.
	Sites []Site `yaml:"sites"`

	// Zones are the DNS zones that the network's own servers answer for. Optional: without zones, other DNS servers point at the PoPs.
	Zones []Zone `yaml:"zones"`

	// DNS holds the servers that answer for the zones, and how they find a client's place and a PoP's health.
	DNS DNS `yaml:"dns"`
}

// Hub says where the fleet's bus is.
type Hub struct {
	// URLs of the bus, each `tls://HOST:PORT`; a node tries them in turn. Empty: there is no hub, and a node's network file changes only by hand.
	URLs []string `yaml:"urls"`

	// EmbeddedIn names the one gateway of an origin (the first has the origin's name) whose node runs the bus itself. Empty: the URLs are those of a NATS cluster elsewhere.
	EmbeddedIn string `yaml:"embedded_in"`

	// Bind is the IP:PORT on which the hub in an origin's node listens. Default: the one of `urls`, when there is one and its host is an address; else the port of the first on all addresses.
	Bind netip.AddrPort `yaml:"bind"`

	// Control names the gateway of an origin in whose process the control works, which writes what the hub has; where the hub is in a node, it is that one. Default: `embedded_in`, else the first origin.
	Control string `yaml:"control"`

	// API is where programs purge over HTTP, at the control. Default: nowhere.
	API HubAPI `yaml:"api"`
}

// HubAPI is where the control listens for programs that purge, each with a token.
type HubAPI struct {
	// Address is an IP:PORT. Tokens must not travel in the clear: one that is no loopback address needs `cert` and `key`. Default: none.
	Address netip.AddrPort `yaml:"address"`

	// Cert is a PEM file on the machine of the control, which programs that purge check. It is read again when it or the key has changed.
	// Default: none, and HTTP without TLS.
	Cert string `yaml:"cert" check:"path"`

	// Key is the PEM file of its key. Default: none.
	Key string `yaml:"key" check:"path"`
}

// PoP returns the PoP of that name, or nil.
func (n *Network) PoP(name string) *PoP {
	for i := range n.PoPs {
		if n.PoPs[i].Name == name {
			return &n.PoPs[i]
		}
	}
	return nil
}

// Origin returns the origin of that name, or nil.
func (n *Network) Origin(name string) *Origin {
	for i := range n.Origins {
		if n.Origins[i].Name == name {
			return &n.Origins[i]
		}
	}
	return nil
}

// OriginNode returns the origin that has a node of that name (`hither origin --name NAME`) as that node has it: with its
// gateway and its application, and no others. There is none: nil.
func (n *Network) OriginNode(name string) *Origin {
	for i := range n.Origins {
		for _, g := range n.Origins[i].AllGateways() {
			if g.Name == name {
				o := n.Origins[i]
				o.Gateway, o.App, o.Gateways = g.Gateway, *g.App, nil
				return &o
			}
		}
	}
	return nil
}

// AllGateways returns the gateways of the origin: `gateway`, which has the origin's name, and then `gateways` in the order of
// the file. Each has an App, its own or the origin's.
func (o *Origin) AllGateways() []NamedGateway {
	all := []NamedGateway{{Name: o.Name, Weight: 1, App: &o.App, Gateway: o.Gateway}}
	for _, g := range o.Gateways {
		if g.App == nil {
			g.App = &o.App
		}
		all = append(all, g)
	}
	return all
}

// ShieldOf returns the PoP through which another fetches from the origin: the origin's shield, or nil where it has none, is
// that shield, or is of another trust domain, whose sites the shield does not serve.
func (n *Network) ShieldOf(o *Origin, pop *PoP) *PoP {
	shield := n.PoP(o.Shield)
	if shield == nil || shield.Name == pop.Name || shield.Trust != pop.Trust {
		return nil
	}
	return shield
}

// Site returns the site of that name, or nil.
func (n *Network) Site(name string) *Site {
	for i := range n.Sites {
		if n.Sites[i].Name == name {
			return &n.Sites[i]
		}
	}
	return nil
}

// Server returns the DNS server of that name, or nil.
func (n *Network) Server(name string) *Server {
	for i := range n.DNS.Servers {
		if n.DNS.Servers[i].Name == name {
			return &n.DNS.Servers[i]
		}
	}
	return nil
}

// SitesOf returns the sites that the PoP serves, which are those of its trust
// domain, in the order of the file.
func (n *Network) SitesOf(pop *PoP) []*Site {
	var sites []*Site
	for i := range n.Sites {
		if n.Sites[i].Trust == pop.Trust {
			sites = append(sites, &n.Sites[i])
		}
	}
	return sites
}

// Hosts returns the host names of all sites, exact and wildcard, in the order of
// the file.
func (n *Network) Hosts() []string {
	var hosts []string
	for i := range n.Sites {
		hosts = append(hosts, n.Sites[i].Hosts...)
	}
	return hosts
}

// EdgeOf returns the settings of the named PoP: its own where it has some, the
// network's for the rest. An unknown name has the network's.
func (n *Network) EdgeOf(pop string) Edge {
	if p := n.PoP(pop); p != nil {
		return p.Edge
	}
	return n.Edge
}
