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

	// Shield names the PoP through which all others fetch from this origin, best the one nearest to it. Default: none, every PoP fetches by itself.
	Shield string `yaml:"shield"`

	// App is what answers behind the gateway.
	App App `yaml:"app" jsonschema:"required"`

	// Pool is how edges keep connections to the gateway.
	Pool Pool `yaml:"pool"`

	// Balance is how the gateway spreads requests over instances.
	Balance Balance `yaml:"balance"`

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

	// Metrics is the IP:PORT of `/metrics`, `/live` and `/ready`. Default: port 9182 on the gateway's first address when that is a loopback address, else on 127.0.0.1.
	Metrics netip.AddrPort `yaml:"metrics"`
}

// App is what answers behind a gateway: exactly one of its three.
type App struct {
	// Static serves the files of a folder.
	Static *Static `yaml:"static"`

	// Instances are HTTP servers, listed one by one.
	Instances []Instance `yaml:"instances"`

	// Discover finds the HTTP servers.
	Discover *Discover `yaml:"discover"`
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

	// Fleet is the name under which instances report themselves to the hub.
	Fleet string `yaml:"fleet" check:"name"`
}

// Pool is how an edge keeps its connections to a gateway.
type Pool struct {
	// Protocol between edge and gateway: h2 (TCP) or h3 (UDP). Default h2.
	Protocol string `yaml:"protocol" jsonschema:"enum=h2,enum=h3"`

	// Connections that an edge opens at start and keeps warm. Default 2.
	Connections int `yaml:"connections" jsonschema:"minimum=1,maximum=64"`

	// MaxAge after which a connection is replaced, without losing a request. Default 10m; 0s = never.
	MaxAge Duration `yaml:"max_age"`
}

// OriginLimits bound what a slow or broken origin can make an edge hold or wait for.
type OriginLimits struct {
	// Concurrent is how many requests may be at the origin at once from one edge. Default 0 = adaptive.
	Concurrent int `yaml:"concurrent" jsonschema:"minimum=0"`

	// Waiting is how many requests may wait for a free place. Default 100; 0 = none. More: 503.
	Waiting int `yaml:"waiting" jsonschema:"minimum=0"`

	// Connect is how long making a connection may take, its TLS handshake included. Default 2s. Longer: 504.
	Connect Duration `yaml:"connect" check:"positive"`

	// FirstByte is how long the origin may take to begin its answer. Default 30s. Longer: 504.
	FirstByte Duration `yaml:"first_byte" check:"positive"`

	// Idle is the longest silence inside a body. Default 30s. Longer: the answer is cut off.
	Idle Duration `yaml:"idle" check:"positive"`
}
