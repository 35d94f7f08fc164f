package deploy

import (
	"fmt"
	"net/netip"
	"slices"
)

// checkAddresses checks addresses that others dial. A list that is not in the file
// repeats another one and is checked there.
func (l *loader) checkAddresses(path string, addrs []netip.Addr) {
	if !l.given(path) {
		return
	}
	seen := map[netip.Addr]bool{}
	for i, a := range addrs {
		here := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case l.bad[here]:
		case a.IsUnspecified():
			l.wrong(here, "%v stands for every address of a machine and cannot be dialled; it belongs in `bind`", a)
		case a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			l.wrong(here, "%v is not the address of one machine", a)
		case a.Is4In6():
			l.wrong(here, "write %v as the IPv4 address it is: %v", a, a.Unmap())
		case a.Zone() != "":
			l.wrong(here, "%v has a zone, which means something on one machine only", a)
		case seen[a]:
			l.wrong(here, "%v is in this list already", a)
		}
		seen[a] = true
	}
}

// bound checks addresses to listen on.
func (l *loader) bound(path string, addrs []netip.Addr) {
	if !l.given(path) {
		return
	}
	seen := map[netip.Addr]bool{}
	for i, a := range addrs {
		here := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case l.bad[here]:
		case a.IsMulticast():
			l.wrong(here, "%v is not the address of one machine", a)
		case seen[a]:
			l.wrong(here, "%v is in this list already", a)
		}
		seen[a] = true
	}
}

// checkPrefixes checks prefixes that the addresses of peers are held against.
func (l *loader) checkPrefixes(path string, list []netip.Prefix) {
	if !l.given(path) {
		return
	}
	seen := map[netip.Prefix]bool{}
	for i, p := range list {
		here := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case l.bad[here]:
		case p.Addr().Is4In6():
			l.wrong(here, "%v contains no peer's address; write it as the IPv4 prefix it is", p)
		case seen[p]:
			l.wrong(here, "%v is in this list already", p)
		}
		seen[p] = true
	}
}

// A listener is one address and port that a node opens.
type listener struct {
	id    string // path of the node: two may have one name by mistake
	node  string // edge-fra
	path  string // of the value it comes from
	use   string // https, metrics
	addr  netip.AddrPort
	local bool // the node has loopback addresses only, so it shares its machine with all such nodes
}

// listeners lists what every node opens.
func (l *loader) listeners() []listener {
	var all []listener
	add := func(id, node, path, use string, addr netip.Addr, port int, local bool) {
		if port > 0 && addr.IsValid() {
			all = append(all, listener{id, node, path, use, netip.AddrPortFrom(addr, uint16(port)), local})
		}
	}
	for i := range l.network.PoPs {
		p := &l.network.PoPs[i]
		node, local := "edge-"+p.Name, loopback(p.Bind)
		path := fmt.Sprintf("pops[%d]", i)
		for j, a := range p.Bind {
			here := l.either(path, ".bind", ".addresses", j)
			add(path, node, here, "https", a, p.Listen.HTTPS, local)
			add(path, node, here, "http", a, p.Listen.HTTP, local)
			add(path, node, here, "inner", a, p.Listen.Inner, local)
		}
		add(path, node, path+".listen.metrics", "metrics", p.Listen.MetricsAddress, p.Listen.Metrics, local)
	}
	for i := range l.network.Origins {
		for k, g := range l.network.Origins[i].AllGateways() {
			var own []netip.Addr
			for _, b := range g.Bind {
				own = append(own, b.Addr())
			}
			node, local := "origin-"+g.Name, loopback(own)
			path := fmt.Sprintf("origins[%d].gateway", i)
			if k > 0 {
				path = fmt.Sprintf("origins[%d].gateways[%d]", i, k-1)
			}
			for j, b := range g.Bind {
				add(path, node, l.either(path, ".bind", ".addresses", j), "gateway", b.Addr(), int(b.Port()), local)
			}
			add(path, node, path+".metrics", "metrics", g.Metrics.Addr(), int(g.Metrics.Port()), local)
			if h := &l.network.Hub; len(h.URLs) > 0 {
				if h.EmbeddedIn == g.Name {
					at := "hub.bind"
					if !l.given(at) {
						at = "hub.urls[0]"
					}
					add(path, node, at, "hub", h.Bind.Addr(), int(h.Bind.Port()), local)
				}
				if h.Control == g.Name {
					add(path, node, "hub.api.address", "hub's API", h.API.Address.Addr(), int(h.API.Address.Port()), local)
				}
			}
		}
	}
	for i := range l.network.DNS.Servers {
		s := &l.network.DNS.Servers[i]
		node, local := "dns-"+s.Name, loopback(s.Bind)
		path := fmt.Sprintf("dns.servers[%d]", i)
		for j, a := range s.Bind {
			add(path, node, l.either(path, ".bind", ".addresses", j), "dns", a, s.Port, local)
		}
		add(path, node, path+".metrics", "metrics", s.MetricsAddress, s.Metrics, local)
	}
	return all
}

// either is the path of element j of the first list that the file has.
func (l *loader) either(path, a, b string, j int) string {
	if _, ok := l.where[path+a]; ok {
		b = a
	}
	return fmt.Sprintf("%s%s[%d]", path, b, j)
}

// loopback says that a node has loopback addresses only.
func loopback(own []netip.Addr) bool {
	for _, a := range own {
		if !a.IsLoopback() {
			return false
		}
	}
	return len(own) > 0
}

// apart says that two sockets of a DNS server go together though one is on every address:
// it opens [::] for IPv6 alone, so that 0.0.0.0 can stand beside it.
func apart(a, b listener) bool {
	return a.use == "dns" && b.use == "dns" && a.addr.Addr().Is4() != b.addr.Addr().Is4()
}

// checkListeners finds two that open the same address and port. Which nodes share a
// machine the file does not say; those with an address in common do, and those with
// nothing but loopback addresses. Each node is reported once for each other.
func (l *loader) checkListeners() {
	type socket struct {
		addr netip.AddrPort
		node string // "" where the address alone tells the machine
	}
	taken := map[socket]listener{}
	wild := map[socket]listener{} // those on every address of a node, by port
	reported := map[[2]string]bool{}
	var own []listener // those of b's node so far
	for _, b := range l.listeners() {
		if len(own) > 0 && own[0].id != b.id {
			own = own[:0]
		}
		s, port := socket{addr: b.addr}, socket{netip.AddrPortFrom(netip.Addr{}, b.addr.Port()), b.id}
		if b.addr.Addr().IsUnspecified() || b.addr.Addr().IsLoopback() && !b.local {
			s.node = b.id
		}
		a, clash := taken[s]
		if !clash {
			a, clash = wild[port]
			clash = clash && !apart(a, b)
		}
		// Every address means every one of IPv4 and IPv6, as Go's net.Listen has it.
		if b.addr.Addr().IsUnspecified() && !clash {
			i := slices.IndexFunc(own, func(o listener) bool { return o.addr.Port() == b.addr.Port() && !apart(o, b) })
			if clash = i >= 0; clash {
				a = own[i]
			}
			wild[port] = b
		}
		own = append(own, b)
		if !clash {
			taken[s] = b
			continue
		}
		line := l.find(a.path).line
		switch pair := [2]string{a.id, b.id}; {
		case a.id == b.id:
			l.wrong(b.path, "%s of %s would listen on %v, which is taken by its %s on %v (line %d)", b.use, b.node, b.addr, a.use, a.addr, line)
		case !reported[pair]:
			reported[pair] = true
			l.wrong(b.path, "%s (%s) and %s (%s, line %d) would both listen on %v", b.node, b.use, a.node, a.use, line, b.addr)
		}
	}
}
