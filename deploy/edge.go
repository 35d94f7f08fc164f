package deploy

import "net/netip"

// Edge is how an edge node behaves. A PoP may set any of these keys for itself; what
// it leaves out is the network's.
type Edge struct {
	// Listen holds the ports.
	Listen Listen `yaml:"listen"`

	// Cache holds the sizes of the cache.
	Cache EdgeCache `yaml:"cache"`

	// Limits bound what a client can make an edge hold or wait for.
	Limits EdgeLimits `yaml:"limits"`

	// Trusted are the addresses of proxies in front of the edge whose Forwarded and X-Forwarded-* fields are believed. Default: none, so that such fields are the client's own word and are dropped.
	Trusted []netip.Prefix `yaml:"trusted"`
}

// Listen holds an edge's ports. Each is opened on every address of the PoP's `bind`.
type Listen struct {
	// HTTPS is the port of HTTP/1.1 and HTTP/2 over TCP and of HTTP/3 over UDP. Default 443; 0 = off.
	HTTPS int `yaml:"https" jsonschema:"minimum=0,maximum=65535"`

	// Public is the port by which clients reach `https`, where NAT or a container maps it to another: it stands in Alt-Svc, in redirects, and in the Host that origins are told. Default: `https`.
	Public int `yaml:"public" jsonschema:"minimum=0,maximum=65535"`

	// HTTP is the port that sends clients on to HTTPS. Default 80; 0 = off.
	HTTP int `yaml:"http" jsonschema:"minimum=0,maximum=65535"`

	// Inner is the TCP port for the other PoPs of the network, which fetch through this one where an origin names it as its `shield`; they prove themselves by their identities, and what they say of their clients is believed. Default 0 = off.
	Inner int `yaml:"inner" jsonschema:"minimum=0,maximum=65535"`

	// ProxyProtocol are the addresses of proxies in front of the edge that work on TCP. Each of their connections to `https` and `http` must begin with a header of the PROXY protocol, version 1 or 2, else it is closed, checks of their own and probes from there included; the client named in it is the client everywhere. Who has another address cannot send one. HTTP/3 has none: its packets do not pass such a proxy, and those that come to the edge directly are the client's own. Default: none.
	ProxyProtocol []netip.Prefix `yaml:"proxy_protocol"`

	// Metrics is the port of `/metrics`, `/live` and `/ready`. Default 9180; 0 = off.
	Metrics int `yaml:"metrics" jsonschema:"minimum=0,maximum=65535"`

	// MetricsAddress is where the metrics port is opened. Default: the node's own first address when that is a loopback address, else 127.0.0.1. What is served there is read-only, but meant for operators.
	MetricsAddress netip.Addr `yaml:"metrics_address"`
}

// EdgeCache holds the sizes of an edge's cache.
type EdgeCache struct {
	// Memory is what stored responses may take in memory. Default 256MiB; 0B = nothing is stored, else at least 128KiB.
	Memory Size `yaml:"memory"`

	// Disk is what stored responses may take on disk, in the folder `cache` of the node's state folder, with all that is kept about them. What memory gives up and was asked for more than once goes there, and outlives a restart. Its index takes memory beside `memory`: about 80 bytes for each object, and room for one for each 4KiB. Default 0B = no disk tier, and what lies there is removed; else at least 16MiB.
	Disk Size `yaml:"disk"`

	// MemoryLimit is how much memory the whole process aims to stay below; it must be larger than `memory`. Default 1GiB; 0B = no limit of its own.
	MemoryLimit Size `yaml:"memory_limit"`
}

// EdgeLimits bound what a client can make an edge hold or wait for.
type EdgeLimits struct {
	// HeaderBytes is how large a request's header may be, names and values together. Default 64KiB. Larger: 431.
	HeaderBytes Size `yaml:"header_bytes" check:"positive"`

	// HeaderFields is how many fields a request may have. Default 128. More: 431.
	HeaderFields int `yaml:"header_fields" jsonschema:"minimum=1"`

	// HeaderTime is how long a client may take to send a request's header, the TLS handshake included on a fresh connection. Default 10s.
	HeaderTime Duration `yaml:"header_time" check:"positive"`

	// URLBytes is how long a request's target may be. Default 8KiB. Longer: 414.
	URLBytes Size `yaml:"url_bytes" check:"positive"`

	// BodyTime is the longest silence inside a request's body. Default 30s. Longer: 408, and the connection or stream ends.
	BodyTime Duration `yaml:"body_time" check:"positive"`

	// Idle is how long a connection without a request stays open. Default 2m.
	Idle Duration `yaml:"idle" check:"positive"`

	// Notice is how long at most a node that was told to stop goes on taking clients first: until DNS servers have heard of it, and resolvers have forgotten the longest TTL of the names steered to it. Default 1m; 0s = none.
	Notice Duration `yaml:"notice"`

	// Drain is how long a node that was told to stop lets requests finish, after `notice`. Default 30s.
	Drain Duration `yaml:"drain"`

	// ConnectionsPerAddress is how many connections one client address (an IPv6 /64) may have open. Default 1000.
	ConnectionsPerAddress int `yaml:"connections_per_address" jsonschema:"minimum=1"`

	// HandshakesPerAddress is how many TLS handshakes per second one client address (an IPv6 /64) may begin. Default 100.
	HandshakesPerAddress int `yaml:"handshakes_per_address" jsonschema:"minimum=1"`

	// QUICRetryAbove is how many QUIC handshakes per second from addresses not yet validated are taken before a Retry packet is demanded of each (RFC 9000 section 8.1.2). Default 100; 0 = always demanded.
	QUICRetryAbove int `yaml:"quic_retry_above" jsonschema:"minimum=0"`
}

// PoP is a point of presence: one edge node near users. It may hold any key of
// `edge` as well, for itself alone.
type PoP struct {
	// Name of the PoP, and of its node (`edge-NAME`).
	Name string `yaml:"name" jsonschema:"required" check:"name"`

	// Place on earth, by which the nearest PoP is found.
	Place Place `yaml:"place" jsonschema:"required"`

	// Addresses, IPv4 and IPv6, that DNS answers with.
	Addresses []netip.Addr `yaml:"addresses" jsonschema:"required,minItems=1"`

	// Bind are the addresses to listen on, where they are not those of DNS (behind NAT, in a container: 0.0.0.0). Default: `addresses`.
	Bind []netip.Addr `yaml:"bind"`

	// Probe are the addresses by which our own nodes reach the PoP, where those are others than clients have: DNS servers to learn whether it is up, and other PoPs when it is a shield. Default: `addresses`.
	Probe []netip.Addr `yaml:"probe"`

	// Capacity is what counts as full. Default: never full.
	Capacity Capacity `yaml:"capacity"`

	// Trust names the trust domain: only PoPs of one domain share private and ticket keys, and a PoP serves only sites of its own. Default main.
	Trust string `yaml:"trust" check:"name"`

	// Weight among PoPs that are equally good. Default 1; 0 = in no answer.
	Weight int `yaml:"weight" jsonschema:"minimum=0,maximum=1000"`

	// Fallback names the PoPs that take over its clients, in this order. Default: all others by distance.
	Fallback []string `yaml:"fallback"`

	// Edge holds this PoP's settings after merging; the keys stand directly in the PoP.
	Edge `yaml:",inline"`
}

// Place is a point on earth, in degrees.
type Place struct {
	// Lat is the latitude in degrees, -90 (south) to 90 (north).
	Lat float64 `yaml:"lat" jsonschema:"required,minimum=-90,maximum=90"`

	// Lon is the longitude in degrees, -180 (west) to 180 (east).
	Lon float64 `yaml:"lon" jsonschema:"required,minimum=-180,maximum=180"`

	// City is for people only. Optional.
	City string `yaml:"city"`
}

// Capacity is what counts as a full PoP: its load is the larger of the two shares in
// use, 1.0 = full.
type Capacity struct {
	// Requests per second that count as full. Default 0 = never.
	Requests int `yaml:"requests" jsonschema:"minimum=0"`

	// Streams, requests open at once, that count as full. Default 0 = never.
	Streams int `yaml:"streams" jsonschema:"minimum=0"`
}
