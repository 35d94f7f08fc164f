package deploy

import (
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// defaultNetwork is a network before its file is read over it.
func defaultNetwork() *Network {
	return &Network{
		Edge: Edge{
			Listen: Listen{HTTPS: 443, HTTP: 80, Metrics: 9180},
			Cache:  EdgeCache{Memory: 256 << 20, MemoryLimit: 1 << 30},
			Limits: EdgeLimits{
				HeaderBytes: 64 << 10, HeaderFields: 128, HeaderTime: seconds(10),
				URLBytes: 8 << 10, BodyTime: seconds(30), Idle: seconds(120), Notice: seconds(60), Drain: seconds(30),
				ConnectionsPerAddress: 1000, HandshakesPerAddress: 100, QUICRetryAbove: 100,
			},
		},
		DNS: DNS{Probe: Probe{Interval: seconds(2), Timeout: seconds(1), Fall: 3, Rise: 2}},
	}
}

// fill gives the part of a network that v points to its defaults, before the file is
// read over it. It is called for every part that a list or an optional key makes.
func (n *Network) fill(v any) {
	switch v := v.(type) {
	case *PoP:
		v.Trust, v.Weight, v.Edge = "main", 1, n.Edge
	case *Origin:
		v.Pool = Pool{Protocol: "h2", Connections: 2, MaxAge: seconds(600), Window: 64 << 20}
		v.Balance = Balance{
			Algorithm: "p2c-ewma", SlowStart: seconds(10),
			Eject: Eject{Consecutive: 5, Time: seconds(10), MaxTime: seconds(300), MaxPercent: 50, PanicPercent: 30},
		}
		v.Retry = Retry{Attempts: 2, Percent: 20, Statuses: []int{502, 503, 504}}
		v.Limits = OriginLimits{Waiting: 100, Wait: seconds(2), Connect: seconds(2), FirstByte: seconds(30), Idle: seconds(30)}
	case *NamedGateway:
		v.Weight = 1
	case *Static:
		v.CacheControl = "public, max-age=60"
	case *Instance:
		v.Protocol, v.Weight = "h1", 1
	case *Discover:
		v.Type, v.Scheme, v.Protocol = "SRV", "http", "h1"
	case *Health:
		*v = Health{Type: "http", Path: "/", Interval: seconds(5), Timeout: seconds(2), Fall: 3, Rise: 2}
	case *Site:
		v.DNS, v.Trust, v.EarlyData = "own", "main", "safe"
		v.TLS = TLS{Min: "1.3", Certificate: Certificate{Source: CertificateLocal}}
		v.Cache = SiteCache{SetCookie: "bypass", RequestControl: "ignore", MaxObject: 1 << 30, Slice: 4 << 20, StaleIfError: seconds(3600)}
		v.Compress = Compress{Codings: []string{"br", "zstd", "gzip"}, Min: 1 << 10, Max: 10 << 20}
	case *Zone:
		v.DNSSEC = "off"
		v.SOA = SOA{Refresh: seconds(3600), Retry: seconds(600), Expire: seconds(7 * 24 * 3600), Negative: seconds(60)}
	case *Steered:
		v.TTL, v.Answers = seconds(30), 1
	case *Server:
		v.Port, v.Metrics = 53, 9181
	}
}

// derive fills in the defaults that follow from other values of the file.
func (n *Network) derive() {
	if n.CDNID == "" {
		n.CDNID = "hither-" + n.Name
	}
	for i := range n.PoPs {
		p := &n.PoPs[i]
		if p.Bind == nil {
			p.Bind = p.Addresses
		}
		if p.Probe == nil {
			p.Probe = p.Addresses
		}
		p.Listen.MetricsAddress = metricsAddress(p.Listen.MetricsAddress, p.Bind)
		if p.Listen.Public == 0 {
			p.Listen.Public = p.Listen.HTTPS
		}
	}
	for i := range n.Origins {
		o := &n.Origins[i]
		o.Gateway.derive()
		for j := range o.Gateways {
			o.Gateways[j].derive()
		}
	}
	n.Hub.derive(n.Origins)
	for i := range n.Zones {
		if z := &n.Zones[i]; z.SOA.Mailbox == "" {
			z.SOA.Mailbox = "hostmaster." + z.Name
		}
	}
	for i := range n.DNS.Servers {
		s := &n.DNS.Servers[i]
		if s.Bind == nil {
			s.Bind = s.Addresses
		}
		s.MetricsAddress = metricsAddress(s.MetricsAddress, s.Bind)
	}
	if n.DNS.Unknown == nil {
		for i := range n.PoPs {
			n.DNS.Unknown = append(n.DNS.Unknown, n.PoPs[i].Name)
		}
	}
}

// derive fills in where a gateway listens.
func (g *Gateway) derive() {
	if g.Bind == nil {
		g.Bind = bindOf(g.Addresses)
	}
	if !g.Metrics.IsValid() {
		var hosts []netip.Addr
		for _, b := range g.Bind {
			hosts = append(hosts, b.Addr())
		}
		g.Metrics = netip.AddrPortFrom(metricsAddress(netip.Addr{}, hosts), 9182)
	}
}

// derive fills in where the hub listens and who leads. A network without a hub has neither.
func (h *Hub) derive(origins []Origin) {
	if len(h.URLs) == 0 {
		return
	}
	if h.Control == "" {
		h.Control = h.EmbeddedIn
	}
	if h.Control == "" && len(origins) > 0 {
		h.Control = origins[0].Name
	}
	if h.Bind.IsValid() || h.EmbeddedIn == "" {
		return
	}
	u, err := url.Parse(h.URLs[0])
	if err != nil {
		return // which is a mistake of its own
	}
	addr, err := netip.ParseAddrPort(u.Host)
	if err != nil || len(h.URLs) > 1 {
		port, _ := strconv.ParseUint(u.Port(), 10, 16)
		addr = netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port))
	}
	h.Bind = addr
}

// metricsAddress is where a node with those addresses serves its metrics: what the
// file says, else its own loopback address where it has one, so that many nodes fit
// on one machine, else 127.0.0.1, so that nothing is public by default.
func metricsAddress(said netip.Addr, own []netip.Addr) netip.Addr {
	switch {
	case said.IsValid():
		return said
	case len(own) > 0 && own[0].IsLoopback():
		return own[0]
	default:
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
}

// bindOf is where a gateway listens that is dialled at those addresses. What a name
// stands for is not known on the machine itself, so it means all addresses.
func bindOf(addresses []HostPort) []netip.AddrPort {
	var bind []netip.AddrPort
	for _, a := range addresses {
		addr, ok := a.Addr()
		if !ok {
			addr = netip.IPv6Unspecified()
		}
		bind = append(bind, netip.AddrPortFrom(addr, a.Port))
	}
	return bind
}

func seconds(n int) Duration { return Duration(n) * Duration(time.Second) }
