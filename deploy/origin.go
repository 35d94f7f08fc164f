package deploy

import "net/netip"

// Origin is where a site's content comes from: an origin node with its gateway, and
// the application behind it.
type Origin struct {
	// Name of the origin, and of its node (`origin-NAME`).
	Name string `yaml:"name" jsonschema:"required" check:"name"`

	// Place on earth. Optional; what chooses among origins by distance passes over one without a place.
	Place *Place `yaml:"place"`

	// Gateway is the side that faces the edges.
	Gateway Gateway `yaml:"gateway" jsonschema:"required"`

	// Gateways are further ones, each a node of its own: edges spread their requests over all, and go on with the others when one fails. Optional.
	Gateways []NamedGateway `yaml:"gateways"`

	// Shield names the PoP through which all others of its trust domain fetch from this origin, best the one nearest to it; it needs `listen.inner`. When it is down they fetch by themselves. Default: none, every PoP fetches by itself.
	Shield string `yaml:"shield"`

	// App is what answers behind the gateway.
	App App `yaml:"app" jsonschema:"required"`

	// Pool is how edges keep connections to the gateway.
	Pool Pool `yaml:"pool"`

	// Balance is how the gateway spreads requests over instances.
	Balance Balance `yaml:"balance"`

	// Retry is when the gateway sends a request to another instance.
	Retry Retry `yaml:"retry"`

	// Limits bound what a slow or broken origin can make an edge hold or wait for.
	Limits OriginLimits `yaml:"limits"`
}

// Gateway is the front of an origin node: mutual TLS with the fleet's identities,
// HTTP/2 over TCP and HTTP/3 over UDP on the same port.
type Gateway struct {
	// Addresses that edges dial, each HOST:PORT; a host may be a name, which is looked up again whenever a connection is made.
	Addresses []HostPort `yaml:"addresses" jsonschema:"required,minItems=1"`

	// Bind are the addresses to listen on, each IP:PORT. Default: `addresses`; for one with a host name, its port on all addresses.
	Bind []netip.AddrPort `yaml:"bind"`

	// ProxyProtocol are the addresses of proxies in front of the gateway that work on TCP. Each of their connections must begin with a header of the PROXY protocol, version 1 or 2, else it is closed. Who has another address cannot send one, edges neither. HTTP/3 has none. Default: none.
	ProxyProtocol []netip.Prefix `yaml:"proxy_protocol"`

	// Metrics is the IP:PORT of `/metrics`, `/live` and `/ready`. Default: port 9182 on the gateway's first address when that is a loopback address, else on 127.0.0.1.
	Metrics netip.AddrPort `yaml:"metrics"`
}

// NamedGateway is one more gateway of an origin, and a node (`origin-NAME`) that may stand on a machine of its own.
type NamedGateway struct {
	// Name of the gateway and of its node; no origin and no other gateway has it.
	Name string `yaml:"name" jsonschema:"required" check:"name"`

	// Group is its rank: a higher group is used when all lower ones are down or full, so near gateways come first. Default 0, which is the group of `gateway`.
	Group int `yaml:"group" jsonschema:"minimum=0,maximum=100"`

	// Weight among the gateways of its group. Default 1, which is the weight of `gateway`; 0 = gets no new request.
	Weight int `yaml:"weight" jsonschema:"minimum=0,maximum=1000"`

	// App is what answers behind this gateway alone, such as the instance beside which it runs as a sidecar. Default: the origin's.
	App *App `yaml:"app"`

	// Gateway holds its addresses; the keys stand directly here.
	Gateway `yaml:",inline"`
}

// App is what answers behind a gateway: exactly one of its three.
type App struct {
	// Static serves the files of a folder.
	Static *Static `yaml:"static"`

	// Instances are HTTP servers, listed one by one.
	Instances []Instance `yaml:"instances"`

	// Discover finds the HTTP servers.
	Discover *Discover `yaml:"discover"`

	// ProxyProtocol is v1 or v2: connections to the servers begin with a header of that version of the PROXY protocol, which names the client they are for, so that each carries one client's requests alone. For servers of protocol h1. A client's port is not told: it is 0. Default: none.
	ProxyProtocol string `yaml:"proxy_protocol" jsonschema:"enum=v1,enum=v2"`
}

// Static is a folder served as a site.
type Static struct {
	// Folder with the files, as an absolute path. Empty: the built-in site.
	Folder string `yaml:"folder" check:"path"`

	// CacheControl is the Cache-Control field of every file. Default `public, max-age=60`.
	CacheControl string `yaml:"cache_control"`
}

// Instance is one HTTP server of an application.
type Instance struct {
	// URL of the server, `http://HOST:PORT` or `https://HOST:PORT`, without a path. Requests keep the Host field that the client sent.
	URL string `yaml:"url" jsonschema:"required"`

	// Protocol to the server: h1, h2, h2c (HTTP/2 without TLS) or h3. h1 goes with both schemes, h2c with http, h2 and h3 with https. Default h1.
	Protocol string `yaml:"protocol" jsonschema:"enum=h1,enum=h2,enum=h2c,enum=h3"`

	// CA is a file with the certificates that an https server's must come from, in PEM, as an absolute path. Default: the machine's own.
	CA string `yaml:"ca" check:"path"`

	// Weight among the instances of its group. Default 1; 0 = gets no new request.
	Weight int `yaml:"weight" jsonschema:"minimum=0,maximum=1000"`

	// Group is its rank: a higher group is used when all lower ones are down or full. Default 0.
	Group int `yaml:"group" jsonschema:"minimum=0,maximum=100"`
}

// Discover finds instances: by DNS or from the fleet's own table, one of the two.
type Discover struct {
	// DNS is the name to look up.
	DNS string `yaml:"dns"`

	// Type of the look-up: SRV, A or AAAA. Default SRV.
	Type string `yaml:"type" jsonschema:"enum=SRV,enum=A,enum=AAAA"`

	// Port of the servers; needed for A and AAAA, which carry none.
	Port int `yaml:"port" jsonschema:"minimum=0,maximum=65535"`

	// Servers are the name servers to ask, each IP:PORT. Default: those of the machine.
	Servers []netip.AddrPort `yaml:"servers"`

	// Scheme of the servers found: http or https, for which their certificates must be for the name that led to them. Default http.
	Scheme string `yaml:"scheme" jsonschema:"enum=http,enum=https"`

	// Protocol to the servers found, as of an instance. Default h1.
	Protocol string `yaml:"protocol" jsonschema:"enum=h1,enum=h2,enum=h2c,enum=h3"`

	// CA is a file with the certificates that theirs must come from, as of an instance.
	CA string `yaml:"ca" check:"path"`

	// Networks that the addresses found must be in. Default: all but loopback and link-local ones, so that a name which others answer for does not lead to this machine.
	Networks []netip.Prefix `yaml:"networks"`

	// Fleet is the name under which instances report themselves to the hub.
	Fleet string `yaml:"fleet" check:"name"`
}

// Pool is how an edge keeps its connections to a gateway.
type Pool struct {
	// Protocol between edge and gateway: h2 (TCP) or h3 (UDP). Default h2.
	Protocol string `yaml:"protocol" jsonschema:"enum=h2,enum=h3"`

	// Connections that an edge opens at start and keeps warm. Default 2.
	Connections int `yaml:"connections" jsonschema:"minimum=1,maximum=32"`

	// MaxAge after which a connection is replaced, without losing a request. Default 10m; 0s = never.
	MaxAge Duration `yaml:"max_age"`

	// Window is how much of this origin's answers may wait at an edge for clients that are slower than it. A stream of an answer that is
	// read as it comes may be up to 16 MiB ahead of its reader, so that one fills the line to a far origin; streams share this. Default 64MiB.
	Window Size `yaml:"window" jsonschema:"minimum=1048576"`
}

// OriginLimits bound what a slow or broken origin can make an edge hold or wait for.
type OriginLimits struct {
	// Concurrent is how many requests may be at the origin at once from one edge. Default 0 = adaptive: found by the latency of its answers.
	Concurrent int `yaml:"concurrent" jsonschema:"minimum=0"`

	// Total is how many requests may be at the gateway's instances at once, from all edges. Default 0 = no limit.
	Total int `yaml:"total" jsonschema:"minimum=0"`

	// Waiting is how many requests may wait for a free place, at each edge and, with `total`, at the gateway. Default 100; 0 = none. More: 503 with Retry-After.
	Waiting int `yaml:"waiting" jsonschema:"minimum=0"`

	// Wait is how long a request may wait for a free place. Default 2s. Longer, or where it can be told that it would be: 503 with Retry-After.
	Wait Duration `yaml:"wait" check:"positive"`

	// Connect is how long making a connection may take, its TLS handshake included. Default 2s. Longer: 504.
	Connect Duration `yaml:"connect" check:"positive"`

	// FirstByte is how long the origin may take to begin its answer. Default 30s. Longer: 504.
	FirstByte Duration `yaml:"first_byte" check:"positive"`

	// Idle is the longest silence inside a body. Default 30s. Longer: the answer is cut off.
	Idle Duration `yaml:"idle" check:"positive"`
}
